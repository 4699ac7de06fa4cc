"""What a document is made of: sections of paragraphs, tables, pictures and commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Text:
    """A paragraph; `strong` ones are set apart.

    Parameters
    ----------
    text : str
    strong : bool, default=False
    """

    text: str
    strong: bool = False
    kind: str = field(default="text", init=False)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"kind": self.kind, "text": self.text}


@dataclass(frozen=True)
class Points:
    """A list of short sentences.

    Parameters
    ----------
    items : sequence of str
    """

    items: Sequence[str]
    kind: str = field(default="points", init=False)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"kind": self.kind, "items": list(self.items)}


@dataclass(frozen=True)
class Table:
    """A table, whose first column names its rows.

    Parameters
    ----------
    caption : str
    header : sequence of str
    rows : sequence of sequence of str
    note : str, default=""
        What stands below it.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    kind: str = field(default="table", init=False)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        rows = [list(row) for row in self.rows]
        return {
            "kind": self.kind, "caption": self.caption, "header": list(self.header),
            "rows": rows, "note": self.note,
        }  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A picture of the run.

    Parameters
    ----------
    file : Path
        PNG or SVG.
    caption : str
    alt : str
        What it shows, for who does not see it.
    wide : bool, default=False
        Whether it is as wide as the page, as photographs are.
    """

    file: Path
    caption: str
    alt: str
    wide: bool = False
    kind: str = field(default="picture", init=False)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "kind": self.kind, "file": self.file.name, "caption": self.caption, "alt": self.alt,
        }  # fmt: skip


@dataclass(frozen=True)
class Command:
    """A command for a terminal.

    Parameters
    ----------
    text : str
    """

    text: str
    kind: str = field(default="command", init=False)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"kind": self.kind, "text": self.text}


Block = Text | Points | Table | Picture | Command


@dataclass(frozen=True)
class Section:
    """A part of a document, under a heading.

    Parameters
    ----------
    name : str
        In links: letters and hyphens.
    title : str
    blocks : sequence of Block
    """

    name: str
    title: str
    blocks: Sequence[Block]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        blocks = [block.to_dict() for block in self.blocks]
        return {"name": self.name, "title": self.title, "blocks": blocks}


@dataclass(frozen=True)
class Document:
    """A document of a run.

    Parameters
    ----------
    title : str
    subtitle : str
    cards : sequence of tuple of (str, str, str)
        The most important numbers: what, value, and what is said of it.
    sections : sequence of Section
    """

    title: str
    subtitle: str
    cards: Sequence[tuple[str, str, str]]
    sections: Sequence[Section]

    def pictures(self) -> list[Picture]:
        """All pictures, in order."""
        blocks = [block for section in self.sections for block in section.blocks]
        return [block for block in blocks if isinstance(block, Picture)]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, with the names of the pictures."""
        return {
            "title": self.title,
            "subtitle": self.subtitle,
            "cards": [list(card) for card in self.cards],
            "sections": [section.to_dict() for section in self.sections],
        }
