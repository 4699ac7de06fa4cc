"""Arrays as bytes, with a checksum."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HEADER = struct.Struct("<4sI8sB")  # magic, CRC-32 of what follows, dtype, dimensions
_MAGIC = b"fnd1"


def pack(array: NDArray[Any]) -> bytes:
    """Turn an array of numbers into bytes."""
    array = np.asarray(array, order="C")
    tail = struct.pack(f"<{array.ndim}q", *array.shape) + array.tobytes()
    return (
        _HEADER.pack(_MAGIC, zlib.crc32(tail), array.dtype.str.encode().ljust(8), array.ndim) + tail
    )


def unpack(buffer: memoryview | bytes) -> NDArray[Any] | None:
    """Turn bytes back into an array, a copy; ``None`` where they are damaged."""
    if len(buffer) < _HEADER.size:
        return None
    magic, crc, dtype, ndim = _HEADER.unpack_from(buffer)
    tail = memoryview(buffer)[_HEADER.size :]
    if magic != _MAGIC or zlib.crc32(tail) != crc:
        return None
    shape = struct.unpack_from(f"<{ndim}q", tail)
    return np.frombuffer(tail[8 * ndim :], dtype=dtype.decode().strip()).reshape(shape).copy()
