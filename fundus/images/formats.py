"""Which format an image file has, and whether the file is whole.

Decoders differ in what they do with a damaged file: some fill the missing rows with grey or
black. So the structure of JPEG and PNG files is walked here before anything is decoded, that of
TIFF files in `fundus.images.tiff`.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import replace
from typing import NoReturn

from fundus.exceptions import ImageReadError
from fundus.images.foreign import DICOM, foreign_kind
from fundus.images.limits import TRANSPARENT, Frame

#: Advice for a damaged file.
COPY_AGAIN = "copy or download the file again"

_SIGNATURES = {
    "JPEG": (b"\xff\xd8",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "BMP": (b"BM",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "PNM": (b"P5", b"P6"),
}
_JPEG_MARKER_AFTER_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_JPEG_MARKER = re.compile(rb"\xff+([^\xff])", re.DOTALL)
_JPEG_STANDALONE = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})
_JPEG_SIZE = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
#: More than any camera writes; damaged files may hold millions, each of two bytes.
_MOST_SEGMENTS = 10_000
#: How a DICOM file that lacks its preamble begins: an element of group 2 or 8, and its kind.
_DICOM_FIRST = re.compile(
    rb"[\x02\x08]\0(?:[\x00-\x20]\0(?:UI|UL|CS|DA|TM|OB)|"
    rb"[\x00\x01\x05\x08\x12-\x18]\0[\x02-\x40]\0\0\0)"
)
#: Samples of a pixel by a PNG's type of colour; a palette's are looked up.
_PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def fail(name: str, expected: str, found: str, advice: str) -> NoReturn:
    """Raise the `ImageReadError` of a file that cannot be used."""
    raise ImageReadError(
        f"Cannot read image {name!r}: expected {expected}, found {found}; {advice}."
    )


def kind_of(data: bytes, name: str) -> str:
    """Return the format whose signature the data begin with.

    Parameters
    ----------
    data : bytes
        The whole file.
    name : str
        Path of the file, for messages.

    Returns
    -------
    str
        ``"JPEG"``, ``"PNG"``, ``"TIFF"``, ``"BMP"``, ``"WebP"``, ``"GIF"``, ``"PNM"`` or
        ``"DICOM"``.

    Raises
    ------
    ImageReadError
        If the data are empty or begin like none of these.

    Examples
    --------
    >>> kind_of(b"GIF89a...", "eye.gif")
    'GIF'
    """
    if not data:
        fail(name, "an image", "an empty file (0 bytes)", COPY_AGAIN)
    kind = image_kind(data)
    if kind is not None:
        return kind
    foreign = foreign_kind(data, name)
    if foreign is DICOM:  # by its name alone
        found = f"{len(data)} bytes that do not begin like one (the file is damaged or encrypted)"
        fail(name, "a DICOM file", found, COPY_AGAIN)
    if foreign is not None:
        fail(name, "a photograph such as a JPEG, PNG or TIFF file", foreign.what, foreign.advice)
    fail(
        name,
        "a JPEG, PNG, TIFF, BMP, WebP, GIF, PGM, PPM or DICOM file",
        f"{len(data)} bytes that begin with {data[:12]!r}",
        "convert the file to one of these or take it out of the data",
    )


def image_kind(data: bytes) -> str | None:
    """Return the format of at least 12 bytes, as `kind_of` returns it; ``None`` for no image."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP"
    found = next((k for k, signatures in _SIGNATURES.items() if data.startswith(signatures)), None)
    return "DICOM" if found is None and is_dicom(data) else found


def is_dicom(data: bytes) -> bool:
    """Whether a file, of which 132 bytes or more are given, begins like a DICOM file.

    Examples
    --------
    >>> is_dicom(bytes(128) + b"DICM"), is_dicom(b"DICM")
    (True, False)
    """
    return data[128:132] == b"DICM" or _DICOM_FIRST.match(data) is not None


def check_jpeg(data: bytes, name: str) -> Frame:
    """Walk a JPEG's segments to its end; return its size and scans.

    Parameters
    ----------
    data : bytes
    name : str

    Returns
    -------
    Frame
        Height and width are those before EXIF orientation.

    Raises
    ------
    ImageReadError
        If there is no end-of-image marker after the scans, or there are too many segments.
    """
    height = width = components = scans = 0
    framed, position = False, 2
    for _ in range(_MOST_SEGMENTS):
        # Fill bytes (0xFF) may stand before any marker.
        found = _JPEG_MARKER.match(data, position)
        marker = None if found is None else found[1][0]
        position = position if found is None else found.end() - 2
        if marker == 0xD9 and framed:
            return Frame(height, width, 8 * components, scans)
        if marker in _JPEG_STANDALONE:
            position += 2
            continue
        needed = 10 if marker in _JPEG_SIZE else 4
        if marker is None or marker == 0xD9 or position + needed > len(data):
            break
        if marker in _JPEG_SIZE:
            framed, sides = True, (height, width)
            height, width, components = struct.unpack_from(">HHB", data, position + 5)
            height, width = max(height, sides[0]), max(width, sides[1])
        # An embedded thumbnail has an end marker of its own, so its segment is stepped over whole.
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xDA:
            scans += 1
            found = _JPEG_MARKER_AFTER_SCAN.search(data, position)
            if found is None:
                break
            position = found.start()
    else:
        most = f"a JPEG of up to {_MOST_SEGMENTS} segments"
        fail(name, most, "more (the file is damaged)", COPY_AGAIN)
    fail(
        name,
        "a whole JPEG that closes with an end-of-image marker",
        f"{len(data)} bytes without one (the file is truncated or damaged)",
        COPY_AGAIN,
    )


def check_png(data: bytes, name: str) -> Frame:
    """Walk a PNG's chunks to its end and compare the checksums of those that hold the image.

    Parameters
    ----------
    data : bytes
    name : str

    Returns
    -------
    Frame

    Raises
    ------
    ImageReadError
        If the file stops before its IEND chunk, does not begin with IHDR, or a critical chunk is
        damaged.
    """
    view = memoryview(data)
    position, kind, frame = 8, b"", None
    while kind != b"IEND":
        end = position + 12
        if end <= len(data):
            length, kind = struct.unpack_from(">I4s", data, position)
            end += length
        if end > len(data):
            fail(
                name,
                "a whole PNG that closes with an IEND chunk",
                f"{len(data)} bytes that stop before it (the file is truncated)",
                COPY_AGAIN,
            )
        (checksum,) = struct.unpack_from(">I", data, end - 4)
        damaged = kind[:1].isupper() and zlib.crc32(view[position + 4 : end - 4]) != checksum
        if damaged or (kind == b"IHDR") is not (frame is None) or (frame is None and end != 33):
            fail(name, "intact PNG chunks", f"a damaged {kind.decode('latin-1')} chunk", COPY_AGAIN)
        if frame is None:
            width, height, depth, colours = struct.unpack_from(">IIBB", data, position + 8)
            clear = TRANSPARENT if colours in (4, 6) else 1
            frame = Frame(height, width, clear * depth * _PNG_SAMPLES.get(colours, 4))
        elif kind == b"tRNS":
            frame = replace(frame, pixel_bits=max(TRANSPARENT * 32, frame.pixel_bits))
        position = end
    assert frame is not None
    return frame
