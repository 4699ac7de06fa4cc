"""The score of a grading: agreement with its interval, and the confusion matrix."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fundus.exceptions import DataError
from fundus.grades import GRADE_NAMES, N_GRADES
from fundus.labels import grade_scale, to_positions
from fundus.reporting.bootstrap import (
    Interval,
    accuracy_of,
    bootstrap_confusions,
    finite_or_none,
    kappa_of,
    percentiles,
)

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

#: What is said of an interval that takes every photograph for a patient of its own.
TOO_NARROW = "image-level, likely too narrow"


@dataclass(frozen=True, eq=False)
class Report:
    """The score of one grading.

    Parameters
    ----------
    confusion : ndarray of int, shape (n_grades, n_grades)
        Images by true grade (row) and predicted grade (column).
    class_names : tuple of str
        Name of every grade.
    intervals : dict of str to Interval
        By the name of the score.
    n_patients : int or None
        ``None`` where patients are unknown.
    severity_error : float or None
        Mean absolute difference of severity and true grade, in grades.
    """

    confusion: NDArray[np.intp]
    class_names: tuple[str, ...]
    intervals: dict[str, Interval]
    n_patients: int | None = None
    severity_error: float | None = None

    @property
    def n_images(self) -> int:
        """Number of images."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of images whose grade is right."""
        return float(accuracy_of(self.confusion))

    @property
    def qwk(self) -> float:
        """Quadratic weighted kappa; ``nan`` where both gradings are one single grade."""
        return float(kappa_of(self.confusion))

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values.

        Returns
        -------
        dict
            ``nan`` becomes ``None``.
        """
        return {
            "n_images": self.n_images,
            "n_patients": self.n_patients,
            "qwk": finite_or_none(self.qwk),
            "accuracy": finite_or_none(self.accuracy),
            "severity_error": self.severity_error,
            "intervals": {name: value.to_dict() for name, value in self.intervals.items()},
            "class_names": list(self.class_names),
            "n_true": self.confusion.sum(axis=1).tolist(),
            "n_predicted": self.confusion.sum(axis=0).tolist(),
            "confusion": self.confusion.tolist(),
        }

    def to_table(self, title: str = "Scores") -> Group:
        """Return the report for a terminal.

        Parameters
        ----------
        title : str, default="Scores"

        Returns
        -------
        rich.console.Group
            The scores with their intervals, and the confusion matrix.
        """
        from rich.console import Group

        return Group(self._scores(title), self._confusion())

    def _scores(self, title: str) -> Table:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        of = "" if self.n_patients is None else f" of {self.n_patients} patients"
        how = "by patient" if self.n_patients is not None else f"{TOO_NARROW}: patients unknown"
        table = Table(
            title=f"{title}: {self.n_images} images{of}",
            title_justify="left",
            caption=f"Intervals are {how}.",
            caption_justify="left",
            box=SIMPLE_HEAD,
        )
        table.add_column("score")
        table.add_column("value", justify="right")
        table.add_column(f"{self._percent()} % interval")
        for name, label in (("qwk", "quadratic weighted kappa"), ("accuracy", "accuracy")):
            interval = self.intervals[name]
            table.add_row(
                label, f"{getattr(self, name):.3f}", f"{interval.low:.3f} to {interval.high:.3f}"
            )
        if self.severity_error is not None:
            table.add_row("severity off by", f"{self.severity_error:.3f}", "grades, on average")
        return table

    def _percent(self) -> str:
        levels = {f"{100 * interval.confidence:g}" for interval in self.intervals.values()}
        return "/".join(sorted(levels))

    def _confusion(self) -> Table:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        table = Table(
            title="Confusion matrix: true grade by predicted",
            title_justify="left",
            box=SIMPLE_HEAD,
        )
        table.add_column("true grade")
        labels = grade_labels(self.class_names)
        numbered = labels != list(self.class_names)
        for k, name in enumerate(self.class_names):
            table.add_column(str(k) if numbered else _plain(name), justify="right")
        table.add_column("all", justify="right")
        table.add_column("right", justify="right")
        for k, row in enumerate(self.confusion):
            cells = [f"[bold]{n}[/bold]" if j == k else str(n) for j, n in enumerate(row)]
            total = int(row.sum())
            share = f"{100 * row[k] / total:.0f} %" if total else "-"
            table.add_row(_plain(labels[k]), *cells, str(total), share)
        return table


def make_report(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    n_grades: int = N_GRADES,
    class_names: Sequence[str] | None = None,
    severity: ArrayLike | None = None,
    patients: ArrayLike | None = None,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    random_state: int = 0,
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
        Predicted places on the scale.
    patients : array-like, shape (n_samples,), default=None
        Who each image is of; without, the intervals take every image for an independent one.
    n_resamples : int, default=1000
        Bootstrap resamples.
    confidence : float, default=0.95
        Coverage of the intervals, in (0, 1).
    random_state : int, default=0
        Seed of the resamples.

    Returns
    -------
    Report

    Raises
    ------
    DataError
        If there is no image, or lengths differ.
    InvalidGradeError
        If a grade lies outside the scale.

    Examples
    --------
    >>> report = make_report([0, 1, 2, 4], [0, 1, 3, 4], patients=["a", "a", "b", "b"])
    >>> report.n_images, report.n_patients, report.accuracy, round(report.qwk, 3)
    (4, 2, 0.75, 0.947)
    """
    scale = grade_scale(n_grades)
    true = to_positions(y_true, scale, name="y_true")
    pred = to_positions(y_pred, scale, name="y_pred")
    who = np.arange(len(true)) if patients is None else np.asarray(patients)
    if not len(true) == len(pred) == len(who) or not len(true):
        raise DataError(
            "A report needs one true grade, one prediction and one patient for each of at least "
            f"one image. Got {len(true)}, {len(pred)} and {len(who)}."
        )
    names = tuple(class_names or (f"class{k}" for k in range(n_grades)))
    _, codes = np.unique(who, return_inverse=True)
    resampled = bootstrap_confusions(true, pred, codes, n_grades, n_resamples, random_state)
    tail = 50 * (1 - confidence)
    intervals = {
        name: Interval(*percentiles(score(resampled), tail), confidence, patients is not None)
        for name, score in (("qwk", kappa_of), ("accuracy", accuracy_of))
    }
    return Report(
        confusion=_confusion(true, pred, n_grades),
        class_names=names,
        intervals=intervals,
        n_patients=None if patients is None else int(codes.max()) + 1,
        severity_error=None
        if severity is None
        else float(np.abs(np.asarray(severity, dtype=float) - true).mean()),
    )


def grade_labels(class_names: Sequence[str]) -> list[str]:
    """Labels of grades in tables and figures.

    Parameters
    ----------
    class_names : sequence of str

    Returns
    -------
    list of str
        Number and ICDR name where the names are the numbers of the five ICDR grades, else the
        names as they are.

    Examples
    --------
    >>> grade_labels(["class0", "class1", "class2", "class3", "class4"])[1]
    '1 mild NPDR'
    >>> grade_labels(["healthy", "ill"])
    ['healthy', 'ill']
    """
    numbers = [re.fullmatch(r"(?:class)?0*(\d+)", name, re.IGNORECASE) for name in class_names]
    if len(class_names) == N_GRADES and [m and int(m[1]) for m in numbers] == [*range(N_GRADES)]:
        return [f"{k} {name}" for k, name in enumerate(GRADE_NAMES)]
    return list(class_names)


def _confusion(true: NDArray[np.intp], pred: NDArray[np.intp], n_grades: int) -> NDArray[np.intp]:
    flat = np.bincount(true * n_grades + pred, minlength=n_grades * n_grades)
    return flat.reshape(n_grades, n_grades)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
