"""Tables for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def new_table(title: str, *columns: str, **more: Any) -> Table:
    """Return a table with its title on the left, narrow enough for 80 characters.

    Columns are left-aligned, under their headings; `more` are arguments of `rich.table.Table`.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    style: dict[str, Any] = {"title_justify": "left", "caption_justify": "left"}
    return Table(*columns, title=title, box=SIMPLE_HEAD, **style | more)
