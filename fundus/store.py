"""The content-addressed store: arrays under a key, in one LMDB environment.

LMDB is memory-mapped and crash-safe, and several processes may read and write at once. A process
opens a folder once; the environment is never pickled.
"""

from __future__ import annotations

import hashlib
import os
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import lmdb
import numpy as np
import platformdirs
from filelock import FileLock
from numpy.typing import NDArray

from fundus.exceptions import StoreError, StoreWarning
from fundus.warn import warn_once

#: Part of every key's folder; a change in the layout of entries makes a new folder.
FORMAT = 1

_HEADER = struct.Struct("<4sIB8sB")  # magic, CRC-32 of the rest, version, dtype, dimensions
_MAGIC = b"fnds"
_STAT = struct.Struct("<qqqQ")  # size, mtime, ctime (ns), inode
_FIRST_MAP = 1 << 28
# a file written a moment ago may change again within the clock's grain, so it is not memoised
_SETTLED_NS = 100_000_000

T = TypeVar("T")
_open: dict[tuple[int, str], Store] = {}
_open_lock = threading.Lock()


def default_location() -> Path:
    """Folder of the store: ``FUNDUS_CACHE_DIR``, or the user's cache folder.

    Returns
    -------
    Path
    """
    return Path(os.environ.get("FUNDUS_CACHE_DIR") or platformdirs.user_cache_dir("fundus-zoo"))


def open_store(cache: bool | str | os.PathLike[str]) -> Store | None:
    """Open the store that a ``cache=`` parameter means; each folder once per process.

    Parameters
    ----------
    cache : bool or path
        ``True`` is `default_location`, ``False`` is no store.

    Returns
    -------
    Store or None

    Raises
    ------
    StoreError
        If the folder cannot be made, read or written.
    """
    if cache is False:
        return None
    folder = default_location() if cache is True else Path(cache)
    path = str(folder.expanduser().absolute() / f"v{FORMAT}")
    with _open_lock:
        # keyed by process: an environment must not be used after a fork
        if (os.getpid(), path) not in _open:
            _open[os.getpid(), path] = Store(path)
        return _open[os.getpid(), path]


class Store:
    """Arrays by key in one folder.

    Parameters
    ----------
    path : str
        The folder; made if absent.

    Raises
    ------
    StoreError
        If the folder cannot be made, read or written.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            Path(path).mkdir(parents=True, exist_ok=True)
            self._env = lmdb.open(
                path, map_size=_FIRST_MAP, max_dbs=2, subdir=True, max_readers=512, metasync=False
            )
            self._arrays = self._env.open_db(b"arrays")
            self._digests = self._env.open_db(b"digests")
        except (OSError, lmdb.Error) as error:
            raise StoreError(
                f"The cache folder {path!r} cannot be used ({error}): make it writable, set "
                "FUNDUS_CACHE_DIR or cache= to another folder, or pass cache=False."
            ) from error
        # one transaction at a time in this process: the map must not grow under another one
        self._turn = threading.Lock()

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _reopen, (str(Path(self.path).parent),)

    def get(self, key: bytes) -> NDArray[Any] | None:
        """Return a copy of the array under a key, or ``None``."""
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[bytes]) -> list[NDArray[Any] | None]:
        """Return copies of the arrays under some keys, ``None`` for those that are absent.

        A damaged entry counts as absent and is warned about once.
        """

        def read() -> list[NDArray[Any] | None]:
            with self._env.begin(db=self._arrays, buffers=True) as txn:
                return [self._unpack(txn.get(key)) for key in keys]

        return self._retrying(read)

    def has_many(self, keys: Sequence[bytes]) -> NDArray[np.bool_]:
        """Whether each key has an entry."""

        def read() -> NDArray[np.bool_]:
            with self._env.begin(db=self._arrays, buffers=True) as txn:
                return np.array([txn.get(key) is not None for key in keys], dtype=bool)

        return self._retrying(read)

    def put_many(self, items: Iterable[tuple[bytes, NDArray[Any]]]) -> None:
        """Write entries in one transaction: all of them or none.

        Raises
        ------
        StoreError
            If the disk is full or fails.
        """
        packed = [(key, _pack(array)) for key, array in items]
        self._write(self._arrays, packed)

    def file_digest(self, path: str, compute: Callable[[], str]) -> str:
        """SHA-256 of a file, remembered by path, size, times and inode.

        Parameters
        ----------
        path : str
            The file.
        compute : callable
            Reads and hashes it; called where the file is new or has changed.

        Returns
        -------
        str
            64 hexadecimal digits.
        """
        try:
            stat = os.stat(path)
        except OSError:
            return compute()  # it names what is wrong with the file
        inode = stat.st_ino & (2**64 - 1)  # some file systems have longer ones
        stamp = _STAT.pack(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, inode)
        key = hashlib.sha256(os.path.abspath(path).encode("utf-8", "surrogateescape")).digest()

        def read() -> bytes | None:
            with self._env.begin(db=self._digests) as txn:
                return txn.get(key)

        known = self._retrying(read)
        if known is not None and known.startswith(stamp):
            return known[_STAT.size :].decode()
        digest = compute()
        if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > _SETTLED_NS:
            self._write(self._digests, [(key, stamp + digest.encode())])
        return digest

    def lock(self, name: str) -> FileLock:
        """Return a lock between processes, so that they do not do the same work twice."""
        return FileLock(os.path.join(self.path, f"{name}.lock"))

    def _write(self, db: Any, items: list[tuple[bytes, bytes]]) -> None:
        def write() -> None:
            with self._env.begin(db=db, write=True) as txn:
                for key, value in items:
                    txn.put(key, value)

        try:
            self._retrying(write)
        except lmdb.Error as error:
            raise StoreError(
                f"The cache at {self.path!r} cannot be written ({error}): free some disk space, "
                "set FUNDUS_CACHE_DIR or cache= to another folder, or pass cache=False."
            ) from error

    def _retrying(self, action: Callable[[], T]) -> T:
        """Run a transaction; grow the map, or follow another process that grew it, as needed."""
        with self._turn:
            while True:
                try:
                    return action()
                except lmdb.MapFullError:
                    self._env.set_mapsize(self._env.info()["map_size"] * 2)
                except lmdb.MapResizedError:
                    self._env.set_mapsize(0)

    def _unpack(self, buffer: memoryview | None) -> NDArray[Any] | None:
        if buffer is None:
            return None
        array = _unpack(buffer)
        if array is None:
            warn_once(
                f"The cache at {self.path!r} holds a damaged entry; it is computed again.",
                StoreWarning,
            )
        return array


def _reopen(folder: str) -> Store:
    store = open_store(folder)
    assert store is not None
    return store


def _pack(array: NDArray[Any]) -> bytes:
    array = np.asarray(array, order="C")
    shape = struct.pack(f"<{array.ndim}q", *array.shape)
    tail = shape + array.tobytes()
    dtype = array.dtype.str.encode().ljust(8)
    return _HEADER.pack(_MAGIC, zlib.crc32(tail), FORMAT, dtype, array.ndim) + tail


def _unpack(buffer: memoryview) -> NDArray[Any] | None:
    if len(buffer) < _HEADER.size:
        return None
    magic, crc, version, dtype, ndim = _HEADER.unpack_from(buffer)
    tail = memoryview(buffer)[_HEADER.size :]
    if magic != _MAGIC or version != FORMAT or zlib.crc32(tail) != crc:
        return None
    shape = struct.unpack_from(f"<{ndim}q", tail)
    return np.frombuffer(tail[8 * ndim :], dtype=dtype.decode().strip()).reshape(shape).copy()
