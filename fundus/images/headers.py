"""Sizes of GIF, BMP, WebP, PGM and PPM pictures, read from their headers.

OpenCV makes room for the whole picture before it looks at what follows the header.
"""

from __future__ import annotations

import re
import struct
from typing import NoReturn

from fundus.images.formats import COPY_AGAIN, fail
from fundus.images.limits import TRANSPARENT, Frame

_BITMAP_CORE = 12  # bytes of the oldest header, whose sides are 16-bit
#: WebP: an animation, which is drawn on a canvas with alpha, or transparent pixels.
_MOVING_OR_CLEAR = 0x12
_PNM_HEADER = re.compile(rb"P[56](?:\s|#[^\n]*\n)+(\d{1,9})\s+(\d{1,9})\s+(\d{1,9})\s")
_PNM_LONGEST = 65_536  # bytes, comments included


def header_frame(kind: str, data: bytes, name: str) -> Frame:
    """Read the size of a picture off its header.

    Parameters
    ----------
    kind : {"GIF", "BMP", "WebP", "PNM"}
    data : bytes
        The whole file.
    name : str
        Path of the file, for messages.

    Returns
    -------
    Frame
        The larger of the canvas and of the first picture on it.

    Raises
    ------
    ImageReadError
        If there is no header that can be read, or the maximum of a PGM or PPM is neither 255 nor
        65535.

    Examples
    --------
    >>> header_frame("PNM", b"P5 2 1 255\\n" + bytes([0, 200]), "grey.pgm")
    Frame(height=1, width=2, pixel_bits=8, scans=1)
    """
    if kind == "PNM":
        return _pnm(data, name)
    try:
        return {"GIF": _gif, "BMP": _bitmap, "WebP": _webp}[kind](data)
    except (struct.error, IndexError):
        _no_header(kind, data, name)


def _no_header(kind: str, data: bytes, name: str) -> NoReturn:
    found = f"{len(data)} bytes without a whole header (the file is truncated or damaged)"
    fail(name, f"a whole {kind}", found, COPY_AGAIN)


def _pnm(data: bytes, name: str) -> Frame:
    header = _PNM_HEADER.match(data, 0, _PNM_LONGEST)
    if header is None or int(header[3]) not in (255, 65_535):
        found = "none that can be read" if header is None else f"maximum {int(header[3])}"
        fail(name, "a PGM or PPM header with maximum 255 or 65535", found, "convert it to PNG")
    samples = 3 if data.startswith(b"P6") else 1
    return Frame(int(header[2]), int(header[1]), samples * (8 if int(header[3]) == 255 else 16))


def _bitmap(data: bytes) -> Frame:
    (length,) = struct.unpack_from("<I", data, 14)
    layout = "<HHHH" if length == _BITMAP_CORE else "<iiHH"
    width, height, _, bits = struct.unpack_from(layout, data, 18)
    return Frame(abs(height), width, bits)  # a negative height means rows from top to bottom


def _gif(data: bytes) -> Frame:
    width, height = struct.unpack_from("<HH", data, 6)
    position = 13 + _colours(data[10])
    while data[position] != 0x3B:  # the end
        if data[position] == 0x2C:  # a picture: its place on the canvas, then its sides
            inner_width, inner_height = struct.unpack_from("<HH", data, position + 5)
            return Frame(max(height, inner_height), max(width, inner_width))
        if data[position] == 0x21:  # an extension: its kind, then blocks up to an empty one
            position += 2
            while data[position]:
                position += 1 + data[position]
        position += 1
    raise IndexError("no picture before the end")


def _colours(flags: int) -> int:
    """Bytes of a GIF's table of colours."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _webp(data: bytes) -> Frame:
    """Largest of the canvas, the first picture and the first frame of an animation."""
    height = width = 0
    bits, position = 24, 12
    while True:
        kind, length = struct.unpack_from("<4sI", data, position)
        body = position + 8
        if kind == b"VP8X":
            columns, rows = 1 + _24_bits(data, body + 4), 1 + _24_bits(data, body + 7)
            bits = TRANSPARENT * 32 if data[body] & _MOVING_OR_CLEAR else bits
        elif kind == b"ANMF":
            columns, rows = 1 + _24_bits(data, body + 6), 1 + _24_bits(data, body + 9)
        elif kind == b"VP8 ":
            columns, rows = (side & 0x3FFF for side in struct.unpack_from("<HH", data, body + 6))
        elif kind == b"VP8L":
            (sides,) = struct.unpack_from("<I", data, body + 1)
            columns, rows, bits = 1 + (sides & 0x3FFF), 1 + (sides >> 14 & 0x3FFF), TRANSPARENT * 32
        else:
            columns = rows = 0
        height, width = max(height, rows), max(width, columns)
        if kind in (b"VP8 ", b"VP8L", b"ANMF"):
            return Frame(height, width, bits)
        position = body + length + length % 2


def _24_bits(data: bytes, position: int) -> int:
    low, high = struct.unpack_from("<HB", data, position)
    return low | high << 16
