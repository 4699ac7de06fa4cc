"""Progress bars for long work."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from fundus.runtime.verbosity import shows_progress

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

T = TypeVar("T", bound=tuple[Sized, *tuple[Any, ...]])

#: Seconds of work after which a bar is shown that nobody has asked for.
SOON = 1.0

_part: ContextVar[str] = ContextVar("part", default="")


@contextmanager
def part_of_work(name: str) -> Iterator[None]:
    """Name what is at work in this context, such as "fold 2"; bars begin with it.

    Examples
    --------
    >>> with part_of_work("fold 2"), part_of_work("fold 0"):
    ...     labelled("Training")
    'Fold 2, fold 0: training'
    """
    outer = _part.get()
    token = _part.set(f"{outer}, {name}" if outer and name else outer or name)
    try:
        yield
    finally:
        _part.reset(token)


def labelled(what: str) -> str:
    """Return the label of a bar, with the part of the work before it."""
    part = _part.get()
    return f"{part[0].upper()}{part[1:]}: {what[0].lower()}{what[1:]}" if part else what


def new_bar(*columns: ProgressColumn) -> Progress:
    """Return a bar on standard error: its label, how much of it is done, and more columns."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    usual = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    # what a program prints meanwhile stays on standard output, which may be a file
    same = sys.stdout is not None and sys.stdout.isatty()
    return Progress(*usual, *columns, console=Console(stderr=True), redirect_stdout=same)


class Bar:
    """One bar, shown at once where it was asked for, else when the work takes long.

    Parameters
    ----------
    what : str
        Its label.
    total : int
    asked : int or bool
        Whether a parameter asks for it.
    columns : tuple of rich.progress.ProgressColumn, default=()
        More than the label and how much is done.
    """

    def __init__(self, what: str, total: int, asked: int | bool, columns: Any = ()) -> None:
        self.total, self.done = total, 0
        self._what, self._columns = labelled(what), columns
        self._bar: Progress | None = None
        self._wanted = bool(asked) or shows_progress()
        self._begun = time.monotonic() - (SOON if asked else 0)

    def advance(self, steps: int, more: str = "") -> None:
        """Add finished steps, and what is said of them."""
        self.done += steps
        if not self._wanted:
            return
        if self._bar is None and time.monotonic() - self._begun >= SOON:
            self._bar = new_bar(*self._columns)
            self._bar.start()
            self._task = self._bar.add_task(self._what, total=self.total)
        if self._bar is not None:
            text = f"{self._what}  {more}" if more else self._what
            self._bar.update(self._task, completed=self.done, description=text)

    def close(self, *, finished: bool = True) -> None:
        """End it, full where the work is finished, also where that was early."""
        if self._bar is not None:
            if finished:
                self._bar.update(self._task, total=max(self.done, 1))
            self._bar.stop()
            self._bar = None


def track(
    batches: Iterator[T], *, total: int, what: str, show: int | bool
) -> Generator[T, None, None]:
    """Show a progress bar on standard error while batches of images are processed.

    Parameters
    ----------
    batches : iterator of tuple
        The first element of each tuple has the length of the batch. They are yielded unchanged.
    total : int
        Number of all images.
    what : str
        Label of the bar.
    show : int or bool
        0 shows it only where `set_verbosity` says so.
    """
    if not (show or shows_progress()):
        yield from batches
        return
    from rich.progress import TimeRemainingColumn

    bar = Bar(what, total, show, (TimeRemainingColumn(),))
    bar.advance(0)
    finished = False
    try:
        for batch in batches:
            yield batch
            bar.advance(len(batch[0]))
        finished = True
    finally:
        bar.close(finished=finished)
