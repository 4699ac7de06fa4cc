"""How large an image file may be, so that no small file costs seconds or gigabytes."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, fields
from typing import NoReturn

from fundus.exceptions import ImageReadError, InvalidParameterError
from fundus.parameters import check_int, invalid

#: The environment variable that holds what was set; processes that are started later inherit it.
VARIABLE = "FUNDUS_IMAGE_LIMITS"

#: Bytes of pixels to which `ImageLimits.max_ratio` does not apply: 50 megapixels of 8-bit RGB.
FREE_BYTES = 150_000_000

#: Transparent pixels count twice, since they are composited after they are decoded.
TRANSPARENT = 2


@dataclass(frozen=True)
class ImageLimits:
    """The largest image file that is read; what is larger is refused before it is decoded.

    Parameters
    ----------
    max_side : int, default=16384
        Longest side, in pixels.
    max_pixels : int, default=178956970
        Width times height. This is where Pillow refuses a picture, too.
    max_bytes : int, default=1073741824
        Size of the file, in bytes (1 GiB): as much as `max_pixels` of 16-bit RGB take.
    max_scans : int, default=32
        Scans of a JPEG. A progressive one usually has 10, and 18 where it is CMYK; each goes over
        the whole picture, even where it takes a few bytes.
    max_ratio : int, default=50
        A picture whose pixels take more than 150 MB (50 megapixels of 8-bit RGB) may take at most
        this many times the size of its file. Photographs take 3 to 30 times, files made to fill
        the memory take thousands.

    Raises
    ------
    InvalidParameterError
        If one is no positive integer.

    Examples
    --------
    >>> ImageLimits(max_pixels=50_000_000).max_side
    16384
    """

    max_side: int = 16_384
    max_pixels: int = 178_956_970
    max_bytes: int = 2**30
    max_scans: int = 32
    max_ratio: int = 50

    def __post_init__(self) -> None:
        for field in fields(self):
            check_int(self, field.name, low=1)


@dataclass(frozen=True)
class Frame:
    """What the header of an image file says.

    Parameters
    ----------
    height, width : int
        Pixels.
    pixel_bits : int, default=24
        Bits that one pixel takes once it is unpacked, twice those where it may be transparent.
    scans : int, default=1
        How often a JPEG goes over its pixels.
    """

    height: int
    width: int
    pixel_bits: int = 24
    scans: int = 1

    @property
    def bytes(self) -> int:
        """Bytes that its pixels take, unpacked."""
        return self.height * self.width * max(24, self.pixel_bits) // 8


def check_file(size: int, limits: ImageLimits, name: str) -> None:
    """Refuse a file of more bytes than `max_bytes`.

    Raises
    ------
    ImageReadError
        If it is larger.
    """
    if size > limits.max_bytes:
        _refuse(name, f"a file of up to {limits.max_bytes} bytes", f"{size}", "max_bytes")


def check_sides(height: int, width: int, limits: ImageLimits, name: str) -> None:
    """Refuse a picture without pixels, or with too long a side or too many pixels.

    Raises
    ------
    ImageReadError
        If it is one.
    """
    found = f"width {width} and height {height}"
    if not (1 <= height <= limits.max_side and 1 <= width <= limits.max_side):
        _refuse(name, f"sides of 1 to {limits.max_side} pixels", found, "max_side")
    if height * width > limits.max_pixels:
        _refuse(name, f"up to {limits.max_pixels} pixels", found, "max_pixels")


def check_frame(frame: Frame, size: int, limits: ImageLimits, name: str) -> None:
    """Refuse a picture that costs too much, also for the size of its file, in bytes.

    Raises
    ------
    ImageReadError
        If it does.
    """
    check_sides(frame.height, frame.width, limits, name)
    if frame.scans > limits.max_scans:
        expected = f"a JPEG of up to {limits.max_scans} scans"
        _refuse(name, expected, f"{frame.scans}", "max_scans")
    if frame.bytes > max(FREE_BYTES, limits.max_ratio * size):
        _refuse(
            name,
            f"pixels that take up to {limits.max_ratio} times the {size} bytes of their file",
            f"{frame.bytes} bytes of pixels (width {frame.width}, height {frame.height})",
            "max_ratio",
        )


def _refuse(name: str, expected: str, found: str, limit: str) -> NoReturn:
    raise ImageReadError(
        f"Cannot read image {name!r}: expected {expected}, found {found}; resize the photograph "
        f"or take it out of the data (if it is right, raise {limit} with "
        f"fundus.set_image_limits or the environment variable {VARIABLE})."
    )


def image_limits() -> ImageLimits:
    """Return the limits in force: those of the environment variable, else the defaults.

    Raises
    ------
    InvalidParameterError
        If the variable ``FUNDUS_IMAGE_LIMITS`` cannot be read.

    Examples
    --------
    >>> image_limits().max_scans
    32
    """
    return _read(os.environ.get(VARIABLE, ""))


def set_image_limits(
    *,
    max_side: int | None = None,
    max_pixels: int | None = None,
    max_bytes: int | None = None,
    max_scans: int | None = None,
    max_ratio: int | None = None,
) -> None:
    """Set how large an image file may be, in this process and those that it starts from now on.

    It writes the environment variable ``FUNDUS_IMAGE_LIMITS``, which can as well be set before
    Python or the command line starts: ``FUNDUS_IMAGE_LIMITS=max_pixels=300000000,max_scans=100``.
    Worker processes that run already, such as those that joblib keeps, are not told. Limits decide
    only whether a file is read, so that what was computed before stays in use.

    Parameters
    ----------
    max_side : int, default=None
        Longest side, in pixels; ``None``, here and below, for the default (16384).
    max_pixels : int, default=None
        Width times height (178956970).
    max_bytes : int, default=None
        Size of a file, in bytes (1073741824).
    max_scans : int, default=None
        Scans of a JPEG (32).
    max_ratio : int, default=None
        How many times the size of its file the pixels of a picture may take, where they take more
        than 150 MB (50).

    Raises
    ------
    InvalidParameterError
        If one is neither a positive integer nor ``None``.

    Examples
    --------
    >>> import fundus
    >>> fundus.set_image_limits(max_pixels=300_000_000)
    >>> fundus.set_image_limits()  # the defaults again
    """
    parameters = {
        "max_side": max_side,
        "max_pixels": max_pixels,
        "max_bytes": max_bytes,
        "max_scans": max_scans,
        "max_ratio": max_ratio,
    }
    given = {name: value for name, value in parameters.items() if value is not None}
    try:
        ImageLimits(**given)
    except InvalidParameterError as error:
        name = error.parameter or ""
        expected = "an int of at least 1 or None"
        raise invalid("set_image_limits", name, expected, parameters[name]) from None
    os.environ[VARIABLE] = ",".join(f"{name}={int(value)}" for name, value in given.items())


@functools.lru_cache(maxsize=16)
def _read(text: str) -> ImageLimits:
    names = [field.name for field in fields(ImageLimits)]
    given = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = part.partition("=")
        if name not in names or not value.isascii() or not value.isdigit() or len(value) > 18:
            expected = f"pairs NAME=NUMBER separated by commas, with names among {names}"
            raise invalid("the environment", VARIABLE, expected, text)
        given[name] = int(value)
    return ImageLimits(**given)
