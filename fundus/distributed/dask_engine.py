"""Dask: its `distributed` scheduler."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

from fundus.distributed.engines import WorkerDiedError
from fundus.exceptions import EngineError, MissingDependencyError

#: Seconds in which a scheduler must answer.
ANSWER_WITHIN = 10

#: What becomes of tasks that bring no result.
_ENDED = ("error", "cancelled", "lost")
_LOOK_AGAIN = 0.01  # seconds between two looks at what has arrived


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise MissingDependencyError(
            "Work on Dask needs the package distributed: install it with "
            "pip install 'fundus-zoo[dask]'."
        ) from error
    return distributed


class DaskEngine:
    """The workers of a Dask scheduler.

    Parameters
    ----------
    client : distributed.Client or None
        ``None`` is the one that was made last.

    Raises
    ------
    EngineError
        If there is none.
    """

    name = "Dask"

    def __init__(self, client: Any = None) -> None:
        self._dask = _distributed()
        if client is None:
            try:
                client = self._dask.default_client()
            except ValueError:
                raise EngineError(
                    "There is no Dask client: make one first, as distributed.Client('tcp://…')."
                ) from None
        if getattr(client, "asynchronous", False):
            raise EngineError(
                "The Dask client is asynchronous: make one with asynchronous=False for this."
            )
        self.client = client
        # results are fetched as soon as they are made: one that is still on a worker ends with it
        self._arriving = self._dask.as_completed(
            loop=client.loop, with_results=True, raise_errors=False
        )
        self._results: dict[Any, Any] = {}
        self.deaths: tuple[type[Exception], ...] = (self._dask.scheduler.KilledWorker,)

    def workers(self) -> Sequence[str]:
        """Return the addresses of the workers."""
        try:
            return sorted(self.client.nthreads())
        except OSError as error:
            raise self._gone() from error

    def everywhere(self, function: Callable[..., Any], *args: Any) -> Mapping[str, Any]:
        """Run a function once on every worker."""
        found: dict[str, Any] = self.client.run(function, *args, on_error="return")
        return found

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """Start a call; Dask starts it again on another worker where its own ends."""
        task = self.client.submit(function, *args, pure=False)
        self._arriving.add(task)
        return task

    def some_done(self, tasks: Sequence[Any], seconds: float) -> list[Any]:
        """Wait for one of the tasks, whose result is here when it is returned."""
        until = time.monotonic() + seconds
        while not self._arriving.has_ready() and time.monotonic() < until:
            time.sleep(_LOOK_AGAIN)
        self._results.update(self._arriving.next_batch(block=False))
        # what was given up, or failed while its result was fetched, never arrives
        return [task for task in tasks if task in self._results or task.status in _ENDED]

    def result(self, task: Any) -> Any:
        """Return what a task has returned."""
        result = self._results.pop(task, None)
        if task.status in ("cancelled", "lost"):
            raise self._gone()
        if task.status != "error":
            return result
        error, traceback = task.exception(), task.traceback()
        if isinstance(error, self.deaths):
            last = getattr(error, "last_worker", None)
            raise WorkerDiedError(f"the last one was {getattr(last, 'address', '?')}")
        raise error.with_traceback(traceback)

    def cancel(self, tasks: Sequence[Any]) -> None:
        """Give tasks up; one that runs is not interrupted."""
        with suppress(OSError):  # a scheduler that has gone has given them up
            self.client.cancel(list(tasks), force=True)

    def _gone(self) -> EngineError:
        return EngineError(
            "Dask's scheduler has ended, started anew, or given the work up. What was done is "
            "kept: see that it runs, and call again."
        )

    def joblib(self) -> AbstractContextManager[Any]:
        """Return joblib's own backend for Dask."""
        from joblib import parallel_config

        context: AbstractContextManager[Any] = parallel_config(
            "dask", n_jobs=-1, client=self.client
        )
        return context


@contextmanager
def started(address: str | None, n_workers: int) -> Iterator[DaskEngine]:
    """Connect to a scheduler, or start one with workers here, which end with the context.

    Raises
    ------
    EngineError
        If no scheduler answers at the address.
    """
    dask = _distributed()
    if address is not None:
        try:
            client = dask.Client(address, timeout=ANSWER_WITHIN, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise EngineError(
                f"No Dask scheduler answers at {address!r} within {ANSWER_WITHIN} s "
                f"({type(error).__name__}): start one with 'dask scheduler', and give the address "
                "that it prints, such as tcp://10.0.0.1:8786."
            ) from None
        with client:
            yield DaskEngine(client)
        return
    options = {"n_workers": n_workers, "threads_per_worker": 1, "dashboard_address": ":0"}
    with (
        dask.LocalCluster(**options) as cluster,
        dask.Client(cluster, set_as_default=False) as client,
    ):
        yield DaskEngine(client)
