"""Progress bars for long work."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

T = TypeVar("T", bound=tuple[Sized, *tuple[Any, ...]])


def new_bar(*columns: ProgressColumn) -> Progress:
    """Return a bar on standard error: its label, how much of it is done, and more columns."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    usual = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*usual, *columns, console=Console(stderr=True))


def track(batches: Iterator[T], *, total: int, what: str, show: int | bool) -> Iterator[T]:
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
        Nothing is shown if it is 0.
    """
    if not show:
        yield from batches
        return
    from rich.progress import TimeRemainingColumn

    with new_bar(TimeRemainingColumn()) as bar:
        task = bar.add_task(what, total=total)
        for batch in batches:
            yield batch
            bar.advance(task, len(batch[0]))
