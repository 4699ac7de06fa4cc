"""Which format an image file has, and whether the file is whole.

Decoders differ in what they do with a damaged file: some fill the missing rows with grey or
black. So the structure of JPEG, PNG and TIFF files is walked here before anything is decoded.
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import NoReturn

from fundus.exceptions import ImageReadError
from fundus.images.foreign import foreign_kind

#: Longest edge of an image that is read, in pixels.
MAX_SIDE = 16_384

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
_JPEG_STANDALONE = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})
_JPEG_SIZE = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_TIFF_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_TIFF_SAMPLES = {1: "unsigned", 2: "signed", 3: "floating-point", 4: "untyped"}


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
        ``"JPEG"``, ``"PNG"``, ``"TIFF"``, ``"BMP"``, ``"WebP"``, ``"GIF"`` or ``"PNM"``.

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
    if foreign is not None:
        fail(name, "a photograph such as a JPEG, PNG or TIFF file", foreign.what, foreign.advice)
    fail(
        name,
        "a JPEG, PNG, TIFF, BMP, WebP, GIF, PGM or PPM file",
        f"{len(data)} bytes that begin with {data[:12]!r}",
        "convert the file to one of these or take it out of the data",
    )


def image_kind(data: bytes) -> str | None:
    """Return the format of at least 12 bytes, as `kind_of` returns it; ``None`` for no image."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP"
    return next((k for k, signatures in _SIGNATURES.items() if data.startswith(signatures)), None)


def check_size(height: int, width: int, name: str) -> tuple[int, int]:
    """Refuse an image without pixels or with absurdly many; return height and width."""
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        fail(
            name,
            f"sides of 1 to {MAX_SIDE} pixels",
            f"width {width} and height {height}",
            "resize the photograph or take it out of the data",
        )
    return height, width


def check_jpeg(data: bytes, name: str) -> tuple[int, int]:
    """Walk a JPEG's segments to its end; return height and width as stored.

    Parameters
    ----------
    data : bytes
    name : str

    Returns
    -------
    height, width : int
        Pixels, before EXIF orientation.

    Raises
    ------
    ImageReadError
        If there is no end-of-image marker after the scans.
    """
    size, position = None, 2
    while True:
        # Fill bytes (0xFF) may stand before any marker.
        while data[position : position + 2] == b"\xff\xff":
            position += 1
        pair = data[position : position + 2]
        marker = pair[1] if len(pair) == 2 and pair[0] == 0xFF else None
        if marker == 0xD9 and size is not None:
            return size
        if marker in _JPEG_STANDALONE:
            position += 2
            continue
        if marker is None or marker == 0xD9 or position + 9 > len(data):
            break
        if marker in _JPEG_SIZE:
            height, width = struct.unpack_from(">HH", data, position + 5)
            size = check_size(height, width, name)
        # An embedded thumbnail has an end marker of its own, so its segment is stepped over whole.
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xDA:
            found = _JPEG_MARKER_AFTER_SCAN.search(data, position)
            if found is None:
                break
            position = found.start()
    fail(
        name,
        "a whole JPEG that closes with an end-of-image marker",
        f"{len(data)} bytes without one (the file is truncated or damaged)",
        COPY_AGAIN,
    )


def check_png(data: bytes, name: str) -> None:
    """Walk a PNG's chunks to its end and compare the checksums of those that hold the image.

    Parameters
    ----------
    data : bytes
    name : str

    Raises
    ------
    ImageReadError
        If the file stops before its IEND chunk or a critical chunk is damaged.
    """
    view = memoryview(data)
    position, kind = 8, b""
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
        if kind[:1].isupper() and zlib.crc32(view[position + 4 : end - 4]) != checksum:
            fail(name, "intact PNG chunks", f"a damaged {kind.decode('latin-1')} chunk", COPY_AGAIN)
        if kind == b"IHDR":
            width, height = struct.unpack_from(">II", data, position + 8)
            check_size(height, width, name)
        position = end


def check_tiff(data: bytes, name: str) -> dict[int, tuple[int, ...]]:
    """Check that the first page of a TIFF is whole and of a kind that can be decoded correctly.

    Parameters
    ----------
    data : bytes
    name : str

    Returns
    -------
    dict of int to tuple of int
        The page's integer tags; bits per sample (258), photometric interpretation (262) and
        sample format (339) are always there.

    Raises
    ------
    ImageReadError
        If the page is truncated, or its samples are not unsigned integers of up to 16 bits.
    """
    try:
        tags = {258: (1,), 262: (1,), 339: (1,)} | _tiff_tags(data)
        height, width = tags[257][0], tags[256][0]
        offsets, lengths = tags.get(273) or tags[324], tags.get(279) or tags[325]
        whole = max(map(sum, zip(offsets, lengths, strict=True))) <= len(data)
    except (struct.error, LookupError, ValueError):
        whole = False
    if not whole:
        fail(
            name,
            "a whole TIFF",
            f"{len(data)} bytes without part of the first page (the file is truncated or damaged)",
            COPY_AGAIN,
        )
    check_size(height, width, name)
    depth, kind = max(tags[258]), max(tags[339])
    # The rarer 16-bit layouts come out of OpenCV wrong: planes one after another, grey with alpha.
    rare = depth == 16 and (tags.get(284) == (2,) or tags[262][0] > 2 or len(tags[258]) == 2)
    if rare or kind not in (1, 4) or depth not in (1, 2, 4, 8, 16):
        layout = ", in planes, separated or with grey and alpha" if rare else ""
        fail(
            name,
            "a TIFF of unsigned 8-bit samples or interleaved 16-bit grey or RGB",
            f"{depth}-bit {_TIFF_SAMPLES.get(kind, 'complex')} samples{layout}",
            "convert it to 8-bit RGB",
        )
    return tags


def _tiff_tags(data: bytes) -> dict[int, tuple[int, ...]]:
    """Integer tags of the first page of a TIFF or BigTIFF."""
    order = "<" if data.startswith(b"II") else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    counter, entry_size, inline, word = ("Q", 20, 8, "Q") if big else ("H", 12, 4, "I")
    (start,) = struct.unpack_from(order + word, data, 8 if big else 4)
    (count,) = struct.unpack_from(order + counter, data, start)
    start += struct.calcsize(counter)
    if start + count * entry_size > len(data):
        raise ValueError("the directory reaches past the end of the file")
    tags = {}
    for entry in range(start, start + count * entry_size, entry_size):
        tag, kind, number = struct.unpack_from(f"{order}HH{word}", data, entry)
        code = _TIFF_INTEGERS.get(kind)
        if code is None:
            continue
        at = entry + entry_size - inline
        if number * struct.calcsize(order + code) > inline:
            (at,) = struct.unpack_from(order + word, data, at)
        tags[tag] = struct.unpack_from(f"{order}{number}{code}", data, at)
    return tags


def check_pnm(data: bytes, name: str) -> None:
    """Check the header of a binary PGM or PPM.

    Parameters
    ----------
    data : bytes
    name : str

    Raises
    ------
    ImageReadError
        If the header cannot be read or its maximum is neither 255 nor 65535.
    """
    header = re.match(rb"P[56](?:\s|#[^\n]*\n)+(\d+)\s+(\d+)\s+(\d+)\s", data)
    if header is None or int(header[3]) not in (255, 65_535):
        found = "none that can be read" if header is None else f"maximum {int(header[3])}"
        fail(name, "a PGM or PPM header with maximum 255 or 65535", found, "convert it to PNG")
    check_size(int(header[2]), int(header[1]), name)
