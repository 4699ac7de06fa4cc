"""Writes result files completely or not at all."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fundus.cli.outputs import SOFTWARE
from fundus.runtime.whole import whole_file

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from fundus.reporting.evaluated import Evaluation

#: First characters of text that a spreadsheet reads as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def write_csv(
    frame: pd.DataFrame, path: str | os.PathLike[str], *, plain_text: bool = False
) -> None:
    """Write a table as CSV in UTF-8, with six decimals.

    Text is quoted where it holds a comma, a quote or the end of a line, also a lone carriage
    return, or if a spreadsheet would read it as a formula; with `plain_text`, an apostrophe is put
    before the latter.
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
    if re.search('[",\r\n]', text) or text.startswith(_FORMULA):
        return '"' + text.replace('"', '""') + '"'
    return text


def write_json(document: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a JSON document, which must not hold ``nan``."""
    with whole_file(path) as part:
        part.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def write_figures(
    evaluation: Evaluation, path: Callable[[str], Path], *, title: str
) -> dict[str, str]:
    """Save an evaluation's figures, and return the description of each file by its name.

    `path` gets the name of a file, such as ``roc.png``, and returns where to write it.
    """
    from fundus.reporting.evaluated import FIGURES

    files = {}
    for name, figure in evaluation.plot(title).items():
        target = path(f"{name}.png")
        write_figure(figure, target)
        files[target.name] = FIGURES[name]
    return files


def write_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Save a figure as PNG, with the text by which it is recognised."""
    with whole_file(path) as part:
        figure.savefig(part, format="png", dpi=120, metadata={"Software": SOFTWARE})
