"""Ray."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from fundus.distributed.engines import WorkerDiedError
from fundus.exceptions import EngineError, MissingDependencyError

#: How often Ray starts a task again whose worker has ended, as Dask does.
_RETRIES = 3

_SECONDS_TO_ANSWER = 300.0  # a node's first answer waits for the start of a process


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(
            "Work on Ray needs the package ray: install it with pip install 'fundus-zoo[ray]'."
        ) from error
    return ray


class RayEngine:
    """The nodes of the Ray cluster that ``ray.init`` has connected to.

    Raises
    ------
    EngineError
        If it has not.
    """

    name = "Ray"

    def __init__(self) -> None:
        self._ray = _ray()
        if not self._ray.is_initialized():
            raise EngineError(
                "Ray is not connected: call ray.init() first, with address='auto' on a node of a "
                "cluster."
            )
        errors = self._ray.exceptions
        self.deaths: tuple[type[Exception], ...] = (
            errors.WorkerCrashedError,
            errors.NodeDiedError,
            errors.OutOfMemoryError,
            errors.RayActorError,  # joblib's jobs run in actors
        )
        self._call = self._ray.remote(_call).options(max_retries=_RETRIES)

    def _nodes(self) -> dict[str, int]:
        """Number of processors of each node that lives."""
        found = [node for node in self._ray.nodes() if node["Alive"]]
        return {node["NodeID"]: int(node["Resources"].get("CPU", 0)) for node in found}

    def workers(self) -> Sequence[str]:
        """Return a name for each process that may run at a time."""
        return [f"{node}/{k}" for node, n in sorted(self._nodes().items()) for k in range(n)]

    def everywhere(self, function: Callable[..., Any], *args: Any) -> Mapping[str, Any]:
        """Run a function once on every node."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        call = self._ray.remote(_call)
        asked = {
            node: call.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
            ).remote(function, args)
            for node, n in self._nodes().items()
            if n
        }
        found = {}
        for node, task in asked.items():
            try:
                found[node] = self._ray.get(task, timeout=_SECONDS_TO_ANSWER)
            except Exception as error:  # told by the caller, with the node
                found[node] = self._cause(error)
        return found

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """Start a call; Ray starts it again where its worker ends."""
        return self._call.remote(function, args)

    def some_done(self, tasks: Sequence[Any], seconds: float) -> list[Any]:
        """Wait for one of the tasks."""
        done, _ = self._ray.wait(list(tasks), num_returns=1, timeout=seconds)
        return list(done)

    def result(self, task: Any) -> Any:
        """Return what a task has returned."""
        try:
            return self._ray.get(task)
        except self.deaths as error:
            raise WorkerDiedError(str(error).splitlines()[0]) from None
        except self._ray.exceptions.RayTaskError as error:
            raise self._cause(error) from None

    def _cause(self, error: Exception) -> Exception:
        """Return the error of the function, without what Ray adds to it."""
        cause = getattr(error, "cause", None)
        return cause if isinstance(cause, Exception) else error

    def cancel(self, tasks: Sequence[Any]) -> None:
        """Give tasks up, and end those that run."""
        for task in tasks:
            self._ray.cancel(task, force=True)

    @contextmanager
    def _with_joblib(self) -> Iterator[None]:
        from joblib import parallel_config
        from ray.util.joblib import register_ray

        register_ray()
        with parallel_config("ray", n_jobs=-1):
            yield

    def joblib(self) -> AbstractContextManager[Any]:
        """Return Ray's own backend for joblib."""
        return self._with_joblib()


def _call(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    return function(*args)


@contextmanager
def started(address: str | None, n_workers: int) -> Iterator[RayEngine]:
    """Connect to a cluster, or start one here, which ends with the context.

    Raises
    ------
    EngineError
        If no cluster answers at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray tells its makers otherwise
    ray = _ray()
    options: dict[str, Any] = {"log_to_driver": False, "include_dashboard": False}
    options |= {"num_cpus": n_workers} if address is None else {"address": address}
    if address is not None:
        del options["include_dashboard"]
    try:
        ray.init(**options, configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        where = "can be started here" if address is None else f"answers at {address!r}"
        raise EngineError(
            f"No Ray cluster {where} ({error}): start one with 'ray start --head', and give the "
            "address that it prints."
        ) from None
    try:
        yield RayEngine()
    finally:
        ray.shutdown()
