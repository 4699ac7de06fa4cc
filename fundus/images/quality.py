"""Measures that tell a photograph which cannot be graded: field of view, light and sharpness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fundus.images import ImageRecipe, resize
from fundus.images.fov import fov_mask
from fundus.runtime.opencv import cv2

#: Photographs are measured after padding to a square of this edge, in pixels.
MEASURED_AT = ImageRecipe(512, "square")

#: Edge to which the field of view is brought before its sharpness is measured, in pixels: about
#: what a network sees, so that images of any resolution compare.
_SHARPNESS_SIDE = 256


@dataclass(frozen=True)
class Quality:
    """Measures of one photograph.

    Parameters
    ----------
    fov_share : float
        Area of the field of view as a share of the photograph, padded to a square; 0 where none is
        found.
    brightness : float
        Mean of the green channel inside the field of view, 0–255; of the whole image where there is
        none.
    sharpness : float
        Variance of the Laplacian of the green channel inside the field of view, over the square of
        its mean, so that a darker copy is as sharp; in thousandths.
    """

    fov_share: float
    brightness: float
    sharpness: float


def measure_quality(image: NDArray[np.uint8]) -> Quality:
    """Measure one photograph.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width, 3)
        RGB, 0–255, as ``MEASURED_AT`` makes it.

    Raises
    ------
    DataError
        If `image` has another dtype or shape.

    References
    ----------
    .. [1] J. L. Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy: a comparative
       study", ICPR 2000. :doi:`10.1109/ICPR.2000.903548`

    Examples
    --------
    >>> black = np.zeros((64, 64, 3), np.uint8)
    >>> measure_quality(black)
    Quality(fov_share=0.0, brightness=0.0, sharpness=0.0)
    """
    found = fov_mask(image)
    mask = np.ones(image.shape[:2], dtype=bool) if found is None else found
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    side = _SHARPNESS_SIDE
    green = resize(image[box], side)[:, :, 1].astype(np.float32)
    inside = cv2.resize(mask[box].astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST)
    # the rim is an edge that no blur removes
    kernel = np.ones((side // 12, side // 12), np.uint8)
    inner = cv2.erode(inside, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    edges = cv2.Laplacian(green, cv2.CV_32F)[inner if inner.any() else inside > 0]
    brightness = float(image[:, :, 1][mask].mean())
    return Quality(
        fov_share=0.0 if found is None else float(found.mean()),
        brightness=brightness,
        sharpness=1000 * float(edges.var()) / brightness**2 if brightness > 0 else 0.0,
    )
