"""An image file to a square uint8 RGB array: decode, crop to the field of view, resize.

Images are arrays of uint8, shape (height, width, 3): RGB, 0–255.
"""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fundus.images.circle import APERTURES, CIRCLE_VERSION, centre_square, in_circle
from fundus.images.decoding import decode_bytes, read_bytes, reduction, verify
from fundus.images.fov import check_rgb, crop_to_fov, find_fov
from fundus.parameters import invalid
from fundus.runtime.opencv import cv2

__all__ = [
    "ImageRecipe",
    "array_digest",
    "crop_to_fov",
    "decode",
    "decode_bytes",
    "find_fov",
    "image_digest",
    "load_image",
    "pad_to_square",
    "prepare_array",
    "read_bytes",
    "resize",
    "verify",
]

#: Raised whenever the same file and recipe give other pixels, so that old cache entries expire.
DECODER_VERSION = 1

_CROPS = ("fov", "square", None)


@dataclass(frozen=True)
class ImageRecipe:
    """How a photograph becomes a square array.

    Parameters
    ----------
    image_size : int
        Edge of the square, in pixels.
    crop : {"fov", "square"} or None, default="fov"
        ``"fov"`` crops to the field of view and pads the shorter side with black to a square;
        ``"square"`` pads only; ``None`` squashes the photograph into the square.

    aperture : {"circle"} or None, default=None
        ``"circle"``, for ``crop="fov"``, takes the middle square of the field of view, as wide as
        its shorter side, and blackens all outside the circle in it, so that every camera shows the
        same border; what is cut off is lost.

    Raises
    ------
    InvalidParameterError
        If `image_size` is no positive integer, or `crop` or `aperture` is none of these.

    Examples
    --------
    >>> ImageRecipe(224).key()
    'decoder=1;cv2=...;image_size=224;crop=fov'
    """

    image_size: int
    crop: str | None = "fov"
    aperture: str | None = None

    def __post_init__(self) -> None:
        size = self.image_size
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
            raise invalid("ImageRecipe", "image_size", "an int in the range [1, inf)", size)
        if self.crop not in _CROPS:
            raise invalid("ImageRecipe", "crop", "a str among {'fov', 'square'} or None", self.crop)
        if self.aperture not in APERTURES or (self.aperture is not None and self.crop != "fov"):
            expected = "None, or 'circle' where crop='fov'"
            raise invalid("ImageRecipe", "aperture", expected, self.aperture)

    def key(self) -> str:
        """Stable text that names this recipe in cache keys."""
        decoder = f"decoder={DECODER_VERSION};cv2={cv2.__version__}"
        key = f"{decoder};image_size={int(self.image_size)};crop={self.crop}"
        # only where there is one, so that the keys of earlier releases stay valid
        return key if self.aperture is None else f"{key};{self.aperture}={CIRCLE_VERSION}"


def load_image(path: str | os.PathLike[str], recipe: ImageRecipe) -> NDArray[np.uint8]:
    """Read a photograph as a square uint8 RGB array.

    Parameters
    ----------
    path : str or path-like
    recipe : ImageRecipe

    Returns
    -------
    ndarray of uint8, shape (image_size, image_size, 3)
        RGB, 0–255.

    Raises
    ------
    ImageReadError
        If the file is missing, empty, truncated, damaged or no image.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "grey.pgm"
    ...     _ = path.write_bytes(b"P5 2 1 255\\n" + bytes([90, 90]))
    ...     load_image(path, ImageRecipe(4, crop=None)).shape
    (4, 4, 3)
    """
    return decode(read_bytes(path), recipe, name=os.fspath(path))


def decode(data: bytes, recipe: ImageRecipe, *, name: str) -> NDArray[np.uint8]:
    """Decode the bytes of an image file to the square array a recipe describes.

    Parameters
    ----------
    data : bytes
        The whole file.
    recipe : ImageRecipe
    name : str
        Path of the file, for messages.

    Returns
    -------
    ndarray of uint8, shape (image_size, image_size, 3)
        RGB, 0–255.

    Raises
    ------
    ImageReadError
        If the data are empty, truncated, damaged or no image.

    Examples
    --------
    >>> data = b"P5 2 1 255\\n" + bytes([90, 90])
    >>> decode(data, ImageRecipe(2, crop="square"), name="grey.pgm")[:, :, 0].tolist()
    [[90, 90], [0, 0]]
    """
    size = recipe.image_size
    image = decode_bytes(data, name=name, min_side=size)
    if recipe.crop != "fov":
        return prepare_array(image, recipe)
    cropped = crop_to_fov(image)
    side = min(cropped.shape[:2])
    if side < size:
        # The crop has fewer pixels than are wanted: see whether the file holds more.
        needed = math.ceil(size * min(image.shape[:2]) / side)
        if reduction(data, name=name, min_side=needed) < reduction(data, name=name, min_side=size):
            cropped = crop_to_fov(decode_bytes(data, name=name, min_side=needed))
    return _square_of_fov(cropped, recipe)


def prepare_array(image: NDArray[np.uint8], recipe: ImageRecipe) -> NDArray[np.uint8]:
    """Crop, pad and resize an image in memory as `load_image` does one in a file.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width, 3)
        RGB, 0–255.
    recipe : ImageRecipe

    Returns
    -------
    ndarray of uint8, shape (image_size, image_size, 3)
        RGB, 0–255.

    Raises
    ------
    DataError
        If `image` has another dtype or shape.

    Examples
    --------
    >>> image = np.full((2, 4, 3), 7, np.uint8)
    >>> prepare_array(image, ImageRecipe(4, crop="square"))[:, 0, 0].tolist()
    [0, 7, 7, 0]
    """
    check_rgb(image)
    if recipe.crop == "fov":
        return _square_of_fov(crop_to_fov(image), recipe)
    if recipe.crop is not None:
        image = pad_to_square(image)
    return resize(image, recipe.image_size)


def _square_of_fov(cropped: NDArray[np.uint8], recipe: ImageRecipe) -> NDArray[np.uint8]:
    """Make the square of a recipe from what the crop to the field of view has left."""
    if recipe.aperture is None:
        return resize(pad_to_square(cropped), recipe.image_size)
    return in_circle(resize(centre_square(cropped), recipe.image_size))


def pad_to_square(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pad the shorter side with black on both ends, the odd pixel at the bottom or right.

    Examples
    --------
    >>> pad_to_square(np.full((1, 3, 3), 9, np.uint8))[:, :, 0].tolist()
    [[0, 0, 0], [9, 9, 9], [0, 0, 0]]
    """
    height, width = image.shape[:2]
    rows, columns = max(0, width - height), max(0, height - width)
    pads = (rows // 2, rows - rows // 2, columns // 2, columns - columns // 2)
    return cv2.copyMakeBorder(image, *pads, cv2.BORDER_CONSTANT, value=(0, 0, 0))


def resize(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize to a square of `size` pixels a side.

    Where a side shrinks, areas are averaged; where it grows, pixels are interpolated linearly.

    Examples
    --------
    >>> checks = np.array([[0, 100], [100, 0]], np.uint8)
    >>> resize(np.dstack([checks] * 3), 1).tolist()
    [[[50, 50, 50]]]
    """
    height, width = image.shape[:2]
    if height > size or width > size:
        smaller = (min(width, size), min(height, size))
        image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
    if image.shape[:2] != (size, size):
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(image)


def image_digest(data: bytes) -> str:
    """SHA-256 of the bytes of an image file, in hex.

    Examples
    --------
    >>> image_digest(b"eye")[:12]
    '47c215b5f70e'
    """
    return hashlib.sha256(data).hexdigest()


def array_digest(array: NDArray[np.generic]) -> str:
    """SHA-256 of an array's dtype, shape and values, in hex.

    Examples
    --------
    >>> a = np.zeros((2, 3), np.uint8)
    >>> array_digest(a) == array_digest(a.T)
    False
    """
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
