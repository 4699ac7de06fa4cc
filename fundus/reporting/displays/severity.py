"""`SeverityDisplay`: severities by true grade, and where the predicted grade changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fundus.exceptions import DataError
from fundus.grades.foreign import as_grader
from fundus.grades.icdr import N_GRADES, grade_labels
from fundus.grades.labels import grade_scale, to_positions
from fundus.meta.voting import middle_cutpoints
from fundus.reporting.displays.boundaries import boundaries_of
from fundus.reporting.predictions import names_of_grades
from fundus.runtime.figures import COLOURS, SMALL, TEXT, as_written, axes_or_new, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


class SeverityDisplay:
    """Distribution of predicted severities by true grade.

    Make it with `from_predictions` or `from_estimator`, which also draw it.

    Parameters
    ----------
    y_true : ndarray of int, shape (n_samples,)
        True grades, ``0 … len(class_names) - 1``.
    severity : ndarray of float, shape (n_samples,)
        Predicted positions on the scale.
    class_names : sequence of str
        Name of every grade.
    boundaries : array-like of float, shape (n_grades - 1,) or (n_models, n_grades - 1), default=()
        Severities at which the predicted grade changes, of one model or of each fold's. Only
        regressors and cutpoints have them: a classifier predicts the most probable grade,
        independent of its severity.
    title : str, default=""

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes of the drawing.
    figure_ : matplotlib.figure.Figure
        The figure of `ax_`; not registered in pyplot if no axes were given.

    See Also
    --------
    GradingDisplay : Predicted grades by true grade.

    Examples
    --------
    >>> display = SeverityDisplay.from_predictions([0, 0, 1, 4], [0.2, 0.7, 1.1, 3.4])
    >>> display.ax_.get_ylabel()
    'predicted severity'
    """

    def __init__(
        self,
        *,
        y_true: NDArray[np.intp],
        severity: NDArray[np.float64],
        class_names: Sequence[str],
        boundaries: ArrayLike = (),
        title: str = "",
    ) -> None:
        self.y_true = y_true
        self.severity = severity
        self.class_names = class_names
        self.boundaries = boundaries
        self.title = title

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        severity: ArrayLike,
        *,
        n_grades: int = N_GRADES,
        class_names: Sequence[str] | None = None,
        boundaries: ArrayLike = (),
        title: str = "",
        ax: Axes | None = None,
    ) -> Self:
        """Draw given severities.

        Parameters
        ----------
        y_true : array-like of int, shape (n_samples,)
            Grades in ``range(n_grades)``.
        severity : array-like of float, shape (n_samples,)
        n_grades : int, default=5
            Length of the scale.
        class_names : sequence of str, shape (n_grades,), default=None
            By default ``class0``, ``class1``, …
        boundaries : array-like of float, default=()
            Severities at which the predicted grade changes, ``(n_grades - 1,)``; or a row of them
            for each fold, of which each is drawn thinly and the median as a line.
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
        true = to_positions(y_true, grade_scale(n_grades), name="y_true")
        values = np.asarray(severity, dtype=np.float64)
        names = list(class_names or (f"class{k}" for k in range(n_grades)))
        if values.shape != true.shape or len(names) != n_grades:
            raise DataError(
                "A severity and a true grade are needed for every image, and a name for every "
                f"grade. Got shapes {values.shape} and {true.shape}, and {len(names)} names for "
                f"{n_grades} grades."
            )
        return cls(
            y_true=true, severity=values, class_names=names, boundaries=boundaries, title=title
        ).plot(ax)

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
        """Predict the severities of images and draw them, with the fitted cutpoints.

        Parameters
        ----------
        estimator : TransferClassifier or FoldEnsemble
            Fitted.
        X : images
            Images for the estimator.
        y : array-like, shape (n_samples,)
            True grades, as the estimator calls them.
        title : str, default=""
        ax : matplotlib.axes.Axes, default=None
            By default those of a new figure.
        **options
            ``n_grades``, ``class_names`` and ``boundaries`` of `from_predictions`, by default
            those of the estimator.
        """
        scale = as_grader(estimator).grades_
        known: dict[str, Any] = {}
        if len(scale):  # a regressor of another library does not know its grades
            y = to_positions(y, scale, name="y")
            known = {
                "n_grades": len(scale),
                "class_names": names_of_grades(estimator),
                "boundaries": boundaries_of(estimator),
            }
        severity = estimator.predict_severity(X)
        return cls.from_predictions(y, severity, title=title, ax=ax, **(known | options))

    @as_written
    def plot(self, ax: Axes | None = None) -> Self:
        """Draw a dot for every image, the quartiles of every true grade, and the boundaries.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            By default those of a new figure.

        Returns
        -------
        SeverityDisplay
            Itself, with `ax_` and `figure_`.
        """
        n_grades = len(self.class_names)
        ax = axes_or_new(ax, max(7.0, 1.3 * n_grades + 1), 5.6)
        rng = np.random.default_rng(0)
        drawn: dict[str, Line2D] = {}
        for k in range(n_grades):
            values = self.severity[self.y_true == k]
            if not len(values):
                continue
            spread = rng.uniform(-0.3, 0.3, len(values))
            (drawn["image"],) = ax.plot(
                k + spread, values, ".", color=COLOURS[0], alpha=0.4, markersize=7,
                markeredgewidth=0,
            )  # fmt: skip
            low, middle, high = np.percentile(values, [25, 50, 75])
            (drawn["quartiles"],) = ax.plot(
                [k, k], [low, high], color="black", linewidth=5, solid_capstyle="butt"
            )
            (drawn["median"],) = ax.plot(
                k, middle, "o", color="white", markeredgecolor="black", markersize=8
            )
        drawn |= self._draw_boundaries(ax)
        ax.legend(
            drawn.values(), drawn.keys(), fontsize=SMALL, ncols=len(drawn), frameon=False,
            loc="lower left", bbox_to_anchor=(-0.01, 1), borderaxespad=0.1, handletextpad=0.4,
            columnspacing=1.2, handlelength=1.4,
        )  # fmt: skip
        counts = np.bincount(self.y_true, minlength=n_grades)
        labels = [wrapped(label) for label in grade_labels(self.class_names)]
        ax.set_xticks(
            range(n_grades),
            [f"{label}\n(n={n})" for label, n in zip(labels, counts, strict=True)],
            fontsize=SMALL,
        )
        ax.set_xlim(-0.5, n_grades - 0.5)
        # room for whole dots at both ends
        low, high = min(0.0, self.severity.min()), max(n_grades - 1.0, self.severity.max())
        ax.set_ylim(low - 0.04 * (high - low), high + 0.04 * (high - low))
        ax.set_yticks(range(n_grades))
        ax.tick_params(labelsize=SMALL)
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_xlabel("true grade", fontsize=TEXT)
        ax.set_ylabel("predicted severity", fontsize=TEXT)
        if self.title:
            ax.set_title(self.title, fontsize=TEXT + 2, loc="left", pad=28)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _draw_boundaries(self, ax: Axes) -> dict[str, Line2D]:
        rows = np.atleast_2d(np.asarray(self.boundaries, dtype=np.float64))
        if not rows.size:
            return {}
        drawn: dict[str, Line2D] = {}
        if len(rows) > 1:
            for row in rows:
                for value in row[np.isfinite(row)]:
                    drawn["of a fold"] = ax.axhline(
                        value, color=COLOURS[1], linewidth=0.7, alpha=0.45, zorder=0
                    )
        for value in middle_cutpoints(list(rows)):
            if np.isfinite(value):
                drawn["grade changes"] = ax.axhline(
                    value, color=COLOURS[1], linewidth=1.6, linestyle=":", zorder=1
                )
        return drawn
