"""Figures of gradings, like scikit-learn's Display objects, without pyplot's global state."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fundus.exceptions import DataError
from fundus.grades.foreign import as_grader
from fundus.grades.icdr import N_GRADES, grade_labels
from fundus.grades.labels import grade_scale, to_positions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
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
    boundaries : sequence of float, default=()
        Severities at which the predicted grade changes. Only regressors and cutpoints have them:
        a classifier predicts the most probable grade, independent of its severity.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes of the drawing.
    figure_ : matplotlib.figure.Figure
        The figure of `ax_`; not registered in pyplot if no axes were given.

    See Also
    --------
    sklearn.metrics.ConfusionMatrixDisplay : The grades predicted by true grade.

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
        boundaries: Sequence[float] = (),
    ) -> None:
        self.y_true = y_true
        self.severity = severity
        self.class_names = class_names
        self.boundaries = boundaries

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        severity: ArrayLike,
        *,
        n_grades: int = N_GRADES,
        class_names: Sequence[str] | None = None,
        boundaries: Sequence[float] = (),
        ax: Axes | None = None,
    ) -> SeverityDisplay:
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
        boundaries : sequence of float, default=()
            Severities at which the predicted grade changes, drawn as dotted lines.
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
            y_true=true, severity=values, class_names=names, boundaries=tuple(boundaries)
        ).plot(ax)

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: ArrayLike, *, ax: Axes | None = None, **options: Any
    ) -> SeverityDisplay:
        """Predict the severities of images and draw them.

        Parameters
        ----------
        estimator : TransferClassifier or FoldEnsemble
            Fitted.
        X : images
            Images for the estimator.
        y : array-like of int, shape (n_samples,)
            True grades.
        ax : matplotlib.axes.Axes, default=None
            By default those of a new figure.
        **options
            ``n_grades``, ``class_names`` and ``boundaries`` of `from_predictions`; a regressor's
            boundaries are by default midway between grades.
        """
        if as_grader(estimator).rounds_severity and "boundaries" not in options:
            options["boundaries"] = rounding(options.get("n_grades", N_GRADES))
        return cls.from_predictions(y, estimator.predict_severity(X), ax=ax, **options)

    def plot(self, ax: Axes | None = None) -> SeverityDisplay:
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
        if ax is None:
            ax = new_figure().subplots()
        n_grades = len(self.class_names)
        rng = np.random.default_rng(0)
        drawn: dict[str, Line2D] = {}
        for k in range(n_grades):
            values = self.severity[self.y_true == k]
            if not len(values):
                continue
            spread = rng.uniform(-0.3, 0.3, len(values))
            (drawn["image"],) = ax.plot(
                k + spread, values, ".", color="tab:blue", alpha=0.35, markersize=5
            )
            low, middle, high = np.percentile(values, [25, 50, 75])
            (drawn["quartiles"],) = ax.plot(
                [k, k], [low, high], color="black", linewidth=5, solid_capstyle="butt"
            )
            (drawn["median"],) = ax.plot(
                k, middle, "o", color="white", markeredgecolor="black", markersize=7
            )
        for boundary in self.boundaries:
            drawn["boundary of predicted grades"] = ax.axhline(
                boundary, color="grey", linewidth=0.8, linestyle=":"
            )
        ax.legend(drawn.values(), drawn.keys(), fontsize="small", loc="upper left")
        counts = np.bincount(self.y_true, minlength=n_grades)
        labels = [_wrapped(label) for label in grade_labels(self.class_names)]
        ax.set_xticks(
            range(n_grades),
            [f"{label}\n(n={n})" for label, n in zip(labels, counts, strict=True)],
        )
        ax.set_xlim(-0.5, n_grades - 0.5)
        ax.set_ylim(min(-0.2, self.severity.min()), max(n_grades - 0.8, self.severity.max()))
        ax.set_yticks(range(n_grades))
        ax.set_xlabel("true grade")
        ax.set_ylabel("predicted severity")
        self.ax_, self.figure_ = ax, ax.figure
        return self


def plot_confusion(
    confusion: NDArray[np.intp], class_names: Sequence[str], *, title: str = ""
) -> Figure:
    """Draw a confusion matrix with the names of the grades.

    Colours are shares of the true grade (row), numbers are images.

    Examples
    --------
    >>> figure = plot_confusion(np.array([[5, 1], [0, 4]]), ["healthy", "ill"])
    >>> figure.axes[0].get_xlabel()
    'predicted grade'
    """
    from sklearn.metrics import ConfusionMatrixDisplay

    labels = [_wrapped(label) for label in grade_labels(class_names)]
    totals = confusion.sum(axis=1, keepdims=True)
    shares = np.divide(confusion, totals, out=np.zeros(confusion.shape), where=totals > 0)
    figure = new_figure()
    ax = figure.subplots()
    display = ConfusionMatrixDisplay(shares, display_labels=labels)
    display.plot(ax=ax, cmap="Blues", colorbar=False, im_kw={"vmin": 0, "vmax": 1})
    cells = zip(display.text_.ravel(), confusion.ravel(), shares.ravel(), strict=True)
    for text, n, share in cells:
        text.set(text=str(n), color="white" if share > 0.6 else "black")
    ax.set(xlabel="predicted grade", ylabel="true grade", title=title)
    return figure


def rounding(n_grades: int) -> list[float]:
    """Severities at which the nearest grade changes: 0.5, 1.5, …"""
    return [k + 0.5 for k in range(n_grades - 1)]


def new_figure() -> Figure:
    """Return a figure without pyplot and without a window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _wrapped(label: str) -> str:
    """Break a label after its number and if it is long, so that five fit side by side."""
    number, _, name = label.partition(" ")
    if not number.isdigit():
        return textwrap.fill(label, 12)
    return f"{number}\n{textwrap.fill(name, 12)}"
