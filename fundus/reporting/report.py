"""The scores of a grading, each with its interval, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fundus.exceptions import DataError
from fundus.grades.icdr import N_GRADES
from fundus.grades.labels import grade_scale, to_positions
from fundus.metrics.probability import brier_losses, check_proba, ranked_losses
from fundus.metrics.resampled import (
    Bins,
    Ranking,
    Scores,
    Weights,
    absolute_error_of,
    accuracy_of,
    adjacent_accuracy_of,
    confusions,
    kappa_of,
    mean_of,
    sensitivities_of,
)
from fundus.reporting.added_metrics import added_measures
from fundus.reporting.bootstrap import Bootstrap, Interval, Measure, bootstrap_of, finite_or_none
from fundus.reporting.tables import report_table
from fundus.runtime.shown import Shown

if TYPE_CHECKING:
    from rich.console import Group

#: Scores of the confusion matrix, by name.
OF_CONFUSION = {
    "qwk": kappa_of,
    "accuracy": accuracy_of,
    "adjacent_accuracy": adjacent_accuracy_of,
    "mean_absolute_error": absolute_error_of,
}

#: Bins of the expected calibration error.
N_BINS = 10

Statistic = Callable[[Weights], dict[str, Scores]]


@dataclass(frozen=True, eq=False, repr=False)
class Report(Shown):
    """The scores of one grading.

    Parameters
    ----------
    confusion : ndarray of int, shape (n_grades, n_grades)
        Images by true grade (row) and predicted grade (column).
    class_names : tuple of str
        Name of every grade.
    measures : dict of str to Measure
        By name: "qwk", "accuracy", "adjacent_accuracy", "mean_absolute_error" (in grades); with
        severities "severity_error" (in grades); with probabilities "macro_auc",
        "ranked_probability_score", "brier_score" and "expected_calibration_error". Those of
        plugins are called "plugin/name".
    sensitivities : tuple of Measure
        For every true grade, the share of its images with that predicted grade.
    n_patients : int or None
        ``None`` if patients are unknown.
    """

    confusion: NDArray[np.intp]
    class_names: tuple[str, ...]
    measures: dict[str, Measure]
    sensitivities: tuple[Measure, ...]
    n_patients: int | None = None

    @property
    def n_images(self) -> int:
        """Number of images."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of images whose grade is right."""
        return self.measures["accuracy"].value

    @property
    def qwk(self) -> float:
        """Quadratic weighted kappa; ``nan`` if both gradings have only one and the same grade."""
        return self.measures["qwk"].value

    @property
    def intervals(self) -> dict[str, Interval]:
        """Intervals of the measures by name."""
        return {name: measure.interval for name, measure in self.measures.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values; ``nan`` becomes ``None``."""
        return {
            "n_images": self.n_images,
            "n_patients": self.n_patients,
            **{name: finite_or_none(m.value) for name, m in self.measures.items()},
            "intervals": {name: value.to_dict() for name, value in self.intervals.items()},
            "class_names": list(self.class_names),
            "n_true": self.confusion.sum(axis=1).tolist(),
            "n_predicted": self.confusion.sum(axis=0).tolist(),
            "sensitivity_by_grade": [measure.to_dict() for measure in self.sensitivities],
            "confusion": self.confusion.tolist(),
        }

    def to_table(self, title: str = "Scores") -> Group:
        """Return the scores with their intervals, and the confusion matrix, for a terminal."""
        return report_table(self, title)


def make_report(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    n_grades: int = N_GRADES,
    class_names: Sequence[str] | None = None,
    severity: ArrayLike | None = None,
    proba: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    random_state: int = 0,
    plugins: bool = False,
) -> Report:
    """Score a grading.

    Parameters
    ----------
    y_true, y_pred : array-like of int, shape (n_samples,)
        Grades in ``range(n_grades)``.
    n_grades : int, default=5
        Length of the scale.
    class_names : sequence of str, shape (n_grades,), default=None
        By default ``class0``, ``class1``, …
    severity : array-like of float, shape (n_samples,), default=None
        Predicted positions on the scale.
    proba : array-like of float, shape (n_samples, n_grades), default=None
        Predicted probabilities of all grades.
    groups : array-like, shape (n_samples,), default=None
        Patients; without them, images are treated as independent.
    n_resamples : int, default=2000
        Bootstrap resamples of patients.
    confidence : float, default=0.95
        Coverage of the intervals, in (0, 1).
    random_state : int, default=0
        Seed of the resamples.
    plugins : bool, default=False
        Whether to add the metrics of plugins, which are called once for each resample.

    Raises
    ------
    DataError
        If there is no image, lengths differ, a severity is not finite, or probabilities do not
        sum to 1.
    InvalidGradeError
        If a grade lies outside the scale.

    Notes
    -----
    Cost: O(n_resamples · n_samples · n_grades), in chunks of memory; about half a second for 369
    images. The intervals leave out the variance of training the model again.

    Examples
    --------
    >>> report = make_report([0, 1, 2, 4], [0, 1, 3, 4], groups=["a", "a", "b", "b"])
    >>> report.n_images, report.n_patients, report.accuracy, round(report.qwk, 3)
    (4, 2, 0.75, 0.947)
    """
    scale = grade_scale(n_grades)
    true = to_positions(y_true, scale, name="y_true")
    pred = to_positions(y_pred, scale, name="y_pred")
    if len(true) != len(pred) or not len(true):
        raise DataError(
            "A report needs at least one image, with one true grade and one prediction for each. "
            f"Got {len(true)} and {len(pred)}."
        )
    columns: list[NDArray[Any]] = [true, pred]
    if severity is not None:
        severity = _finite(severity, len(true))
        columns.append(severity)
    if proba is not None:
        proba = np.asarray(proba, dtype=np.float64)
        check_proba(proba, (len(true), n_grades))
        columns.append(proba)
    content = np.column_stack(columns).astype(float)
    bootstrap = bootstrap_of(
        content, groups, n_resamples=n_resamples, confidence=confidence, random_state=random_state
    )
    statistics: list[Statistic] = [_statistic_of_grades(true, pred, n_grades)]
    values = score_values(true, pred, n_grades=n_grades, severity=severity, proba=proba)
    if severity is not None:
        errors = np.abs(severity - true)
        statistics.append(lambda weights: {"severity_error": mean_of(weights, errors)})
    if proba is not None:
        statistics.append(_statistic_of_proba(true, proba))

    def statistic(weights: Weights) -> dict[str, Scores]:
        return {name: scores for part in statistics for name, scores in part(weights).items()}

    drawn = bootstrap.scores(statistic)  # one pass for all, as drawing takes as long as scoring
    by_grade = drawn.pop("by_grade")
    measures = {name: bootstrap.measure(values[name], scores) for name, scores in drawn.items()}
    measures |= _proportions(true, pred, drawn, bootstrap)
    if plugins:
        measures |= added_measures(true, pred, severity, proba, bootstrap)
    sensitivities = tuple(
        bootstrap.proportion(true == pred, true == k, by_grade[:, k]) for k in range(n_grades)
    )
    return Report(
        confusion=_confusion(true, pred, n_grades),
        class_names=tuple(class_names or (f"class{k}" for k in range(n_grades))),
        measures=measures,
        sensitivities=sensitivities,
        n_patients=None if groups is None else bootstrap.n_patients,
    )


def _finite(severity: ArrayLike, n: int) -> NDArray[np.float64]:
    values = np.asarray(severity, dtype=np.float64)
    if values.shape != (n,) or not np.isfinite(values).all():
        raise DataError(
            f"severity must have one finite number for each of {n} images. Got shape "
            f"{values.shape}, with {int((~np.isfinite(values)).sum())} that are not finite."
        )
    return values


def _statistic_of_grades(
    true: NDArray[np.intp], pred: NDArray[np.intp], n_grades: int
) -> Statistic:
    def statistic(weights: Weights) -> dict[str, Scores]:
        drawn = confusions(weights, true, pred, n_grades)
        scores = {name: score(drawn) for name, score in OF_CONFUSION.items()}
        return {**scores, "by_grade": sensitivities_of(drawn)}

    return statistic


def _proportions(
    true: NDArray[np.intp],
    pred: NDArray[np.intp],
    drawn: Mapping[str, Scores],
    bootstrap: Bootstrap,
) -> dict[str, Measure]:
    every = np.ones(len(true), dtype=bool)
    hits = {"accuracy": true == pred, "adjacent_accuracy": np.abs(true - pred) <= 1}
    return {name: bootstrap.proportion(hit, every, drawn[name]) for name, hit in hits.items()}


def score_values(
    true: NDArray[np.intp],
    pred: NDArray[np.intp],
    *,
    n_grades: int,
    severity: NDArray[np.float64] | None = None,
    proba: NDArray[np.float64] | None = None,
) -> dict[str, float]:
    """Return the scores of `make_report` by name, without intervals.

    Parameters
    ----------
    true, pred : ndarray of int, shape (n_samples,)
        Grades in ``range(n_grades)``.
    n_grades : int
    severity : ndarray of float, shape (n_samples,), default=None
    proba : ndarray of float, shape (n_samples, n_grades), default=None

    Examples
    --------
    >>> true, pred = np.array([0, 1, 2, 4]), np.array([0, 1, 3, 4])
    >>> score_values(true, pred, n_grades=5)["accuracy"]
    0.75
    """
    confusion, once = _confusion(true, pred, n_grades), np.ones((1, len(true)))
    values = {name: float(score(confusion)) for name, score in OF_CONFUSION.items()}
    if severity is not None:
        values["severity_error"] = float(np.abs(severity - true).mean())
    if proba is not None:
        found = _statistic_of_proba(true, proba)(once)
        values |= {name: float(value[0]) for name, value in found.items()}
    return values


def _statistic_of_proba(true: NDArray[np.intp], proba: NDArray[np.float64]) -> Statistic:
    # grades that do not occur have no AUC; those that occur must also be in a resample
    rankings = [Ranking(true == k, proba[:, k]) for k in np.unique(true)]
    bins = Bins(proba.argmax(axis=1) == true, proba.max(axis=1), N_BINS)
    ranked, brier = ranked_losses(true, proba), brier_losses(true, proba)

    def statistic(weights: Weights) -> dict[str, Scores]:
        return {
            "macro_auc": np.mean([ranking.auc(weights) for ranking in rankings], axis=0),
            "ranked_probability_score": mean_of(weights, ranked),
            "brier_score": mean_of(weights, brier),
            "expected_calibration_error": bins.error(weights),
        }

    return statistic


def _confusion(true: NDArray[np.intp], pred: NDArray[np.intp], n_grades: int) -> NDArray[np.intp]:
    flat = np.bincount(true * n_grades + pred, minlength=n_grades * n_grades)
    return flat.reshape(n_grades, n_grades)
