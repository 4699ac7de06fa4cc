"""`RocDisplay`: ROC curves of a screening report, with its operating points named."""

from __future__ import annotations

from string import ascii_lowercase
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from fundus.reporting.displays.unit_square import draw_square
from fundus.reporting.screened import PointScore, ScreeningReport
from fundus.reporting.screening import screening_report
from fundus.runtime.figures import (
    COLOURS,
    LINES,
    MARKERS,
    SMALL,
    TEXT,
    as_written,
    axes_or_new,
    set_title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class RocDisplay:
    """ROC curves of a severity as a screening test, and its operating points with intervals.

    A cross shows the intervals of an operating point. If ungradable images count as referred, the
    curve does not start in the corner.

    Parameters
    ----------
    report : ScreeningReport
        Of `screening_report`, or ``evaluate(…).screening``.
    title : str, default=""

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure
        Not registered in pyplot if no axes were given.

    See Also
    --------
    sklearn.metrics.RocCurveDisplay : Of one condition, without operating points.

    Examples
    --------
    >>> severity = [0.1, 0.8, 1.2, 1.1, 2.0, 3.5] * 5
    >>> RocDisplay.from_predictions([0, 0, 1, 2, 2, 4] * 5, severity).ax_.get_ylabel()
    'sensitivity'
    """

    def __init__(self, report: ScreeningReport, *, title: str = "") -> None:
        self.report = report
        self.title = title

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        severity: ArrayLike,
        *,
        title: str = "",
        ax: Axes | None = None,
        **options: Any,
    ) -> Self:
        """Draw given severities.

        Parameters
        ----------
        y_true : array-like of int, shape (n_samples,)
            Grades, 0–4.
        severity : array-like of float, shape (n_samples,)
        title : str, default=""
        ax : matplotlib.axes.Axes, default=None
            By default those of a new figure.
        **options
            Of `screening_report`, such as ``groups`` and ``operating_points``.

        Raises
        ------
        DataError
            If lengths differ or a severity is not finite.
        InvalidGradeError
            If a grade lies outside the scale.
        """
        return cls(screening_report(y_true, severity, **options), title=title).plot(ax)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        title: str = "",
        ax: Axes | None = None,
        **options: Any,
    ) -> Self:
        """Predict the severities of images and draw their curves.

        Parameters
        ----------
        estimator : TransferClassifier or FoldEnsemble
            Fitted; its ``operating_points_`` are drawn if it has them, otherwise points are chosen
            on these images.
        X : images
            Images for the estimator.
        y : array-like of int, shape (n_samples,)
            True grades, 0–4.
        title : str, default=""
        ax : matplotlib.axes.Axes, default=None
            By default those of a new figure.
        **options
            Of `screening_report`.
        """
        points = getattr(estimator, "operating_points_", None)
        known = {} if points is None else {"operating_points": points}
        severity = estimator.predict_severity(X)
        return cls.from_predictions(y, severity, title=title, ax=ax, **(known | options))

    @as_written
    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the curves and the points.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            By default those of a new figure.

        Returns
        -------
        RocDisplay
            Itself, with `ax_` and `figure_`.
        """
        ax = axes_or_new(ax, 7, 7)
        draw_square(ax, "1 − specificity", "sensitivity")  # noqa: RUF001 - a minus sign
        letters, handles, labels = iter(ascii_lowercase), [], []
        for k, condition in enumerate(self.report.conditions):
            (curve,) = ax.plot(
                *condition.curve, color=COLOURS[k], linestyle=LINES[k], linewidth=2,
                drawstyle="steps-post",
            )  # fmt: skip
            handles.append(curve)
            labels.append(f"{condition.name} (n={condition.n_positive}): AUC {condition.auc}")
            for scored, letter in zip(condition.points, letters, strict=False):
                handles.append(_draw_point(ax, scored, COLOURS[k], MARKERS[k], letter))
                labels.append(
                    f"{letter}  for {scored.point.wanted} {scored.point.goal:g}: sensitivity "
                    f"{scored.sensitivity.value:.2f}, specificity {scored.specificity.value:.2f}"
                )
        ax.legend(handles, labels, loc="lower right", fontsize=SMALL, frameon=False)
        set_title(ax, self.title, f"{self.report.n_images} images")
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _draw_point(ax: Axes, scored: PointScore, colour: str, marker: str, letter: str) -> Any:
    """Draw a cross of intervals with its letter, and return a handle for the legend."""
    sens, spec = scored.sensitivity, scored.specificity
    x, y = 1 - spec.value, sens.value
    across = [[x - (1 - spec.interval.high)], [1 - spec.interval.low - x]]
    along = [[y - sens.interval.low], [sens.interval.high - y]]
    # rounding may put an end on the wrong side of a value that it equals
    drawn = ax.errorbar(
        x, y, xerr=np.maximum(across, 0), yerr=np.maximum(along, 0), fmt=marker,
        color=colour, markersize=8, linewidth=1, markeredgecolor="white", zorder=3,
    )  # fmt: skip
    ax.annotate(
        letter, (x, y), xytext=(7, -13), textcoords="offset points", fontsize=TEXT,
        weight="bold", color=colour,
    )  # fmt: skip
    return drawn
