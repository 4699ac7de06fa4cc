"""One LMDB environment: memory-mapped, crash-safe, shared by processes, growing as needed."""

from __future__ import annotations

import os
import shutil
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import lmdb

from fundus.exceptions import Mention, Message, StoreError

_FIRST_MAP = 1 << 26  # bytes; doubled whenever it is full

T = TypeVar("T")


def unusable(what: str) -> StoreError:
    """Return the error for a cache that cannot be used, and say what to do."""
    elsewhere = Mention("cache_elsewhere", text="cache= to another folder, or pass cache=False")
    advice = f"free some disk space, set FUNDUS_CACHE_DIR or {elsewhere}"
    return StoreError(Message(f"{what}: {advice}.", elsewhere))


#: Those that this process has open; a process forked from it opens them again.
_open_here: weakref.WeakSet[Environment] = weakref.WeakSet()


class Environment:
    """Bytes by key in one folder.

    Parameters
    ----------
    path : Path
        The folder; made if absent.
    disposable : bool, default=False
        Do not wait for the disk; what a crash of the machine damages is thrown away.

    Raises
    ------
    StoreError
        If the folder cannot be made, read or written.
    """

    def __init__(self, path: Path, *, disposable: bool = False) -> None:
        self.path, self._disposable = path, disposable
        # one transaction at a time in this process: the map must not grow under another one
        self._turn = threading.RLock()
        self._open()
        _open_here.add(self)

    def _open(self) -> None:
        try:
            self._env = self._opened(self._disposable)
        except (OSError, lmdb.Error) as error:
            raise unusable(
                f"The cache folder {str(self.path)!r} cannot be used ({error})"
            ) from None
        self._process = os.getpid()

    def leave_to_parent(self) -> None:
        """Drop what a fork copied; the next transaction opens it again.

        LMDB allows a process to open an environment once, and no process to use another's.
        """
        self._turn = threading.RLock()  # a thread of the parent may have held it
        self._env.close()

    def _opened(self, disposable: bool) -> lmdb.Environment:
        options: dict[str, Any] = {"map_size": _FIRST_MAP, "max_readers": 512, "metasync": False}
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            return lmdb.open(str(self.path), sync=not disposable, **options)
        except (lmdb.CorruptedError, lmdb.InvalidError):
            if not disposable:
                raise
            shutil.rmtree(self.path)
            self.path.mkdir()
            return lmdb.open(str(self.path), sync=False, **options)

    def read(self, keys: Sequence[bytes], take: Callable[[Any], T]) -> list[T]:
        """Apply a function to the buffer under each key, ``None`` where there is none.

        The buffers are valid inside the function only.
        """

        def action() -> list[T]:
            with self._env.begin(buffers=True) as txn:
                return [take(txn.get(key)) for key in keys]

        return self._retrying(action)

    def write(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Write entries in one transaction: all of them or none.

        Raises
        ------
        StoreError
            If the disk is full or fails.
        """
        entries = list(items)

        def put(txn: Any) -> None:
            for key, value in entries:
                txn.put(key, value)

        self.update(put)

    def update(self, change: Callable[[Any], T]) -> T:
        """Apply a function to a write transaction, which has ``get``, ``put`` and ``delete``.

        No other process writes meanwhile.

        Raises
        ------
        StoreError
            If the disk is full or fails.
        """

        def action() -> T:
            with self._env.begin(write=True) as txn:
                return change(txn)

        return self._guarded(action)

    def delete(self, keys: Sequence[bytes]) -> None:
        """Remove entries."""

        def drop(txn: Any) -> None:
            for key in keys:
                txn.delete(key)

        self.update(drop)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield copies of all entries, in transactions of one entry each."""
        start = b""
        while True:

            def action(start: bytes = start) -> tuple[bytes, bytes] | None:
                with self._env.begin() as txn:
                    cursor = txn.cursor()
                    return cursor.item() if cursor.set_range(start) else None

            entry = self._retrying(action)
            if entry is None:
                return
            yield entry
            start = entry[0] + b"\0"  # the first key that may follow

    def __len__(self) -> int:
        return self._retrying(lambda: int(self._env.stat()["entries"]))

    def _guarded(self, action: Callable[[], T]) -> T:
        try:
            return self._retrying(action)
        except lmdb.Error as error:
            raise unusable(f"The cache at {str(self.path)!r} cannot be written ({error})") from None

    def _retrying(self, action: Callable[[], T]) -> T:
        """Run a transaction; grow the map, or follow another process that grew it, as needed."""
        with self._turn:
            if self._process != os.getpid():
                self._open()
            while True:
                try:
                    return action()
                except lmdb.MapFullError:
                    self._env.set_mapsize(self._env.info()["map_size"] * 2)
                except lmdb.MapResizedError:
                    self._env.set_mapsize(0)


def _leave_all_to_parent() -> None:
    for environment in list(_open_here):
        environment.leave_to_parent()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_leave_all_to_parent)
