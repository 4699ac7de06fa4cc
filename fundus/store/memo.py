"""Digests of files by path, size, times and inode, so that a warm run reads no image."""

from __future__ import annotations

import hashlib
import os
import struct
import time
from dataclasses import dataclass

from fundus.store.environment import Environment

_STAT = struct.Struct("<qqqQ")  # size, mtime, ctime (ns), inode
# a file written a moment ago may change again within the clock's grain, so it is not memoised
_SETTLED_NS = 100_000_000


@dataclass(frozen=True)
class FileState:
    """What a file looked like before it was read."""

    key: bytes
    stamp: bytes
    changed_ns: int


def file_state(path: str) -> FileState | None:
    """Look at a file; ``None`` where there is none to look at."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    inode = stat.st_ino & (2**64 - 1)  # some file systems have longer ones
    return FileState(
        hashlib.sha256(os.path.abspath(path).encode("utf-8", "surrogateescape")).digest(),
        _STAT.pack(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, inode),
        max(stat.st_mtime_ns, stat.st_ctime_ns),
    )


class DigestMemo:
    """SHA-256 by file state."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def known(self, states: list[FileState | None]) -> list[str | None]:
        """Return the digests of files that look as they did when they were hashed."""
        keys = [b"-" if state is None else state.key for state in states]
        found = self._environment.read(keys, lambda b: None if b is None else bytes(b))
        return [
            entry[_STAT.size :].decode()
            if state is not None and entry is not None and entry.startswith(state.stamp)
            else None
            for state, entry in zip(states, found, strict=True)
        ]

    def remember(self, digests: list[tuple[FileState, str]]) -> None:
        """Keep digests, in one transaction, of files that were not written a moment ago."""
        now = time.time_ns()
        settled = [(s, d) for s, d in digests if now - s.changed_ns > _SETTLED_NS]
        if settled:
            self._environment.write((s.key, s.stamp + d.encode()) for s, d in settled)
