"""Whether the first page of a TIFF is whole, and of a kind that OpenCV decodes correctly."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from fundus.images.formats import COPY_AGAIN, fail
from fundus.images.limits import FREE_BYTES, TRANSPARENT, Frame, ImageLimits, check_sides

_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_SAMPLES = {1: "unsigned", 2: "signed", 3: "floating-point", 4: "untyped"}

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIP_OFFSETS, _SAMPLES_PER_PIXEL, _STRIP_LENGTHS, _PLANES = 273, 277, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_LENGTHS = 322, 323, 324, 325
_EXTRA_SAMPLES, _SAMPLE_FORMAT = 338, 339
#: The tags that are looked at; others, such as private ones, may be as long as the file.
_READ = frozenset(
    (
        *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC),
        *(_STRIP_OFFSETS, _SAMPLES_PER_PIXEL, _STRIP_LENGTHS, _PLANES),
        *(_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_LENGTHS),
        *(_EXTRA_SAMPLES, _SAMPLE_FORMAT),
    )
)
_JPEG_INSIDE = (6, 7)  # values of the tag for compression
#: How many times its own size a file's strips or tiles may name; small files may name FREE_BYTES.
_MOST_NAMED = 4


@dataclass(frozen=True)
class Page:
    """The first page of a TIFF.

    Parameters
    ----------
    frame : Frame
        Its size, filled up to whole tiles.
    depth : int
        Bits of a sample.
    white_is_zero : bool
        Whether its grey values are inverted.
    premultiplied : bool
        Whether its colours are multiplied with their opacity already.
    """

    frame: Frame
    depth: int
    white_is_zero: bool
    premultiplied: bool


def check_tiff(data: bytes, name: str, limits: ImageLimits) -> Page:
    """Check that the first page of a TIFF is whole and of a kind that can be decoded correctly.

    Parameters
    ----------
    data : bytes
    name : str
    limits : ImageLimits

    Returns
    -------
    Page

    Raises
    ------
    ImageReadError
        If the page is truncated or too large, or its samples are not unsigned integers of up to 16
        bits.
    """
    try:
        tags = {_BITS: (1,), _PHOTOMETRIC: (1,), _SAMPLE_FORMAT: (1,)} | _tags(data)
        height, width = tags[_HEIGHT][0], tags[_WIDTH][0]
        offsets = tags.get(_STRIP_OFFSETS) or tags[_TILE_OFFSETS]
        lengths = tags.get(_STRIP_LENGTHS) or tags[_TILE_LENGTHS]
        blocks = list(zip(offsets, lengths, strict=True))
        whole = max(map(sum, blocks)) <= len(data)
    except (struct.error, LookupError, ValueError):
        whole = False
    if not whole:
        fail(
            name,
            "a whole TIFF",
            f"{len(data)} bytes without part of the first page (the file is truncated or damaged)",
            COPY_AGAIN,
        )
    check_sides(height, width, limits, name)
    depth = _checked_depth(tags, name)
    if sum(lengths) > max(FREE_BYTES, _MOST_NAMED * len(data)):
        found = f"strips or tiles of {sum(lengths)} bytes in a file of {len(data)}"
        fail(name, "a TIFF whose strips or tiles do not overlap", found, "save it anew")
    scans = 1
    if tags.get(_COMPRESSION, (1,))[0] in _JPEG_INSIDE:
        # libtiff hands each to the JPEG decoder; the marker of a scan occurs in nothing else there
        scans = max(data.count(b"\xff\xda", at, at + length) for at, length in blocks)
    rows, columns = tags.get(_TILE_HEIGHT, (1,))[0], tags.get(_TILE_WIDTH, (1,))[0]
    bits = depth * max(len(tags[_BITS]), tags.get(_SAMPLES_PER_PIXEL, (1,))[0])
    if depth == 16 and _EXTRA_SAMPLES in tags:
        bits *= TRANSPARENT
    return Page(
        Frame(_filled(height, rows), _filled(width, columns), bits, scans),
        depth,
        white_is_zero=tags[_PHOTOMETRIC] == (0,),
        premultiplied=tags.get(_EXTRA_SAMPLES) == (1,),
    )


def _checked_depth(tags: dict[int, tuple[int, ...]], name: str) -> int:
    """Bits of a sample of a page that OpenCV decodes correctly."""
    depth, kind = max(tags[_BITS]), max(tags[_SAMPLE_FORMAT])
    # The rarer 16-bit layouts come out of OpenCV wrong: planes one after another, grey with alpha.
    rare = depth == 16 and (
        tags.get(_PLANES) == (2,) or tags[_PHOTOMETRIC][0] > 2 or len(tags[_BITS]) == 2
    )
    if rare or kind not in (1, 4) or depth not in (1, 2, 4, 8, 16):
        layout = ", in planes, separated or with grey and alpha" if rare else ""
        fail(
            name,
            "a TIFF of unsigned 8-bit samples or interleaved 16-bit grey or RGB",
            f"{depth}-bit {_SAMPLES.get(kind, 'complex')} samples{layout}",
            "convert it to 8-bit RGB",
        )
    return depth


def _filled(side: int, block: int) -> int:
    """Length of a side that is filled up to whole blocks."""
    return -(-side // max(1, block)) * max(1, block)


def _tags(data: bytes) -> dict[int, tuple[int, ...]]:
    """Tags of the first page of a TIFF or BigTIFF that are looked at; of repeated ones, the first.

    Raises
    ------
    struct.error, ValueError
        If one lies outside the file or has no value.
    """
    order = "<" if data.startswith(b"II") else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    counter, entry_size, inline, word = ("Q", 20, 8, "Q") if big else ("H", 12, 4, "I")
    (start,) = struct.unpack_from(order + word, data, 8 if big else 4)
    if start >= len(data):
        raise ValueError("the directory lies behind the end of the file")
    (count,) = struct.unpack_from(order + counter, data, start)
    start += struct.calcsize(counter)
    if start + count * entry_size > len(data):
        raise ValueError("the directory reaches past the end of the file")
    tags: dict[int, tuple[int, ...]] = {}
    for entry in range(start, start + count * entry_size, entry_size):
        tag, kind, number = struct.unpack_from(f"{order}HH{word}", data, entry)
        code = _INTEGERS.get(kind)
        if code is None or tag not in _READ or tag in tags:
            continue
        at = entry + entry_size - inline
        length = number * struct.calcsize(order + code)
        if length > inline:
            (at,) = struct.unpack_from(order + word, data, at)
        if not number or at + length > len(data):
            raise ValueError("a tag without values, or with values behind the end of the file")
        tags[tag] = struct.unpack_from(f"{order}{number}{code}", data, at)
    return tags
