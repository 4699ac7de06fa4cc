"""A shortcut report as a table and as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fundus.reporting.displays import new_figure
from fundus.reporting.tables import TOO_NARROW
from fundus.runtime.terminal import new_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

    from fundus.reporting.shortcuts import ShortcutReport


def shortcut_table(report: ShortcutReport) -> Table:
    """Return what the severity follows, pooled and within each grade."""
    from rich.markup import escape

    how = "by patient" if report.n_patients is not None else f"{TOO_NARROW}: patients unknown"
    table = new_table(
        f"What the severity follows within a grade: {report.n_images} images",
        caption="Rank correlation of numbers, eta squared (η²) of categories; 0 where it follows "
        f"nothing. Intervals are {how}.",
    )
    table.add_column("measure")
    table.add_column("pooled", justify="right")
    table.add_column("interval")
    for k in range(len(report.n_by_grade)):
        table.add_column(f"{k}", justify="right")
    table.add_column("")
    for found in report.shortcuts:
        cells = ["-" if np.isnan(m.value) else f"{m.value:.2f}" for m in found.by_grade]
        value = "-" if np.isnan(found.pooled.value) else f"{found.pooled.value:.3f}"
        name = escape(found.name) + " (η²)" * (found.kind == "eta squared")
        table.add_row(name, value, found.pooled.span, *cells, "strong" if found.strong else "")
    return table


def plot_shortcuts(report: ShortcutReport) -> Figure:
    """Draw pooled values with their intervals, and those within the grades as small points."""
    figure = new_figure()
    ax = figure.subplots()
    for row, found in enumerate(report.shortcuts):
        colour = "tab:red" if found.strong else "tab:blue"
        within = [measure.value for measure in found.by_grade]
        ax.plot(within, [row] * len(within), ".", color="grey", alpha=0.6)
        ax.plot([found.pooled.interval.low, found.pooled.interval.high], [row, row], color=colour)
        ax.plot(found.pooled.value, row, "o", color=colour)
    names = [f"{s.name} (η²)" if s.kind == "eta squared" else s.name for s in report.shortcuts]
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlim(-1, 1)
    ax.set_xlabel("rank correlation with the severity within a grade; grey: each grade")
    return figure
