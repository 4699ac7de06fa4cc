"""Compares the scores of two models on the same images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fundus.exceptions import DataError
from fundus.grades.icdr import N_GRADES
from fundus.grades.labels import grade_scale, to_positions
from fundus.metrics.probability import brier_losses, check_proba, ranked_losses
from fundus.metrics.resampled import Bins, Ranking, confusions, mean_of
from fundus.parameters import invalid, renamed_parameter
from fundus.reporting.bootstrap import Interval, Measure, bootstrap_of
from fundus.reporting.report import N_BINS, OF_CONFUSION

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]

#: Scores of predicted probabilities, by name; those of predicted grades are `OF_CONFUSION`.
OF_PROBA = ("macro_auc", "ranked_probability_score", "brier_score", "expected_calibration_error")


@dataclass(frozen=True)
class PairedDifference:
    """Scores of two models on the same images.

    Parameters
    ----------
    a, b : float
        Their scores.
    difference : Measure
        ``a - b``, with its interval. Of predictions that are the same it is 0 (0 to 0); otherwise
        its ends are ``nan`` if all resamples have the same difference.
    """

    a: float
    b: float
    difference: Measure

    def __str__(self) -> str:
        return f"{self.a:.3f} - {self.b:.3f} = {self.difference}"


@renamed_parameter("patients", "groups")
def paired_difference(
    metric: str | Callable[[NDArray[Any], NDArray[Any]], float],
    y_true: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    n_grades: int = N_GRADES,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    random_state: int = 0,
) -> PairedDifference:
    """Compare two models' predictions of the same images.

    Both are scored on the same resampled patients, so effects of easy or hard images on both
    cancel: the interval is narrower than the two models' own intervals suggest.

    Parameters
    ----------
    metric : str or callable
        Of grades: "qwk", "accuracy", "adjacent_accuracy", "mean_absolute_error"; of probabilities:
        "macro_auc", "ranked_probability_score", "brier_score", "expected_calibration_error"; of
        severities, where `y_true` is bool, "auc"; or ``metric(y_true, y_pred)``.
    y_true : array-like, shape (n_samples,)
        Grades in ``range(n_grades)``, or other targets of the metric.
    a, b : array-like, shape (n_samples,) or (n_samples, n_grades)
        Grades, severities or probabilities that the models predict, such as those out of fold of
        two models that had the same folds.
    groups : array-like, shape (n_samples,), default=None
        Patients; without them, images are treated as independent.
    n_grades : int, default=5
        Length of the scale.
    n_resamples : int, default=2000
        Bootstrap resamples of patients.
    confidence : float, default=0.95
        Coverage of the interval, in (0, 1).
    random_state : int, default=0
        Seed of the resamples.

    Returns
    -------
    PairedDifference

    Raises
    ------
    InvalidParameterError
        If there is no metric of that name.
    DataError
        If lengths or shapes differ, or an AUC has one class only.
    InvalidGradeError
        If a grade lies outside the scale.

    Notes
    -----
    Like every bootstrap of fixed predictions this leaves out the variance of training: the interval
    is about these two fitted models, not about the two methods.

    Cost: O(n_resamples · n_samples) for a named metric; a callable runs 2 · n_resamples times.

    Examples
    --------
    >>> y = [0, 1, 2, 3, 4] * 8
    >>> found = paired_difference("accuracy", y, y, [0, 1, 2, 2, 4] * 8)
    >>> round(found.difference.value, 3), found.difference.interval.low > 0
    (0.2, True)
    """
    true, one, two = np.asarray(y_true), np.asarray(a), np.asarray(b)
    if not len(true) or not (len(true) == len(one) == len(two)) or one.shape != two.shape:
        raise DataError(
            "Two models are compared on the same images: one true grade and one prediction of "
            f"each. Got shapes {true.shape}, {one.shape} and {two.shape}."
        )
    statistics = [_statistic(metric, true, values, n_grades) for values in (one, two)]
    content = _content(true, one, two)
    bootstrap = bootstrap_of(
        content, groups, n_resamples=n_resamples, confidence=confidence, random_state=random_state
    )
    once = np.ones((1, len(true)))
    first, second = (float(statistic(once)[0]) for statistic in statistics)
    # a metric of the caller may keep something, or be told something that holds for one thread
    n_jobs = 1 if callable(metric) else None
    drawn = bootstrap.scores(lambda w: {"d": statistics[0](w) - statistics[1](w)}, n_jobs=n_jobs)[
        "d"
    ]
    measure = bootstrap.measure(first - second, drawn)
    if np.array_equal(one, two) and np.isfinite(measure.value):
        nothing = Interval(0.0, 0.0, bootstrap.confidence, bootstrap.by_patient)
        measure = Measure(0.0, nothing)
    return PairedDifference(first, second, measure)


def _content(true: NDArray[Any], one: NDArray[Any], two: NDArray[Any]) -> NDArray[np.float64]:
    # labels of any kind, as numbers in the same sorted order
    columns = [np.unique(true, return_inverse=True)[1].reshape(-1, 1)]
    for values in (one, two):
        coded = np.unique(values, return_inverse=True)[1] if values.dtype.kind in "OUS" else values
        columns.append(coded.reshape(len(true), -1))
    return np.column_stack(columns).astype(np.float64)


def _statistic(metric: Any, true: NDArray[Any], pred: NDArray[Any], n_grades: int) -> Statistic:
    if callable(metric):
        return _of_callable(metric, true, pred)
    if metric in OF_CONFUSION:
        scale = grade_scale(n_grades)
        rows = to_positions(true, scale, name="y_true")
        columns = to_positions(pred, scale, name="y_pred")
        return lambda w: OF_CONFUSION[metric](confusions(w, rows, columns, n_grades))
    if metric == "auc":
        positive = true.astype(bool)
        if positive.all() or not positive.any() or pred.ndim != 1:
            raise DataError(
                "An AUC needs severities, shape (n_samples,), of images of both classes. Got "
                f"shape {pred.shape}, and {positive.sum()} of {len(true)} images that are positive."
            )
        return Ranking(positive, pred.astype(np.float64)).auc
    if metric in OF_PROBA:
        positions = to_positions(true, grade_scale(n_grades), name="y_true")
        proba = pred.astype(np.float64)
        check_proba(proba, (len(true), n_grades))
        return _of_proba(metric, positions, proba)
    expected = f"a callable or one of {', '.join(map(repr, (*OF_CONFUSION, *OF_PROBA, 'auc')))}"
    raise invalid("paired_difference", "metric", expected, metric)


def _of_proba(metric: str, true: NDArray[np.intp], proba: NDArray[np.float64]) -> Statistic:
    if metric == "macro_auc":
        grades = np.unique(true)
        if len(grades) == 1:
            raise DataError(f"An AUC needs two grades. Got grade {grades[0]} only.")
        rankings = [Ranking(true == k, proba[:, k]) for k in grades]
        return lambda w: np.mean([ranking.auc(w) for ranking in rankings], axis=0)
    if metric == "expected_calibration_error":
        return Bins(proba.argmax(axis=1) == true, proba.max(axis=1), N_BINS).error
    losses = {"ranked_probability_score": ranked_losses, "brier_score": brier_losses}
    values = losses[metric](true, proba)
    return lambda w: mean_of(w, values)


def _of_callable(metric: Any, true: NDArray[Any], pred: NDArray[Any]) -> Statistic:
    def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        rows = (np.repeat(np.arange(len(true)), row.astype(int)) for row in weights)
        return np.array([float(metric(true[drawn], pred[drawn])) for drawn in rows])

    return statistic
