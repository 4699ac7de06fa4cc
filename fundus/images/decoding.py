"""Bytes of an image file to uint8 RGB."""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import ImageReadError
from fundus.images.formats import (
    COPY_AGAIN,
    check_jpeg,
    check_png,
    check_pnm,
    check_size,
    check_tiff,
    fail,
    kind_of,
)
from fundus.runtime.opencv import cv2

_NATIVE = cv2.IMREAD_COLOR | cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
_REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
#: round(value / 257) for every 16-bit value.
_TO_8BIT = ((np.arange(65_536) + 128) // 257).astype(np.uint8)


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read an image file once, so that the same bytes can be hashed and decoded.

    Raises
    ------
    ImageReadError
        If there is no regular, readable file at `path`.

    Examples
    --------
    >>> read_bytes("no/such/eye.jpg")
    Traceback (most recent call last):
    ...
    fundus.exceptions.ImageReadError: Cannot read image 'no/such/eye.jpg': expected a file, ...
    """
    name = os.fspath(path)
    try:
        mode = os.stat(path).st_mode
        data = Path(path).read_bytes() if stat.S_ISREG(mode) else None
    except FileNotFoundError:
        raise ImageReadError(
            f"Cannot read image {name!r}: expected a file, found nothing at that path; "
            f"check the path and the folder it is relative to ({os.getcwd()!r})."
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise ImageReadError(
            f"Cannot read image {name!r}: expected a readable file, found {error}; "
            "check the path and its permissions."
        ) from None
    if data is None:
        kind = "a directory" if stat.S_ISDIR(mode) else "something that is no regular file"
        fail(name, "an image file", kind, "give the path of one image")
    return data


def decode_bytes(data: bytes, *, name: str, min_side: int | None = None) -> NDArray[np.uint8]:
    """Decode an image file held in memory to 8-bit RGB.

    JPEG, PNG, TIFF (its first page), BMP, WebP, GIF (its first frame) and binary PGM and PPM are
    read. EXIF orientation is applied; grey, palette, 1-bit and CMYK images become RGB; 16-bit
    values are scaled by 1/257 and rounded, never stretched; transparent pixels are composited on
    black. Embedded colour profiles are not applied.

    Parameters
    ----------
    data : bytes
        The whole file.
    name : str
        Path of the file, for messages.
    min_side : int, default=None
        Length in pixels that the shorter side must keep. A JPEG is decoded at the smallest of
        the scales 1/8, 1/4, 1/2 and 1 that keeps it; other formats, and ``None``, at full scale.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        RGB, 0–255.

    Raises
    ------
    ImageReadError
        If the data are empty, no image, truncated, damaged, of an unsupported kind (such as
        floating-point TIFF) or larger than 16,384 pixels a side.

    Examples
    --------
    >>> decode_bytes(b"P5 2 1 255\\n" + bytes([0, 200]), name="grey.pgm").tolist()
    [[[0, 0, 0], [200, 200, 200]]]
    """
    kind = kind_of(data, name)
    flags, invert, premultiplied = _NATIVE, False, False
    if kind == "JPEG":
        flags = _REDUCED[_factor(check_jpeg(data, name), min_side)]
    elif kind == "PNG":
        check_png(data, name)
    elif kind == "TIFF":
        tags = check_tiff(data, name)
        if max(tags[258]) == 16:
            invert, premultiplied = tags[262] == (0,), tags.get(338) == (1,)
        else:
            flags = cv2.IMREAD_COLOR  # libtiff composites 8-bit alpha and converts CMYK itself
    elif kind == "PNM":
        check_pnm(data, name)
    pixels = _imdecode(data, flags, kind, name)
    rgb = _to_rgb8(pixels, premultiplied=premultiplied)
    return 255 - rgb if invert else rgb


def reduction(data: bytes, *, name: str, min_side: int | None) -> int:
    """Factor 1, 2, 4 or 8 by which `decode_bytes` shrinks a file while it decodes it.

    Parameters
    ----------
    data : bytes
        The whole file.
    name : str
        Path of the file, for messages.
    min_side : int or None
        Length in pixels that the shorter side must keep.

    Raises
    ------
    ImageReadError
        If the data are no image or a damaged JPEG.

    Examples
    --------
    >>> reduction(b"P5 2 1 255\\n" + bytes([0, 200]), name="grey.pgm", min_side=1)
    1
    """
    return _factor(check_jpeg(data, name), min_side) if kind_of(data, name) == "JPEG" else 1


def verify(path: str | os.PathLike[str], data: bytes | None = None) -> None:
    """Check that a file is a whole image of a kind that can be read.

    JPEG and PNG are checked by their structure, without decoding, at about the speed of
    reading them; the other formats are decoded. `data` are the file's bytes where they have been
    read already.

    Raises
    ------
    ImageReadError
        If the file is missing, empty, truncated or no image.

    Examples
    --------
    >>> verify("grey.pgm", b"P5 2 1 255\\n" + bytes([0, 200]))
    >>> verify("empty.png", b"")
    Traceback (most recent call last):
    ...
    fundus.exceptions.ImageReadError: Cannot read image 'empty.png': expected an image, found an ...
    """
    name = os.fspath(path)
    data = read_bytes(path) if data is None else data
    kind = kind_of(data, name)
    if kind == "JPEG":
        check_jpeg(data, name)
    elif kind == "PNG":
        check_png(data, name)
    else:
        decode_bytes(data, name=name)


def _factor(size: tuple[int, int], min_side: int | None) -> int:
    if min_side is None:
        return 1
    return next((f for f in (8, 4, 2) if math.ceil(min(size) / f) >= min_side), 1)


def _imdecode(data: bytes, flags: int, kind: str, name: str) -> NDArray[Any]:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        pixels = None
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        found = f"{len(data)} bytes that cannot be decoded (the file is damaged or truncated)"
        if pixels is not None:
            found = f"{pixels.dtype} samples"
        advice = f"{COPY_AGAIN} or convert it to 8-bit RGB"
        fail(name, f"{kind} data of 8 or 16 bits", found, advice)
    height, width = pixels.shape[:2]
    check_size(height, width, name)
    return pixels


def _to_rgb8(pixels: NDArray[Any], *, premultiplied: bool) -> NDArray[np.uint8]:
    """Grey, BGR or BGRA of 8 or 16 bits to 8-bit RGB, transparent pixels on black."""
    eight = to_8bit(pixels) if pixels.dtype == np.uint16 else pixels
    if eight.ndim == 2:
        return cv2.cvtColor(eight, cv2.COLOR_GRAY2RGB)
    if eight.shape[2] == 3:
        return cv2.cvtColor(eight, cv2.COLOR_BGR2RGB)
    rgba = cv2.cvtColor(eight, cv2.COLOR_BGRA2RGBA)
    return np.ascontiguousarray(rgba[..., :3]) if premultiplied else on_black(rgba)


def to_8bit(pixels: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Scale 16-bit values by 1/257, rounded.

    Parameters
    ----------
    pixels : ndarray of uint16

    Returns
    -------
    ndarray of uint8, of the same shape

    Examples
    --------
    >>> to_8bit(np.array([0, 257, 65535], np.uint16)).tolist()
    [0, 1, 255]
    """
    return _TO_8BIT[pixels]


def on_black(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Composite transparent pixels on black: (height, width, 4) to (height, width, 3).

    Colours and opacity, 0–255, are not multiplied with each other yet.

    Examples
    --------
    >>> on_black(np.array([[[200, 100, 0, 51]]], np.uint8)).tolist()
    [[[40, 20, 0]]]
    """
    product = rgba[..., :3].astype(np.uint16) * rgba[..., 3:]
    return ((product + 127) // 255).astype(np.uint8)
