"""Bootstrap intervals of scores that a confusion matrix decides, by patient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Interval:
    """A percentile bootstrap interval.

    Parameters
    ----------
    low, high : float
        ``nan`` where no resample had a score.
    confidence : float
        Such as 0.95.
    by_patient : bool
        Whether patients were resampled, with all their photographs, or single photographs.
    """

    low: float
    high: float
    confidence: float
    by_patient: bool

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; ``nan`` becomes ``None``."""
        return {
            "low": finite_or_none(self.low),
            "high": finite_or_none(self.high),
            "confidence": self.confidence,
            "by_patient": self.by_patient,
        }


def bootstrap_confusions(
    true: NDArray[np.intp],
    pred: NDArray[np.intp],
    patients: NDArray[np.intp],
    n_grades: int,
    n_resamples: int,
    random_state: int,
) -> NDArray[np.intp]:
    """Confusion matrices of resampled patients.

    A patient matters only by what it adds to the matrix, and few such patterns occur, so that
    drawing patients is drawing counts of patterns, from a multinomial distribution.

    Parameters
    ----------
    true, pred : ndarray of int, shape (n_samples,)
        Grades, ``0 … n_grades - 1``.
    patients : ndarray of int, shape (n_samples,)
        ``0 … n_patients - 1``, each at least once.
    n_grades : int
    n_resamples : int
    random_state : int

    Returns
    -------
    ndarray of int, shape (n_resamples, n_grades, n_grades)
        By true grade and predicted grade.

    Examples
    --------
    >>> grades, patients = np.array([0, 1, 1]), np.array([0, 0, 1])
    >>> bootstrap_confusions(grades, grades, patients, 2, 4, 0).shape
    (4, 2, 2)
    """
    n_patients = int(patients.max()) + 1
    cells = n_grades * n_grades
    flat = patients * cells + true * n_grades + pred
    # sorted, so that the resamples do not hang on the order of the rows
    keys, counts = np.unique(flat, return_counts=True)
    rows = [
        tuple(zip((part[0] % cells).tolist(), part[1].tolist(), strict=True))
        for part in _by_patient(keys, counts, keys // cells)
    ]
    patterns = sorted(set(rows))
    adds = np.zeros((len(patterns), cells), dtype=np.intp)
    for k, pattern in enumerate(patterns):
        for cell, count in pattern:
            adds[k, cell] = count
    number = {pattern: k for k, pattern in enumerate(patterns)}
    frequency = np.bincount([number[row] for row in rows], minlength=len(patterns))
    rng = np.random.default_rng(random_state)
    draws = rng.multinomial(n_patients, frequency / n_patients, size=n_resamples)
    return (draws @ adds).reshape(n_resamples, n_grades, n_grades)


def _by_patient(
    keys: NDArray[np.intp], counts: NDArray[np.intp], owner: NDArray[np.intp]
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    starts = np.flatnonzero(np.diff(owner)) + 1
    return list(zip(np.split(keys, starts), np.split(counts, starts), strict=True))


def kappa_of(confusion: NDArray[np.intp]) -> NDArray[np.float64]:
    """Quadratic weighted kappa of confusion matrices.

    Parameters
    ----------
    confusion : ndarray of int, shape (…, n_grades, n_grades)

    Returns
    -------
    ndarray of float, shape (…)
        ``nan`` where both gradings are one and the same single grade.

    Examples
    --------
    >>> kappa_of(np.eye(3, dtype=int)).item()
    1.0
    """
    grades = np.arange(confusion.shape[-1])
    penalty = (grades[:, np.newaxis] - grades) ** 2.0
    observed = (penalty * confusion).sum(axis=(-2, -1))
    true, pred = confusion.sum(axis=-1), confusion.sum(axis=-2)
    expected = np.einsum("...i,ij,...j->...", true, penalty, pred)
    n = confusion.sum(axis=(-2, -1))
    nothing = np.full(np.shape(observed), np.nan)
    return 1.0 - np.divide(observed * n, expected, out=nothing, where=expected > 0)


def accuracy_of(confusion: NDArray[np.intp]) -> NDArray[np.float64]:
    """Share of images on the diagonal of confusion matrices ``(…, n_grades, n_grades)``."""
    return np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum(axis=(-2, -1))


def percentiles(scores: NDArray[np.float64], tail: float) -> tuple[float, float]:
    """Percentiles ``tail`` and ``100 - tail`` of scores; ``nan`` where no score is finite."""
    known = scores[np.isfinite(scores)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.percentile(known, [tail, 100 - tail])
    return float(low), float(high)


def finite_or_none(value: float) -> float | None:
    """Return a number as JSON has it, which knows no ``nan``."""
    return value if math.isfinite(value) else None
