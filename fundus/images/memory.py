"""Images that are in memory already, as Pillow has them, to uint8 RGB."""

from __future__ import annotations

import os
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import ImageReadError
from fundus.images.decoding import on_black, to_8bit
from fundus.images.formats import fail
from fundus.images.limits import check_sides, image_limits

# Pillow reads the pixels of an opened file at their first use, and not from two threads at once
_locks = [threading.Lock() for _ in range(64)]

#: What Pillow raises for files that are closed, cut short or damaged.
_UNREADABLE = (OSError, ValueError, SyntaxError, struct.error)


def is_pillow(thing: Any) -> bool:
    """Whether an object is a `PIL.Image.Image`; Pillow is not imported to find out."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(thing, module.Image)


def pillow_rgb(image: Any, *, name: str) -> NDArray[np.uint8]:
    """Return the pixels of a Pillow image, as `decode_bytes` makes them of a file.

    The EXIF orientation that the image carries is applied, 16-bit values are scaled by 1/257 and
    rounded, transparent pixels are composited on black. The image itself stays as it is: where its
    pixels have not been read yet, they are read from its file anew and not kept.

    Parameters
    ----------
    image : PIL.Image.Image
    name : str
        What to call it in messages.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        RGB, 0–255.

    Raises
    ------
    ImageReadError
        If the pixels cannot be read, are floating-point numbers, or there are none.

    Examples
    --------
    >>> from PIL import Image
    >>> pillow_rgb(Image.new("L", (2, 1), 90), name="row 0").tolist()
    [[[90, 90, 90], [90, 90, 90]]]
    """
    from PIL import Image, ImageOps

    check_sides(image.height, image.width, image_limits(), name)
    try:
        with _locks[id(image) % len(_locks)], _unread(image) as source:
            return _rgb8(ImageOps.exif_transpose(source), name)
    except ImageReadError:
        raise
    except (*_UNREADABLE, Image.DecompressionBombError) as error:
        raise ImageReadError(
            f"Cannot read image {name!r}: expected a Pillow image whose pixels can be read, found "
            f"{error}; open it again, or pass its path."
        ) from None


@contextmanager
def _unread(image: Any) -> Iterator[Any]:
    """Open the file of an image anew where its pixels are not read yet; Pillow would keep them."""
    again = _opened_anew(image)
    if again is None:
        yield image
        return
    with again:
        yield again


def _opened_anew(image: Any) -> Any:
    from PIL import Image

    filename = getattr(image, "filename", None)
    # what is still to be read; it also holds a reduced scale that was asked for
    if not getattr(image, "tile", None) or not isinstance(filename, (str, os.PathLike)):
        return None
    try:
        again = Image.open(filename)
    except _UNREADABLE:
        return None
    looks = [(i.format, i.mode, i.size, i.tile, i.tell()) for i in (image, again)]
    if looks[0] == looks[1]:
        return again
    again.close()
    return None


def _rgb8(image: Any, name: str) -> NDArray[np.uint8]:
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65_535:
            found = f"values of {values.min()} to {values.max()}"
            fail(name, "pixels of 8 or 16 bits", found, "convert it to 8-bit RGB")
        return np.repeat(to_8bit(values.astype(np.uint16))[..., np.newaxis], 3, axis=2)
    if image.mode == "F":
        fail(name, "pixels of 8 or 16 bits", "floating-point values", "convert it to 8-bit RGB")
    if (
        image.mode in ("RGBA", "LA", "PA", "RGBa", "La")
        or "transparency" in image.info
        or (image.mode == "P" and image.palette.mode == "RGBA")
    ):
        return on_black(np.asarray(image.convert("RGBA")))
    return np.array(image.convert("RGB"))
