"""`ComparisonDisplay`: how far the scores of two models lie apart on the same images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fundus.exceptions import DataError
from fundus.reporting.comparison import PairedDifference
from fundus.reporting.tables import LABELS
from fundus.runtime.figures import COLOURS, QUIET, SMALL, TEXT, as_written, axes_or_new, set_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Scores of which less is better.
LOSSES = (
    "mean_absolute_error", "severity_error", "ranked_probability_score", "brier_score",
    "expected_calibration_error",
)  # fmt: skip


class ComparisonDisplay:
    """Paired differences of scores, each with its interval.

    To the right of the line the first model is better, of losses too. An interval that holds 0
    is grey: these images do not tell which model is better.

    Parameters
    ----------
    differences : dict of str to PairedDifference
        By name of the score, each of `paired_difference`.
    names : tuple of two str, default=("A", "B")
        What the models are called.
    n_images : int, default=None

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure
        Not registered in pyplot if no axes were given.

    Examples
    --------
    >>> from fundus import paired_difference
    >>> y, other = [0, 1, 2, 3, 4] * 8, [0, 1, 2, 2, 4] * 8
    >>> found = {"accuracy": paired_difference("accuracy", y, y, other)}
    >>> display = ComparisonDisplay(found, names=("new", "old")).plot()
    >>> display.ax_.get_xlabel()
    'old better  ←  difference, 95 % interval  →  new better'
    """

    def __init__(
        self,
        differences: Mapping[str, PairedDifference],
        *,
        names: tuple[str, str] = ("A", "B"),
        n_images: int | None = None,
    ) -> None:
        self.differences = differences
        self.names = names
        self.n_images = n_images

    @as_written
    def plot(self, ax: Axes | None = None) -> Self:
        """Draw a dot and an interval for every score.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            By default those of a new figure.

        Returns
        -------
        ComparisonDisplay
            Itself, with `ax_` and `figure_`.

        Raises
        ------
        DataError
            If there is nothing to draw.
        """
        if not self.differences:
            raise DataError("A comparison needs at least one score. Got none.")
        a, b = self.names
        n_rows = len(self.differences)
        ax = axes_or_new(ax, 9, 1.9 + 0.5 * n_rows)
        ax.axvline(0, color="black", linewidth=0.9, zorder=0)
        for row, (name, found) in enumerate(self.differences.items()):
            sign = -1 if name in LOSSES else 1
            measure = found.difference
            ends = sorted([sign * measure.interval.low, sign * measure.interval.high])
            clear = np.isfinite(ends).all() and (ends[0] > 0 or ends[1] < 0)
            better = COLOURS[0] if sign * measure.value > 0 else COLOURS[1]
            colour = better if clear else QUIET
            ax.plot(ends, [row, row], color=colour, linewidth=2.2, solid_capstyle="butt")
            ax.plot(
                sign * measure.value, row, "o", color=colour, markersize=9,
                markeredgecolor="white", zorder=3,
            )  # fmt: skip
            ax.text(
                1.02, row, f"{found.a:.3f}   {found.b:.3f}", transform=ax.get_yaxis_transform(),
                va="center", fontsize=SMALL, family="monospace",
            )  # fmt: skip
        ax.text(
            1.02, -0.75, f"{'first':<8}second", transform=ax.get_yaxis_transform(), va="center",
            fontsize=SMALL, family="monospace", color=QUIET,
        )  # fmt: skip
        labels = [LABELS.get(name, name) for name in self.differences]
        ax.set_yticks(range(n_rows), labels, fontsize=TEXT)
        ax.set_ylim(n_rows - 0.5, -0.5)
        ax.tick_params(labelsize=SMALL)
        ax.tick_params(axis="y", length=0)
        ax.spines[["top", "right", "left"]].set_visible(False)
        widest = max(abs(end) for end in ax.get_xlim())
        ax.set_xlim(-widest, widest)
        percent = next(iter(self.differences.values())).difference.interval.confidence
        ax.set_xlabel(
            f"{b} better  ←  difference, {100 * percent:g} % interval  →  {a} better", fontsize=TEXT
        )
        counted = "" if self.n_images is None else f"the same {self.n_images} images"
        set_title(ax, f"{a} and {b}", counted)
        self.ax_: Any = ax
        self.figure_: Any = ax.figure
        return self
