"""Axes from 0 to 1 both ways, with a dotted diagonal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fundus.runtime.figures import QUIET, SMALL, TEXT

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_square(ax: Axes, xlabel: str, ylabel: str) -> None:
    """Prepare axes for shares on both sides."""
    ax.plot([0, 1], [0, 1], color=QUIET, linewidth=0.8, linestyle=":", zorder=0)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    ax.set_xlabel(xlabel, fontsize=TEXT)
    ax.set_ylabel(ylabel, fontsize=TEXT)
    ax.tick_params(labelsize=SMALL)
    ax.spines[["top", "right"]].set_visible(False)
