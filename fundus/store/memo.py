"""Digests of files by path, size, times and inode, so that a warm run reads no image."""

from __future__ import annotations

import hashlib
import os
import struct
import time
import zlib
from dataclasses import dataclass

from fundus.exceptions import StoreWarning, warn_once
from fundus.store.environment import Environment

_STAT = struct.Struct("<qqqQ")  # size, mtime, ctime (ns), inode
_CRC = struct.Struct("<I")
_OLD_LENGTH = _STAT.size + 64  # without a checksum, as up to release 0.1
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
        entries = self._environment.read(keys, lambda _, b: None if b is None else bytes(b))
        pairs = list(zip(states, entries, strict=True))
        wrong = sum(
            entry is not None and _entry(state.key, entry[: -_CRC.size]) != entry
            for state, entry in pairs
            if state is not None
        )
        if wrong:
            old = any(entry is not None and len(entry) == _OLD_LENGTH for entry in entries)
            why = "of an earlier release, which had no checksums" if old else "damaged"
            warn_once(
                f"The cache at {str(self._environment.path)!r} has digests of files that are "
                f"{why}; they are computed again.",
                StoreWarning,
            )
        return [
            entry[_STAT.size : -_CRC.size].decode()
            if state is not None
            and entry is not None
            and entry.startswith(state.stamp)
            and _entry(state.key, entry[: -_CRC.size]) == entry
            else None
            for state, entry in pairs
        ]

    def remember(self, digests: list[tuple[FileState, str]]) -> None:
        """Keep digests, in one transaction, of files that were not written a moment ago."""
        now = time.time_ns()
        settled = [(s, d) for s, d in digests if now - s.changed_ns > _SETTLED_NS]
        if settled:
            self._environment.write(
                (s.key, _entry(s.key, s.stamp + d.encode())) for s, d in settled
            )


def _entry(key: bytes, content: bytes) -> bytes:
    """Add the checksum, which also covers the key."""
    return content + _CRC.pack(zlib.crc32(content, zlib.crc32(key)))
