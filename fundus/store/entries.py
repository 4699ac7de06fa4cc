"""Arrays as bytes, with a checksum over all that they are."""

from __future__ import annotations

import math
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HEADER = struct.Struct("<4sI8sB")  # magic, CRC-32 of all else, dtype, dimensions
_MAGIC = b"fnd2"
#: Entries of releases up to 0.1, whose checksum leaves out the header. They have one of the dtypes
#: below, each with numbers of another size, so that the data do not fit a header that was changed.
_OLD_MAGIC = b"fnd1"
_MOST_DIMENSIONS = 32


def _code(dtype: str) -> bytes:
    return dtype.encode().ljust(8)


_OLD_DTYPES = {_code(name): np.dtype(name) for name in ("|u1", "<f2", "<f4")}
_DTYPES = {
    _code(found.str): found
    for found in map(np.dtype, ("?", "b", "h", "i", "q", "B", "H", "I", "Q", "e", "f", "d"))
} | _OLD_DTYPES


def pack(array: NDArray[Any], key: bytes = b"") -> bytes:
    """Turn an array of numbers into bytes, which are valid under one key only."""
    array = np.asarray(array, order="C")
    dtype = _code(array.dtype.str)
    tail = struct.pack(f"<{array.ndim}q", *array.shape) + array.tobytes()
    crc = _checksum(dtype, array.ndim, key, tail)
    return _HEADER.pack(_MAGIC, crc, dtype, array.ndim) + tail


def unpack(buffer: memoryview | bytes, key: bytes = b"") -> NDArray[Any] | None:
    """Turn bytes back into an array, a copy; ``None`` where they are damaged, or of another key."""
    if len(buffer) < _HEADER.size:
        return None
    magic, crc, code, ndim = _HEADER.unpack_from(buffer)
    tail = memoryview(buffer)[_HEADER.size :]
    if magic == _MAGIC:
        right = _checksum(code, ndim, key, tail) == crc
    else:
        right = magic == _OLD_MAGIC and code in _OLD_DTYPES and zlib.crc32(tail) == crc
    dtype = _DTYPES.get(code)
    if not right or dtype is None or ndim > _MOST_DIMENSIONS or len(tail) < 8 * ndim:
        return None
    shape = struct.unpack_from(f"<{ndim}q", tail)
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(tail) - 8 * ndim:
        return None
    return np.frombuffer(tail[8 * ndim :], dtype=dtype).reshape(shape).copy()


def _checksum(dtype: bytes, ndim: int, key: bytes, tail: bytes | memoryview) -> int:
    head = struct.pack("<8sBH", dtype, ndim, len(key)) + key
    return zlib.crc32(tail, zlib.crc32(head))
