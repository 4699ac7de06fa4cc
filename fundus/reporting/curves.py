"""Figures of screening and of calibration, without pyplot's global state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fundus.exceptions import DataError
from fundus.grades.icdr import N_GRADES
from fundus.metrics.probability import read_proba
from fundus.reporting.bootstrap import wilson
from fundus.reporting.displays import new_figure
from fundus.reporting.screened import ScreeningReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = ("tab:blue", "tab:red", "tab:green", "tab:purple", "tab:brown", "tab:pink")


def plot_roc(report: ScreeningReport, *, title: str = "") -> Figure:
    """Draw the ROC curves of a screening report, and its operating points with intervals.

    A cross shows the intervals of an operating point. If ungradable images count as referred, the
    curve does not start in the corner.

    Examples
    --------
    >>> from fundus.reporting.screening import screening_report
    >>> report = screening_report([0, 0, 1, 2, 2, 4] * 5, [0.1, 0.8, 1.2, 1.1, 2.0, 3.5] * 5)
    >>> plot_roc(report).axes[0].get_ylabel()
    'sensitivity'
    """
    figure, ax = _unit_square("1 - specificity", "sensitivity", title)
    for condition, colour in zip(report.conditions, _COLOURS, strict=False):
        false_share, found = condition.curve
        label = f"{condition.name} ({condition.n_positive}): AUC {condition.auc}"
        ax.plot(false_share, found, color=colour, label=label, drawstyle="steps-post")
        for scored in condition.points:
            sens, spec = scored.sensitivity, scored.specificity
            x, y = 1 - spec.value, sens.value
            across = [[x - (1 - spec.interval.high)], [1 - spec.interval.low - x]]
            along = [[y - sens.interval.low], [sens.interval.high - y]]
            # rounding may put an end on the wrong side of a value that it equals
            ax.errorbar(
                x,
                y,
                xerr=np.maximum(across, 0),
                yerr=np.maximum(along, 0),
                fmt="o",
                color=colour,
                markersize=4,
                linewidth=1,
            )
    ax.legend(loc="lower right", fontsize="small")
    return figure


def plot_reliability(
    y_true: ArrayLike,
    y_proba: ArrayLike,
    *,
    n_grades: int = N_GRADES,
    at_least: Sequence[int] | None = None,
    n_bins: int = 8,
    title: str = "",
) -> Figure:
    """Draw the share of images with a grade or a worse one, by its predicted probability.

    Bars are Wilson's 95 % intervals, by image. The dotted line is perfect calibration.

    Parameters
    ----------
    y_true : array-like of int, shape (n_samples,)
        Grades in ``range(n_grades)``.
    y_proba : array-like of float, shape (n_samples, n_grades)
    at_least : sequence of int, default=None
        Lowest grades; by default 2 and 3 on the scale of five, else all but 0.
    n_bins : int, default=8
        Number of bins, with about the same number of images each.

    Raises
    ------
    DataError
        If the probabilities have another shape or do not sum to 1, or a grade of `at_least` is
        off the scale.

    Examples
    --------
    >>> figure = plot_reliability([0, 1, 1], [[0.8, 0.2], [0.4, 0.6], [0.1, 0.9]], n_grades=2)
    >>> figure.axes[0].get_xlabel()
    'predicted probability'
    """
    true, proba = read_proba(y_true, y_proba, n_grades)
    if at_least is None:
        at_least = (2, 3) if n_grades == N_GRADES else range(1, n_grades)
    if not all(1 <= k < n_grades for k in at_least):
        raise DataError(
            f"at_least must hold grades in 1–{n_grades - 1}. "  # noqa: RUF001
            f"Got {list(at_least)}."
        )
    figure, ax = _unit_square("predicted probability", "share of images", title)
    for place, (k, colour) in enumerate(zip(at_least, _COLOURS, strict=False)):
        predicted, share, low, high = _reliability(true >= k, proba[:, k:].sum(axis=1), n_bins)
        bars = np.maximum([share - low, high - share], 0)
        # shifted a little, so that bars do not hide each other
        ax.errorbar(
            predicted + 0.004 * place,
            share,
            yerr=bars,
            fmt="o-",
            color=colour,
            markersize=4,
            linewidth=1,
            label=f"grade ≥ {k}",
        )
    ax.legend(loc="upper left")
    return figure


def _unit_square(xlabel: str, ylabel: str, title: str) -> tuple[Figure, Axes]:
    """Return a new figure, and its axes from 0 to 1 with a dotted diagonal."""
    figure = new_figure()
    ax = figure.subplots()
    ax.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    limits = (-0.02, 1.02)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title, xlim=limits, ylim=limits)
    return figure, ax


def _reliability(
    positive: NDArray[np.bool_], proba: NDArray[np.float64], n_bins: int
) -> tuple[NDArray[np.float64], ...]:
    parts = [p for p in np.array_split(np.argsort(proba, kind="stable"), n_bins) if len(p)]
    rows = []
    for part in parts:
        hits = int(positive[part].sum())
        rows.append((proba[part].mean(), hits / len(part), *wilson(hits, len(part))))
    return tuple(np.array(rows).T)
