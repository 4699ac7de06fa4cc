"""What is asked of an engine, and which one a ``client=`` parameter means."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from fundus.parameters import invalid

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


def engine_of(client: Any) -> Engine:
    """Return the engine that a ``client=`` parameter means.

    Parameters
    ----------
    client : distributed.Client, "dask" or "ray"
        "dask" is the client that was made last; "ray" what ``ray.init`` has connected to.

    Raises
    ------
    InvalidParameterError
        If it is none of these.
    EngineError
        If no client was made, or Ray is not connected.
    MissingDependencyError
        If the engine is not installed.
    """
    if client == "ray":
        from fundus.distributed.ray_engine import RayEngine

        return RayEngine()
    if client == "dask" or _is_dask(client):
        from fundus.distributed.dask_engine import DaskEngine

        return DaskEngine(None if isinstance(client, str) else client)
    raise invalid("extract", "client", "a distributed.Client, 'dask' or 'ray'", client)


def _is_dask(client: Any) -> bool:
    """Whether something is a client of Dask, without an import of Dask."""
    return any(
        kind.__name__ == "Client" and kind.__module__.split(".")[0] == "distributed"
        for kind in type(client).__mro__
    )


@contextmanager
def started(name: str, address: str | None, n_workers: int) -> Iterator[Engine]:
    """Connect to an engine by name, or start workers on this machine; they end with the context.

    Parameters
    ----------
    name : {"dask", "ray"}
    address : str or None
        Of the scheduler; ``None`` starts workers here.
    n_workers : int
        How many are started here.

    Raises
    ------
    EngineError
        If nothing answers at the address.
    MissingDependencyError
        If the engine is not installed.
    """
    if name == "dask":
        from fundus.distributed.dask_engine import started as of_dask

        with of_dask(address, n_workers) as engine:
            yield engine
    else:
        from fundus.distributed.ray_engine import started as of_ray

        with of_ray(address, n_workers) as engine:
            yield engine
