"""New figures without pyplot's global state, text as it is, colours that all people tell apart."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

P = ParamSpec("P")
R = TypeVar("R")

#: Colours after Okabe and Ito (2008), by hue: blue, vermilion, green, purple, orange, sky blue.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
#: A marker and a line for each of them, so that no drawing needs its colours.
MARKERS = ("o", "s", "D", "^", "v", "P")
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (9, 2)), ":")
#: Greys for what is not data: text beside it, and areas behind it.
QUIET, FAINT = "#5f6368", "#ececec"

#: Sizes of text, in points on a figure 7 inches wide: half of that is still read.
TITLE, TEXT, SMALL = 14, 12, 11


def new_figure(width: float = 7.0, height: float = 5.5) -> Figure:
    """Return a figure without pyplot and without a window.

    Parameters
    ----------
    width, height : float
        In inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from fundus.runtime.notebook_figure import NotebookFigure

    figure = NotebookFigure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def axes_or_new(ax: Axes | None, width: float = 7.0, height: float = 5.5) -> Axes:
    """Return the axes that were given, or those of a new figure."""
    return new_figure(width, height).subplots() if ax is None else ax


def as_written(plot: Callable[P, R]) -> Callable[P, R]:
    r"""Decorate what draws a figure: all text that it writes is drawn as it is.

    Names of grades, columns, files and runs are users' own, and may hold ``$``, ``_``, ``^`` or a
    backslash, which matplotlib, or LaTeX where a user's settings ask for it, would read as
    mathematics. Text that was on given axes before, and numbers on axes, stay as their maker wants.

    Parameters
    ----------
    plot : callable
        Returns a figure, axes, or an object with ``figure_``.

    Examples
    --------
    >>> @as_written
    ... def draw(name):
    ...     ax = axes_or_new(None)
    ...     ax.set_title(name)
    ...     return ax
    >>> draw("$a_1$").title.get_parse_math()
    False
    """

    @functools.wraps(plot)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        from matplotlib.axes import Axes

        given = next((one for one in (*args, *kwargs.values()) if isinstance(one, Axes)), None)
        before = {} if given is None else {text: text.get_text() for text in _texts(given.figure)}
        made: Any = plot(*args, **kwargs)
        for text in _texts(getattr(made, "figure_", getattr(made, "figure", made))):
            if before.get(text) != text.get_text():
                text.set_parse_math(False)
                text.set_usetex(False)
        return made

    return drawn


def _texts(figure: Any) -> Iterator[Text]:
    """All text of a figure but the numbers that matplotlib writes beside ticks."""
    from matplotlib.category import StrCategoryFormatter
    from matplotlib.text import Text
    from matplotlib.ticker import FixedFormatter, FuncFormatter

    named = (FixedFormatter, FuncFormatter, StrCategoryFormatter)
    numbers = {
        label
        for ax in figure.axes
        for axis in (ax.xaxis, ax.yaxis)
        if not isinstance(axis.get_major_formatter(), named)
        for label in (*axis.get_ticklabels(), axis.get_offset_text())
    }
    yield from (text for text in figure.findobj(Text) if text not in numbers)


def set_title(ax: Axes, title: str, below: str = "") -> None:
    """Write a title above the axes, from their left end, and a quieter line below it."""
    if not below:
        ax.set_title(title, fontsize=TITLE, loc="left")
        return
    ax.set_title(title, fontsize=TITLE, loc="left", pad=24 if title else 8)
    ax.text(
        0, 1.015, below, transform=ax.transAxes, fontsize=TEXT, color=QUIET, va="bottom", ha="left"
    )


def wrapped(label: str) -> str:
    """Break a label after its number, and where it is long, so that five fit side by side.

    Examples
    --------
    >>> wrapped("3 severe NPDR"), wrapped("not to be graded")
    ('3\\nsevere NPDR', 'not to be\\ngraded')
    """
    number, _, name = label.partition(" ")
    if not number.isdigit():
        return textwrap.fill(label, 12)
    return f"{number}\n{textwrap.fill(name, 12)}"
