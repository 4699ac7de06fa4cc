"""Progress bars for long work."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any, TypeVar

T = TypeVar("T", bound=tuple[Sized, Any])


def track(batches: Iterator[T], *, total: int, what: str, show: int | bool) -> Iterator[T]:
    """Show a progress bar on standard error while batches of images are processed.

    Parameters
    ----------
    batches : iterator of tuple
        The first element of each tuple has the length of the batch.
    total : int
        Number of all images.
    what : str
        Label of the bar.
    show : int or bool
        Nothing is shown if it is 0.

    Yields
    ------
    tuple
        The batches, unchanged.
    """
    if not show:
        yield from batches
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        for batch in batches:
            yield batch
            bar.advance(task, len(batch[0]))
