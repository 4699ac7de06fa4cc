"""`GradingDisplay`: a confusion matrix with counts, shares and kappa."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from fundus.grades.foreign import as_grader
from fundus.grades.icdr import N_GRADES, grade_labels
from fundus.grades.labels import to_positions
from fundus.reporting.predictions import names_of_grades
from fundus.reporting.report import Report, make_report
from fundus.runtime.figures import SMALL, TEXT, as_written, axes_or_new, set_title, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Shares from this one up are written in white on their dark cell.
_DARK = 0.55


class GradingDisplay:
    """Predicted grades by true grade.

    Make it with `from_estimator` or `from_predictions`, which also draw it, or of a `Report`.

    Parameters
    ----------
    report : Report
        ``evaluate(…).report``.
    title : str, default=""

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure
        Not registered in pyplot if no axes were given.
    text_ : ndarray of matplotlib.text.Text, shape (n_grades, n_grades)
        What stands in the cells: the number of images, and their share of the true grade.

    See Also
    --------
    SeverityDisplay : Severities by true grade.
    sklearn.metrics.ConfusionMatrixDisplay : Without shares, names and kappa.

    Examples
    --------
    >>> display = GradingDisplay.from_predictions([0, 0, 0, 1], [0, 0, 1, 1], n_grades=2)
    >>> display.text_[0, 0].get_text()
    '2\\n67 %'
    """

    def __init__(self, report: Report, *, title: str = "") -> None:
        self.report = report
        self.title = title

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        *,
        n_grades: int = N_GRADES,
        class_names: Sequence[str] | None = None,
        groups: ArrayLike | None = None,
        title: str = "",
        ax: Axes | None = None,
    ) -> Self:
        """Draw given grades.

        Parameters
        ----------
        y_true, y_pred : array-like of int, shape (n_samples,)
            Grades in ``range(n_grades)``.
        n_grades : int, default=5
            Length of the scale.
        class_names : sequence of str, shape (n_grades,), default=None
            By default those of the scale of five, else ``class0``, ``class1``, …
        groups : array-like, shape (n_samples,), default=None
            Patients, for the interval of kappa.
        title : str, default=""
        ax : matplotlib.axes.Axes, default=None
            By default those of a new figure.

        Raises
        ------
        DataError
            If lengths differ.
        InvalidGradeError
            If a grade lies outside the scale.
        """
        report = make_report(
            y_true, y_pred, n_grades=n_grades, class_names=class_names, groups=groups
        )
        return cls(report, title=title).plot(ax)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        title: str = "",
        ax: Axes | None = None,
    ) -> Self:
        """Predict images and draw their grades.

        Parameters
        ----------
        estimator : classifier
            Fitted.
        X : images
            Images for the estimator.
        y : array-like, shape (n_samples,)
            True grades, as the estimator calls them.
        groups : array-like, shape (n_samples,), default=None
            Patients, for the interval of kappa.
        title : str, default=""
        ax : matplotlib.axes.Axes, default=None
            By default those of a new figure.
        """
        scale = as_grader(estimator).grades_
        return cls.from_predictions(
            to_positions(y, scale, name="y"),
            to_positions(estimator.predict(X), scale),
            n_grades=len(scale),
            class_names=names_of_grades(estimator),
            groups=groups,
            title=title,
            ax=ax,
        )

    @as_written
    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the matrix: colours are shares of the true grade, in rows.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            By default those of a new figure.

        Returns
        -------
        GradingDisplay
            Itself, with `ax_`, `figure_` and `text_`.
        """
        counts = self.report.confusion
        n_grades = len(counts)
        size = max(5.6, 1.15 * n_grades + 1.6)
        ax = axes_or_new(ax, size, size * 0.92)
        totals = counts.sum(axis=1, keepdims=True)
        shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
        ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        self.text_ = np.empty(counts.shape, dtype=object)
        for row, column in np.ndindex(counts.shape):
            share = shares[row, column]
            below = f"\n{100 * share:.0f} %" if totals[row, 0] else ""
            self.text_[row, column] = ax.text(
                column, row, f"{counts[row, column]}{below}",
                ha="center", va="center", fontsize=TEXT, linespacing=1.25,
                color="white" if share > _DARK else "black",
            )  # fmt: skip
        labels = [wrapped(label) for label in grade_labels(self.report.class_names)]
        rows = [f"{label}\n(n={n})" for label, n in zip(labels, totals[:, 0], strict=True)]
        ax.set_xticks(range(n_grades), labels, fontsize=SMALL)
        ax.set_yticks(range(n_grades), rows, fontsize=SMALL)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        # white lines between the cells
        ax.set_xticks(np.arange(n_grades - 1) + 0.5, minor=True)
        ax.set_yticks(np.arange(n_grades - 1) + 0.5, minor=True)
        ax.grid(which="minor", color="white", linewidth=2)
        ax.tick_params(which="minor", length=0)
        ax.set_xlabel("predicted grade", fontsize=TEXT)
        ax.set_ylabel("true grade", fontsize=TEXT)
        set_title(ax, self.title, f"{self.report.n_images} images, {_kappa(self.report)}")
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _kappa(report: Report) -> str:
    """Kappa in words, with its interval where there is one."""
    kappa = report.measures["qwk"]
    if not np.isfinite(kappa.value):
        return "kappa undefined (one grade only)"
    ends = kappa.interval
    span = f" ({ends.low:.2f} to {ends.high:.2f})" if np.isfinite(ends.low) else ""
    return f"kappa {kappa.value:.2f}{span}"
