"""Where the square picture that a network gets lies on its photograph."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fundus.images import ImageRecipe
from fundus.images.decoding import decode_bytes, reduction
from fundus.images.fov import find_fov


@dataclass(frozen=True)
class Placement:
    """A square picture's rectangle on its photograph, in the photograph's pixels.

    Parameters
    ----------
    height, width : int
        Of the photograph, upright.
    top, left : float
        Corner of the rectangle; below 0 where the picture was padded with black.
    tall, wide : float
        Its sides.
    """

    height: int
    width: int
    top: float
    left: float
    tall: float
    wide: float


def place(content: bytes | NDArray[np.uint8], recipe: ImageRecipe, *, name: str) -> Placement:
    """Find where the picture lies that a recipe makes of a photograph.

    Parameters
    ----------
    content : bytes or ndarray of uint8, shape (height, width, 3)
        A whole file, or its RGB pixels.
    recipe : ImageRecipe
    name : str
        Path of the file, for messages.

    Raises
    ------
    ImageReadError
        If the data are empty, truncated, damaged or no image.

    Examples
    --------
    >>> photograph = np.zeros((100, 200, 3), np.uint8)
    >>> photograph[20:80, 50:150] = (180, 90, 40)
    >>> place(photograph, ImageRecipe(32), name="a photograph")
    Placement(height=100, width=200, top=0.0, left=50.0, tall=100.0, wide=100.0)
    """
    if isinstance(content, bytes):
        height, width = decode_bytes(content, name=name).shape[:2]
        seen = _as_decoded(content, recipe, name)
    else:
        height, width = content.shape[:2]
        seen = content
    if recipe.crop is None:
        return Placement(height, width, 0.0, 0.0, float(height), float(width))
    box = (0, seen.shape[0], 0, seen.shape[1]) if recipe.crop == "square" else find_fov(seen)
    top, bottom, left, right = box
    rows, columns = bottom - top, right - left
    # of a JPEG that was decoded at a smaller scale
    down, across = height / seen.shape[0], width / seen.shape[1]
    if recipe.aperture is not None:
        side = min(rows, columns)  # the middle square, whose disc is kept
        return Placement(
            height,
            width,
            (top + (rows - side) // 2) * down,
            (left + (columns - side) // 2) * across,
            side * down,
            side * across,
        )
    side = max(rows, columns)
    return Placement(
        height,
        width,
        (top - (side - rows) // 2) * down,
        (left - (side - columns) // 2) * across,
        side * down,
        side * across,
    )


def _as_decoded(data: bytes, recipe: ImageRecipe, name: str) -> NDArray[np.uint8]:
    """The photograph at the scale at which `fundus.images.decode` looks for its field of view."""
    size = recipe.image_size
    image = decode_bytes(data, name=name, min_side=size)
    if recipe.crop != "fov":
        return image
    top, bottom, left, right = find_fov(image)
    side = min(bottom - top, right - left)
    if side < size:
        needed = math.ceil(size * min(image.shape[:2]) / side)
        if reduction(data, name=name, min_side=needed) < reduction(data, name=name, min_side=size):
            return decode_bytes(data, name=name, min_side=needed)
    return image
