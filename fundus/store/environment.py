"""One LMDB environment: memory-mapped, crash-safe, shared by processes, growing as needed.

What it holds can be computed again. So a file that LMDB must not be given (`fundus.store.pages`)
is removed with a warning, and an empty one takes its place. In a folder that cannot be written,
it is read.
"""

from __future__ import annotations

import errno
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import lmdb
from filelock import FileLock, Timeout

from fundus.exceptions import Mention, Message, StoreError, StoreWarning, warn_once
from fundus.store.metas import KNOWN_LAYOUT, DamagedError, check_metas
from fundus.store.pages import check_tree

#: Files of an environment.
DATA, LOCK, OPENING = "data.mdb", "lock.mdb", "opening.lock"

_FIRST_MAP = 1 << 26  # bytes; doubled whenever it is full
_READERS = 512
_LOCK_BYTES = 64 * (_READERS - 1) + 192  # of LMDB's file of readers
_PATIENCE = 300  # seconds in which another process opens the same environment
_LOOKS = 5  # at a file that seems damaged: another process may have been writing its first pages
_BETWEEN_LOOKS = 0.02  # seconds

#: What LMDB says of a damaged file.
_DAMAGE = (
    DamagedError,
    lmdb.CorruptedError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
    lmdb.PageNotFoundError,
    lmdb.PageFullError,
    lmdb.CursorFullError,
    lmdb.IncompatibleError,
    lmdb.PanicError,
    getattr(lmdb, "ProblemError", lmdb.PanicError),  # came with lmdb 3.0
)

#: Where a file system cannot reserve room.
_NO_ROOM_IN_ADVANCE = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}

T = TypeVar("T")


def _reserve(lock: Path) -> None:
    """Give LMDB's file of readers its room on the disk.

    LMDB writes to it through memory: where the disk is full then, the process would end.

    Raises
    ------
    OSError
        If the disk is full.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    number = os.open(lock, os.O_CREAT | os.O_RDWR, 0o755)  # the permissions that LMDB gives
    try:
        os.posix_fallocate(number, 0, os.fstat(number).st_size or _LOCK_BYTES)
    except OSError as error:
        if error.errno not in _NO_ROOM_IN_ADVANCE:
            raise
    finally:
        os.close(number)


def unusable(what: str) -> StoreError:
    """Return the error for a cache that cannot be used, and say what to do."""
    elsewhere = Mention("cache_elsewhere", text="cache= to another folder, or pass cache=False")
    advice = f"free some disk space, set FUNDUS_CACHE_DIR or {elsewhere}"
    return StoreError(Message(f"{what}: {advice}.", elsewhere))


def read_only(folder: Path) -> StoreError:
    """Return the error for a folder in which nothing can be kept."""
    return unusable(f"The cache folder {str(folder)!r} is read-only, and lacks some of this work")


#: Those that this process has open; a process forked from it opens them again.
_open_here: weakref.WeakSet[Environment] = weakref.WeakSet()


class Environment:
    """Bytes by key in one folder.

    Parameters
    ----------
    path : Path
        The folder; made if absent, unless it cannot be written.
    store : Path
        The folder of the whole store, for messages.
    disposable : bool, default=False
        Do not wait for the disk.

    Raises
    ------
    StoreError
        If the folder can neither be written nor read.

    Warns
    -----
    StoreWarning
        If its file is damaged, which is then removed.
    """

    def __init__(self, path: Path, store: Path, *, disposable: bool = False) -> None:
        self.path, self._store, self._disposable = path, store, disposable
        # one transaction at a time in this process: the map must not grow under another one
        self._turn = threading.RLock()
        self._env: lmdb.Environment | None = None
        #: What was wrong with the file when it was opened, if anything.
        self.damage = ""
        #: Bytes written since somebody has looked at the size of the store.
        self.written = 0
        self._open()
        _open_here.add(self)

    def _open(self, condemned: tuple[int, str] | None = None) -> None:
        """Open the file, unless it is the condemned one: its inode, and what is wrong with it."""
        self._deep, self.damage = False, ""
        self._process = os.getpid()
        self.read_only = not can_write(self.path, self.path / DATA)
        try:
            if self.read_only:
                self._env = self._opened_to_read(condemned)
            else:
                self.path.mkdir(parents=True, exist_ok=True)
                # no other process opens it between the look at a damaged file and its removal
                with FileLock(self.path / OPENING, timeout=_PATIENCE):
                    self._env = self._opened(condemned)
        except (OSError, lmdb.Error, Timeout) as error:
            raise unusable(
                f"The cache folder {str(self.path)!r} cannot be used ({error})"
            ) from None
        self._size = self._size_now()
        if self.damage:
            done = "it is not used" if self.read_only else "it is removed and computed again"
            warn_once(
                f"The cache at {str(self.path)!r} is damaged ({self.damage}); {done}.",
                StoreWarning,
            )

    def leave_to_parent(self) -> None:
        """Drop what a fork copied; the next transaction opens it again.

        LMDB allows a process to open an environment once, and no process to use another's.
        """
        self._turn = threading.RLock()  # a thread of the parent may have held it
        self._close()

    def _close(self) -> None:
        if self._env is not None:
            self._env.close()
            self._env = None

    def _opened(self, condemned: tuple[int, str] | None) -> lmdb.Environment:
        options = {"map_size": _FIRST_MAP, "max_readers": _READERS, "metasync": False}
        options["sync"] = not self._disposable
        try:
            self._refuse(condemned)
            return self._checked(**options)
        except _DAMAGE as error:
            self.damage = str(error)
            for name in (LOCK, DATA):
                (self.path / name).unlink(missing_ok=True)
            return self._checked(**options)

    def _opened_to_read(self, condemned: tuple[int, str] | None) -> lmdb.Environment | None:
        if not (self.path / DATA).exists():
            return None  # this part was never filled
        try:
            self._refuse(condemned)
            return self._checked(map_size=_FIRST_MAP, readonly=True, create=False, lock=False)
        except _DAMAGE as error:
            self.damage = str(error)
            return None

    def _refuse(self, condemned: tuple[int, str] | None) -> None:
        if condemned is not None and self._size_now()[0] == condemned[0]:
            raise DamagedError(condemned[1])

    def _checked(self, **options: Any) -> lmdb.Environment:
        """Open the file once its first pages are known to be right, and look at the others."""
        if KNOWN_LAYOUT:
            _patiently(lambda: check_metas(self.path / DATA))
        if not self.read_only:
            _reserve(self.path / LOCK)
        opened = lmdb.open(str(self.path), **options)
        try:
            self._check_tree(opened)
        except BaseException:
            opened.close()
            raise
        return opened

    def _check_tree(self, opened: lmdb.Environment) -> None:
        def look() -> None:
            with opened.begin() as txn:  # a new one at each look: it keeps what it sees unchanged
                check_tree(self.path / DATA, txn.id())

        if KNOWN_LAYOUT:
            _patiently(look)

    def _check_deeply(self, txn: Any) -> None:
        """Check all that LMDB trusts when an entry is replaced or removed; once."""
        if KNOWN_LAYOUT and not self._deep:
            check_tree(self.path / DATA, txn.id() - 1, deep=True)  # no other process writes
            self._deep = True

    def _size_now(self) -> tuple[int, int]:
        """Inode and bytes of the file; zeros where another process has removed it."""
        try:
            found = os.stat(self.path / DATA)
        except OSError:
            return 0, 0
        return found.st_ino, found.st_size

    def read(self, keys: Sequence[bytes], take: Callable[[bytes, Any], T]) -> list[T]:
        """Apply a function to each key and the buffer under it, ``None`` where there is none.

        The buffers are valid inside the function only.
        """

        def action() -> list[T]:
            if self._env is None:
                return [take(key, None) for key in keys]
            with self._env.begin(buffers=True) as txn:
                return [take(key, txn.get(key)) for key in keys]

        return self._retrying(action)

    def write(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Write entries in one transaction: all of them or none.

        Raises
        ------
        StoreError
            If the disk is full or fails, or the folder cannot be written.
        """
        entries = list(items)

        def put(txn: Any) -> None:
            for key, value in entries:
                if not txn.put(key, value, overwrite=False):
                    self._check_deeply(txn)
                    txn.put(key, value)

        self.update(put)

    def update(self, change: Callable[[Any], T]) -> T:
        """Apply a function to a write transaction, which has ``get``, ``put`` and ``delete``.

        No other process writes meanwhile.

        Raises
        ------
        StoreError
            If the disk is full or fails, or the folder cannot be written.
        """

        def action() -> T:
            if self._env is None or self.read_only:
                raise read_only(self._store)
            with self._env.begin(write=True) as txn:
                return change(txn)

        return self._guarded(action)

    def delete(self, keys: Sequence[bytes]) -> None:
        """Remove entries."""

        def drop(txn: Any) -> None:
            self._check_deeply(txn)
            for key in keys:
                txn.delete(key)

        if keys:
            self.update(drop)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield copies of all entries, in transactions of one entry each."""
        start = b""
        while True:

            def action(start: bytes = start) -> tuple[bytes, bytes] | None:
                if self._env is None:
                    return None
                with self._env.begin() as txn:
                    cursor = txn.cursor()
                    return cursor.item() if cursor.set_range(start) else None

            entry = self._retrying(action)
            if entry is None:
                return
            yield entry
            start = entry[0] + b"\0"  # the first key that may follow

    def __len__(self) -> int:
        return self._retrying(lambda: 0 if self._env is None else int(self._env.stat()["entries"]))

    def _guarded(self, action: Callable[[], T]) -> T:
        try:
            return self._retrying(action)
        except lmdb.Error as error:
            raise unusable(f"The cache at {str(self.path)!r} cannot be written ({error})") from None

    def _retrying(self, action: Callable[[], T]) -> T:
        """Run a transaction; grow the map, or follow another process that grew it, as needed.

        Where the file proves damaged, the transaction is run once more on an empty one.
        """
        with self._turn:
            if self._process != os.getpid():
                self._open()
            for last in (False, True):
                try:
                    self._check_size()
                    result = self._growing(action)
                    self._check_size()  # it may have grown
                    return result
                except _DAMAGE as error:
                    if last:
                        raise unusable(
                            f"The cache at {str(self.path)!r} is damaged again ({error})"
                        ) from None
                    self._replace(str(error))
            raise AssertionError("unreachable")

    def _growing(self, action: Callable[[], T]) -> T:
        while True:
            try:
                return action()
            except lmdb.MapFullError:
                assert self._env is not None
                self._env.set_mapsize(self._env.info()["map_size"] * 2)
            except lmdb.MapResizedError:
                assert self._env is not None
                self._env.set_mapsize(0)

    def _check_size(self) -> None:
        """See that the file did not get shorter, which LMDB never does: reading it would kill."""
        inode, size = self._size_now()
        if inode == self._size[0] and size < self._size[1]:
            raise DamagedError("it was cut short while it was open")
        if inode == self._size[0] or self._size[0] == 0:
            self._size = inode, size

    def _replace(self, damage: str) -> None:
        """Open the folder without the file, unless another process has replaced it already."""
        inode, _ = self._size
        self._close()
        self._open((inode, damage))


def can_write(folder: Path, *files: Path) -> bool:
    """Whether a folder, or the nearest one above it, and the files in it can be written."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return all(os.access(path, os.W_OK) for path in (folder, *files) if path.exists())


def _patiently(look: Callable[[], Any]) -> None:
    """Look at a file until it seems right; another process may be writing its first pages."""
    for _ in range(_LOOKS - 1):
        try:
            look()
        except DamagedError:
            time.sleep(_BETWEEN_LOOKS)
        else:
            return
    look()


def _leave_all_to_parent() -> None:
    for environment in list(_open_here):
        environment.leave_to_parent()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_leave_all_to_parent)
