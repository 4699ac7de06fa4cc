"""Nearest neighbours among features: all pairs of thousands, an index of hundreds of thousands."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import DataWarning, warn_caller
from fundus.runtime.threads import thread_count

#: Of more images than this an index is asked; all pairs of as many take about half a minute.
ALL_PAIRS = 20_000

_REDUCED = 64  # dimensions in which the index looks
_PARTS = 3.5  # times √n parts of the index
_LISTS = 64  # parts that are looked at
_TRAINED_ON = 40  # images for each part, in even steps; faiss wants 39
_AGAIN = 4  # times as many candidates are compared in all dimensions
_BLOCK = 4096  # images at a time
_SEED = 0

Vectors = NDArray[np.float32]


def neighbour_pairs(
    vectors: Vectors, n_neighbors: int, *, exact: bool = False, n_jobs: int | None = None
) -> NDArray[np.intp]:
    """Find pairs of rows of which one is among the other's nearest by cosine.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n_samples, n_features)
        They are standardised first.
    n_neighbors : int
        Of each row, at least 1.
    exact : bool, default=False
        Whether all pairs are compared, also of more than `ALL_PAIRS` rows.
    n_jobs : int, default=None
        Threads of the index; ``None`` and -1 mean one per processor.

    Returns
    -------
    ndarray of int, shape (n_pairs, 2)
        The lower row first.

    Warns
    -----
    DataWarning
        If there are more than `ALL_PAIRS` rows, and faiss is not installed: all pairs are then
        compared, which gives the same result or one more complete, and takes longer.

    Notes
    -----
    Of up to `ALL_PAIRS` rows all pairs are compared, in blocks. Of more an index (an inverted file
    of the first 64 principal components, by faiss [1]_) gives four times as many candidates as are
    asked for, of which the nearest in all dimensions are kept. It may miss some of the less near
    neighbours; what is nearly the same lies in one part of it.

    References
    ----------
    .. [1] M. Douze et al., "The Faiss library", 2024. :doi:`10.48550/arXiv.2401.08281`

    Examples
    --------
    >>> vectors = np.array([[0, 1], [0, 1.1], [5, 0], [5, 0.1]], dtype=np.float32)
    >>> neighbour_pairs(vectors, 1).tolist()
    [[0, 1], [2, 3]]
    """
    k = min(n_neighbors, len(vectors) - 1)
    if k < 1:
        return np.empty((0, 2), dtype=np.intp)
    unit = _unit_vectors(vectors)
    if exact or len(unit) <= ALL_PAIRS:
        return _as_pairs(_by_all_pairs(unit, k))
    try:
        import faiss
    except ImportError:
        warn_caller(
            f"All pairs of {len(unit):,} images are compared, which takes about "
            f"{_minutes(len(unit)):,} minutes: an index takes one or two. For it install "
            "fundus-zoo[large], or faiss-cpu.",
            DataWarning,
        )
        return _as_pairs(_by_all_pairs(unit, k))
    with _threads(faiss, thread_count(n_jobs)):
        return _as_pairs(_by_index(faiss, unit, k))


@contextmanager
def _threads(faiss: Any, n: int) -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(n)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _minutes(n: int) -> int:
    return math.ceil(0.5 * (n / ALL_PAIRS) ** 2)


def _as_pairs(near: NDArray[np.intp]) -> NDArray[np.intp]:
    """Rows and their neighbours ``(n_samples, k)`` as pairs, each once; -1 means none."""
    pairs = np.stack([np.repeat(np.arange(len(near)), near.shape[1]), near.ravel()], axis=1)
    return np.unique(np.sort(pairs[pairs[:, 1] >= 0], axis=1), axis=0)


def _unit_vectors(vectors: Vectors) -> Vectors:
    """Standardise, and bring to one length.

    A network's features of two fundi differ little from their common mean; of vectors of one
    length, the nearest are those of the largest cosine.
    """
    spread = vectors.std(axis=0, dtype=np.float64)
    mean = vectors.mean(axis=0, dtype=np.float64)
    scale = np.where(spread > 0, spread, 1)
    unit = np.empty_like(vectors)
    for start in range(0, len(vectors), _BLOCK):
        part = (vectors[start : start + _BLOCK] - mean) / scale
        length = np.linalg.norm(part, axis=1, keepdims=True)
        unit[start : start + _BLOCK] = part / np.where(length > 0, length, 1)
    return unit


def _by_all_pairs(unit: Vectors, k: int) -> NDArray[np.intp]:
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors(n_neighbors=k).fit(unit).kneighbors(return_distance=False)


def _by_index(faiss: Any, unit: Vectors, k: int) -> NDArray[np.intp]:
    n, size = unit.shape
    n_lists = round(_PARTS * math.sqrt(n))
    index: Any = faiss.index_factory(
        size, f"PCA{_REDUCED},IVF{n_lists},Flat" if size > _REDUCED else f"IVF{n_lists},Flat"
    )
    inverted = faiss.extract_index_ivf(index)
    inverted.cp.seed, inverted.nprobe = _SEED, _LISTS
    index.train(np.ascontiguousarray(unit[:: max(1, n // (_TRAINED_ON * n_lists))]))
    index.add(unit)
    near = np.empty((n, k), dtype=np.intp)
    for start in range(0, n, _BLOCK):
        rows = slice(start, min(start + _BLOCK, n))
        near[rows] = _nearest_of(unit, rows, index.search(unit[rows], _AGAIN * k + 1)[1], k)
    return near


def _nearest_of(
    unit: Vectors, rows: slice, candidates: NDArray[np.int64], k: int
) -> NDArray[np.intp]:
    """The `k` nearest of each row's candidates in all dimensions, itself not among them."""
    own = np.arange(rows.start, rows.stop)[:, np.newaxis]
    cosines = np.empty(candidates.shape, dtype=np.float32)
    for column in range(candidates.shape[1]):
        cosines[:, column] = np.einsum("ij,ij->i", unit[rows], unit[candidates[:, column]])
    cosines[(candidates < 0) | (candidates == own)] = -np.inf
    best = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    found = np.take_along_axis(candidates, best, axis=1)
    found[np.isneginf(np.take_along_axis(cosines, best, axis=1))] = -1
    return found
