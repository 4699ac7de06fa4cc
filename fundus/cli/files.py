"""Writes result files completely or not at all."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fundus.cli.options import DPI
from fundus.cli.outputs import SOFTWARE
from fundus.runtime.whole import whole_file

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure, SubFigure

    from fundus.reporting.evaluated import Evaluation

#: First characters of text that a spreadsheet reads as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def write_csv(
    frame: pd.DataFrame, path: str | os.PathLike[str], *, plain_text: bool = False
) -> None:
    """Write a table as CSV in UTF-8, with six decimals.

    Text is quoted where it holds a comma, a quote or the end of a line, also a lone carriage
    return, or a semicolon or a tab, at which some spreadsheets part cells, or if a spreadsheet
    would read it as a formula; with `plain_text`, an apostrophe is put before the latter.
    """
    text = csv_text(frame, plain_text=plain_text)
    with whole_file(path) as part:
        # file names that are not UTF-8 are written as their bytes
        part.write_bytes(text.encode("utf-8", "surrogateescape"))


def csv_text(frame: pd.DataFrame, *, plain_text: bool = False) -> str:
    """Return a table as CSV; see `write_csv`.

    Examples
    --------
    >>> import pandas as pd
    >>> print(csv_text(pd.DataFrame({"file": ["=1.jpg", "b.jpg"], "score": [0.5, -1]})), end="")
    file,score
    "=1.jpg",0.500000
    b.jpg,-1.000000
    """
    cells = [_texts(frame.iloc[:, k], plain_text=plain_text) for k in range(frame.shape[1])]
    rows = [[_field(str(name)) for name in frame.columns], *zip(*cells, strict=True)]
    return "".join(",".join(row) + "\n" for row in rows)


def _texts(column: pd.Series, *, plain_text: bool) -> list[str]:
    from pandas.api.types import is_float_dtype, is_numeric_dtype

    numeric, floating = is_numeric_dtype(column.dtype), is_float_dtype(column.dtype)

    def write(value: Any) -> str:
        if floating:
            return f"{value:.6f}"
        text = str(value)
        if numeric:
            return text
        return _field("'" + text if plain_text and text.startswith(_FORMULA) else text)

    return ["" if gone else write(v) for v, gone in zip(column, column.isna(), strict=True)]


def _field(text: str) -> str:
    if re.search('[",;\t\r\n]', text) or text.startswith(_FORMULA):
        return '"' + text.replace('"', '""') + '"'
    return text


def write_json(document: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a JSON document, which must not hold ``nan``."""
    with whole_file(path) as part:
        part.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class FigureFiles:
    """How figures are written, and where.

    Parameters
    ----------
    path : callable
        Gets the name of a file, such as ``roc.png``, and returns where to write it.
    suffix : {"png", "pdf", "svg"}, default="png"
    dpi : int, default=120
        Pixels per inch.
    """

    path: Callable[[str], Path]
    suffix: str = "png"
    dpi: int = DPI

    def write(self, figure: Figure | SubFigure, name: str) -> str:
        """Save a figure, and return the name of its file."""
        target = self.path(f"{name}.{self.suffix}")
        write_figure(figure, target, dpi=self.dpi)
        return target.name


def write_figures(evaluation: Evaluation, files: FigureFiles, *, title: str) -> dict[str, str]:
    """Save an evaluation's figures, and return the description of each file by its name."""
    from fundus.reporting.evaluated import FIGURES

    figures = evaluation.plot(title)
    return {files.write(figure, name): FIGURES[name] for name, figure in figures.items()}


def write_figure(
    figure: Figure | SubFigure, path: str | os.PathLike[str], *, dpi: int = DPI
) -> None:
    """Save a figure as its name ends, with the text by which it is recognised.

    The same figure gives the same bytes.
    """
    import matplotlib as mpl

    whole: Any = figure.figure  # of axes within a part of a figure
    suffix = Path(path).suffix.removeprefix(".")
    about: dict[str, dict[str, str | None]] = {
        "png": {"Software": SOFTWARE},
        "pdf": {"Creator": SOFTWARE, "CreationDate": None},
        "svg": {"Creator": SOFTWARE, "Date": None},
    }
    # the default of 6 takes twice as long for photographs, and saves a twentieth
    more = {"pil_kwargs": {"compress_level": 4}} if suffix == "png" else {}
    # names of parts of an SVG are random without a salt, and many journals refuse fonts of type 3,
    # the default in PDF
    settings: Any = {"svg.hashsalt": SOFTWARE, "svg.fonttype": "path", "pdf.fonttype": 42}
    with mpl.rc_context(settings), whole_file(path) as part:
        whole.savefig(part, format=suffix, dpi=dpi, metadata=about[suffix], **more)
