"""Bytes of an image file to uint8 RGB."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import ImageReadError
from fundus.images.dicom import Photograph, photograph_of
from fundus.images.dicom_pixels import is_lossless_jpeg, rgb_of
from fundus.images.formats import COPY_AGAIN, check_jpeg, check_png, fail, kind_of
from fundus.images.headers import header_frame
from fundus.images.limits import Frame, ImageLimits, check_file, check_frame, image_limits
from fundus.images.tiff import Page, check_tiff
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

#: Pixels that are composited at a time, so that all of it takes no memory several times over.
_BAND = 65_536


def read_bytes(path: str | os.PathLike[str], *, limits: ImageLimits | None = None) -> bytes:
    """Read an image file once, so that the same bytes can be hashed and decoded.

    Parameters
    ----------
    path : str or path-like
    limits : ImageLimits, default=None
        How large the file may be; ``None`` for what `set_image_limits` set.

    Returns
    -------
    bytes
        The whole file.

    Raises
    ------
    ImageReadError
        If there is no regular, readable file at `path`, or it is too large.

    Examples
    --------
    >>> read_bytes("no/such/eye.jpg")
    Traceback (most recent call last):
    ...
    fundus.exceptions.ImageReadError: Cannot read image 'no/such/eye.jpg': expected a file, ...
    """
    name = os.fspath(path)
    limits = image_limits() if limits is None else limits
    try:
        mode = os.stat(path).st_mode
        data = _read_regular(path, limits, name) if stat.S_ISREG(mode) else None
    except ImageReadError:
        raise
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


def _read_regular(path: str | os.PathLike[str], limits: ImageLimits, name: str) -> bytes | None:
    """Read a file up to the limit; ``None`` where another kind of file has taken its place."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
    # a pipe that has taken its place since would be waited for
    with open(os.open(path, flags | getattr(os, "O_NONBLOCK", 0)), "rb") as stream:
        found = os.fstat(stream.fileno())
        if not stat.S_ISREG(found.st_mode):
            return None
        check_file(found.st_size, limits, name)
        data = stream.read(found.st_size + 1)
        while len(data) > found.st_size:  # it grows while it is read
            check_file(len(data), limits, name)
            more = stream.read(2**20)
            if not more:
                break
            data += more
    return data


def decode_bytes(
    data: bytes, *, name: str, min_side: int | None = None, limits: ImageLimits | None = None
) -> NDArray[np.uint8]:
    """Decode an image file held in memory to 8-bit RGB.

    JPEG, PNG, TIFF (its first page), BMP, WebP, GIF (its first frame), binary PGM and PPM, and
    DICOM (one frame of 8 bits) are read. EXIF orientation is applied, but for DICOM, which has
    none; grey, palette, 1-bit and CMYK images become RGB; 16-bit values are scaled by 1/257 and
    rounded, never stretched; transparent pixels are composited on black. Embedded colour profiles
    are not applied.

    Parameters
    ----------
    data : bytes
        The whole file.
    name : str
        Path of the file, for messages.
    min_side : int, default=None
        Length in pixels that the shorter side must keep. A JPEG, in DICOM too, is decoded at the
        smallest of the scales 1/8, 1/4, 1/2 and 1 that keeps it; other formats, and ``None``, at
        full scale.
    limits : ImageLimits, default=None
        How large the file and the picture may be; ``None`` for what `set_image_limits` set.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        RGB, 0–255.

    Raises
    ------
    ImageReadError
        If the data are empty, no image, truncated, damaged, of an unsupported kind (such as
        floating-point TIFF), larger than `limits`, or there is too little memory.

    Examples
    --------
    >>> decode_bytes(b"P5 2 1 255\\n" + bytes([0, 200]), name="grey.pgm").tolist()
    [[[0, 0, 0], [200, 200, 200]]]
    """
    kind, frame, inside = _examined(data, name, image_limits() if limits is None else limits)
    try:
        if isinstance(inside, Photograph):
            with _followed(name):
                flags = cv2.IMREAD_IGNORE_ORIENTATION | _REDUCED[_dicom_factor(inside, min_side)]
                if inside.samples == 1 and is_lossless_jpeg(inside):  # which become no colours
                    flags = cv2.IMREAD_GRAYSCALE
                return rgb_of(inside, name, lambda stream: _imdecode(stream, flags, "JPEG", name))
        return _of_file(data, kind, _factor(frame, min_side), inside, name)
    except (MemoryError, cv2.error) as error:
        if not isinstance(error, MemoryError) and error.code != cv2.Error.StsNoMem:
            raise
        found = f"too little for {frame.width} x {frame.height} pixels"
        fail(name, "enough free memory", found, "resize the photograph or close other programs")


def _of_file(
    data: bytes, kind: str, factor: int, page: Page | None, name: str
) -> NDArray[np.uint8]:
    """Decode a file of one of OpenCV's formats, a JPEG at a scale of 1/factor."""
    flags, deep = _NATIVE, page is not None and page.depth == 16
    if kind == "JPEG":
        flags = _REDUCED[factor]
    elif page is not None and not deep:
        flags = cv2.IMREAD_COLOR  # libtiff composites 8-bit alpha and converts CMYK itself
    pixels = _imdecode(data, flags, kind, name)
    rgb = _to_rgb8(pixels, premultiplied=page is not None and deep and page.premultiplied)
    return 255 - rgb if page is not None and deep and page.white_is_zero else rgb


def _examined(
    data: bytes, name: str, limits: ImageLimits
) -> tuple[str, Frame, Page | Photograph | None]:
    """Format and size of a file, checked as far as can be without decoding it."""
    check_file(len(data), limits, name)
    kind, page = kind_of(data, name), None
    if kind == "DICOM":
        with _followed(name):
            photograph = photograph_of(data, name, limits)
        return kind, photograph.frame, photograph
    if kind == "JPEG":
        frame = check_jpeg(data, name)
    elif kind == "PNG":
        frame = check_png(data, name)
    elif kind == "TIFF":
        page = check_tiff(data, name, limits)
        frame = page.frame
    else:
        frame = header_frame(kind, data, name)
    check_frame(frame, len(data), limits, name)
    return kind, frame, page


@contextmanager
def _followed(name: str) -> Iterator[None]:
    """Tell of packed pixels whose parts lead out of the file."""
    try:
        yield
    except IndexError:
        found = "packed pixels that cannot be followed (the file is damaged)"
        fail(name, "a whole DICOM file", found, COPY_AGAIN)


def frame_of(data: bytes, *, name: str) -> Frame:
    """Height and width of the picture in a file, in pixels, without decoding it.

    Parameters
    ----------
    data : bytes
        The whole file.
    name : str
        Path of the file, for messages.

    Raises
    ------
    ImageReadError
        If the data are no image, damaged or larger than `image_limits`.

    Examples
    --------
    >>> frame = frame_of(b"P5 2 1 255\\n" + bytes([0, 200]), name="grey.pgm")
    >>> frame.height, frame.width
    (1, 2)
    """
    return _examined(data, name, image_limits())[1]


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
    kind = kind_of(data, name)
    if kind == "DICOM":
        with _followed(name):
            return _dicom_factor(photograph_of(data, name, image_limits()), min_side)
    return _factor(check_jpeg(data, name), min_side) if kind == "JPEG" else 1


def verify(
    path: str | os.PathLike[str],
    data: bytes | None = None,
    *,
    decode: bool = False,
    limits: ImageLimits | None = None,
) -> None:
    """Check that a file is a whole image of a kind that can be read.

    JPEG, PNG and DICOM are checked by their structure, without decoding, at about the speed of
    reading them; the other formats are decoded.

    Parameters
    ----------
    path : str or path-like
    data : bytes, default=None
        The file's bytes where they have been read already.
    decode : bool, default=False
        Decode these three too, JPEG at a scale of 1/8, so that what passes can be decoded.
    limits : ImageLimits, default=None
        How large the file and the picture may be; ``None`` for what `set_image_limits` set.

    Raises
    ------
    ImageReadError
        If the file is missing, empty, truncated, too large or no image.

    Examples
    --------
    >>> verify("grey.pgm", b"P5 2 1 255\\n" + bytes([0, 200]))
    >>> verify("empty.png", b"")
    Traceback (most recent call last):
    ...
    fundus.exceptions.ImageReadError: Cannot read image 'empty.png': expected an image, found an ...
    """
    name = os.fspath(path)
    limits = image_limits() if limits is None else limits
    data = read_bytes(path, limits=limits) if data is None else data
    kind, _, _ = _examined(data, name, limits)
    if decode or kind not in ("JPEG", "PNG", "DICOM"):
        decode_bytes(data, name=name, min_side=1, limits=limits)


def _factor(frame: Frame, min_side: int | None) -> int:
    if min_side is None:
        return 1
    side = min(frame.height, frame.width)
    return next((f for f in (8, 4, 2) if math.ceil(side / f) >= min_side), 1)


def _dicom_factor(photograph: Photograph, min_side: int | None) -> int:
    whole = photograph.packing != "JPEG" or is_lossless_jpeg(photograph)
    return 1 if whole else _factor(photograph.frame, min_side)


def _imdecode(data: bytes, flags: int, kind: str, name: str) -> NDArray[Any]:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise
        pixels = None
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        found = f"{len(data)} bytes that cannot be decoded (the file is damaged or truncated)"
        if pixels is not None:
            found = f"{pixels.dtype} samples"
        advice = f"{COPY_AGAIN} or convert it to 8-bit RGB"
        fail(name, f"{kind} data of 8 or 16 bits", found, advice)
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
    rgb = np.empty((*rgba.shape[:2], 3), np.uint8)
    rows = max(1, _BAND // rgba.shape[1])
    for start in range(0, len(rgba), rows):
        band = rgba[start : start + rows]
        product = band[..., :3].astype(np.uint16) * band[..., 3:]
        rgb[start : start + rows] = (product + 127) // 255
    return rgb
