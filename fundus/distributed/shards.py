"""What a worker does: the frozen work of a shard of images, in a store of its own."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.data.inputs import Images
from fundus.distributed.local_folder import refuse_networked
from fundus.exceptions import EngineError, ImageReadError
from fundus.frozen.filling import missing_rows
from fundus.frozen.function import Frozen
from fundus.frozen.work import Work, digests, entry_keys, features, segment_of
from fundus.store import Cache, Segment, Store, default_location, open_store

#: Size in bytes and time of the last change in nanoseconds; ``None`` where there is no such file.
Stamp = tuple[int, int] | None


@dataclass(frozen=True)
class Task:
    """What all shards of an extraction share.

    Parameters
    ----------
    frozen : Frozen
    key : str
        Its cache key, as the caller computes it.
    cache : bool, path or Cache
        The store of the worker's machine.
    n_jobs : int or None
        Decoding threads of a worker.
    """

    frozen: Frozen
    key: str
    cache: Any
    n_jobs: int | None


@dataclass(frozen=True)
class Shard:
    """Some rows of images.

    Parameters
    ----------
    rows : ndarray of int
        Their numbers among all images.
    images : Images
        Only those rows.
    stamps : list of tuple or None
        What the caller sees of each file.
    """

    rows: NDArray[np.intp]
    images: Images
    stamps: Sequence[Stamp]


@dataclass(frozen=True)
class Done:
    """What a worker has made of a shard.

    Parameters
    ----------
    kept : ndarray of int, shape (n_kept,)
        Places in the shard of the images that could be read.
    digests : list of str
        SHA-256 of each of them.
    features : ndarray of float32, shape (n_kept, n_features)
        Before the power.
    unread : dict of int to str
        Place in the shard of each other image, and why it could not be read.
    same : list of bool
        Whether the worker sees the same time at the file, for each of `kept`.
    worker : str
        Host and process.
    seconds : float
    computed : int
        Images that its machine's store did not have.
    peak_bytes : int
        Most memory of the process so far; 0 where the system does not say.
    """

    kept: NDArray[np.intp]
    digests: list[str]
    features: NDArray[np.float32]
    unread: dict[int, str]
    same: list[bool]
    worker: str
    seconds: float
    computed: int
    peak_bytes: int

    @property
    def n_bytes(self) -> int:
        """Bytes of the arrays and digests that travel to the caller."""
        return self.features.nbytes + self.kept.nbytes + sum(map(len, self.digests))


def stamp_of(path: str) -> Stamp:
    """Look at a file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def this_worker() -> str:
    """Name this process among all machines."""
    return f"{socket.gethostname()}:{os.getpid()}"


def worker_store(cache: Any) -> Store | None:
    """Open the store of a worker, on a disk of its machine.

    Raises
    ------
    StoreError
        If its folder is on a network file system, or cannot be used.
    """
    if cache is False:
        return None
    if cache is True:
        folder = default_location()
    else:
        folder = cache.path() if isinstance(cache, Cache) else Path(cache)
    refuse_networked(folder.expanduser().absolute())
    return open_store(cache)


def peak_bytes() -> int:
    """Most memory that this process had; 0 where the system does not say."""
    if sys.platform == "win32":
        return 0
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most if sys.platform == "darwin" else most * 1024)


def do_shard(task: Task, shard: Shard) -> Done:
    """Do the frozen work of a shard; images that cannot be read are left out, and named.

    Raises
    ------
    EngineError
        If this worker computes another function, or sees other files, than the caller.
    StoreError
        If the machine's store cannot be used.
    """
    started = time.perf_counter()
    frozen = task.frozen
    if frozen.key() != task.key:
        raise EngineError(
            f"The worker {this_worker()} would compute other features than this process: the "
            "releases of its packages, its plugins or its weights differ."
        )
    same = _compare_files(shard)
    store = worker_store(task.cache)
    names, unread = _digests(shard.images, store, task.n_jobs)
    segment = None if store is None else segment_of(frozen, store)
    keys = entry_keys(list(names.values()))
    computed = len(keys) if segment is None else len(missing_rows(segment, keys))
    found, kept = _features(task, shard.images, store, segment, names, unread)
    return Done(
        kept,
        [names[place] for place in kept.tolist()],
        found,
        unread,
        [same[place] for place in kept.tolist()],
        this_worker(),
        time.perf_counter() - started,
        computed,
        peak_bytes(),
    )


def _compare_files(shard: Shard) -> list[bool]:
    """Refuse files of other sizes than the caller sees; return which have the same time too."""
    same = []
    for place, theirs in enumerate(shard.stamps):
        ours = stamp_of(str(shard.images.paths[place])) if shard.images.paths is not None else None
        if theirs is not None and (ours is None or ours[0] != theirs[0]):
            sees = "no such file" if ours is None else f"{ours[0]:,} bytes"
            raise EngineError(
                f"The worker {this_worker()} sees other images: "
                f"{str(shard.images.paths[place])!r} "  # type: ignore[index]
                f"has {theirs[0]:,} bytes here, and there {sees}. Every machine must have the "
                "same files under the same paths."
            )
        same.append(theirs is not None and ours == theirs)
    return same


def _digests(
    images: Images, store: Store | None, n_jobs: int | None
) -> tuple[dict[int, str], dict[int, str]]:
    """Digests by place, and why the others cannot be read."""
    try:
        return dict(enumerate(digests(images, store, n_jobs=n_jobs))), {}
    except ImageReadError:
        pass  # which of them it is, is asked one by one
    names: dict[int, str] = {}
    unread: dict[int, str] = {}
    for place in range(len(images)):
        try:
            names[place] = images.digest_of(place, images.content_digest(place))
        except ImageReadError as error:
            unread[place] = str(error)
    return names, unread


def _features(
    task: Task,
    images: Images,
    store: Store | None,
    segment: Segment | None,
    names: dict[int, str],
    unread: dict[int, str],
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Features of what can be decoded; `unread` gets the rest."""
    frozen = task.frozen
    while True:
        kept = np.array([place for place in names if place not in unread], dtype=np.intp)
        if not len(kept):
            return np.empty((0, 0), dtype=np.float32), kept
        some = [names[place] for place in kept.tolist()]
        work = Work(images.subset(kept), frozen, some, store, segment, task.n_jobs, 0)
        try:
            return features(work), kept
        except ImageReadError:
            present = segment.has_many(entry_keys(some)) if segment is not None else ()
            known = {p for p, there in zip(kept.tolist(), present, strict=False) if there}
            before = len(unread)
            for place in set(kept.tolist()) - known:
                try:
                    images.picture(place, frozen.recipe)
                except ImageReadError as error:
                    unread[place] = str(error)
            if len(unread) == before:  # it is readable now: another error than of its content
                raise
