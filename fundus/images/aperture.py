"""The field of view in the square picture that a network gets: which of its pixels it holds.

`fundus.images.fov` looks for it in a whole photograph, with OpenCV, to crop to it. Here it is found
in the cropped and resized picture by array operations alone, in whole numbers: numpy and
``keras.ops`` give the same bits, so that a network may do it itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import DataWarning, Mention, Message, warn_once

#: Raised whenever the same picture gets another mask, so that old cache entries expire.
APERTURE_VERSION = 1

# the border is looked for in corners of a twentieth of the edge, the light in so many rows
_CORNER = 20
_SAMPLED = 40


def field_of_view(pictures: Any, xp: Any = np) -> Any:
    """Find the field of view of pictures of one size: all that lies between what is lit.

    The brightest channel is averaged over 3 × 3 pixels. A pixel is lit if it is brighter than the
    darkest corner by 8 and by 12 % of the way to the light, which is the 95th percentile. It is
    in the field of view if lit pixels, or itself, are to its left and right and above and below,
    so that dark vessels and lesions are no holes. A sharp rim comes out a pixel wider.

    Parameters
    ----------
    pictures : array of uint8, shape (n, height, width, 3)
        RGB, 0–255; a network gets squares, cropped and resized.
    xp : module, default=numpy
        ``numpy``, or ``keras.ops`` for tensors.

    Returns
    -------
    array of bool, shape (n, height, width)
        True everywhere where no corner is dark, or nothing is lit.

    Examples
    --------
    >>> picture = np.zeros((1, 40, 40, 3), np.uint8)
    >>> picture[:, 4:36, 10:30] = (180, 90, 40)
    >>> picture[:, 16:24, 14:26] = 0
    >>> mask = field_of_view(picture)
    >>> int(mask.sum()), bool(mask[0, 20, 20])
    (744, True)
    """
    height, width = pictures.shape[1:3]
    if xp is not np:
        pictures = xp.cast(pictures, "int32")  # few operations of a backend take uint8
    red, green, blue = (pictures[..., channel] for channel in range(3))
    # the rim of a retina is lit in red long before the others
    grey = xp.maximum(xp.maximum(red, green), blue)
    nine = _summed(_summed(grey.astype(np.int16) if xp is np else grey, 1, xp), 2, xp)
    border, light = _border(nine, height, width, xp), _light(nine, height, width, xp)
    threshold = border + xp.maximum(xp.floor_divide(12 * (light - border), 100), 9 * 8)
    lit = nine > _in_each(threshold, xp)
    none = xp.logical_or(100 * border > 35 * light, light - border <= 9 * 8)
    return xp.logical_or(_between(lit, height, width, xp), none[:, None, None])


def picture_mask(picture: NDArray[np.uint8], name: str) -> NDArray[np.bool_]:
    """Find the field of view of one picture, and tell once if it is all of it.

    Parameters
    ----------
    picture : ndarray of uint8, shape (size, size, 3)
    name : str
        Names the picture in the warning.

    Returns
    -------
    ndarray of bool, shape (size, size)

    Warns
    -----
    DataWarning
        For the first picture of this process that shows no border.

    Examples
    --------
    >>> picture = np.zeros((40, 40, 3), np.uint8)
    >>> picture[4:36, 4:36] = 120
    >>> int(picture_mask(picture, "a square").sum())
    1152
    """
    mask = field_of_view(picture[None])[0]
    if mask.all():
        instead = Mention("pool_over", "all")
        text = (
            f"No field of view is found in {name}: no corner is dark, or nothing is lit. All of "
            "the picture counts as its field of view, and that of other such pictures, of which "
            f"no more is told. If all of yours are so, {instead} says the same."
        )
        warn_once(Message(text, instead), DataWarning, key="no field of view")
    return mask


def _summed(values: Any, axis: int, xp: Any) -> Any:
    """Sum of each value and its two neighbours along an axis; those at the ends count twice."""

    def part(array: Any, *ends: int | None) -> Any:
        return array[:, slice(*ends)] if axis == 1 else array[:, :, slice(*ends)]

    wide = xp.concatenate([part(values, 1), values, part(values, -1, None)], axis=axis)
    return part(wide, -2) + part(wide, 1, -1) + part(wide, 2, None)


def _border(values: Any, height: int, width: int, xp: Any) -> Any:
    """Median of the darkest corner of each picture, int32."""
    tall, wide = max(1, height // _CORNER), max(1, width // _CORNER)
    ends = (slice(tall), slice(height - tall, height)), (slice(wide), slice(width - wide, width))
    corners = [values[:, rows, columns] for rows in ends[0] for columns in ends[1]]
    flat = xp.stack([xp.reshape(corner, (-1, tall * wide)) for corner in corners], axis=1)
    medians = xp.sort(flat, axis=-1)[..., tall * wide // 2]
    return _wide(xp.min(medians, axis=1), xp)


def _light(values: Any, height: int, width: int, xp: Any) -> Any:
    """95th percentile of each picture, of pixels of a grid, int32."""
    down, right = max(1, height // _SAMPLED), max(1, width // _SAMPLED)
    n = len(range(0, height, down)) * len(range(0, width, right))
    flat = xp.reshape(values[:, ::down, ::right], (-1, n))
    return _wide(xp.sort(flat, axis=-1)[..., (95 * (n - 1)) // 100], xp)


def _between(lit: Any, height: int, width: int, xp: Any) -> Any:
    """Which pixels have lit ones, or are lit, on either side in their row and their column."""
    number = np.int16 if xp is np and max(height, width) < np.iinfo(np.int16).max else np.int32
    there = lit.astype(number) if xp is np else xp.cast(lit, "int32")
    inside = None
    for size, axis in ((width, 2), (height, 1)):
        forth = np.arange(1, size + 1, dtype=number)
        places = forth[None, None, :] if axis == 2 else forth[None, :, None]
        for along in (places, size + 1 - places):
            last = xp.max(there * along, axis=axis, keepdims=True)
            before = last >= along  # a tensor first, as numpy would convert it
            inside = before if inside is None else xp.logical_and(inside, before)
    return inside


def _wide(values: Any, xp: Any) -> Any:
    return values.astype(np.int32) if xp is np else values


def _in_each(values: Any, xp: Any) -> Any:
    """A value for each picture, in the type of its sums."""
    return (values.astype(np.int16) if xp is np else values)[:, None, None]
