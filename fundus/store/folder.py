"""The store's folder: one segment per frozen function, evicted whole, the least used first."""

from __future__ import annotations

import copy
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import StoreError, StoreWarning, warn_once
from fundus.runtime.threads import renewed_after_fork
from fundus.store.claims import Claims
from fundus.store.entries import pack, unpack
from fundus.store.environment import Environment, can_write, read_only
from fundus.store.memo import DigestMemo
from fundus.store.notes import about_of, check_format, write_note
from fundus.store.removal import (
    ABOUT,
    clear,
    remove_leftovers,
    remove_segment,
    segment_folders,
    size_of,
)

#: How often a segment is opened that other processes remove meanwhile.
_TRIES = 3

_LARGEST_HALF = float(np.finfo(np.float16).max)
_CHECK_EVERY = 1 << 26  # bytes written between two looks at the size of the store


class Segment:
    """The arrays that one frozen function, whose identity is `name`, has made, by image.

    With `half`, float32 arrays are kept as float16.
    """

    def __init__(self, store: Store, name: str, path: Path, half: bool) -> None:
        self.store, self.name, self.path, self.half = store, name, path, half
        self.environment = Environment(path, store.path)
        #: Largest rounding error of float16 so far, as a share of the array's largest value.
        self.rounding_error = 0.0

    def get_many(self, keys: Sequence[bytes]) -> list[NDArray[Any] | None]:
        """Return copies of the arrays under some keys, ``None`` for those that are absent.

        A damaged entry counts as absent and is warned about once.
        """
        damaged = False

        def take(key: bytes, buffer: Any) -> NDArray[Any] | None:
            nonlocal damaged
            if buffer is None:
                return None
            array = unpack(buffer, key)
            damaged = damaged or array is None
            if self.half and array is not None and array.dtype == np.float16:
                return array.astype(np.float32)
            return array

        found = self.environment.read(keys, take)
        if damaged:
            warn_once(
                f"The cache at {str(self.path)!r} holds a damaged entry; it is computed again.",
                StoreWarning,
            )
        return found

    def has_many(self, keys: Sequence[bytes]) -> NDArray[np.bool_]:
        """Whether each key has an entry."""
        return np.array(self.environment.read(keys, lambda _, b: b is not None), dtype=bool)

    def put_many(self, items: Iterable[tuple[bytes, NDArray[Any]]]) -> None:
        """Write entries in one transaction: all of them or none.

        Raises
        ------
        StoreError
            If the disk is full or fails, the store's limit is too small for this segment, or a
            value is too large for float16.
        """
        packed = [(key, pack(self._rounded(array), key)) for key, array in items]
        self.environment.write(packed)
        self.environment.written += sum(len(value) for _, value in packed)
        if self.environment.written >= _CHECK_EVERY:
            self.environment.written = 0
            self.store.make_room(keep=self.name)

    def _rounded(self, array: NDArray[Any]) -> NDArray[Any]:
        if not self.half or array.dtype != np.float32:
            return array
        largest = float(np.abs(array).max(initial=0.0))
        if largest > _LARGEST_HALF:
            raise StoreError(
                f"An activation of {largest:.3g} is too large for float16, which ends at "
                f"{_LARGEST_HALF:.0f}: use Cache(dtype='float32')."
            )
        half = array.astype(np.float16)
        if largest:
            error = float(np.abs(half.astype(np.float32) - array).max()) / largest
            self.rounding_error = max(self.rounding_error, error)
        return half

    def note_rounding(self) -> None:
        """Write the largest rounding error so far beside what made the segment."""
        if not self.half:
            return
        note = self.path / ABOUT
        about = about_of(note)
        if about is None:
            return  # evicted by another process, entries and all
        known = about.get("rounding_error")
        known = float(known) if isinstance(known, (int, float)) else -1.0
        self.rounding_error = max(self.rounding_error, known)
        if self.rounding_error > known:
            write_note(note, json.dumps(about | {"rounding_error": self.rounding_error}))


@dataclass(frozen=True)
class SegmentInfo:
    """What is known of a segment without reading it.

    Parameters
    ----------
    name : str
    about : dict
        What made it.
    n_bytes : int
        On disk.
    used : float
        When it was last used, in seconds since the epoch.
    """

    name: str
    about: dict[str, Any]
    n_bytes: int
    used: float


class Store:
    """Arrays by function and image, in one folder that several processes share.

    Parameters
    ----------
    path : Path
        The folder; made if absent.
    limit : int
        Size in bytes above which segments are evicted, the least recently used first.
    on_error : {"raise", "warn"}
        Whether work goes on uncached where the folder fails.
    dtype : {"float32", "float16"}
        How activations are kept.

    A folder that cannot be written is read; what it lacks is computed and not kept, whatever
    `on_error` is.

    Raises
    ------
    StoreError
        If the folder cannot be made or read, is none of a store, or has a newer format.

    Warns
    -----
    StoreWarning
        If something in it is damaged, which is then removed.
    """

    def __init__(self, path: Path, limit: int, on_error: str, dtype: str = "float32") -> None:
        self.path, self.limit, self.on_error, self.dtype = path, limit, on_error, dtype
        self._segments: dict[str, Segment] = {}
        self._turn = renewed_after_fork(threading.RLock())
        check_format(path)
        self.read_only = not can_write(path)
        if self.read_only:
            self.on_error = "warn"
        self.digests = DigestMemo(Environment(path / "digests", path))
        self._claims = Environment(path / "claims", path, disposable=True)

    def with_settings(self, limit: int, on_error: str, dtype: str) -> Store:
        """Return the same folder, open once, under other settings."""
        other = copy.copy(self)
        other.limit, other.dtype = limit, dtype
        other.on_error = "warn" if self.read_only else on_error
        return other

    def segment(
        self, name: str, about: Callable[[], dict[str, Any]], *, half: bool = False
    ) -> Segment:
        """Open a segment, and note that it is used.

        Its name is the identity of the function, at least 32 hexadecimal digits; `about` describes
        the function for people. With `half`, what is written is kept as float16.
        """
        name = name[:32]
        with self._turn:
            for left in reversed(range(_TRIES)):
                # one open environment, under the settings of this store
                found = copy.copy(self._opened(name))
                found.store, found.half = self, half
                try:
                    if not self.read_only:
                        self._note_use(found, about)
                    break
                except (StoreError, FileNotFoundError):
                    # another process may have removed the segment meanwhile
                    if not left:
                        raise
            return found

    def _note_use(self, segment: Segment, about: Callable[[], dict[str, Any]]) -> None:
        note = segment.path / ABOUT
        if about_of(note) is None:
            if note.exists():
                warn_once(
                    f"The note {str(note)!r} was damaged; it is written again.",
                    StoreWarning,
                )
            write_note(note, json.dumps(about(), indent=1))
        os.utime(segment.path)

    def _opened(self, name: str) -> Segment:
        folder = self.path / "segments" / name
        # another process may have evicted what this one has open
        if name not in self._segments or not (folder.is_dir() or self.read_only):
            self._segments[name] = Segment(self, name, folder, False)
        return self._segments[name]

    def environment(self, name: str) -> Environment:
        """Return a segment's entries as they are, without a note that it was used."""
        with self._turn:
            return self._opened(name).environment

    def claims(self, name: str) -> Claims:
        """Return a context in which entries of a segment are claimed before they are computed.

        Raises
        ------
        StoreError
            If nothing can be written.
        """
        if self.read_only:
            raise read_only(self.path)
        return Claims(self._claims, self.path / "workers", name)

    def infos(self) -> list[SegmentInfo]:
        """Describe all segments, the most recently used first."""
        found = []
        for folder in segment_folders(self.path):
            about = about_of(folder / ABOUT) or {}
            try:
                used = folder.stat().st_mtime
            except OSError:
                continue  # evicted by another process
            found.append(SegmentInfo(folder.name, about, size_of(folder), used))
        return sorted(found, key=lambda info: -info.used)

    def make_room(self, keep: str = "") -> None:
        """Evict segments until the store is within its limit, but for the one that is written.

        Raises
        ------
        StoreError
            If that one, `keep`, is above the limit alone.
        """
        remove_leftovers(self.path)
        infos = self.infos()
        total = sum(info.n_bytes for info in infos)
        for info in reversed(infos):
            if total <= self.limit:
                return
            if info.name != keep[:32]:
                self.remove(info.name)
                total -= info.n_bytes
        if total > self.limit:
            raise StoreError(
                f"The cache at {str(self.path)!r} is limited to {self.limit:,} bytes, and this "
                f"work alone takes {total:,}: raise FUNDUS_CACHE_LIMIT, or pass cache=False."
            )

    def remove(self, name: str) -> None:
        """Remove a segment; a process that has it open keeps its own view of it."""
        with self._turn:
            # not closed: another thread may be reading it, and keeps its own view until it is done
            self._segments.pop(name, None)
            remove_segment(self.path, name)

    def clear(self) -> int:
        """Remove all segments; return how many bytes that freed."""
        with self._turn:
            self._segments.clear()
            return clear(self.path)

    def verify(self) -> dict[str, tuple[int, int]]:
        """Remove damaged entries; return by segment how many it had, and how many were damaged.

        A segment whose file is damaged is emptied as a whole, with a warning.
        """
        result = {}
        for info in self.infos():
            environment = self.environment(info.name)
            n_entries = len(environment)
            damaged = [key for key, value in environment.items() if unpack(value, key) is None]
            environment.delete(damaged)
            result[info.name] = (n_entries, len(damaged))
        return result


def age(info: SegmentInfo) -> float:
    """Seconds since a segment was used."""
    return max(0.0, time.time() - info.used)
