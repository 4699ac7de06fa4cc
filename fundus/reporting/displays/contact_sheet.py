"""`ContactSheetDisplay`: photographs in rows, each with a few words about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import DataError
from fundus.parameters import invalid
from fundus.reporting.displays.audit_contents import contents_of_audit
from fundus.reporting.displays.sheet_contents import Contents, contents_of_evaluation
from fundus.runtime.figure_text import drawable, shortened, text_width
from fundus.runtime.figures import FAINT, QUIET, SMALL, TEXT, TITLE, as_written, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

    from fundus.audit.report import Audit
    from fundus.reporting.evaluated import Evaluation

#: A cell: a photograph, why there is none, or several of them side by side.
Cell = NDArray[np.uint8] | str | tuple[NDArray[np.uint8] | str, ...]

# inches: edge of a photograph, between cells, between photographs of a cell, around the sheet
_EDGE, _GAP, _INNER, _AROUND = 2.35, 0.22, 0.05, 0.18
#: Height of a line of text, in inches by point of its size.
_LINE = 1.32 / 72


class ContactSheetDisplay:
    """Photographs in rows, with captions that are read at half size.

    Make it with `from_evaluation` or `from_audit`, which also draw it, or of any pictures.

    Parameters
    ----------
    images : sequence of ndarray of uint8, shape (height, width, 3), of str, or of tuples of them
        RGB, 0–255. A text is written on a grey cell in place of a picture, and the pictures of a
        tuple stand side by side.
    captions : sequence of str
        Text below each picture; the first line is bold. Lines that are too long are shortened in
        the middle.
    title : str, default=""
    note : str, default=""
        A quieter line below the title, such as what the captions say.
    colours : sequence of str, default=None
        Colours of the first lines; by default all are black.
    columns : int, default=4
        Pictures in a row, at most.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes that hold all pictures.
        They are in inches, from their upper left corner.
    pictures_ : list of list of AxesImage or None
        By cell, one for each of its pictures; ``None`` for a grey one.
    captions_ : list of str
        As drawn.
    figure_ : matplotlib.figure.Figure
        Not registered in pyplot if no axes were given.
    table_ : DataFrame
        Of `from_evaluation` and `from_audit`: what is known of the photographs that are drawn, in
        their order.

    See Also
    --------
    Evaluation.ranked : The order of photographs, as a table.
    SaliencyDisplay : Photographs with their maps, at full size.

    Examples
    --------
    >>> eyes = np.full((3, 40, 40, 3), 120, np.uint8)
    >>> display = ContactSheetDisplay(eyes, ["one\\n1.png", "two\\n2.png", "three\\n3.png"])
    >>> [len(cell) for cell in display.plot().pictures_], display.captions_[2]
    ([1, 1, 1], 'three\\n3.png')
    """

    table_: Any = None

    def __init__(
        self,
        images: Sequence[Cell] | NDArray[np.uint8],
        captions: Sequence[str],
        *,
        title: str = "",
        note: str = "",
        colours: Sequence[str] | None = None,
        columns: int = 4,
    ) -> None:
        self.images = images
        self.captions = captions
        self.title = title
        self.note = note
        self.colours = colours
        self.columns = columns

    @classmethod
    def from_evaluation(
        cls,
        evaluation: Evaluation,
        images: Any,
        *,
        by: str = "errors",
        n: int = 16,
        model: Any = None,
        title: str | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Draw the photographs that are graded worst, or of which the model is least certain.

        The first `n` rows of ``evaluation.ranked(by)`` are read and drawn, in that order. A
        photograph that cannot be read any more stays a grey cell.

        Parameters
        ----------
        evaluation : Evaluation
        images : images
            Those that were evaluated, in their order, such as ``data.paths``.
        by : {"errors", "uncertain"}, default="errors"
            As in `Evaluation.ranked`, which says what is certain.
        n : int, default=16
            Most photographs that are drawn.
        model : classifier, default=None
            Fitted; puts its map of the severity beside each photograph: orange raises it, blue
            lowers it. Out of fold, the ensemble, of which each photograph gets the map of the
            model that did not see it. No maps are drawn where they are not exact.
        title : str, default=None
            By default what is drawn.
        ax : matplotlib.axes.Axes, default=None
            By default those of a new figure.

        Raises
        ------
        DataError
            If there is not one image for each row, they are no photographs, or nothing tells how
            certain the model is.
        InvalidParameterError
            If `by` is neither, or `n` is no positive integer.

        Warns
        -----
        DataWarning
            If some photographs cannot be read.
        """
        _check_number(n)
        contents = contents_of_evaluation(evaluation, images, by=by, n=n, model=model, title=title)
        return cls._of(contents).plot(ax)

    @classmethod
    def from_audit(
        cls,
        audit: Audit,
        images: Any,
        *,
        which: str = "suspects",
        n: int = 12,
        title: str | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Draw doubtful labels and odd pictures with why, or pairs of copies and near duplicates.

        Parameters
        ----------
        audit : Audit
            Of `audit_images`.
        images : images
            Those that were audited, in their order.
        which : {"suspects", "pairs"}, default="suspects"
            "suspects": the first `n` doubtful labels, and the first `n` odd pictures, of
            ``audit.suspects()``. "pairs": the first `n` of ``audit.alike()``, side by side, with
            whether they are of two patients.
        n : int, default=12
        title : str, default=None
            By default what is drawn.
        ax : matplotlib.axes.Axes, default=None
            By default those of a new figure.

        Raises
        ------
        DataError
            If there are more images than the audit has.
        InvalidParameterError
            If `which` is neither, or `n` is no positive integer.

        Warns
        -----
        DataWarning
            If some photographs cannot be read any more.
        """
        _check_number(n)
        contents = contents_of_audit(audit, images, which=which, n=n, title=title)
        return cls._of(contents).plot(ax)

    @classmethod
    def _of(cls, contents: Contents) -> Self:
        sheet = cls(
            contents.images,
            contents.captions,
            title=contents.title,
            note=contents.note,
            colours=contents.colours,
            columns=contents.columns,
        )
        sheet.table_ = contents.table
        return sheet

    @as_written
    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the sheet.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            They are filled; by default those of a new figure, as high as the sheet.

        Returns
        -------
        ContactSheetDisplay
            Itself, with `ax_`, `captions_`, `figure_` and `pictures_`.

        Raises
        ------
        DataError
            If there is not one caption, and one colour, for each picture.
        """
        cells = [image if isinstance(image, tuple) else (image,) for image in self.images]
        n, colours = len(cells), self.colours
        if len(self.captions) != n or (colours is not None and len(colours) != n):
            raise DataError(
                f"A sheet of {n} pictures needs as many captions, and colours if any. Got "
                f"{len(self.captions)} captions and {colours and len(colours)} colours."
            )
        across = max((len(cell) for cell in cells), default=1)
        columns = max(1, min(self.columns, n))
        rows = -(-n // columns)
        n_lines = max((caption.count("\n") + 1 for caption in self.captions), default=0)
        below = 0.06 + (TEXT + SMALL * max(0, n_lines - 1)) * _LINE if n_lines else 0.0
        sheet = _Sheet(ax, rows, columns, across, below, [self.title, self.note])
        self.ax_, self.figure_ = sheet.ax, sheet.ax.figure
        self.pictures_: list[list[AxesImage | None]] = []
        self.captions_: list[str] = []
        for k, (cell, caption) in enumerate(zip(cells, self.captions, strict=True)):
            at = divmod(k, columns)
            self.pictures_.append(sheet.draw(cell, *at))
            colour = "black" if colours is None else colours[k]
            self.captions_.append(sheet.write(caption.split("\n"), *at, colour))
        return self


def _check_number(n: Any) -> None:
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise invalid("ContactSheetDisplay", "n", "an int in the range [1, inf)", n)


class _Sheet:
    """Where things are on axes, in inches from their upper left corner."""

    def __init__(
        self,
        ax: Axes | None,
        rows: int,
        columns: int,
        across: int,
        below: float,
        head: list[str],
    ) -> None:
        self.across, self.below = across, below
        self.edge = _EDGE if across == 1 else 0.8 * _EDGE
        wide = max(5.0, columns * (self._cell(self.edge) + _GAP) - _GAP + 2 * _AROUND)
        if ax is not None:
            wide = _inches(ax)[0]
        lines = _wrapped_head(head, wide - 2 * _AROUND)
        self.top = _AROUND + sum(size for _, size, _ in lines) * _LINE + 0.1 * bool(lines)
        if ax is None:
            tall = self.top + max(0.0, rows * (self.edge + below + _GAP) - _GAP) + _AROUND
            figure = new_figure(wide, tall)
            figure.set_layout_engine("none")
            ax = figure.add_axes((0, 0, 1, 1))
            ax.set_axis_off()
        else:
            wide, tall = _inches(ax)
            ax.set_axis_off()
            each = (wide - 2 * _AROUND + _GAP) / columns - _GAP
            by_width = (each - _INNER * (across - 1)) / across
            by_height = (tall - self.top) / max(1, rows) - below - _GAP
            self.edge = max(0.1, min(by_width, by_height))
        ax.set(xlim=(0, wide), ylim=(tall, 0), aspect="auto")
        ax.set_autoscale_on(False)  # or pictures change the limits
        self.ax = ax
        y = _AROUND
        for text, size, colour in lines:
            self._text(_AROUND, y, text, size, colour)
            y += size * _LINE

    def _cell(self, edge: float) -> float:
        return self.across * edge + (self.across - 1) * _INNER

    def _corner(self, row: int, column: int) -> tuple[float, float]:
        x = _AROUND + column * (self._cell(self.edge) + _GAP)
        return x, self.top + row * (self.edge + self.below + _GAP)

    def _text(self, x: float, y: float, text: str, size: float, colour: str, **more: Any) -> None:
        self.ax.text(x, y, text, fontsize=size, color=colour, va="top", ha="left", **more)

    def draw(
        self, cell: tuple[NDArray[np.uint8] | str, ...], row: int, column: int
    ) -> list[AxesImage | None]:
        """Put the pictures of a cell side by side."""
        x, y = self._corner(row, column)
        drawn: list[AxesImage | None] = []
        for picture in cell:
            if isinstance(picture, str):
                self._grey(picture, x, y)
                drawn.append(None)
            else:
                drawn.append(self._picture(picture, x, y))
            x += self.edge + _INNER
        return drawn

    def _picture(self, picture: NDArray[np.uint8], x: float, y: float) -> AxesImage:
        """Draw a picture in the middle of its square, with its own proportions."""
        height, width = picture.shape[:2]
        down, right = (self.edge * (1 - side / max(height, width)) / 2 for side in (height, width))
        extent = x + right, x + self.edge - right, y + self.edge - down, y + down
        return self.ax.imshow(picture, extent=extent, aspect="auto", interpolation="antialiased")

    def _grey(self, why: str, x: float, y: float) -> None:
        from matplotlib.patches import Rectangle

        self.ax.add_patch(Rectangle((x, y), self.edge, self.edge, color=FAINT, linewidth=0))
        text = shortened(why, 72 * self.edge, SMALL)
        self.ax.text(
            x + self.edge / 2, y + self.edge / 2, text, fontsize=SMALL, color=QUIET, ha="center",
            va="center",
        )  # fmt: skip

    def write(self, lines: list[str], row: int, column: int, colour: str) -> str:
        """Write a caption, and return it as it is written."""
        x, y = self._corner(row, column)
        y += self.edge + 0.05
        width, written = 72 * self._cell(self.edge), []
        for k, line in enumerate(lines):
            size, weight = (TEXT, "bold") if k == 0 else (SMALL, "normal")
            text = shortened(line, width, size, weight=weight)
            self._text(x, y, text, size, QUIET if k else colour, weight=weight)
            y += size * _LINE
            written.append(text)
        return "\n".join(written)


def _inches(ax: Axes) -> tuple[float, float]:
    """Width and height of axes."""
    figure: Any = ax.figure
    box = ax.get_window_extent().transformed(figure.dpi_scale_trans.inverted())
    return float(box.width), float(box.height)


def _wrapped_head(head: list[str], width: float) -> list[tuple[str, float, str]]:
    """Break the title and the note into lines, each with its size and colour."""
    lines = []
    for text, size, colour in zip(head, (TITLE, SMALL), ("black", QUIET), strict=True):
        line = ""
        for word in drawable(text).split():
            longer = f"{line} {word}".strip()
            if line and text_width(longer, size) > 72 * width:
                lines.append((line, float(size), colour))
                longer = word
            line = longer
        if line:
            lines.append((line, float(size), colour))
    return lines
