"""Sections that plugins add to a report: what they return is checked, and one that fails is left
out."""

from __future__ import annotations

import contextlib
import copy
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from fundus.documents.blocks import Block, Picture, Points, Section, Table, Text
from fundus.documents.html import embedded
from fundus.exceptions import PluginError, PluginWarning, warn_caller
from fundus.plugins.registry import Entry, get_registry
from fundus.reporting.record import RunRecord

#: Endings of pictures.
PICTURES = (".png", ".svg")


def added_sections(record: RunRecord) -> Iterator[Section]:
    """Yield the sections that plugins have for a run.

    Parameters
    ----------
    record : RunRecord
        Plugins get copies of it, so that they cannot change what the library says.

    Warns
    -----
    PluginWarning
        If one fails; ``FUNDUS_STRICT_PLUGINS=1`` raises the error instead.
    """
    for entry in get_registry().entries["report-section"]:
        try:
            blocks = blocks_of(entry, record)
        except PluginError as error:
            if os.environ.get("FUNDUS_STRICT_PLUGINS") == "1":
                raise
            warn_caller(f"{error} It is left out of the report.", PluginWarning)
            continue
        if blocks:
            by = Text(f"This section is by the plugin {entry.plugin}, of {_release(entry)}.")
            name = f"by-{entry.plugin}-{entry.spec.name}"
            yield Section(name, entry.spec.title, [*blocks, by])


def blocks_of(entry: Entry, record: RunRecord) -> list[Block]:
    """Return what one plugin's section has for a run, after a look at each record.

    Raises
    ------
    PluginError
        If it fails, or returns what it may not.
    """
    what = f"The report section {entry.qualified_name!r} of {entry.distribution}"
    own = RunRecord(record.path, copy.deepcopy(record.metrics))
    try:
        # what a plugin prints must not end up in the output of a command
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = entry.spec.make(own)
            blocks = list(made) if isinstance(made, Sequence) and not _is_text(made) else None
            problems = [_problem(block, record.path) for block in blocks or ()]
            if not any(problems):
                for block in blocks or ():
                    if type(block) is Picture:
                        embedded(block)  # as the report will
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split())[:300].rstrip(".")
        raise PluginError(f"{what} failed with {type(error).__name__}: {text}.") from error
    if blocks is None:
        raise PluginError(
            f"{what} must return a sequence of Text, Points, Table and Picture. Got "
            f"{type(made).__name__} instead."
        )
    for problem in filter(None, problems):
        raise PluginError(f"{what} returns what a report cannot hold: {problem}.")
    return blocks


def _release(entry: Entry) -> str:
    try:
        return f"{entry.distribution} {metadata.version(entry.distribution)}"
    except metadata.PackageNotFoundError:  # under test, registered by hand
        return entry.distribution


def _is_text(value: Any) -> bool:
    return isinstance(value, (str, bytes))


def _problem(block: Any, run: Path) -> str:
    """Say in one clause what is wrong with a record; empty where it can be shown."""
    if type(block) is Text:
        return _no_text("text", block.text)
    if type(block) is Points:
        return _no_texts("items", block.items)
    if type(block) is Table:
        rows = list(block.rows) if isinstance(block.rows, Sequence) else [()]
        problems = [_no_text("caption", block.caption), _no_texts("header", block.header)]
        problems += [_no_texts("a row", row) for row in rows]
        found = next(filter(None, [*problems, _no_text("note", block.note)]), "")
        uneven = any(len(row) != len(block.header) for row in rows) if not found else False
        return found or "a table must have as many cells in each row as in its header" * uneven
    if type(block) is Picture:
        found = _no_text("caption", block.caption) or _no_text("alt", block.alt)
        return found or _picture_problem(block.file, run)
    return f"{type(block).__name__} is none of Text, Points, Table and Picture"


def _no_text(name: str, value: Any) -> str:
    return "" if type(value) is str else f"{name} must be a str. Got {value!r:.200}"


def _no_texts(name: str, values: Any) -> str:
    if not isinstance(values, Sequence) or _is_text(values):
        return f"{name} must be a sequence of str. Got {values!r:.200}"
    return next(filter(None, (_no_text(f"what is in {name}", value) for value in values)), "")


def _picture_problem(file: Any, run: Path) -> str:
    """A picture of the run itself: a report must not carry other files of the machine away."""
    if not isinstance(file, Path) or file.suffix not in PICTURES:
        return f"a picture must be the Path of a PNG or SVG. Got {file!r:.200}"
    if not file.is_file() or run.resolve() not in file.resolve().parents:
        return f"a picture must be a file in the run's folder. Got {str(file)!r:.200}"
    return ""
