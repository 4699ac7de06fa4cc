"""What is asked of an engine that runs functions on workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

#: Engines by name.
ENGINES = ("dask", "ray")


class WorkerDiedError(Exception):
    """Workers ended, one after another, while they did the same task."""


class Engine(Protocol):
    """Runs functions on workers; tasks are compared and hashed by identity."""

    #: As a user knows it.
    name: str
    #: What it raises where every worker that did a task has ended.
    deaths: tuple[type[Exception], ...]

    def workers(self) -> Sequence[str]:
        """Return the names of the workers that are there now."""

    def everywhere(self, function: Callable[..., Any], *args: Any) -> Mapping[str, Any]:
        """Return by worker what a function returns there, or the error that it raises."""

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """Start a call on some worker; it is started again where its worker ends."""

    def some_done(self, tasks: Sequence[Any], seconds: float) -> list[Any]:
        """Wait until at least one task is done, or for a time; return those that are."""

    def result(self, task: Any) -> Any:
        """Return what a finished task has returned, or raise its error.

        Raises
        ------
        WorkerDiedError
            If the engine has given it up, as every worker that did it has ended.
        """

    def cancel(self, tasks: Sequence[Any]) -> None:
        """Give tasks up."""

    def joblib(self) -> AbstractContextManager[Any]:
        """Return a context in which joblib's jobs run on the workers."""
