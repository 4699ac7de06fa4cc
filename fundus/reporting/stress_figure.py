"""The figure of a `StressReport`: kappa by kind of change and strength."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fundus.images.degradations import STRENGTHS
from fundus.runtime.figures import as_written, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fundus.reporting.bootstrap import Measure
    from fundus.reporting.stressed import StressReport

#: Colour and marker by strength: light to dark, so that grey shows them too.
_STYLES = {1: ("#7fb8de", "o"), 2: ("#2b7bba", "s"), 3: ("#08306b", "D")}
_UNCHANGED = "#d95f02"


@as_written
def draw(report: StressReport, ax: Axes | None) -> Axes:
    """Draw a dot and an interval for every kind and strength; the worst kind stands on top."""
    strengths = sorted(report.means)
    hardest = strengths[-1]
    kinds = sorted(report.kinds, key=lambda kind: _low(report[kind, hardest].qwk))
    names = [*kinds, "mean of kinds"] if len(kinds) > 1 else kinds
    if ax is None:
        figure = new_figure()
        figure.set_size_inches(7, 1.8 + 0.42 * len(names))
        ax = figure.subplots()
    base = report.unchanged.qwk
    if np.isfinite(base.interval.low):
        ax.axvspan(base.interval.low, base.interval.high, color=_UNCHANGED, alpha=0.13, linewidth=0)
    if np.isfinite(base.value):
        ax.axvline(base.value, color=_UNCHANGED, linewidth=2, label="unchanged")
    for step, strength in enumerate(strengths):
        colour, marker = _STYLES[strength]
        label = STRENGTHS[strength - 1]
        offset = 0.26 * (step - (len(strengths) - 1) / 2)
        for row, name in enumerate(names):
            found = report.means[strength] if row == len(kinds) else report[name, strength]
            measure, y = found.qwk, row + offset
            ax.plot(
                [measure.interval.low, measure.interval.high], [y, y],
                color=colour, linewidth=2, solid_capstyle="butt",
            )  # fmt: skip
            ax.plot(
                measure.value, y, marker, color=colour, markersize=6.5, markeredgecolor="white",
                markeredgewidth=0.6, linestyle="none", label=label if row == 0 else None,
            )  # fmt: skip
    for row in range(1, len(names)):
        ends = row == len(kinds)
        ax.axhline(
            row - 0.5,
            color="black" if ends else "#d9d9d9",
            linewidth=1.0 if ends else 0.6,
            zorder=0,
        )
    ax.set_yticks(range(len(names)), names, fontsize=12)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=11)
    ax.set_xlabel("quadratic weighted kappa, 95 % interval", fontsize=12)
    ax.set_title(f"{report.title}: {report.n_images} photographs", fontsize=13, loc="left", pad=30)
    ax.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, fontsize=12,
        handletextpad=0.4, columnspacing=1.4, borderaxespad=0.2, borderpad=0.2,
    )  # fmt: skip
    return ax


def _low(measure: Measure) -> float:
    return measure.value if np.isfinite(measure.value) else np.inf
