"""Frozen work: what the untrained part of a backbone makes of an image, done once and kept."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from fundus.data.inputs import Images
from fundus.exceptions import ImageReadError, StoreError, StoreWarning
from fundus.images import image_digest, verify
from fundus.networks.filling import Entries, Job, fill
from fundus.networks.loading import FORWARD_BATCH, load_rows, raise_unreadable, work_done
from fundus.networks.network import Frozen, load_frozen
from fundus.parallel import thread_count
from fundus.progress import track
from fundus.store import Segment, Store
from fundus.store.memo import FileState, file_state
from fundus.warn import warn_once

# Keras compiles at the first call, and TensorFlow uses all processors in each
_one_at_a_time = threading.Lock()


def run_frozen(
    frozen: Frozen, images: NDArray[np.uint8], *, pad_to: int = FORWARD_BATCH
) -> list[NDArray[np.float32]]:
    """Normalise images and run the frozen part on them.

    Parameters
    ----------
    frozen : Frozen
    images : ndarray of uint8, shape (n, size, size, 3)
        RGB, 0–255.
    pad_to : int, default=32
        Smaller batches are padded to this length, so that nothing is retraced.

    Returns
    -------
    list of ndarray of float32, shape (n, …)
        One array per tensor at the cut.
    """
    model = load_frozen(frozen.network)
    x = frozen.normaliser.apply(images)
    if model is None:
        return [x]
    n = len(x)
    padded = np.concatenate([x, np.repeat(x[:1], pad_to - n, axis=0)]) if n < pad_to else x
    work_done["forward_passes"] += n
    with _one_at_a_time:
        outputs = model.predict_on_batch(padded)
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return [np.asarray(output, dtype=np.float32)[:n] for output in outputs]


def digests(images: Images, store: Store | None, *, n_jobs: int | None = None) -> list[str]:
    """SHA-256 of every image; files that cannot be read are named in one error.

    Parameters
    ----------
    images : Images
    store : Store or None
        Remembers the digests of unchanged files.
    n_jobs : int, default=None
        Threads.

    Returns
    -------
    list of str

    Raises
    ------
    ImageReadError
        If files are missing, empty, truncated or no images; the first is named, the rest counted.
    """

    if images.paths is None:
        return [images.digest_of(row, images.array_digest(row)) for row in range(len(images))]
    paths = images.paths.tolist()
    states: list[FileState | None] = [None] * len(paths)
    known: list[str | None] = [None] * len(paths)
    if store is not None:
        # looked at before they are read, so that a change in between is noticed next time
        states = [file_state(path) for path in paths]
        known = store.digests.known(states)

    def one(row: int) -> str | ImageReadError:
        found = known[row]
        if found is not None:
            return found
        try:
            content = images.content(row)
            assert isinstance(content, bytes)
            verify(paths[row], content)
        except ImageReadError as error:
            return error
        return image_digest(content)

    with ThreadPoolExecutor(thread_count(n_jobs)) as pool:
        results = list(pool.map(one, range(len(paths))))
    raise_unreadable(images, {k: r for k, r in enumerate(results) if not isinstance(r, str)})
    digest_list = [r for r in results if isinstance(r, str)]
    if store is not None:
        new = zip(states, known, digest_list, strict=True)
        with tolerating(store):
            store.digests.remember([(s, d) for s, k, d in new if k is None and s is not None])
    return [images.digest_of(row, digest) for row, digest in enumerate(digest_list)]


@contextmanager
def tolerating(store: Store) -> Iterator[None]:
    """Turn a failure of the store into a warning, where the user allows it."""
    try:
        yield
    except StoreError as error:
        if store.on_error == "raise":
            raise
        warn_once(f"{error} Work goes on without it.", StoreWarning)


def entry_keys(digest_list: Sequence[str]) -> list[bytes]:
    """Keys of images in a segment of the store."""
    return [bytes.fromhex(digest) for digest in digest_list]


def features(
    images: Images,
    frozen: Frozen,
    store: Store | None,
    digest_list: Sequence[str] | None = None,
    *,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> NDArray[np.float32]:
    """Pooled features of every image, from the store where they are there.

    Parameters
    ----------
    images : Images
    frozen : Frozen
        With ``freeze="all"``.
    store : Store or None
        ``None`` computes all of them and keeps nothing.
    digest_list : sequence of str, default=None
        What `digests` gave, where it has been asked already.
    n_jobs : int, default=None
        Decoding threads; ``None`` and -1 mean one per processor.
    verbose : int, default=0
        1 shows progress.

    Returns
    -------
    ndarray of float32, shape (n_images, n_features)
    """
    if digest_list is None:
        digest_list = digests(images, store, n_jobs=n_jobs)
    if store is None:
        return _compute_features(images, frozen, digest_list, n_jobs, verbose)
    keys = entry_keys(digest_list)
    with tolerating(store):
        fill_store(images, frozen, store, keys, n_jobs, verbose)
    segment = frozen_segment(frozen, store)
    found = segment.get_many(keys)
    lost = [k for k, array in enumerate(found) if array is None]
    if lost:  # damaged entries, or a store that could not be written
        again = np.array(lost)
        fresh = _compute_features(
            images.subset(again), frozen, [digest_list[k] for k in lost], n_jobs, verbose
        )
        with tolerating(store):
            segment.put_many((keys[k], fresh[j]) for j, k in enumerate(lost))
        for j, k in enumerate(lost):
            found[k] = fresh[j]
    return np.stack(found).astype(np.float32, copy=False)  # type: ignore[arg-type]


def _compute_features(
    images: Images, frozen: Frozen, digest_list: Sequence[str], n_jobs: int | None, verbose: int
) -> NDArray[np.float32]:
    first = {digest: row for row, digest in reversed(list(enumerate(digest_list)))}
    rows = sorted(first.values())
    results: dict[int, NDArray[np.float32]] = {}
    batches = load_rows(images, rows, frozen.recipe, n_jobs=n_jobs)
    for done, batch in track(batches, total=len(rows), what="Extracting features", show=verbose):
        (output,) = run_frozen(frozen, batch)
        results.update(zip(done, output, strict=True))
    return np.stack([results[first[digest]] for digest in digest_list])


def frozen_segment(frozen: Frozen, store: Store) -> Segment:
    """Return where a store keeps what a frozen part makes of images.

    Parameters
    ----------
    frozen : Frozen
    store : Store

    Returns
    -------
    Segment
    """
    name = frozen.name()
    if store.dtype == "float32":
        return store.segment(name, frozen.about)
    name = hashlib.sha256(f"{name} {store.dtype}".encode()).hexdigest()
    return store.segment(name, lambda: frozen.about() | {"dtype": store.dtype}, half=True)


def frozen_job(images: Images, frozen: Frozen, keys: Sequence[bytes]) -> Job:
    """Return the work of running a frozen part on images.

    Parameters
    ----------
    images : Images
    frozen : Frozen
    keys : sequence of bytes
        Key of every row.

    Returns
    -------
    Job
    """

    def compute(rows: Sequence[int], batch: NDArray[np.uint8]) -> Entries:
        outputs = run_frozen(frozen, batch)
        return [
            (part_key(keys[row], k), output[j])
            for j, row in enumerate(rows)
            for k, output in enumerate(outputs)
        ]

    return Job(images, frozen.recipe, keys, compute, "Running the frozen layers")


def fill_store(
    images: Images,
    frozen: Frozen,
    store: Store,
    keys: Sequence[bytes],
    n_jobs: int | None,
    verbose: int,
) -> Segment:
    """Compute and store what is missing; identical images once, shared with other processes."""
    segment = frozen_segment(frozen, store)
    job = frozen_job(images, frozen, keys)
    fill(job, store, segment, n_jobs=n_jobs, verbose=verbose)
    return segment


def part_key(key: bytes, k: int) -> bytes:
    """Key of the k-th tensor at a cut; the first stands for the whole entry."""
    return key if k == 0 else key + bytes([k])
