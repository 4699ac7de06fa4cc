"""Features of many images, made in shards on several machines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from fundus.backbones.pooling import signed_power
from fundus.data.inputs import Images, as_images
from fundus.distributed.agreement import check_workers
from fundus.distributed.engines import Engine, WorkerDiedError
from fundus.distributed.opening import engine_of
from fundus.distributed.shards import Done, Shard, Task, do_shard, stamp_of
from fundus.exceptions import EngineError, FundusError, ImageReadError
from fundus.frozen.settings import FrozenSettings
from fundus.frozen.work import entry_keys, segment_of, tolerating
from fundus.parameters import invalid
from fundus.runtime.keras_settings import carried
from fundus.runtime.progress import track
from fundus.store import Cache, Segment, Store, open_store
from fundus.store.memo import FileState, file_state
from fundus.transfer.features import FeatureExtractor

#: Shards that wait or run for each worker: one runs while the next is on its way.
_AHEAD = 2

_LOOK_AGAIN = 1.0  # seconds between two looks at which workers there are
_PATIENCE = 60.0  # seconds without any worker

#: What several libraries raise where memory is full.
_OUT_OF_MEMORY = {"MemoryError", "_ArrayMemoryError", "ResourceExhaustedError", "OutOfMemoryError"}


@dataclass
class WorkerRecord:
    """What a worker has done.

    Parameters
    ----------
    n_images : int
        Images whose features it has given.
    n_computed : int
        Those of them that its machine's store did not have.
    seconds : float
        In its shards.
    n_bytes : int
        Bytes of its results.
    peak_bytes : int
        Most memory of its process; 0 where the system does not say.
    """

    n_images: int = 0
    n_computed: int = 0
    seconds: float = 0.0
    n_bytes: int = 0
    peak_bytes: int = 0


@dataclass(frozen=True)
class Extraction:
    """Features of images, and how they were made.

    Parameters
    ----------
    features : ndarray of float32, shape (n_samples, n_features)
        As `FeatureExtractor.transform` gives them; ``nan`` for images that could not be read.
    unread : dict of int to str
        Row of each of these, and why.
    n_known : int
        Images that the caller's store had already.
    workers : dict of str to WorkerRecord
        By host and process.
    """

    features: NDArray[np.float32]
    unread: dict[int, str] = field(default_factory=dict)
    n_known: int = 0
    workers: dict[str, WorkerRecord] = field(default_factory=dict)


def extract(
    X: Any,
    *,
    client: Any = "dask",
    extractor: FeatureExtractor | None = None,
    shard_size: int = 128,
    worker_cache: Any = True,
    on_error: str = "raise",
) -> Extraction:
    """Turn images into features on the workers of Dask or Ray.

    Each machine keeps what it computes in a store of its own, and the caller's store gets all of
    it, so that a fit afterwards reads no photograph. Results are the bits of `extractor` on one
    machine with the same processor and packages. A worker that ends costs the time of its shards,
    which others do again; one that joins late gets shards too; a call after an interruption goes
    on with what the stores have.

    Parameters
    ----------
    X : images
        As in `FeatureExtractor.fit`. Files must have the same paths on every machine.
    client : distributed.Client, "dask" or "ray", default="dask"
        "dask" is the client that was made last; "ray" is what ``ray.init`` has connected to.
    extractor : FeatureExtractor, default=None
        Not fitted, it is fitted on `X`; ``None`` is ``FeatureExtractor()``. Its `cache` is the
        caller's store, its `n_jobs` the decoding threads of each worker.
    shard_size : int, default=128
        Images of a task.
    worker_cache : bool, path or Cache, default=True
        Store of each machine: ``True`` is its own ``FUNDUS_CACHE_DIR`` or user's cache folder,
        ``False`` is none. It must be on a disk of that machine. Its dtype is that of the caller's.
    on_error : {"raise", "skip"}, default="raise"
        Whether images that cannot be read are an error, after all others are done, or rows of
        ``nan``.

    Returns
    -------
    Extraction

    Raises
    ------
    InvalidParameterError
        If a parameter cannot be used.
    EngineError
        If there are no workers; one has other releases of the packages, other plugins, weights or
        images; or one ends or lacks memory again and again on the same shard.
    StoreError
        If a worker's store is on a network file system, or cannot be used.
    ImageReadError
        If images cannot be read and `on_error` is "raise".

    Examples
    --------
    >>> import numpy as np
    >>> from distributed import Client
    >>> from fundus import FeatureExtractor
    >>> X = np.zeros((4, 40, 60, 3), dtype=np.uint8)
    >>> tiny = FeatureExtractor("tiny", weights="fixed", cache=False)
    >>> with Client(processes=False, dashboard_address=":0") as client:
    ...     found = extract(X, client=client, extractor=tiny, worker_cache=False)
    >>> found.features.shape
    (4, 16)
    """
    _check(shard_size, worker_cache, on_error)
    engine = engine_of(client)
    images = as_images(X)
    extractor = FeatureExtractor() if extractor is None else extractor
    if not hasattr(extractor, "frozen_"):
        extractor = clone(extractor).fit(images)
    return extract_on(
        engine,
        images,
        extractor,
        shard_size=shard_size,
        worker_cache=worker_cache,
        on_error=on_error,
    )


def extract_on(
    engine: Engine,
    images: Images,
    extractor: FeatureExtractor,
    *,
    shard_size: int = 128,
    worker_cache: Any = True,
    on_error: str = "raise",
) -> Extraction:
    """Do what `extract` does, on an engine, with a fitted extractor."""
    images = _as_sent(images)
    settings = FrozenSettings.of(extractor, freeze="all")
    frozen, store = extractor.frozen_, open_store(settings.cache)
    cache = _of_workers(worker_cache, "float32" if store is None else store.dtype)
    task = Task(frozen, frozen.key(), cache, settings.n_jobs)
    run = _Run(engine, task, images, store, shard_size)
    found = run.known()
    if run.left:
        check_workers(engine, task, images)
        for rows, done in track(
            run.results(), total=len(run.left), what="Extracting features", show=settings.verbose
        ):
            found.update(zip(np.asarray(rows)[done.kept].tolist(), done.features, strict=True))
    if run.unread and on_error == "raise":
        first = min(run.unread)
        n_more = len(run.unread) - 1
        more = f" {n_more} more rows cannot be read either." if n_more else ""
        raise ImageReadError(f"Row {first}: {run.unread[first]}{more}")
    n_features = len(next(iter(found.values()))) if found else extractor._n_features_out
    features = np.full((len(images), n_features), np.nan, dtype=np.float32)
    for row, values in found.items():
        features[row] = values
    power = signed_power(features, frozen.power)
    return Extraction(power, dict(sorted(run.unread.items())), run.n_known, run.workers)


def _as_sent(images: Images) -> Images:
    """Images as workers may see them: no patients, and paths that do not depend on a folder."""
    paths = images.paths
    if paths is not None:
        paths = np.array([os.path.abspath(path) for path in paths.tolist()], dtype=object)
    return replace(images, patients=None, paths=paths)


def _check(shard_size: Any, worker_cache: Any, on_error: Any) -> None:
    if not isinstance(shard_size, int) or isinstance(shard_size, bool) or shard_size < 1:
        raise invalid("extract", "shard_size", "an int of at least 1", shard_size)
    if not isinstance(worker_cache, (bool, str, PathLike, Cache)):
        raise invalid("extract", "worker_cache", "a bool, a folder or a Cache", worker_cache)
    if on_error not in ("raise", "skip"):
        raise invalid("extract", "on_error", "'raise' or 'skip'", on_error)


def _of_workers(cache: Any, dtype: str) -> Any:
    if cache is False:
        return False
    if isinstance(cache, Cache):
        return replace(cache, dtype=dtype)
    if isinstance(cache, (str, PathLike)):
        cache = os.path.abspath(cache)
    return Cache(None if cache is True else cache, dtype=dtype)


class _Run:
    """One extraction: what is known, what is left, and what comes back."""

    def __init__(
        self, engine: Engine, task: Task, images: Images, store: Store | None, shard_size: int
    ) -> None:
        self.engine, self.task, self.images, self.store = engine, task, images, store
        self.shard_size = shard_size
        self.segment: Segment | None = None
        if store is not None:
            self.segment = segment_of(task.frozen, store)
        self.states: list[FileState | None] = [None] * len(images)
        self.left = list(range(len(images)))
        self.unread: dict[int, str] = {}
        self.workers: dict[str, WorkerRecord] = {}
        self.n_known = 0

    def known(self) -> dict[int, NDArray[np.float32]]:
        """Return what the caller's store has of files that have not changed, by row."""
        if self.store is None or self.segment is None or self.images.paths is None:
            return {}
        # before workers read them, so that a change in between is noticed next time
        self.states = [file_state(path) for path in self.images.paths.tolist()]
        digests = self.store.digests.known(self.states)
        named = [
            (row, self.images.digest_of(row, digest))
            for row, digest in enumerate(digests)
            if digest is not None
        ]
        entries = self.segment.get_many(entry_keys([digest for _, digest in named]))
        found = {
            row: entry
            for (row, _), entry in zip(named, entries, strict=True)
            if entry is not None and np.isfinite(entry).all()
        }
        self.left = [row for row in self.left if row not in found]
        self.n_known = len(found)
        return found

    def results(self) -> Iterator[tuple[list[int], Done]]:
        """Yield shards as they are done; what a worker has made is kept before it is given."""
        waiting = self._shards()
        running: dict[Any, Shard] = {}
        work, alone = carried(do_shard), 0.0
        try:
            while True:
                n_workers = len(self.engine.workers())
                alone = 0.0 if n_workers else alone + _LOOK_AGAIN
                if alone > _PATIENCE:
                    raise EngineError(
                        f"{self.engine.name} has had no workers for {_PATIENCE:.0f} s. What was "
                        "done is kept: start workers and call again."
                    )
                while len(running) < _AHEAD * max(1, n_workers):
                    shard = next(waiting, None)
                    if shard is None:
                        break
                    running[self.engine.submit(work, self.task, shard)] = shard
                if not running:
                    return
                for task in self.engine.some_done(list(running), _LOOK_AGAIN):
                    shard = running.pop(task)
                    done = self._rounded(self._result(task, shard))
                    self._keep(shard, done)
                    yield shard.rows.tolist(), done
        finally:
            if running:
                self.engine.cancel(list(running))

    def _shards(self) -> Iterator[Shard]:
        for start in range(0, len(self.left), self.shard_size):
            rows = np.array(self.left[start : start + self.shard_size], dtype=np.intp)
            images = self.images.subset(rows)
            if images.paths is None:
                yield Shard(rows, images, [None] * len(rows))
            else:
                yield Shard(rows, images, [stamp_of(path) for path in images.paths.tolist()])

    def _result(self, task: Any, shard: Shard) -> Done:
        first, last = int(shard.rows[0]), int(shard.rows[-1])
        which = f"the shard from {self.images.where(first)} to {self.images.where(last)}"
        try:
            done: Done = self.engine.result(task)
            return done
        except WorkerDiedError as error:
            raise EngineError(
                f"Workers ended, one after another, in {which} ({error}); most often the system "
                "ends what takes too much memory. What was done is kept: call again with a smaller "
                "shard_size=, fewer threads per worker, or more memory."
            ) from None
        except Exception as error:
            _raise_with_place(error, which)

    def _rounded(self, done: Done) -> Done:
        """Round features as the caller's store does, where no store of a worker has."""
        if self.segment is None or not self.segment.half or self.task.cache is not False:
            return done
        # not in place, as arrays may come so that they cannot be written to
        return replace(done, features=done.features.astype(np.float16).astype(np.float32))

    def _keep(self, shard: Shard, done: Done) -> None:
        """Count a shard, and put it into the caller's store."""
        record = self.workers.setdefault(done.worker, WorkerRecord())
        record.n_images += len(done.kept)
        record.n_computed += done.computed
        record.seconds += done.seconds
        record.n_bytes += done.n_bytes
        record.peak_bytes = max(record.peak_bytes, done.peak_bytes)
        rows = shard.rows[done.kept].tolist()
        self.unread.update((int(shard.rows[place]), why) for place, why in done.unread.items())
        if self.segment is None or self.store is None or not rows:
            return
        with tolerating(self.store):
            self.segment.put_many(zip(entry_keys(done.digests), done.features, strict=True))
            known = [
                (state, digest)
                for row, digest, same in zip(rows, done.digests, done.same, strict=True)
                # a file with another time may have another content there
                if same and (state := self.states[row]) is not None
            ]
            self.store.digests.remember(known)


def _raise_with_place(error: Exception, which: str) -> NoReturn:
    """Raise what a shard has raised, and say which shard it was."""
    if isinstance(error, FundusError):
        error.add_note(f"In {which}.")
        raise error
    if type(error).__name__ in _OUT_OF_MEMORY:
        raise EngineError(
            f"A worker ran out of memory in {which} ({error}). What was done is kept: call again "
            "with a smaller shard_size=, fewer threads per worker, or more memory."
        ) from None
    raise EngineError(f"A worker failed in {which}: {type(error).__name__}: {error}") from error
