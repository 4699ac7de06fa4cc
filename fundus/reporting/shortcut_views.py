"""A shortcut report as a table and as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fundus.reporting.tables import how_resampled
from fundus.runtime.figures import as_written, new_figure
from fundus.runtime.terminal import new_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

    from fundus.reporting.shortcuts import Shortcut, ShortcutReport

#: What the measures of photographs are called where there is room for words.
_WORDS = {
    "fov_share": "field of view",
    "jpeg_quality": "JPEG quality",
    "pixels": "size in pixels",
}

_PLAIN, _STRONG, _GREY, _BAND = "#2b7bba", "#d7301f", "#6b6b6b", "#ececec"


def shortcut_table(report: ShortcutReport) -> Table:
    """Return what the severity follows, pooled and within each grade."""
    from rich.markup import escape

    strong = " * strong: the model may grade how a photograph was taken." * bool(report.strong)
    table = new_table(
        f"What the severity follows within a grade: {report.n_images} images",
        caption="Rank correlation of numbers, eta squared (η²) of categories; 0 where it follows "
        f"nothing. Intervals, 95 %, are {how_resampled(report.n_patients)}. Columns 0, 1 …: within "
        f"each grade.{strong}",
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("measure", no_wrap=True)
    table.add_column("pooled", justify="right")
    table.add_column("", no_wrap=True)
    for k in range(len(report.n_by_grade)):
        table.add_column(f"{k}", justify="right")
    for found in report.shortcuts:
        pooled = found.pooled
        values = ["-" if np.isnan(m.value) else f"{m.value:.2f}" for m in (pooled, *found.by_grade)]
        known = pooled.span != "-"
        span = f"{pooled.interval.low:.2f} to {pooled.interval.high:.2f}" if known else "-"
        name = escape(_named(found)) + " *" * found.strong
        table.add_row(name, values[0], span, *values[1:])
    return table


@as_written
def plot_shortcuts(report: ShortcutReport) -> Figure:
    """Draw pooled values with their intervals, and those within the grades as small points."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    figure = new_figure()
    figure.set_size_inches(7, 1.9 + 0.42 * len(report.shortcuts))
    ax = figure.subplots()
    ax.axvline(0, color="black", linewidth=0.8, zorder=1)
    for row, found in enumerate(report.shortcuts):
        colour = _STRONG if found.strong else _PLAIN
        if np.isnan(found.pooled.value):
            ax.text(0.02, row, "does not vary within a grade", va="center", color=_GREY)
            continue
        ax.barh(row, 2 * found.strong_from, 0.7, -found.strong_from, color=_BAND, zorder=0)
        within = [measure.value for measure in found.by_grade]
        ax.plot(
            within, [row + 0.24] * len(within), "o", markersize=4, color=_GREY, alpha=0.7, zorder=2
        )
        ends = found.pooled.interval
        ax.plot([ends.low, ends.high], [row, row], color=colour, linewidth=2, zorder=3)
        ax.plot(
            found.pooled.value, row, "o", markersize=7.5, color=colour, markeredgecolor="white",
            zorder=4,
        )  # fmt: skip
    ax.set_yticks(range(len(report.shortcuts)), [_named(s) for s in report.shortcuts], fontsize=12)
    ax.set_ylim(len(report.shortcuts) - 0.5, -0.5)
    ax.set_xlim(-1, 1)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=11)
    ax.set_xlabel("rank correlation with the severity within a grade, or η²", fontsize=12)
    title = f"What the severity follows: {report.n_images} photographs"
    ax.set_title(title, fontsize=13, loc="left", pad=30)
    keys: list[Line2D | Patch] = [
        Line2D([], [], marker="o", color=_PLAIN, linewidth=2, label="pooled, 95 % interval"),
        Line2D([], [], marker="o", color=_STRONG, linewidth=2, label="strong"),
        Line2D([], [], marker="o", color=_GREY, markersize=4, linewidth=0, label="a grade"),
        Patch(color=_BAND, label="weak"),
    ]
    ax.legend(
        handles=keys, loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, fontsize=11,
        handletextpad=0.5, columnspacing=1.2, borderaxespad=0.2, borderpad=0.2,
    )  # fmt: skip
    return figure


def _named(found: Shortcut) -> str:
    name = _WORDS.get(found.name, found.name)
    return f"{name} (η²)" if found.kind == "eta squared" else name
