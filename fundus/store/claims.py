"""Which process computes which entries, so that several share one piece of work."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fundus.store.environment import Environment, unusable

_TOKEN = re.compile(r"[0-9a-f]{32}")
#: Seconds after which a lock file that nobody holds is that of a dead worker: one that has just
#: been made may not have been locked yet.
_SETTLED = 60


class Claims:
    """Entries of one segment that this worker has taken on; a context that gives them back.

    A worker shows that it lives by holding the lock on a file of its own, which the operating
    system releases when it dies; others may then claim its entries. The environment holds the
    claims of all segments, the folder the lock files.
    """

    def __init__(self, environment: Environment, folder: Path, segment: str) -> None:
        self._environment, self._folder = environment, folder
        self._prefix = bytes.fromhex(segment[:32])
        self._token = uuid.uuid4().hex
        self._life = FileLock(self._file(self._token))
        self._mine: set[bytes] = set()

    def __enter__(self) -> Claims:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._life.acquire()
        except OSError as error:
            raise unusable(
                f"The cache folder {str(self._folder)!r} cannot be used ({error})"
            ) from None
        if remove_dead(self._folder):
            self._release_dead()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.release(list(self._mine))
        finally:
            self._life.release()
            self._file(self._token).unlink(missing_ok=True)

    def take(self, keys: Sequence[bytes], n: int) -> tuple[list[int], int]:
        """Claim the first entries that no living worker has claimed, this one included.

        Parameters
        ----------
        keys : sequence of bytes
            Entries that are wanted, in this order.
        n : int
            How many to claim at most.

        Returns
        -------
        taken : list of int
            Places in `keys` of what is claimed.
        seen : int
            How many keys were looked at.
        """
        alive: dict[bytes, bool] = {self._token.encode(): True}

        def change(txn: Any) -> tuple[list[int], int]:
            taken: list[int] = []
            for place, key in enumerate(keys):
                if len(taken) == n:
                    return taken, place
                owner = txn.get(self._prefix + key)
                if owner is not None:
                    owner = bytes(owner)
                    if owner not in alive:
                        alive[owner] = self._lives(owner)
                    if alive[owner]:
                        continue
                txn.put(self._prefix + key, self._token.encode())
                taken.append(place)
            return taken, len(keys)

        taken, seen = self._environment.update(change)
        self._mine.update(keys[place] for place in taken)
        return taken, seen

    def release(self, keys: Sequence[bytes]) -> None:
        """Give claims back, once the entries are written or have failed."""
        if keys:
            self._environment.delete([self._prefix + key for key in keys])
            self._mine.difference_update(keys)

    def _release_dead(self) -> None:
        """Give back what dead workers had claimed, of all segments."""
        alive = {self._token.encode(): True}
        dead = []
        for key, owner in self._environment.items():
            if owner not in alive:
                alive[owner] = self._lives(owner)
            if not alive[owner]:
                dead.append((key, owner))

        def drop(txn: Any) -> None:
            for key, owner in dead:
                found = txn.get(key)
                if found is not None and bytes(found) == owner:  # nobody has claimed it since
                    txn.delete(key)

        if dead:
            self._environment.update(drop)

    def _file(self, token: str) -> Path:
        return self._folder / f"{token}.lock"

    def _lives(self, owner: bytes) -> bool:
        token = owner.decode("latin-1")
        if not _TOKEN.fullmatch(token):
            return False  # damaged
        file = self._file(token)
        return file.exists() and not _is_free(file)


def remove_dead(folder: Path) -> int:
    """Remove the lock files of workers that were killed; return how many there were."""
    n, now = 0, time.time()
    for file in folder.glob("*.lock"):
        try:
            old = _TOKEN.fullmatch(file.stem) and now - file.stat().st_mtime > _SETTLED
        except OSError:
            continue  # its worker has just removed it
        n += bool(old) and _is_free(file)
    return n


def _is_free(file: Path) -> bool:
    """Whether nobody holds a lock file, which is then removed."""
    try:
        with FileLock(file, timeout=0):
            pass
    except Timeout:
        return False
    file.unlink(missing_ok=True)
    return True
