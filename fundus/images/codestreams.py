"""What packed pixels of DICOM files say of themselves: JPEG, JPEG-LS and JPEG 2000."""

from __future__ import annotations

import struct

#: Markers of a JPEG's size.
JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
#: Marker of a JPEG-LS stream's size.
_JPEG_LS_SIZE = 0xF7


def jpeg_parts(stream: bytes) -> tuple[list[tuple[int, int, int]], tuple[int, int]]:
    """Marker, place and length of each segment before the scans; place and marker of the size."""
    segments, size, at = [], (0, 0), 2
    while at + 3 < len(stream) and stream[at + 1] != 0xDA:
        marker = stream[at + 1]
        if marker == 0xFF or marker in (0x01, *range(0xD0, 0xD9)):  # nothing follows these
            at += 1 if marker == 0xFF else 2
            continue
        length = 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        segments.append((marker, at, length))
        size = (at, marker) if marker in JPEG_SIZES else size
        at += length
    return segments, size


def jpeg_ls_size(stream: bytes) -> tuple[int, int, int, int]:
    """Height, width, samples and bits of a JPEG-LS stream."""
    at = 2
    while stream[at] == 0xFF and stream[at + 1] != _JPEG_LS_SIZE:
        at += 2 + max(2, int.from_bytes(stream[at + 2 : at + 4], "big"))
    bits, height, width, samples = struct.unpack_from(">BHHB", stream, at + 4)
    if not stream.startswith(b"\xff\xd8") or stream[at] != 0xFF:
        raise ValueError("no JPEG-LS stream")
    return height, width, samples, bits


def jpeg_2000_size(stream: bytes) -> tuple[int, int, int, int]:
    """Height, width, samples and bits of a JPEG 2000 codestream."""
    right, bottom, left, top = struct.unpack_from(">4I", stream, 8)
    (samples,) = struct.unpack_from(">H", stream, 40)
    parts = {struct.unpack_from(">BBB", stream, 42 + 3 * k) for k in range(min(samples, 4))}
    if not stream.startswith(b"\xff\x4f\xff\x51") or len(parts) != 1:
        raise ValueError("no JPEG 2000 codestream, or one of parts of several sizes")
    bits, across, down = parts.pop()
    if (across, down) != (1, 1):
        raise ValueError("parts that are smaller than the picture")
    return bottom - top, right - left, samples, bits + 1


def is_transformed(stream: bytes) -> bool:
    """Whether a JPEG 2000 codestream has the transform of colours, which decoders undo."""
    at = 2
    while stream[at : at + 1] == b"\xff" and stream[at + 1] not in (0x52, 0x90):
        at += 2 + max(2, int.from_bytes(stream[at + 2 : at + 4], "big"))
    return stream[at : at + 2] == b"\xff\x52" and stream[at + 8] == 1
