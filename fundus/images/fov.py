"""The field of view: the lit part of a fundus photograph within its black border.

Images are arrays of uint8, shape (height, width, 3): RGB, 0–255.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import DataError
from fundus.runtime.opencv import cv2

_SEARCH_SIDE = 256  # longest side of the copy on which the field of view is looked for, in pixels


def check_rgb(image: NDArray[np.uint8]) -> None:
    """Raise unless an object is one uint8 RGB image.

    Raises
    ------
    DataError
        If `image` is not a non-empty uint8 array of shape (height, width, 3).
    """
    array = isinstance(image, np.ndarray)
    if (
        not array
        or image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[2] != 3
        or not image.size
    ):
        got = f"{image.dtype} array of shape {image.shape}" if array else repr(type(image))
        raise DataError(
            "An image must be a non-empty uint8 RGB array of shape (height, width, 3); "
            f"got {got}: convert it first."
        )


def find_fov(image: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Bounding box of the field of view: the lit part of a photograph within its black border.

    The border is what is about as dark as the darkest corner; the field of view is the largest
    connected region that is brighter. The box is good to about 1/256 of the longer side. An
    image without a dark corner, or without a region of at least a twentieth of its area, is
    its own field of view: the whole image is returned, not an error.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width, 3)
        RGB, 0–255.

    Returns
    -------
    top, bottom, left, right : int
        Pixels; ``image[top:bottom, left:right]`` is the field of view.

    Raises
    ------
    DataError
        If `image` has another dtype or shape.

    Examples
    --------
    >>> image = np.zeros((100, 200, 3), np.uint8)
    >>> image[20:80, 50:150] = (180, 90, 40)
    >>> find_fov(image)
    (20, 80, 50, 150)
    """
    check_rgb(image)
    height, width = image.shape[:2]
    mask = _region(image)
    if mask is None:
        return 0, height, 0, width
    left, top, box_width, box_height = cv2.boundingRect(mask)
    rows, columns = height / mask.shape[0], width / mask.shape[1]
    return (
        int(top * rows),
        math.ceil((top + box_height) * rows),
        int(left * columns),
        math.ceil((left + box_width) * columns),
    )


def fov_mask(image: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    """Which pixels lie in the field of view, as `find_fov` sees it: bool, shape (height, width).

    It is ``None`` where no field of view is found.

    Raises
    ------
    DataError
        If `image` has another dtype or shape.

    Examples
    --------
    >>> image = np.zeros((100, 200, 3), np.uint8)
    >>> image[20:80, 50:150] = (180, 90, 40)
    >>> mask = fov_mask(image)
    >>> round(float(mask.mean()), 2)
    0.3
    """
    check_rgb(image)
    mask = _region(image)
    if mask is None:
        return None
    height, width = image.shape[:2]
    return cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST).astype(bool)


def _region(image: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Mask of the field of view on a small copy; None where there is none."""
    height, width = image.shape[:2]
    scale = min(1.0, _SEARCH_SIDE / max(height, width))
    small_size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, small_size, interpolation=cv2.INTER_AREA) if scale < 1 else image
    # The brightest channel: the rim of a retina is lit in red long before the others.
    red, green, blue = cv2.split(small)
    grey = cv2.medianBlur(cv2.max(cv2.max(red, green), blue), 3)
    mask = _lit(grey)
    if mask is None:
        return None
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    if stats[largest, cv2.CC_STAT_AREA] < 0.05 * mask.size:
        return None
    return (labels == largest).astype(np.uint8)


def _lit(grey: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Mask of what is brighter than the border; None where there is no border or no light."""
    height, width = max(1, grey.shape[0] // 20), max(1, grey.shape[1] // 20)
    rows, columns = (slice(height), slice(-height, None)), (slice(width), slice(-width, None))
    border = min(float(np.median(grey[row, column])) for row in rows for column in columns)
    light = float(np.percentile(grey, 95))
    if border > 0.35 * light or light - border < 8:
        return None
    threshold = border + max(8.0, 0.12 * (light - border))
    mask = (grey > threshold).astype(np.uint8)
    # Closing joins what dark vessels separate; opening then cuts off captions that touch the rim.
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    if min(mask.shape) >= 32:
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel)
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, kernel)
    return mask if mask.any() else None


def crop_to_fov(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut the black border off a photograph.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width, 3)
        RGB, 0–255.

    Returns
    -------
    ndarray of uint8, shape (fov_height, fov_width, 3)
        The part of `image` within `find_fov`; all of it where none is found.

    Examples
    --------
    >>> image = np.zeros((100, 200, 3), np.uint8)
    >>> image[20:80, 50:150] = (180, 90, 40)
    >>> crop_to_fov(image).shape
    (60, 100, 3)
    """
    top, bottom, left, right = find_fov(image)
    return np.ascontiguousarray(image[top:bottom, left:right])
