"""`Shown`: how results look, in a console, in print and in a notebook."""

from __future__ import annotations

import io
from collections.abc import Iterator
from html import escape
from typing import Any


class Shown:
    """Shows ``to_table()``: a line in a console, text in print, HTML in a notebook."""

    def to_table(self) -> Any:
        """Return tables of rich for a terminal."""
        raise NotImplementedError

    def __repr__(self) -> str:
        first = next((title for title, *_ in _parts(self.to_table()) if title), "")
        return f"<{type(self).__name__}: {first}>" if first else f"<{type(self).__name__}>"

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(file=io.StringIO(), width=100, color_system=None)
        with console.capture() as text:
            console.print(self.to_table())
        return "\n".join(line.rstrip() for line in text.get().strip().splitlines())

    def _repr_html_(self) -> str:
        return "".join(map(_in_html, _parts(self.to_table())))


#: Title, header, rows and what stands below.
_Part = tuple[str, list[str], list[list[str]], str]


def _parts(shown: Any) -> Iterator[_Part]:
    """The tables and lines of what rich would print."""
    from rich.console import Group
    from rich.table import Table

    if isinstance(shown, Group):
        for part in shown.renderables:
            yield from _parts(part)
    elif isinstance(shown, Table):
        columns = [[_plain(cell) for cell in column.cells] for column in shown.columns]
        header = [_plain(column.header) for column in shown.columns]
        rows = [list(row) for row in zip(*columns, strict=True)]
        yield _plain(shown.title), header, rows, _plain(shown.caption)
    else:
        yield _plain(shown), [], [], ""


def _plain(cell: Any) -> str:
    """Text without rich's markup and colours."""
    from rich.text import Text

    if cell is None:
        return ""
    return Text.from_markup(cell).plain if isinstance(cell, str) else str(cell)


def _in_html(part: _Part) -> str:
    title, header, rows, below = part
    if not header:
        return f"<p>{escape(title)}</p>"
    heads = "".join(f"<th scope='col'>{escape(text)}</th>" for text in header)
    top = f"<thead><tr>{heads}</tr></thead>" if any(header) else ""
    lines = "".join(
        "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows
    )
    style = "text-align: left; font-weight: bold; caption-side: top"
    table = (
        f"<table><caption style='{style}'>{escape(title)}</caption>"
        f"{top}<tbody>{lines}</tbody></table>"
    )
    return table + (f"<p style='max-width: 50em'><small>{escape(below)}</small></p>" * bool(below))
