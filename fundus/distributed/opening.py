"""The engine that a user means: made of a client, or started here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fundus.distributed.engines import Engine
from fundus.parameters import invalid


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
