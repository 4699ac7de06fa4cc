"""Converts probabilities to severities and back, on the positions of the observed grades."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from fundus.grades.labels import to_positions


def expected_grade(proba: NDArray[np.float64], positions: NDArray[np.intp]) -> NDArray[np.float64]:
    """Severity of a classifier ``(n_samples,)``: the mean grade under its probabilities.

    Parameters
    ----------
    proba : ndarray of float, shape (n_samples, n_classes)
    positions : ndarray of int, shape (n_classes,)
        Position of each class on the scale.

    Examples
    --------
    >>> expected_grade(np.array([[0.5, 0.0, 0.5]]), np.arange(3)).tolist()
    [1.0]
    """
    return proba @ positions.astype(np.float64)


def normalised(proba: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale rows ``(n_samples, n_classes)`` to sum 1; rows that sum to 0 are not changed.

    Examples
    --------
    >>> normalised(np.array([[1.0, 3.0], [0.0, 0.0]])).tolist()
    [[0.25, 0.75], [0.0, 0.0]]
    """
    total = proba.sum(axis=1, keepdims=True)
    return proba / np.where(total > 0, total, 1.0)


def interpolated_proba(
    severity: NDArray[np.float64], positions: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Probabilities of a regressor whose residuals are unknown: linear between two grades.

    Their expected grade is the severity, clipped to the observed grades, and their most probable
    grade is the nearest one. All others have probability 0, so use `spread_proba`
    wherever the residuals are known; models saved by the first releases have none.

    Parameters
    ----------
    severity : ndarray of float, shape (n_samples,)
    positions : ndarray of int, shape (n_classes,)
        Position of each class on the scale, in any order.

    Returns
    -------
    ndarray of float, shape (n_samples, n_classes)

    Examples
    --------
    >>> interpolated_proba(np.array([1.25, 9.0]), np.arange(3)).tolist()
    [[0.0, 0.75, 0.25], [0.0, 0.0, 1.0]]
    """
    order = np.argsort(positions)
    steps = positions[order]
    clipped = np.clip(severity, steps[0], steps[-1])
    proba = np.zeros((len(severity), len(positions)))
    if len(positions) == 1:
        return proba + 1.0
    above = np.clip(np.searchsorted(steps, clipped, side="right"), 1, len(steps) - 1)
    share = (clipped - steps[above - 1]) / (steps[above] - steps[above - 1])
    rows = np.arange(len(severity))
    proba[rows, order[above - 1]] = 1.0 - share
    proba[rows, order[above]] = share
    return proba


def spread_proba(
    severity: NDArray[np.float64], positions: NDArray[np.intp], std: float | None
) -> NDArray[np.float64]:
    r"""Probabilities of a regressor: they fall with the distance from the severity.

    That of grade :math:`k` is proportional to :math:`\exp(-(k - s)^2 / 2\sigma^2)`, with the
    severity :math:`s` clipped to the observed grades: a normal error of the severity, at the
    grades. The most probable grade is the nearest one, of two the first class. The expected grade
    is nearer to the middle at the ends of the scale, where there are grades on one side only.

    Parameters
    ----------
    severity : ndarray of float, shape (n_samples,)
    positions : ndarray of int, shape (n_classes,)
        Position of each class on the scale, in any order.
    std : float or None
        Standard deviation of the severity's error, in positions; at least a 36th of the distance
        between the lowest and the highest class is used, so that no probability is 0.
        ``None`` if it is unknown: as `interpolated_proba`.

    Returns
    -------
    ndarray of float, shape (n_samples, n_classes)
        Greater than 0; every row sums to 1.

    Examples
    --------
    >>> spread_proba(np.array([1.0, 9.0]), np.arange(3), 1.0).round(2).tolist()
    [[0.27, 0.45, 0.27], [0.08, 0.35, 0.57]]
    """
    near = interpolated_proba(severity, positions)
    if std is None or len(positions) == 1:
        return near
    rows, best = np.arange(len(severity)), near.argmax(axis=1)
    low, high = positions.min(), positions.max()
    clipped = np.clip(severity, low, high)[:, np.newaxis]
    nearest = positions[best][:, np.newaxis]
    # squared distances minus that of the nearest grade, so that one weight is 1 and the sign
    # of a difference is exact: only grades as near as the nearest have weight 1 too
    farther = (positions - nearest) * (positions + nearest - 2.0 * clipped)
    weights = np.exp(-farther / (2.0 * max(std, (high - low) / 36.0) ** 2))
    proba = weights / weights.sum(axis=1, keepdims=True)
    most = proba[rows, best][:, np.newaxis]
    return np.where((farther > 0) & (proba >= most), np.nextafter(most, 0.0), proba)


def nearest_class(grades: NDArray[np.intp], positions: NDArray[np.intp]) -> NDArray[np.intp]:
    """Index of the class nearest to each grade, or the lower of two.

    Parameters
    ----------
    grades : ndarray of int, shape (n_samples,)
        Positions on the scale.
    positions : ndarray of int, shape (n_classes,)
        Position of each class on the scale, in any order.

    Examples
    --------
    >>> nearest_class(np.array([0, 1, 3, 4]), np.array([0, 2, 4])).tolist()
    [0, 0, 1, 2]
    """
    order = np.argsort(positions)
    distance = np.abs(grades[:, np.newaxis] - positions[order])
    return order[distance.argmin(axis=1)]


def ordered_logit_proba(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Probabilities from cumulative logits of a grade above ``k``, for all ``k`` but the highest.

    The difference of two neighbouring cumulative probabilities is taken as a product, so that it
    is exact where both are close to 1, and never negative. Every row ``(n_grades,)`` sums to 1.

    Parameters
    ----------
    logits : ndarray of float, shape (n_samples, n_grades - 1)
        Log-odds of ``y > k``; must not rise along a row.

    Examples
    --------
    >>> ordered_logit_proba(np.log([[3.0, 1 / 3]])).tolist()
    [[0.25, 0.5, 0.25]]
    """
    z = _bounded(logits)
    sure = np.ones((len(z), 1))
    at_least, at_most = np.hstack([sure, expit(z)]), np.hstack([expit(-z), sure])
    between = np.hstack([sure, -np.expm1(np.diff(z)), sure])
    return normalised(at_least * at_most * between)


def conditional_logit_proba(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Probabilities from conditional logits: those of ``y > k`` given ``y >= k``.

    Every row ``(n_grades,)`` sums to 1.

    Parameters
    ----------
    logits : ndarray of float, shape (n_samples, n_grades - 1)

    Examples
    --------
    >>> conditional_logit_proba(np.zeros((1, 2))).tolist()
    [[0.5, 0.25, 0.25]]
    """
    z = _bounded(logits)
    sure = np.ones((len(z), 1))
    at_least = np.cumprod(np.hstack([sure, expit(z)]), axis=1)
    return normalised(at_least * np.hstack([expit(-z), sure]))


def _bounded(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    # no probability of a single step underflows to 0, so that a row's does not vanish where the
    # one grade it is sure of was not trained on
    return np.clip(logits.astype(np.float64), -700.0, 700.0)


def to_scale(
    severity: NDArray[np.float64], own: NDArray[Any], scale: NDArray[Any]
) -> NDArray[np.float64]:
    """Convert severities ``(n_samples,)`` from a fold's own scale to the whole one.

    Parameters
    ----------
    severity : ndarray of float, shape (n_samples,)
        In positions on `own`; infinite ones stay so, and one beyond an end of `own` keeps its
        distance from it.
    own : ndarray, shape (n_own,)
        Where a fold lacked a grade and the scale came from the data, a part of `scale`, with wider
        steps.
    scale : ndarray, shape (n_grades,)

    Examples
    --------
    >>> grades = np.array([0, 1, 2, 4]), np.arange(5)
    >>> to_scale(np.array([-0.5, 2.5, 3.25]), *grades).tolist()
    [-0.5, 3.0, 4.25]
    """
    if len(own) == len(scale):
        return severity
    positions = to_positions(own, scale)
    inside = np.clip(severity, 0, len(own) - 1)
    return np.interp(inside, np.arange(len(own)), positions) + (severity - inside)
