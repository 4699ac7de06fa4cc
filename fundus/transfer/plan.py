"""The plan of a fit: what is computed and kept, why, and what that costs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fundus.runtime.progress import labelled
from fundus.runtime.searches import first_of_its_kind
from fundus.runtime.shown import Shown
from fundus.runtime.terminal import new_table

if TYPE_CHECKING:
    from rich.table import Table

_told: ContextVar[bool] = ContextVar("told", default=True)

#: What each way of doing the frozen work means.
WAYS = {
    "features": "pooled features: computed once, kept, held in memory",
    "activations": "activations at the cut: computed once, kept, streamed",
    "images": "decoded images: kept; the frozen layers run at every use",
    "files": "nothing is kept: files are decoded and the frozen layers run at every use",
}


@dataclass(frozen=True)
class Option:
    """One way to do the frozen work of a fit.

    Parameters
    ----------
    way : {"features", "activations", "images", "files"}
        What is kept; see `WAYS`.
    disk_bytes : int
        What the store will hold of it, with present entries.
    decodes, forward_passes : int
        Number of images to decode, and to run through the frozen layers, over all epochs.
    fits : bool
        Whether the cache's limit and the disk have enough room.
    seconds : float or None
        Expected time, without the training itself; ``None`` where nothing was measured.
    """

    way: str
    disk_bytes: int
    decodes: int
    forward_passes: int
    fits: bool = True
    seconds: float | None = None


@dataclass(frozen=True, repr=False)
class Plan(Shown):
    """What a fit does with the frozen layers.

    Parameters
    ----------
    n_images, n_distinct : int
        Number of rows, and of different images among them.
    n_present : int
        Number of different images whose result is already in the store.
    cut : str
        Where the frozen part ends.
    bytes_per_image : int
        Size of the result for one image.
    ram_bytes : int
        Memory for the inputs of the training at any time.
    epochs : int
        Uses of every image; 1 for a head that is fitted on features.
    others : tuple of Option
        The options that were compared with it.
    reason : str
        Why it was chosen.
    training_seconds : float or None
        Expected time of the training itself, where it was measured.

    Examples
    --------
    >>> plan = Plan(2, 2, 0, "all layers", 5120, 10240, 1, Option("features", 10240, 2, 2), (), "")
    >>> dict(plan.rows())["forward passes"]
    '2 to do, 0 there already'
    """

    n_images: int
    n_distinct: int
    n_present: int
    cut: str
    bytes_per_image: int
    ram_bytes: int
    epochs: int
    chosen: Option
    others: tuple[Option, ...]
    reason: str
    training_seconds: float | None = None

    def rows(self) -> list[tuple[str, str]]:
        """Return the plan as pairs of a label and a text, for a table."""
        chosen = self.chosen
        images = f"{self.n_images:,}"
        if self.n_distinct != self.n_images:
            images += f", {self.n_distinct:,} different ones"
        there = f", {self.n_present:,} there already" if chosen.way != "files" else ""
        found = [
            ("images", images),
            ("frozen part", f"{self.cut}; {in_bytes(self.bytes_per_image)} an image"),
            ("kept", WAYS[chosen.way]),
            ("why", self.reason),
            ("decodes", f"{chosen.decodes:,} to do"),
            ("forward passes", f"{chosen.forward_passes:,} to do{there}"),
            ("disk", in_bytes(chosen.disk_bytes)),
            ("memory", in_bytes(self.ram_bytes)),
        ]
        if chosen.seconds is not None:
            found.append(("expected time", in_time(chosen.seconds) + " for the frozen layers"))
        if self.training_seconds is not None:
            found.append(
                ("", f"{in_time(self.training_seconds)} for the training, at most {self.epochs} "
                 f"epoch{'s' * (self.epochs > 1)}")
            )  # fmt: skip
        for other in self.others:
            time = "" if other.seconds is None else f", {in_time(other.seconds)}"
            room = "" if other.fits else ", more than there is room for"
            found.append(("instead of", f"{other.way}: {in_bytes(other.disk_bytes)}{time}{room}"))
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return asdict(self)

    def to_table(self) -> Table:
        """Return the plan for a terminal."""
        return plan_table(self)

    def __repr__(self) -> str:
        return f"<Plan of {self.n_images:,} images: {WAYS[self.chosen.way]}>"

    def __str__(self) -> str:
        return "\n".join(f"{label:15}{text}" for label, text in self.rows())


def in_bytes(n: int) -> str:
    """Format a number of bytes for people.

    Examples
    --------
    >>> in_bytes(512), in_bytes(1_900_000)
    ('512 bytes', '1.9 MB')
    """
    if n < 1000:
        return f"{n} bytes"
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if n >= size:
            return f"{n / size:,.1f} {unit}"
    return f"{n / 1000:.1f} KB"


def in_time(seconds: float) -> str:
    """Format a duration for people.

    Parameters
    ----------
    seconds : float

    Examples
    --------
    >>> in_time(0.2), in_time(80), in_time(8000)
    ('less than a second', '80 s', '2.2 h')
    """
    if seconds < 1:
        return "less than a second"
    if seconds < 180:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def plan_table(plan: Plan, title: str = "Plan") -> Table:
    """Return a plan as a table."""
    from rich.text import Text

    table = new_table(title, show_header=False)
    for label, text in plan.rows():
        table.add_row(Text(label, style="bold"), Text(text))
    return table


@contextmanager
def plans_told(told: bool) -> Iterator[None]:
    """Set whether fits in this context print their plans; folds after the first need not.

    Once printing is off, it stays off in inner contexts.
    """
    token = _told.set(told and _told.get())
    try:
        yield
    finally:
        _told.reset(token)


def show_plan(plan: Plan, frozen: str) -> None:
    """Print a plan on standard error, unless `plans_told` turned that off.

    A search prints one, and another where a candidate keeps something else.

    Parameters
    ----------
    plan : Plan
    frozen : str
        Key of what is kept.
    """
    if not _told.get() or not first_of_its_kind((frozen, plan.chosen.way)):
        return
    from rich.console import Console

    Console(stderr=True, highlight=False).print(plan_table(plan, labelled("Plan")))
