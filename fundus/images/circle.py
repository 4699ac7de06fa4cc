"""The same round aperture for every camera: a disc of retina in a black square.

Cameras cut the field of view at the top and the bottom by different amounts, so the black border
of the square shows which camera it was. A disc as wide as the shorter side hides that.

Images are arrays of uint8, shape (height, width, 3): RGB, 0–255.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

#: Values of ``aperture=``.
APERTURES = (None, "circle")

#: Raised whenever the same picture gets another disc, so that old cache entries expire.
CIRCLE_VERSION = 1


def centre_square(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut the middle square out of a picture, as wide as its shorter side.

    Examples
    --------
    >>> picture = np.arange(5, dtype=np.uint8)[None, :, None] * np.ones((2, 1, 3), np.uint8)
    >>> centre_square(picture)[0, :, 0].tolist()
    [1, 2]
    """
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def in_circle(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a square with black outside the circle that touches its sides.

    Parameters
    ----------
    image : ndarray of uint8, shape (size, size, 3)

    Returns
    -------
    ndarray of uint8, shape (size, size, 3)
        A new array.

    Examples
    --------
    >>> in_circle(np.full((4, 4, 3), 9, np.uint8))[:, :, 0].tolist()
    [[0, 9, 9, 0], [9, 9, 9, 9], [9, 9, 9, 9], [0, 9, 9, 0]]
    """
    return np.where(_disc(len(image))[:, :, np.newaxis], image, np.uint8(0))


@lru_cache(maxsize=8)
def _disc(size: int) -> NDArray[np.bool_]:
    """Pixels whose middle is in the circle, bool, shape (size, size)."""
    away = 2 * np.arange(size) - (size - 1)  # whole numbers, so that no machine rounds otherwise
    disc = away[:, np.newaxis] ** 2 + away**2 <= size**2
    disc.flags.writeable = False
    return disc
