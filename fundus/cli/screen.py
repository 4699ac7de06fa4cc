"""Output for the user: results on stdout; progress, warnings and errors on stderr."""

from __future__ import annotations

import json
import logging
import os
import signal
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from fundus.cli.signals import Ended, ending_by_signals
from fundus.exceptions import (
    FundusError,
    FundusWarning,
    InvalidParameterError,
    Mention,
    Message,
    UnknownNameError,
    UnlearnedWarning,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

#: Exit codes; after a signal it is 128 and the number of the signal, as in a shell.
BAD_DATA = 1
BAD_USAGE = 2
SIGNALLED = 128

#: The object of the context where the command line is this process's program.
PROGRAM = "fundus"

#: What to do after an interruption, where the command does not know better.
FROZEN_KEPT = (
    "Frozen work that was done is kept, so the same command continues from there; give it a new "
    "--out, or remove what it has left in the old one."
)

#: Width of output to a file or a pipe, so that tables are not cut there.
_WIDTH_OF_A_PIPE = 160

#: Options whose names differ from those of the parameters.
_CALLED = {
    "augment": "--augmentation",
    "cache": "--cache-dir",
    "cache_elsewhere": "--cache-dir to another folder",
    "class_names": "--grades",
    "confidence_level": "--alpha",
    "cv": "--folds",
    "grade": "--grade-column",
    "n_bootstraps": "--bootstraps",
    "n_jobs": "--jobs",
    "overwrite": "--force",
    "only_scored": "score them with fundus evaluate",
    "path": "--path-column",
    "patient": "--patient-column",
    "private": "--public",
    "random_state": "--seed",
    "skipped": "skipped.csv",
    "ungradable": "skipped.csv",
}


def in_words_of_options(mention: Mention, options: Collection[str]) -> str:
    """Replace a parameter in a message by its option, if it is one of the `options`.

    Examples
    --------
    >>> in_words_of_options(Mention("on_error", "skip"), {"--on-error"})
    '--on-error skip'
    >>> in_words_of_options(Mention("power", owner="TransferClassifier"), {"--power"})
    'option --power'
    """
    name, value = mention.name, mention.value
    option = _CALLED.get(name, f"--{name.replace('_', '-')}")
    if option.startswith("--") and option.split()[0] not in options:
        return str(mention)
    if mention.owner is not None:
        return f"option {option}"
    if value is None:
        return option
    names = ("No_DR", "Mild", "…") if value is ... else value
    return f"{option} {names if isinstance(names, (str, int)) else ','.join(names)}"


class Screen:
    """The output of a command.

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
        """Print results, rich renderables or text, unless they are turned off."""
        if not self.silent:
            out = _console(stderr=False)
            for thing in what:
                text = isinstance(thing, str)
                out.print(thing, markup=not text, soft_wrap=text)

    def note(self, text: str) -> None:
        """Print a line about progress on stderr, unless progress is turned off."""
        if not self.silent:
            _console(stderr=True).print(text, style="dim", markup=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print a line on stderr even if progress is off, such as which files are replaced."""
        _console(stderr=True).print(text, markup=False, soft_wrap=True)

    def emit(self, document: dict[str, Any]) -> None:
        """Print the JSON document, if ``--json`` is given."""
        if self.json:
            typer.echo(json.dumps(document, indent=1, allow_nan=False))


class CommandGroup(TyperGroup):
    """The commands, with warnings and errors printed in one line each."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; errors of the library become exit codes."""
        options = {
            name for one in self.commands.values() for option in one.params for name in option.opts
        }
        # code that calls a command within its own process keeps its own signals
        signals = ending_by_signals() if ctx.obj == PROGRAM else nullcontext()
        from fundus.runtime.verbosity import verbosity

        # commands say themselves which bars they show
        with one_line_warnings(options), verbosity("quiet"):
            try:
                with signals:
                    return super().invoke(ctx)
            except FundusError as error:
                tell_error(_told(error, options))
                of_usage = isinstance(error, (InvalidParameterError, UnknownNameError))
                raise typer.Exit(BAD_USAGE if of_usage else BAD_DATA) from error
            except KeyboardInterrupt as end:
                number = end.number if isinstance(end, Ended) else signal.SIGINT
                name = signal.Signals(number).name
                how = "Interrupted." if number == signal.SIGINT else f"Ended by {name}."
                tell_error(" ".join([how, *getattr(end, "__notes__", [FROZEN_KEPT])]))
                raise typer.Exit(SIGNALLED + number) from None
            except OSError as error:
                if error.filename is None:
                    raise
                tell_error(f"{error.strerror}: {error.filename!r}.")
                raise typer.Exit(BAD_DATA) from error


@contextmanager
def one_line_warnings(options: Collection[str]) -> Iterator[None]:
    """Show each warning once, in one line on stderr, while a command runs.

    Of trainings that learned nothing, each with its own numbers, the first is shown and the others
    are counted.
    """
    seen: set[str] = set()
    unlearned = 0

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        nonlocal unlearned
        text = _one_line(_told(message, options))
        unlearned += issubclass(category, UnlearnedWarning)
        if issubclass(category, UnlearnedWarning) and unlearned > 1:
            return
        if text not in seen:
            seen.add(text)
            _tell("Warning: ", text, "yellow")

    # TensorFlow logs retracing and the like, which users of the command line cannot change
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.showwarning = show
        warnings.filterwarnings("always", category=FundusWarning)
        yield
        if unlearned > 1:
            text = f"{unlearned} trainings of this command ended no better than a constant."
            _tell("Warning: ", text, "yellow")


def cell(value: object, style: str = "") -> Text:
    """Return a table cell that shows brackets as they are."""
    from rich.text import Text

    return Text(str(value), style=style)


def tell_error(message: str) -> None:
    """Print an error in one red line on stderr."""
    _tell("Error: ", _one_line(message), "bold red")


def _told(what: BaseException | str, options: Collection[str]) -> str:
    """Return the message of an error or a warning, with its mentions as options."""
    message = what.args[0] if isinstance(what, BaseException) and what.args else what
    if not isinstance(message, Message):
        return str(what)
    return message.told(lambda mention: in_words_of_options(mention, options))


def _one_line(message: str) -> str:
    return " ".join(message.split())


def _tell(label: str, text: str, style: str) -> None:
    from rich.text import Text

    line = Text.assemble((label, style), (text, style.removeprefix("bold ")))
    _console(stderr=True).print(line, soft_wrap=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    # made each time, so that it writes to the current stdout and stderr
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDTH_OF_A_PIPE
    return console
