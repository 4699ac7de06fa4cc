"""Severities to grades: the exact best cutpoints for given severities."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from fundus.exceptions import DataError, InvalidGradeError
from fundus.grades.common_scale import common_scale
from fundus.grades.labels import to_positions
from fundus.parameters import invalid

#: Steps in which normal distributions are cut, and how many standard deviations these reach.
_STEPS = 2000
_REACH = 6.0
#: Standard deviations between neighbouring means, at most.
_WIDEST = 10.0


def optimal_cutpoints(
    severity: ArrayLike,
    grades: ArrayLike,
    *,
    n_grades: int | Sequence[Hashable] | None = None,
    scoring: Any = "qwk",
    sample_weight: ArrayLike | None = None,
    allowed: ArrayLike | None = None,
    distribution: str = "empirical",
) -> tuple[NDArray[np.float64], float]:
    """Find the cutpoints on the severity axis with the best score; the optimum is exact.

    The grade of an image is the number of cutpoints at or below its severity.

    Parameters
    ----------
    severity : array-like of float, shape (n_samples,)
        Finite; use images that the model was not trained on, or the score is too good.
    grades : array-like, shape (n_samples,)
        True grades in ``range(n_grades)``, or labels of the scale given as `n_grades`.
    n_grades : int or sequence of labels, default=None
        The scale, lowest grade first. ``None`` is 5 for numbers and the order of the categories
        for a pandas Categorical; other names are sorted, with a warning.
    scoring : "qwk" or array-like of float, shape (n_grades, n_grades), default="qwk"
        Maximise quadratic weighted kappa, or minimise the mean cost, ``scoring[true, predicted]``.
    sample_weight : array-like of float, shape (n_samples,), default=None
        At least 0; rows with weight 0 are ignored.
    allowed : array-like of labels, default=None
        The grades that may be predicted; ``None`` is the whole scale.
    distribution : {"empirical", "normal"}, default="empirical"
        What they are best for: the severities themselves, or normal distributions fitted to those
        of each grade, all of one standard deviation. The latter depend less on single images, and
        suit severities that lie about each grade's mean symmetrically, as a regressor's do.

    Returns
    -------
    cutpoints : ndarray of float, shape (n_grades - 1,)
        Ascending. Two that coincide leave the grade between them empty. Each lies midway between
        two neighbouring severities; where no severity lies below (above) it, it is ``-inf``
        (``inf``), so that no image, however mild (severe), gets a grade that lowers the score.
    score : float
        Kappa, or minus the mean cost, of the severities themselves.

    Raises
    ------
    DataError
        If lengths differ, a severity is not finite, or no row has weight.
    InvalidGradeError
        If a grade is off the scale, or all grades are the same, for which kappa is undefined.
    InvalidParameterError
        If `scoring` is neither "qwk" nor such a matrix, or `distribution` is another.

    Warns
    -----
    DataWarning
        Where more than two names are sorted alphabetically.

    Notes
    -----
    Cost is a sum over images, so the best split of the sorted severities into intervals follows by
    dynamic programming in O(n · n_grades). Kappa is one minus a ratio of two such sums, which
    Dinkelbach's iteration [1]_ minimises by a few of these programs.

    Of several optima the one with the lowest cutpoints is taken, which errs towards the higher
    grade; where nothing does better than chance, all images get the grade of least mean squared
    distance. Normal distributions are cut at the ends of 2,000 equal steps that they fill to six
    standard deviations. Optimal cutpoints follow the prevalence: on a population with another share
    of each grade they are not optimal.

    References
    ----------
    .. [1] W. Dinkelbach, "On nonlinear fractional programming", Management Science 13(7), 1967.
       :doi:`10.1287/mnsc.13.7.492`

    Examples
    --------
    >>> severity = [0.1, 0.3, 0.9, 1.2, 1.4, 2.0]
    >>> cutpoints, kappa = optimal_cutpoints(severity, [0, 0, 1, 1, 2, 2], n_grades=3)
    >>> cutpoints.round(3).tolist(), kappa
    ([0.6, 1.3], 1.0)
    """
    scale = common_scale(n_grades, grades, names=("grades",))
    true = to_positions(grades, scale, name="grades")
    values, weights = _tally(severity, true, sample_weight, len(scale))
    check_distribution("optimal_cutpoints", distribution)
    found, counted = values, weights
    if distribution == "normal":
        values, weights = _as_normal(values, weights)
    positions = np.arange(len(scale))
    if allowed is not None:
        positions = np.unique(to_positions(allowed, scale, name="allowed"))
    if isinstance(scoring, str) and scoring == "qwk":
        bounds, score = _best_kappa(weights, positions)
    else:
        costs = weights @ check_cost(scoring, len(scale))[:, positions]
        bounds = _cheapest(costs)
        score = -_spent(costs, bounds) / float(weights.sum())
    cutpoints = _between(values, bounds, positions, len(scale))
    if values is not found:
        score = _score_at(cutpoints, found, counted, scoring)
    return cutpoints, score


def check_distribution(owner: object, distribution: Any) -> None:
    """Raise `InvalidParameterError` unless cutpoints can be best for it."""
    if not isinstance(distribution, str) or distribution not in ("empirical", "normal"):
        raise invalid(owner, "distribution", "'empirical' or 'normal'", distribution)


def grades_at(severity: ArrayLike, cutpoints: ArrayLike) -> NDArray[np.intp]:
    """Positions on the scale: the number of cutpoints at or below each severity.

    Parameters
    ----------
    severity : array-like of float, shape (n_samples,)
    cutpoints : array-like of float, shape (n_grades - 1,)
        Ascending.

    Returns
    -------
    ndarray of int, shape (n_samples,)
        ``0 … n_grades - 1``.

    Examples
    --------
    >>> grades_at([-1.0, 0.5, 9.0], [0.5, 1.5]).tolist()
    [0, 1, 2]
    """
    return np.searchsorted(np.asarray(cutpoints), np.asarray(severity), side="right")


def check_cost(cost: Any, n_grades: int) -> NDArray[np.float64]:
    """Return a cost matrix as an array.

    Parameters
    ----------
    cost : array-like of float, shape (n_grades, n_grades)
    n_grades : int

    Returns
    -------
    ndarray of float, shape (n_grades, n_grades)

    Raises
    ------
    InvalidParameterError
        If it has another shape or holds a number that is not finite.
    """
    try:
        matrix = np.asarray(cost, dtype=np.float64)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.shape != (n_grades, n_grades) or not np.isfinite(matrix).all():
        expected = (
            f"'qwk' or a matrix of finite costs by true and predicted grade, shape ({n_grades}, "
            f"{n_grades})"
        )
        raise invalid("", "scoring", expected, cost)
    return matrix


def _tally(
    severity: ArrayLike, true: NDArray[np.intp], sample_weight: ArrayLike | None, n_grades: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distinct severities, ascending, and the weight of each grade at each of them."""
    axis = np.asarray(severity, dtype=np.float64)
    weight = np.ones(len(true)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    if axis.shape != true.shape or weight.shape != true.shape:
        raise DataError(
            "severity, grades and sample_weight must have one value a row. "
            f"Got shapes {axis.shape}, {true.shape} and {weight.shape}."
        )
    for name, array, fine in (
        ("severity", axis, np.isfinite(axis)),
        ("sample_weight", weight, np.isfinite(weight) & (weight >= 0)),
    ):
        if not fine.all():
            row = int(np.flatnonzero(~fine)[0])
            least = " of at least 0" if name == "sample_weight" else ""
            raise DataError(
                f"{name} must hold finite numbers{least}. Got {array[row]} in row {row}."
            )
    heavy = weight > 0
    if not heavy.any():
        raise DataError("Cutpoints need rows with weight. Got none.")
    values, codes = np.unique(axis[heavy], return_inverse=True)
    cells = np.zeros((len(values), n_grades))
    np.add.at(cells, (codes, true[heavy]), weight[heavy])
    return values, cells


def _as_normal(
    values: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Replace severities by normal distributions: steps of the axis, and each grade's weight there.

    The standard deviation is at least a tenth of the widest gap between means: in a wider gap all
    cutpoints are as good but for rounding. Where all means are the same there is nothing to smooth.
    """
    totals = weights.sum(axis=0)
    there = np.flatnonzero(totals)
    means = values @ weights[:, there] / totals[there]
    squares = (values[:, np.newaxis] - means) ** 2
    deviation = np.sqrt((weights[:, there] * squares).sum() / totals.sum())
    deviation = max(deviation, float(np.diff(np.sort(means)).max(initial=0.0)) / _WIDEST)
    # a deviation of rounding errors alone is none
    if deviation <= 1e-9 * max(1.0, float(np.abs(values).max())):
        return values, weights
    edges = np.linspace(
        means.min() - _REACH * deviation, means.max() + _REACH * deviation, _STEPS + 1
    )
    below = ndtr((edges[:, np.newaxis] - means) / deviation)
    cells = np.zeros((_STEPS, weights.shape[1]))
    cells[:, there] = np.diff(below, axis=0) * totals[there]
    return (edges[:-1] + edges[1:]) / 2, cells


def _score_at(
    cutpoints: NDArray[np.float64],
    values: NDArray[np.float64],
    weights: NDArray[np.float64],
    scoring: Any,
) -> float:
    """Score of cutpoints on severities, each with a weight by grade."""
    n_grades = weights.shape[1]
    predicted = np.eye(n_grades)[grades_at(values, cutpoints)]
    confusion = weights.T @ predicted
    if isinstance(scoring, str):
        penalty = (np.arange(n_grades)[:, np.newaxis] - np.arange(n_grades)) ** 2.0
        expected = confusion.sum(axis=1) @ penalty @ confusion.sum(axis=0) / confusion.sum()
        return 1.0 - float((confusion * penalty).sum() / expected)
    return -float((confusion * check_cost(scoring, n_grades)).sum() / confusion.sum())


def _best_kappa(
    weights: NDArray[np.float64], positions: NDArray[np.intp]
) -> tuple[NDArray[np.intp], float]:
    totals = weights.sum(axis=0)
    if (totals > 0).sum() < 2:
        raise InvalidGradeError(
            "Kappa needs at least 2 different true grades (classes). Got one grade in all rows "
            "with a weight: pass a cost matrix as scoring, or add images."
        )
    grades = np.arange(weights.shape[1])
    penalty = (grades[:, np.newaxis] - positions) ** 2.0
    observed = weights @ penalty
    expected = weights.sum(axis=1, keepdims=True) * (totals @ penalty / totals.sum())
    ratio = 1.0  # if all images get one grade
    while True:
        bounds = _cheapest(observed - ratio * expected)
        reached = _spent(observed, bounds) / _spent(expected, bounds)
        if reached >= ratio * (1 - 1e-14):
            break
        ratio = reached
    if ratio == 1.0:
        likeliest = int(observed.sum(axis=0).argmin())
        bounds = np.full(len(positions) - 1, len(weights), dtype=np.intp)
        bounds[:likeliest] = 0
        return bounds, 0.0
    return bounds, 1.0 - ratio


def _cheapest(costs: NDArray[np.float64]) -> NDArray[np.intp]:
    """Split rows into consecutive intervals, one per column, with the least sum of costs.

    The end of column ``j`` costs ``steps[:, j]``, and these costs add up. So the elementwise
    minimum of two optima is an optimum, and there is a lowest one.
    """
    sums = np.vstack([np.zeros(costs.shape[1]), np.cumsum(costs, axis=0)])
    steps = sums[:, :-1] - sums[:, 1:]
    least = np.empty_like(steps)
    for j in range(steps.shape[1]):
        before = least[:, j - 1] if j else 0.0
        least[:, j] = np.minimum.accumulate(steps[:, j] + before)
    # values that differ only by rounding count as equal
    slack = len(costs) * np.finfo(np.float64).eps * np.abs(costs).sum(axis=0).max()
    bounds = np.empty(steps.shape[1], dtype=np.intp)
    last = len(costs)
    for j in reversed(range(steps.shape[1])):
        last = int(np.argmax(least[: last + 1, j] <= least[last, j] + slack))
        bounds[j] = last
    return bounds


def _spent(costs: NDArray[np.float64], bounds: NDArray[np.intp]) -> float:
    column = np.searchsorted(bounds, np.arange(len(costs)), side="right")
    return float(costs[np.arange(len(costs)), column].sum())


def _between(
    values: NDArray[np.float64],
    bounds: NDArray[np.intp],
    positions: NDArray[np.intp],
    n_grades: int,
) -> NDArray[np.float64]:
    """Cutpoints of the whole scale from the first row of each interval of the allowed grades."""
    padded = np.concatenate([[-np.inf], values, [np.inf]])
    below, above = padded[bounds], padded[bounds + 1]
    finite = (bounds > 0) & (bounds < len(values))
    middle = np.where(bounds == 0, -np.inf, np.inf)
    middle[finite] = below[finite] + (above[finite] - below[finite]) / 2
    middle[finite & (middle <= below)] = above[finite & (middle <= below)]  # adjacent floats
    entered = np.concatenate([[-np.inf], middle, [np.inf]])
    return entered[np.searchsorted(positions, np.arange(1, n_grades))]
