"""Checks of output paths: inputs are never replaced, other files only with ``--force``."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fundus.data.tables import IMAGE_SUFFIXES
from fundus.runtime.whole import is_stream

if TYPE_CHECKING:
    from sklearn.utils import Bunch

    from fundus.cli.screen import Screen

#: Returns whether the command itself has written a file.
Ours = Callable[[Path], bool]

#: What figures say that made them, by which they are recognised.
SOFTWARE = "fundus"
# longest header that is read, since a binary file may have no line end at all
_HEAD = 65536


def table(pattern: str) -> Ours:
    """Recognise a table by its header row, all of which the regular expression matches."""

    def ours(path: Path) -> bool:
        with path.open("rb") as stream:
            header = stream.readline(_HEAD).decode("utf-8", "replace").rstrip("\r\n")
        return re.fullmatch(pattern, header) is not None

    return ours


def document(kind: str) -> Ours:
    """Recognise a JSON document by its ``kind``."""

    def ours(path: Path) -> bool:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError):
            return False
        return isinstance(found, dict) and found.get("kind") == kind

    return ours


def holding(*marks: str) -> Ours:
    """Recognise a file by texts, all of which its beginning holds."""

    def ours(path: Path) -> bool:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
        return all(mark.encode() in head for mark in marks)

    return ours


def figure(path: Path) -> bool:
    """Recognise a figure by what made it: before the pixels of PNG and SVG, at the end of PDF."""
    name = SOFTWARE.encode()
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
        if head.startswith(b"%PDF"):
            stream.seek(max(0, path.stat().st_size - _HEAD))
            return b"/Creator (" + name + b")" in stream.read(_HEAD)
    if head.startswith(b"\x89PNG"):
        return b"tEXtSoftware\0" + name in head
    is_svg = head.startswith(b"<?xml") and b"<svg" in head
    return is_svg and b"<dc:title>" + name + b"</dc:title>" in head.partition(b"</metadata>")[0]


def claim(
    outputs: Sequence[tuple[Path, Ours]],
    inputs: Iterable[str | os.PathLike[str]],
    screen: Screen,
    *,
    force: bool,
    option: str = "--output",
) -> None:
    """Check the paths of results before any work is done.

    Parameters
    ----------
    outputs : sequence of (Path, callable)
        Every file that the command will write, and how its own files are recognised.
    inputs : iterable of path-like
        Every file that it reads, and folders whose files it reads. They are compared by device
        and inode, so another name of the same file is found too.
    screen : Screen
        Prints which files will be replaced.
    force : bool
        ``--force``: whether other files may be replaced. Inputs never are.
    option : str, default="--output"
        Name of the command's option for its output.

    Raises
    ------
    typer.BadParameter
        If an output is an input, two outputs are the same file, or another file exists there.
    """
    targets: dict[str, Path] = {}
    for output, _ in outputs:
        target = os.path.realpath(output)
        if target in targets:
            raise _refused(
                f"the command would write two things to one file, {str(targets[target])!r} and "
                f"{str(output)!r}: choose another name.",
                option,
            )
        targets[target] = output
    there = {
        _identity(path): (path, ours)
        for path, ours in outputs
        if path.exists() and not is_stream(path)
    }
    if not there:
        return
    for source in inputs:
        for name in _files(source):
            hit = there.get(_identity(name))
            if hit is not None:
                raise _refused(
                    f"{str(hit[0])!r} is the file {os.fspath(name)!r} that the command reads, and "
                    "it would be lost: choose another name. --force does not change this.",
                    option,
                )
    for path, ours in there.values():
        # an empty file, such as one from mktemp, may be replaced
        own = path.stat().st_size == 0 or ours(path)
        if not own and not force:
            raise _refused(
                f"{str(path)!r} exists and was not written by this command: choose "
                "another name, or pass --force to replace it.",
                option,
            )
        what = "of an earlier run" if own else "which this command has not written"
        screen.say(f"Replacing {str(path)!r}, {what}.")


def read_of(arguments: Iterable[Path], loaded: Bunch, *others: Path | None) -> list[Path]:
    """Return the files that a command reads, for `claim`.

    Parameters
    ----------
    arguments : iterable of Path
        Tables, photographs and folders; of a folder only its photographs are read.
    loaded : Bunch
        The data loaded from them.
    *others : Path or None
        Files, and folders all of whose files are read.
    """
    aside = [Path(path) for path in loaded.skipped["path"]]
    photographs = [path for path in aside if path.suffix.lower() in IMAGE_SUFFIXES]
    named = [path for path in arguments if not path.is_dir()]
    given = [path for path in others if path is not None]
    return [*named, *given, *photographs, *map(Path, loaded.paths)]


def claim_beside(output: Path, what: str) -> None:
    """Refuse a device or a pipe if more files, `what`, are written beside the output."""
    if is_stream(output):
        raise _refused(f"{str(output)!r} is not a file, and {what} go beside it: name a file.")


def _identity(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _files(source: str | os.PathLike[str]) -> Iterable[str | os.PathLike[str]]:
    if not os.path.isdir(source):
        return [source]
    return [os.path.join(folder, name) for folder, _, names in os.walk(source) for name in names]


def _refused(message: str, option: str = "--output") -> typer.BadParameter:
    return typer.BadParameter(message, param_hint=option)
