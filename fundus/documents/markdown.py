"""A document as Markdown, with its pictures as files beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from fundus.documents.blocks import Block, Command, Document, Picture, Points, Table


def to_markdown(document: Document, *, beside: Path) -> str:
    """Return a document as Markdown.

    Parameters
    ----------
    document : Document
    beside : Path
        The folder that the text will lie in, from which pictures are linked.
    """
    parts = [f"# {_plain(document.title)}", _plain(document.subtitle)]
    parts.append(_table(("", "", ""), document.cards))
    for section in document.sections:
        parts.append(f"## {_plain(section.title)}")
        parts += [_block(block, beside) for block in section.blocks]
    return "\n\n".join(part for part in parts if part) + "\n"


def _block(block: Block, beside: Path) -> str:
    if isinstance(block, Table):
        shown = f"**{_plain(block.caption)}**\n\n{_table(block.header, block.rows)}"
        return shown + (f"\n\n{_plain(block.note)}" if block.note else "")
    if isinstance(block, Picture):
        link = _link(block.file, beside)
        return f"![{_plain(block.alt)}](<{link}>)\n\n{_plain(block.caption)}"
    if isinstance(block, Points):
        return "\n".join(f"- {_plain(item)}" for item in block.items)
    if isinstance(block, Command):
        fence = "`" * max(3, block.text.count("`") + 1)
        return f"{fence}\n{block.text}\n{fence}"
    return f"**{_plain(block.text)}**" if block.strong else _plain(block.text)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines)


def cell(text: str) -> str:
    """Text of a user's in a table."""
    return text if set(text) == {"-"} else _plain(text).replace("|", "\\|")


def _plain(text: str) -> str:
    """Text of a user's, such as the name of a file, that must not be read as Markdown."""
    for mark in "\\`*_<[":
        text = text.replace(mark, "\\" + mark)
    return " ".join(text.split())


def _link(file: Path, beside: Path) -> str:
    """The path from a folder to a file, or the whole one where they share none."""
    try:
        found = os.path.relpath(file.resolve(), beside.resolve())
    except ValueError:  # on another drive of Windows
        found = str(file.resolve())
    return quote(found.replace(os.sep, "/"), safe="/:")
