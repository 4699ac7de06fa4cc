"""Scores of probabilities on an ordered scale."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import roc_auc_score

from fundus.exceptions import DataError
from fundus.grades.icdr import N_GRADES
from fundus.grades.labels import grade_scale, to_positions
from fundus.metrics.resampled import Bins
from fundus.parameters import invalid

#: How far from 1 the sum of an image's probabilities may be; float32 and six decimals are inexact.
SUM_TOLERANCE = 1e-4


def ranked_probability_score(
    y_true: ArrayLike, y_proba: ArrayLike, *, n_grades: int | Sequence[Hashable] = N_GRADES
) -> float:
    """Mean squared error of the cumulative probabilities, so that nearer grades cost less.

    For one image it is the mean over ``k = 1 … n_grades - 1`` of
    ``(P(grade >= k) - [y_true >= k])²``.

    Parameters
    ----------
    y_true : array-like, shape (n_samples,)
        Grades in ``range(n_grades)``, or labels of the scale given as `n_grades`.
    y_proba : array-like of float, shape (n_samples, n_grades)
        Probabilities of all grades of the scale, lowest first.
    n_grades : int or sequence of labels, default=5
        The scale.

    Returns
    -------
    float
        In [0, 1]; 0 is perfect.

    Raises
    ------
    InvalidGradeError
        If a grade lies outside the scale; the message gives the row.
    DataError
        If the probabilities have another shape, are negative or do not sum to 1.

    Notes
    -----
    Cost: O(n_samples · n_grades).

    References
    ----------
    .. [1] E. S. Epstein, "A scoring system for probability forecasts of ranked categories",
       Journal of Applied Meteorology 8(6), 1969.
       :doi:`10.1175/1520-0450(1969)008<0985:ASSFPF>2.0.CO;2`

    Examples
    --------
    >>> near, far = [[0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]]
    >>> ranked_probability_score([0], near, n_grades=3)
    0.5
    >>> ranked_probability_score([0], far, n_grades=3)
    1.0
    """
    true, proba = read_proba(y_true, y_proba, n_grades)
    return float(ranked_losses(true, proba).mean())


def brier_score(
    y_true: ArrayLike, y_proba: ArrayLike, *, n_grades: int | Sequence[Hashable] = N_GRADES
) -> float:
    """Brier's score over all grades: the mean of ``Σ_k (p_k - [y_true = k])²``.

    Parameters
    ----------
    y_true : array-like, shape (n_samples,)
        Grades in ``range(n_grades)``, or labels of the scale given as `n_grades`.
    y_proba : array-like of float, shape (n_samples, n_grades)
        Probabilities of all grades of the scale, lowest first.
    n_grades : int or sequence of labels, default=5
        The scale.

    Returns
    -------
    float
        In [0, 2]; 0 is perfect. scikit-learn's ``brier_score_loss`` with
        ``scale_by_half=False``.

    Raises
    ------
    InvalidGradeError, DataError
        As in `ranked_probability_score`.

    Notes
    -----
    Cost: O(n_samples · n_grades).

    References
    ----------
    .. [1] G. W. Brier, "Verification of forecasts expressed in terms of probability", Monthly
       Weather Review 78(1), 1950. :doi:`10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2`

    Examples
    --------
    >>> brier_score([0, 2], [[1.0, 0.0, 0.0], [0.5, 0.0, 0.5]], n_grades=3)
    0.25
    """
    true, proba = read_proba(y_true, y_proba, n_grades)
    # not `brier_score_loss`, which takes no rounded rows
    return float(brier_losses(true, proba).mean())


def expected_calibration_error(
    y_true: ArrayLike,
    y_proba: ArrayLike,
    *,
    n_grades: int | Sequence[Hashable] = N_GRADES,
    n_bins: int = 10,
) -> float:
    """Mean distance of the probability of the predicted grade and how often it is right.

    Images are put into `n_bins` of one width by the highest of their probabilities; the error is
    the mean over images of ``|accuracy - mean probability|`` of their bin.

    Parameters
    ----------
    y_true : array-like, shape (n_samples,)
        Grades in ``range(n_grades)``, or labels of the scale given as `n_grades`.
    y_proba : array-like of float, shape (n_samples, n_grades)
        Probabilities of all grades of the scale, lowest first.
    n_grades : int or sequence of labels, default=5
        The scale.
    n_bins : int, default=10

    Returns
    -------
    float
        In [0, 1]. It is biased upwards where bins hold few images: a perfectly calibrated model
        does not score 0 on a small sample.

    Raises
    ------
    InvalidGradeError, DataError
        As in `ranked_probability_score`.
    InvalidParameterError
        If `n_bins` is below 1.

    Notes
    -----
    Cost: O(n_samples · (n_grades + n_bins)).

    References
    ----------
    .. [1] C. Guo et al., "On calibration of modern neural networks", ICML 2017.
       :arxiv:`1706.04599`

    Examples
    --------
    >>> expected_calibration_error([0, 1], [[0.75, 0.25], [0.75, 0.25]], n_grades=2)
    0.25
    """
    if n_bins < 1:
        raise invalid("", "n_bins", "at least 1", n_bins)
    true, proba = read_proba(y_true, y_proba, n_grades)
    best = proba.argmax(axis=1)
    bins = Bins(best == true, proba.max(axis=1), n_bins)
    return float(bins.error(np.ones((1, len(true))))[0])


def macro_auc(
    y_true: ArrayLike, y_proba: ArrayLike, *, n_grades: int | Sequence[Hashable] = N_GRADES
) -> float:
    """Mean area under the ROC curve of each grade against the rest.

    Parameters
    ----------
    y_true : array-like, shape (n_samples,)
        Grades in ``range(n_grades)``, or labels of the scale given as `n_grades`.
    y_proba : array-like of float, shape (n_samples, n_grades)
        Probabilities of all grades of the scale, lowest first.
    n_grades : int or sequence of labels, default=5
        The scale.

    Returns
    -------
    float
        The mean over the grades that occur.

    Raises
    ------
    InvalidGradeError, DataError
        As in `ranked_probability_score`, and if all images are of one grade.

    Notes
    -----
    Cost: O(n_grades · n_samples · log n_samples).

    Examples
    --------
    >>> macro_auc([0, 1, 1], [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], n_grades=2)
    1.0
    """
    true, proba = read_proba(y_true, y_proba, n_grades)
    grades = np.unique(true)
    if len(grades) == 1:
        raise DataError(
            "An AUC needs images of at least two grades. "
            f"Got {len(true)} images, all of grade {grades[0]}."
        )
    return float(roc_auc_score(true[:, np.newaxis] == grades, proba[:, grades]))


def read_proba(
    y_true: ArrayLike, y_proba: ArrayLike, n_grades: int | Sequence[Hashable]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Check grades and their probabilities.

    Parameters
    ----------
    y_true : array-like, shape (n_samples,)
    y_proba : array-like of float, shape (n_samples, n_grades)
    n_grades : int or sequence of labels

    Returns
    -------
    true : ndarray of int, shape (n_samples,)
        Places on the scale.
    proba : ndarray of float, shape (n_samples, n_grades)

    Raises
    ------
    InvalidGradeError, DataError
        As in `ranked_probability_score`.
    """
    scale = grade_scale(n_grades)
    true = to_positions(y_true, scale, name="y_true")
    proba = np.asarray(y_proba, dtype=np.float64)
    check_proba(proba, (len(true), len(scale)))
    return true, proba


def check_proba(proba: NDArray[Any], shape: tuple[int, int]) -> None:
    """Raise `DataError` unless each row is a distribution; `shape` is of images and grades."""
    if proba.shape != shape or not len(proba):
        raise DataError(
            f"y_proba must have a probability of each of {shape[1]} grades for each of at least "
            f"one image, shape {shape}. Got shape {proba.shape}."
        )
    total = proba.sum(axis=1)
    bad = np.flatnonzero(~(np.abs(total - 1) <= SUM_TOLERANCE) | ~(proba >= 0).all(axis=1))
    if len(bad):
        more = f" ({len(bad) - 1} more such rows)" if len(bad) > 1 else ""
        raise DataError(
            "The probabilities of an image must not be negative and must sum to 1. "
            f"Got {proba[bad[0]].tolist()}, which sum to {total[bad[0]]:.6g}, in row "
            f"{bad[0]}{more}."
        )


def ranked_losses(true: NDArray[np.intp], proba: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranked probability score of every image, ``(n_samples,)``."""
    below = np.cumsum(proba, axis=1)[:, :-1]
    reached = true[:, np.newaxis] <= np.arange(proba.shape[1] - 1)
    return ((below - reached) ** 2).mean(axis=1)


def brier_losses(true: NDArray[np.intp], proba: NDArray[np.float64]) -> NDArray[np.float64]:
    """Brier's score of every image, ``(n_samples,)``."""
    return ((proba - np.eye(proba.shape[1])[true]) ** 2).sum(axis=1)
