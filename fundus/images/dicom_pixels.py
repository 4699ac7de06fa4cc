"""The pixels of a photograph in a DICOM file to uint8 RGB."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from fundus.images.codestreams import is_transformed, jpeg_parts
from fundus.images.dicom import Photograph
from fundus.images.dicom_header import INSTALL
from fundus.images.formats import COPY_AGAIN, fail
from fundus.runtime.opencv import cv2

_ADOBE_RGB = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0"  # its last byte: no transform of colours
#: Frames of lossless JPEG; those of other JPEG can be decoded at a smaller scale.
_LOSSLESS = frozenset({0xC3, 0xC7, 0xCB, 0xCF})


def is_lossless_jpeg(photograph: Photograph) -> bool:
    """Whether a photograph is packed as a lossless JPEG."""
    return photograph.packing == "JPEG" and jpeg_parts(photograph.stream)[1][1] in _LOSSLESS


def rgb_of(
    photograph: Photograph, name: str, jpeg: Callable[[bytes], NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    """Decode a photograph of a DICOM file, in the orientation in which it was stored.

    Parameters
    ----------
    photograph : Photograph
    name : str
        Path of the file, for messages.
    jpeg : callable
        Makes BGR or grey pixels of a JPEG, at the scale that is wanted.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        RGB, 0–255.

    Raises
    ------
    ImageReadError
        If the pixels are damaged, or the package that unpacks them is missing.
    """
    colours = photograph.colours
    if photograph.packing == "JPEG":
        stream, converted = _told_colours(photograph)
        decoded = jpeg(stream)
        pixels = np.atleast_3d(decoded)[..., ::-1][..., : photograph.samples]
        colours = "RGB" if converted else colours
    else:
        how = {"native": _native, "RLE": _rle, "JPEG-LS": _jpeg_ls, "JPEG 2000": _jpeg_2000}
        pixels = how[photograph.packing](photograph, name)
        if photograph.packing == "JPEG 2000" and is_transformed(photograph.stream):
            colours = "RGB"  # the decoder has made it, whatever the header says
    return _as_rgb(pixels, colours, photograph)


def _as_rgb(pixels: NDArray[np.uint8], colours: str, photograph: Photograph) -> NDArray[np.uint8]:
    if photograph.palette is not None:
        last = len(photograph.palette) - 1
        places = np.clip(np.arange(256) - photograph.first, 0, last)
        return np.ascontiguousarray(photograph.palette[places][pixels[..., 0]])
    if colours.startswith("MONOCHROME"):
        grey = 255 - pixels if colours == "MONOCHROME1" else pixels
        return np.repeat(grey, 3, axis=2)
    if colours.startswith("YBR_FULL"):
        # OpenCV has the difference of red before that of blue
        return cv2.cvtColor(np.ascontiguousarray(pixels[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB)
    return np.ascontiguousarray(pixels)


def _native(photograph: Photograph, name: str) -> NDArray[np.uint8]:
    height, width = photograph.frame.height, photograph.frame.width
    values = np.frombuffer(photograph.stream, np.uint8)
    if photograph.swapped:
        values = values[: len(values) // 2 * 2].reshape(-1, 2)[:, ::-1].ravel()
    if photograph.colours == "YBR_FULL_422":
        pairs = values[: height * width * 2].reshape(height, width // 2, 4)
        grey = pairs[..., :2].reshape(height, width)
        return np.dstack([grey, *(np.repeat(pairs[..., k], 2, axis=1) for k in (2, 3))])
    values = values[: height * width * photograph.samples]
    return _arranged(values, photograph, planar=photograph.planar)


def _arranged(
    values: NDArray[np.uint8], photograph: Photograph, *, planar: bool
) -> NDArray[np.uint8]:
    height, width = photograph.frame.height, photograph.frame.width
    if planar and photograph.samples > 1:
        return np.moveaxis(values.reshape(photograph.samples, height, width), 0, -1)
    return values.reshape(height, width, photograph.samples)


def _rle(photograph: Photograph, name: str) -> NDArray[np.uint8]:
    stream, samples = photograph.stream, photograph.samples
    starts = struct.unpack_from(f"<{samples}I", stream, 4)
    length = photograph.frame.height * photograph.frame.width
    planes = []
    for start, end in zip(starts, (*starts[1:], len(stream)), strict=True):
        plane = _unpacked(stream[start:end], length)
        if len(plane) < length:
            found = "too few pixels in its runs (the file is truncated or damaged)"
            fail(name, "a whole DICOM file", found, COPY_AGAIN)
        planes.append(plane)
    values = np.frombuffer(b"".join(planes), np.uint8)
    return _arranged(values, photograph, planar=True)


def _unpacked(packed: bytes, length: int) -> bytes:
    """Unpack runs (PackBits) up to a length, at which pydicom's own decoder would not stop."""
    out, at, end = bytearray(), 0, len(packed)
    while at + 1 < end and len(out) < length:
        head = packed[at]
        if head < 128:
            out += packed[at + 1 : at + 2 + head]
            at += 2 + head
        elif head > 128:
            out += packed[at + 1 : at + 2] * (257 - head)
            at += 2
        else:
            at += 1
    return bytes(out[:length])


def _jpeg_ls(photograph: Photograph, name: str) -> NDArray[np.uint8]:
    try:
        from jpeg_ls import decode_buffer
    except ImportError:
        _missing(name, "JPEG-LS", "pyjpegls")
    try:
        buffer, told = decode_buffer(photograph.stream)
        values = np.frombuffer(buffer, np.uint8)
        return _arranged(values, photograph, planar=told["interleave_mode"] == 0)
    except MemoryError:
        raise
    except Exception:  # damage raises whatever it leads to
        _undecodable(name, "JPEG-LS")


def _jpeg_2000(photograph: Photograph, name: str) -> NDArray[np.uint8]:
    try:
        from openjpeg import decode
    except ImportError:
        _missing(name, "JPEG 2000", "pylibjpeg-openjpeg")
    try:
        pixels = decode(photograph.stream, j2k_format=0)
        return _arranged(pixels.astype(np.uint8, casting="no").ravel(), photograph, planar=False)
    except MemoryError:
        raise
    except Exception:  # damage raises whatever it leads to
        _undecodable(name, "JPEG 2000")


def _missing(name: str, packing: str, package: str) -> NoReturn:
    found = f"{packing} pixels, which {package} unpacks, and that is not installed"
    fail(name, "a DICOM file whose pixels can be unpacked", found, INSTALL)


def _undecodable(name: str, packing: str) -> NoReturn:
    found = "pixels that cannot be decoded (the file is damaged)"
    fail(name, f"{packing} data in a DICOM file", found, COPY_AGAIN)


def _told_colours(photograph: Photograph) -> tuple[bytes, bool]:
    """Return a JPEG that tells its colours, and whether a decoder makes them RGB.

    JPEG files tell whether they hold RGB or YCbCr by marks that DICOM does not ask for: what is
    without them is taken for YCbCr, and the header tells otherwise. Where a file has the mark, it
    holds, as headers of exported files are often wrong.
    """
    stream, samples = photograph.stream, photograph.samples
    segments, (place, marker) = jpeg_parts(stream)
    if samples == 1:
        return stream, False
    marks = [
        (m, at, length)
        for m, at, length in segments
        if stream[at + 4 : at + 9] in (b"JFIF\0", b"Adobe") and m in (0xE0, 0xEE)
    ]
    if marker in _LOSSLESS:  # decoded without a transform, and told so
        for _, at, length in reversed(marks):
            stream = stream[:at] + stream[at + length :]
        return stream[:2] + _ADOBE_RGB + stream[2:], photograph.colours == "RGB"
    parts = stream[place + 10 : place + 10 + 3 * samples]
    ids, halved = parts[::3], len(set(parts[1::3])) > 1
    if photograph.colours == "RGB" and not marks and ids != b"RGB" and not halved:
        return stream[:2] + _ADOBE_RGB + stream[2:], True
    return stream, True
