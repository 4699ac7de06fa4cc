"""`ReliabilityDisplay`: how often predicted probabilities hold, and how many there are of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fundus.exceptions import DataError
from fundus.grades.foreign import as_grader
from fundus.grades.icdr import N_GRADES
from fundus.grades.labels import to_positions
from fundus.metrics.probability import read_proba
from fundus.reporting.bootstrap import wilson
from fundus.reporting.displays.unit_square import draw_square
from fundus.reporting.predictions import predict_images
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

#: Bars of the counts of probabilities.
_BARS = 20


class ReliabilityDisplay:
    """The share of images with a grade or a worse one, by its predicted probability.

    Bars on the dots are Wilson's 95 % intervals, by image. The dotted line is perfect calibration.
    Below it stands how many images have which probability.

    Parameters
    ----------
    y_true : ndarray of int, shape (n_samples,)
        Grades in ``range(n_grades)``.
    y_proba : ndarray of float, shape (n_samples, n_grades)
    at_least : sequence of int
        Lowest grades.
    n_bins : int, default=8
        Number of dots of each, with about the same number of images.
    title : str, default=""

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
    counts_ax_ : matplotlib.axes.Axes
        The axes below, of the counts.
    figure_ : matplotlib.figure.Figure
        Not registered in pyplot if no axes were given.

    See Also
    --------
    sklearn.calibration.CalibrationDisplay : Of two classes.

    Examples
    --------
    >>> proba = [[0.8, 0.2], [0.4, 0.6], [0.1, 0.9]]
    >>> display = ReliabilityDisplay.from_predictions([0, 1, 1], proba, n_grades=2)
    >>> display.counts_ax_.get_xlabel()
    'predicted probability'
    """

    def __init__(
        self,
        *,
        y_true: NDArray[np.intp],
        y_proba: NDArray[np.float64],
        at_least: Sequence[int],
        n_bins: int = 8,
        title: str = "",
    ) -> None:
        self.y_true = y_true
        self.y_proba = y_proba
        self.at_least = at_least
        self.n_bins = n_bins
        self.title = title

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_proba: ArrayLike,
        *,
        n_grades: int = N_GRADES,
        at_least: Sequence[int] | None = None,
        n_bins: int = 8,
        title: str = "",
        ax: Axes | None = None,
    ) -> Self:
        """Draw given probabilities.

        Parameters
        ----------
        y_true : array-like of int, shape (n_samples,)
            Grades in ``range(n_grades)``.
        y_proba : array-like of float, shape (n_samples, n_grades)
        n_grades : int, default=5
            Length of the scale.
        at_least : sequence of int, default=None
            Lowest grades; by default 2 and 3 on the scale of five, else all but 0.
        n_bins : int, default=8
            Number of dots of each, with about the same number of images.
        title : str, default=""
        ax : matplotlib.axes.Axes, default=None
            By default those of a new figure.

        Raises
        ------
        DataError
            If the probabilities have another shape or do not sum to 1, or a grade of `at_least` is
            off the scale.
        """
        true, proba = read_proba(y_true, y_proba, n_grades)
        if at_least is None:
            at_least = (2, 3) if n_grades == N_GRADES else range(1, n_grades)
        if not all(1 <= k < n_grades for k in at_least):
            raise DataError(
                f"at_least must hold grades in 1–{n_grades - 1}. "  # noqa: RUF001
                f"Got {list(at_least)}."
            )
        return cls(
            y_true=true, y_proba=proba, at_least=tuple(at_least), n_bins=n_bins, title=title
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
        """Predict the probabilities of images and draw them.

        Parameters
        ----------
        estimator : classifier
            Fitted, with ``predict_proba``.
        X : images
            Images for the estimator.
        y : array-like, shape (n_samples,)
            True grades, as the estimator calls them.
        title : str, default=""
        ax : matplotlib.axes.Axes, default=None
            By default those of a new figure.
        **options
            ``at_least`` and ``n_bins`` of `from_predictions`.

        Raises
        ------
        DataError
            If the estimator gives no probabilities.
        """
        scale, proba = as_grader(estimator).grades_, predict_images(estimator, X).proba
        if proba is None:
            raise DataError(
                f"{type(estimator).__name__} gives no probabilities, such as an ensemble with "
                "voting='hard': give one that has predict_proba."
            )
        true = to_positions(y, scale, name="y")
        return cls.from_predictions(true, proba, n_grades=len(scale), title=title, ax=ax, **options)

    @as_written
    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the dots, and the counts below them.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes with room for the counts below them; by default those of a new figure.

        Returns
        -------
        ReliabilityDisplay
            Itself, with `ax_`, `counts_ax_` and `figure_`.
        """
        ax = axes_or_new(ax, 6.6, 7.6)
        draw_square(ax, "", "share of images with it")
        below = ax.inset_axes((0, -0.24, 1, 0.2), sharex=ax)
        edges = np.linspace(0, 1, _BARS + 1)
        for place, k in enumerate(self.at_least):
            colour = COLOURS[place % len(COLOURS)]
            proba, positive = self.y_proba[:, k:].sum(axis=1), self.y_true >= k
            predicted, share, low, high = _reliability(positive, proba, self.n_bins)
            # shifted a little, so that bars do not hide each other
            ax.errorbar(
                predicted + 0.004 * place, share,
                yerr=np.maximum([share - low, high - share], 0),
                fmt=MARKERS[place % len(MARKERS)], linestyle=LINES[place % len(LINES)],
                color=colour, markersize=6, linewidth=1.5, elinewidth=1, markeredgecolor="white",
                label=f"grade {k} or worse (n={int(positive.sum())})",
            )  # fmt: skip
            below.stairs(
                np.histogram(np.clip(proba, 0, 1), edges)[0], edges, color=colour, linewidth=1.5,
                linestyle=LINES[place % len(LINES)],
            )  # fmt: skip
        ax.tick_params(labelbottom=False)
        ax.legend(loc="upper left", fontsize=SMALL, frameon=False)
        below.set_ylim(bottom=0)
        below.set_xlabel("predicted probability", fontsize=TEXT)
        below.set_ylabel("images", fontsize=TEXT)
        below.tick_params(labelsize=SMALL)
        below.spines[["top", "right"]].set_visible(False)
        set_title(ax, self.title, f"{len(self.y_true)} images")
        self.ax_, self.counts_ax_, self.figure_ = ax, below, ax.figure
        return self


def _reliability(
    positive: NDArray[np.bool_], proba: NDArray[np.float64], n_bins: int
) -> tuple[NDArray[np.float64], ...]:
    parts = [p for p in np.array_split(np.argsort(proba, kind="stable"), n_bins) if len(p)]
    rows = []
    for part in parts:
        hits = int(positive[part].sum())
        rows.append((proba[part].mean(), hits / len(part), *wilson(hits, len(part))))
    return tuple(np.array(rows).T)
