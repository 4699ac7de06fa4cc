"""What the user sees: results on stdout; progress, warnings and errors on stderr."""

from __future__ import annotations

import json
import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from fundus.exceptions import (
    FundusError,
    FundusWarning,
    InvalidParameterError,
    UnknownNameError,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

#: Exit codes.
BAD_DATA = 1
BAD_USAGE = 2
INTERRUPTED = 130

#: Characters in a line of what goes into a file or a pipe, so that no table is cut short there.
_WIDTH_OF_A_PIPE = 160

# The library speaks of its own arguments; here they are options.
_OPTIONS = (
    (r"pass on_error='skip'", "pass --on-error skip"),
    (r"as (?:class_names|grades)=\[…\]", "as --grades No_DR,Mild,…"),
    (r"\bnot in class_names=", "not in --grades "),
    (r"pass grades= for", "pass --grades for"),
    (r"\bpass grades=(\d+)", r"pass --grades \1"),
    (r"\bpass patients_unknown='ok'", "pass --patients-unknown ok"),
    (r"\bwith (path|grade|patient)=", r"with --\1-column"),
    (r"\bfor (path|grade|patient)=;", r"for --\1-column;"),
    (r"\bor cache= to another folder, or pass cache=False", "or --cache-dir to another folder"),
    (r"\bgiven as image_dir\b", "given as --image-dir"),
    (r"\blower cv\b", "lower --folds"),
    (r"\bor pass min_classes=1 if .* scored", "or score them with fundus evaluate"),
    (r"the attribute 'skipped' lists them", "skipped.csv lists them"),
    (r"the attribute 'ungradable' lists them", "skipped.csv lists them"),
)


class Screen:
    """Where a command writes.

    Parameters
    ----------
    json : bool, default=False
        Only one JSON document goes to stdout, and no progress is shown.
    quiet : bool, default=False
        Only warnings and errors are shown, and the JSON document if there is one.
    """

    def __init__(self, *, json: bool = False, quiet: bool = False) -> None:
        self.json = json
        self.silent = json or quiet

    def show(self, *what: Any) -> None:
        """Print results, rich renderables or text, unless they are off."""
        if not self.silent:
            out = _console(stderr=False)
            for thing in what:
                text = isinstance(thing, str)
                out.print(thing, markup=not text, soft_wrap=text)

    def note(self, text: str) -> None:
        """Print a line about progress on stderr, unless it is off."""
        if not self.silent:
            _console(stderr=True).print(text, style="dim", markup=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print a line on stderr, also where progress is off: what is replaced is always said."""
        _console(stderr=True).print(text, markup=False, soft_wrap=True)

    def emit(self, document: dict[str, Any]) -> None:
        """Print the JSON document, where it was asked for."""
        if self.json:
            typer.echo(json.dumps(document, indent=1, allow_nan=False))


class CommandGroup(TyperGroup):
    """The commands, with warnings and errors told in one line each."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; errors of the library become exit codes."""
        with one_line_warnings():
            try:
                return super().invoke(ctx)
            except (InvalidParameterError, UnknownNameError) as error:
                tell_error(str(error))
                raise typer.Exit(BAD_USAGE) from error
            except FundusError as error:
                tell_error(str(error))
                raise typer.Exit(BAD_DATA) from error
            except KeyboardInterrupt:
                tell_error(
                    "Interrupted. Frozen work that was done is kept, so the same command goes on "
                    "from there; give it a new --out, or remove what it has left in the old one."
                )
                raise typer.Exit(INTERRUPTED) from None
            except OSError as error:
                if error.filename is None:
                    raise
                tell_error(f"{error.strerror}: {error.filename!r}.")
                raise typer.Exit(BAD_DATA) from error


@contextmanager
def one_line_warnings() -> Iterator[None]:
    """Show each warning once, in one line on stderr, while a command runs."""
    seen: set[str] = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        text = _one_line(str(message))
        if text not in seen:
            seen.add(text)
            _tell("Warning: ", text, "yellow")

    # it speaks of retracing and the like, which nobody at a command line can change
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.showwarning = show
        warnings.filterwarnings("always", category=FundusWarning)
        yield


def new_table(title: str, *columns: str) -> Table:
    """Return a table with left-aligned columns, narrow enough for 80 characters."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(*columns, title=title, title_justify="left", box=SIMPLE_HEAD)


def cell(value: object, style: str = "") -> Text:
    """Return a table cell that shows brackets as they are."""
    from rich.text import Text

    return Text(str(value), style=style)


def tell_error(message: str) -> None:
    """Print an error in one red line on stderr."""
    _tell("Error: ", _one_line(message), "bold red")


def _one_line(message: str) -> str:
    text = " ".join(message.split())
    for pattern, option in _OPTIONS:
        text = re.sub(pattern, option, text)
    return text


def _tell(label: str, text: str, style: str) -> None:
    from rich.text import Text

    line = Text.assemble((label, style), (text, style.removeprefix("bold ")))
    _console(stderr=True).print(line, soft_wrap=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    # made anew each time, so that it writes to what stdout and stderr are at the moment
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDTH_OF_A_PIPE
    return console
