"""Frozen work: the outputs of a backbone's untrained part, computed once and kept."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.backbones.network import load_frozen, load_maps
from fundus.backbones.splitting import one_or_list
from fundus.data.inputs import Images
from fundus.exceptions import DivergedError, StoreError, StoreWarning, warn_once
from fundus.frozen.filling import Entries, Job, fill
from fundus.frozen.function import Frozen
from fundus.frozen.loading import FORWARD_BATCH, Masks, read_rows, work_done
from fundus.frozen.settings import FrozenSettings
from fundus.images.aperture import field_of_view
from fundus.runtime.forks import refuse_after_fork
from fundus.runtime.progress import track
from fundus.runtime.threads import renewed_after_fork
from fundus.store import Segment, Store, open_store
from fundus.store.memo import FileState, file_state

# Keras compiles at the first call, and TensorFlow uses all processors in each
_one_at_a_time = renewed_after_fork(threading.Lock())

_short = ContextVar("short_batches", default=False)


@contextmanager
def short_batches() -> Iterator[None]:
    """Pad small batches to the next power of two, and not to 32, where someone waits for them.

    A network is traced anew for some of these lengths, and outputs are rounded differently, by
    about 1e-6 of their size. It holds for this thread.
    """
    token = _short.set(True)
    try:
        yield
    finally:
        _short.reset(token)


def run_frozen(
    frozen: Frozen,
    images: NDArray[np.uint8],
    *,
    masks: Masks = None,
    pad_to: int = FORWARD_BATCH,
    where: Callable[[int], str] = "row {} of a batch".format,
) -> list[NDArray[np.float32]]:
    """Normalise images and run the frozen part on them.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, size, size, 3)
        RGB, 0–255.
    masks : ndarray of bool, shape (n, size, size), or None
        Fields of view, for a frozen part that pools over them; found in the images where they are
        not given.
    pad_to : int, default=32
        Smaller batches are padded to this length to avoid retracing.
    where : callable
        Names a row of `images` in an error.

    Returns
    -------
    list of ndarray of float32, shape (n, …)
        One array per tensor at the cut.

    Raises
    ------
    DivergedError
        If one of them is not finite.
    """
    refuse_after_fork()
    model = load_frozen(frozen.network)
    inputs = _inputs(frozen, images, masks)
    return inputs if model is None else _outputs(model, inputs, pad_to, where, frozen)


def run_with_maps(
    frozen: Frozen,
    images: NDArray[np.uint8],
    *,
    masks: Masks = None,
    where: Callable[[int], str] = "row {} of a batch".format,
) -> list[NDArray[np.float32]]:
    """Normalise images and run a network, all of it frozen, and keep the maps that it pools.

    Parameters, and what is raised, are as in `run_frozen`.

    Returns
    -------
    list of ndarray of float32
        The features, (n, n_features), and the maps, first stage first: (n, height, width,
        channels), (n, tokens, channels) or (n, channels).
    """
    refuse_after_fork()
    inputs = _inputs(frozen, images, masks)
    return _outputs(load_maps(frozen.network), inputs, FORWARD_BATCH, where, frozen)


def _inputs(frozen: Frozen, images: NDArray[np.uint8], masks: Masks) -> list[NDArray[Any]]:
    """What a frozen part takes: the normalised pictures, and their fields of view."""
    x: list[NDArray[Any]] = [frozen.normaliser.apply(images)]
    if frozen.pools_fov:
        x.append(field_of_view(images) if masks is None else masks)
    return x


def _outputs(
    model: Any,
    inputs: list[NDArray[Any]],
    pad_to: int,
    where: Callable[[int], str],
    frozen: Frozen,
) -> list[NDArray[np.float32]]:
    """Run a part of a network on a batch, and check what it gives."""
    n = len(inputs[0])
    if _short.get():
        pad_to = min(pad_to, 1 << (n - 1).bit_length())
    padded = [_padded(array, pad_to) for array in inputs]
    work_done["forward_passes"] += n
    with _one_at_a_time:
        outputs = model.predict_on_batch(one_or_list(padded))
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    arrays = [np.asarray(output, dtype=np.float32)[:n] for output in outputs]
    for array in arrays:
        check_features(array, where, frozen.network.spec.name)
    return arrays


def _padded(array: NDArray[Any], length: int) -> NDArray[Any]:
    n = len(array)
    return (
        np.concatenate([array, np.repeat(array[:1], length - n, axis=0)]) if n < length else array
    )


def check_features(
    features: NDArray[np.float32], where: Callable[[int], str], backbone: str
) -> None:
    """Raise if the frozen part of a backbone gives numbers that are not finite.

    Parameters
    ----------
    features : ndarray of float32, shape (n_images, …)
    where : callable
        Names an image in the error.

    Raises
    ------
    DivergedError
        The first image is named, the rest counted.
    """
    bad = np.flatnonzero(~np.isfinite(features.reshape(len(features), -1)).all(axis=1))
    if len(bad):
        more = f" and {len(bad) - 1} more images of its batch" if len(bad) > 1 else ""
        raise DivergedError(
            f"The backbone {backbone!r} gives features that are not finite for "
            f"{where(int(bad[0]))}{more}. Its weights hold NaN, or its numbers overflow: check "
            "the weights file, and the dtype policy, where it is not 'float32'."
        )


def digests(images: Images, store: Store | None, *, n_jobs: int | None = None) -> list[str]:
    """SHA-256 of every image; files that cannot be read are named in one error.

    The store remembers the digests of unchanged files.

    Raises
    ------
    ImageReadError
        If files are missing, empty, truncated or no images; the first is named, the rest counted.
    """
    n = len(images)
    states: list[FileState | None] = [None] * n
    known: list[str | None] = [None] * n
    if store is not None and images.paths is not None:
        # checked before they are read, so that a change in between is noticed next time
        states = [file_state(path) for path in images.paths.tolist()]
        known = store.digests.known(states)

    new = [row for row, digest in enumerate(known) if digest is None]
    fresh = read_rows(images.content_digest, new, n_jobs)
    found = [(s, d) for row, d in fresh.items() if (s := states[row]) is not None]
    if store is not None and found:
        with tolerating(store):
            store.digests.remember(found)
    digest_list = [fresh[row] if digest is None else digest for row, digest in enumerate(known)]
    return [images.digest_of(row, digest) for row, digest in enumerate(digest_list)]


@contextmanager
def tolerating(store: Store) -> Iterator[None]:
    """Turn a failure of the store into a warning, if the user allows it."""
    try:
        yield
    except StoreError as error:
        if store.on_error == "raise":
            raise
        warn_once(f"{error} The work continues without it.", StoreWarning)


def entry_keys(digest_list: Sequence[str]) -> list[bytes]:
    """Keys of images in a segment of the store."""
    return [bytes.fromhex(digest) for digest in digest_list]


@dataclass(frozen=True)
class Work:
    """A frozen part, the images it runs on, and the place of its results in the store.

    Parameters
    ----------
    digests : list of str
        SHA-256 of every image.
    segment : Segment or None
        The segment of the frozen part in the store; ``None`` without a store.
    n_jobs : int or None
        Decoding threads; ``None`` and -1 mean one per processor of this process's share.
    verbose : int
        1 shows progress.
    """

    images: Images
    frozen: Frozen
    digests: list[str]
    store: Store | None
    segment: Segment | None
    n_jobs: int | None
    verbose: int

    @property
    def keys(self) -> list[bytes]:
        """Key of every image in a segment."""
        return entry_keys(self.digests)

    def namer(self, rows: Sequence[int]) -> Callable[[int], str]:
        """Return a function that names the k-th of some rows in an error."""
        return lambda k: self.images.where(rows[k])


def start_work(settings: FrozenSettings, images: Images, frozen: Frozen) -> Work:
    """Compute the digests of the images, and find the segment of the results.

    Of the settings, ``cache``, ``n_jobs`` and ``verbose`` count.

    Raises
    ------
    ImageReadError
        If files are missing, empty, truncated or no images; the first is named, the rest counted.
    """
    store, n_jobs = open_store(settings.cache), settings.n_jobs
    names = digests(images, store, n_jobs=n_jobs)
    segment = None if store is None else segment_of(frozen, store)
    return Work(images, frozen, names, store, segment, n_jobs, settings.verbose)


def segment_of(frozen: Frozen, store: Store) -> Segment:
    """Open the segment of a store that holds what a frozen part makes."""
    name = frozen.key()
    if store.dtype == "float32":
        return store.segment(name, frozen.about)
    name = hashlib.sha256(f"{name} {store.dtype}".encode()).hexdigest()
    return store.segment(name, lambda: frozen.about() | {"dtype": store.dtype}, half=True)


def features(work: Work) -> NDArray[np.float32]:
    """Pooled features of every image, shape (n_images, n_features), from the store if in it.

    The work is one with ``freeze="all"``.
    """
    store, segment = work.store, work.segment
    if store is None or segment is None:
        return _compute_features(work)
    with tolerating(store):
        fill(frozen_job(work), store, segment, n_jobs=work.n_jobs, verbose=work.verbose)
    keys = work.keys
    found = segment.get_many(keys)
    lost = [k for k, array in enumerate(found) if array is None]
    if lost:  # damaged entries, or a store that could not be written
        again = replace(
            work,
            images=work.images.subset(np.array(lost)),
            digests=[work.digests[k] for k in lost],
        )
        fresh = _compute_features(again)
        with tolerating(store):
            segment.put_many((keys[k], fresh[j]) for j, k in enumerate(lost))
        for j, k in enumerate(lost):
            found[k] = fresh[j]
    stacked = np.stack(found).astype(np.float32, copy=False)  # type: ignore[arg-type]
    check_features(stacked, work.images.where, work.frozen.network.spec.name)
    return stacked


def _compute_features(work: Work) -> NDArray[np.float32]:
    first = {digest: row for row, digest in reversed(list(enumerate(work.digests)))}
    rows = sorted(first.values())
    results: dict[int, NDArray[np.float32]] = {}
    batches = frozen_job(work).load(rows, work.n_jobs)
    shown = track(batches, total=len(rows), what="Extracting features", show=work.verbose)
    for done, batch, masks in shown:
        (output,) = run_frozen(work.frozen, batch, masks=masks, where=work.namer(done))
        results.update(zip(done, output, strict=True))
    return np.stack([results[first[digest]] for digest in work.digests])


def frozen_job(work: Work) -> Job:
    """Return the job of running a frozen part on its images."""
    keys = work.keys

    def compute(rows: Sequence[int], batch: NDArray[np.uint8], masks: Masks) -> Entries:
        outputs = run_frozen(work.frozen, batch, masks=masks, where=work.namer(rows))
        return [
            (part_key(keys[row], k), output[j])
            for j, row in enumerate(rows)
            for k, output in enumerate(outputs)
        ]

    what, masks = "Running the frozen layers", work.frozen.pools_fov
    return Job(work.images, work.frozen.recipe, keys, compute, what, masks)


def part_key(key: bytes, k: int) -> bytes:
    """Key of the k-th tensor at a cut; the first marks the whole entry as present."""
    return key if k == 0 else key + bytes([k])
