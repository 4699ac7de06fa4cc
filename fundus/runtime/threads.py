"""Threads that work ahead of their consumer up to a limit, and the number of threads."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import Any, TypeVar

from joblib import Parallel, cpu_count
from threadpoolctl import ThreadpoolController

from fundus.exceptions import FundusError
from fundus.parameters import invalid
from fundus.runtime.opencv import cv2

T = TypeVar("T")
R = TypeVar("R")

Lock = TypeVar("Lock")


def renewed_after_fork(lock: Lock) -> Lock:
    """Return a lock that is free in a forked process, even if it was held in the parent.

    A thread that held it does not exist in the child, and would never release it. It is the same
    lock, which must exist as long as the process.
    """
    if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
        # as `concurrent.futures` and `logging` of the standard library do with their locks
        os.register_at_fork(after_in_child=lock._at_fork_reinit)  # type: ignore[attr-defined]
    return lock


_opencv = renewed_after_fork(threading.Lock())
_opencv_users = 0
_opencv_threads = 1


@contextmanager
def opencv_in_our_threads() -> Iterator[None]:
    """Keep OpenCV from starting its own threads while ours decode.

    Its pool spins between the small jobs of one photograph: decoding a 512x340 JPEG took 6.6 ms of
    processor time with it and 2.8 ms without. The setting is process-wide, and restored when the
    last thread has finished.
    """
    global _opencv_users, _opencv_threads
    with _opencv:
        if _opencv_users == 0:
            _opencv_threads = cv2.getNumThreads()
            cv2.setNumThreads(1)
        _opencv_users += 1
    try:
        yield
    finally:
        with _opencv:
            _opencv_users -= 1
            if _opencv_users == 0:
                cv2.setNumThreads(_opencv_threads)


def _end_opencv_pool() -> None:
    """Before a fork: OpenCV's threads would not exist in the child, which would wait for them."""
    global _opencv_at_fork
    _opencv_at_fork = cv2.getNumThreads()
    cv2.setNumThreads(1)


def _restore_opencv() -> None:
    cv2.setNumThreads(_opencv_at_fork)


def _restore_opencv_in_child() -> None:
    global _opencv_users
    # the threads that kept OpenCV to one thread do not exist here
    cv2.setNumThreads(_opencv_threads if _opencv_users else _opencv_at_fork)
    _opencv_users = 0


_opencv_at_fork = 1
if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(
        before=_end_opencv_pool,
        after_in_parent=_restore_opencv,
        after_in_child=_restore_opencv_in_child,
    )


@lru_cache(maxsize=1)
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[object]:
    """Limit BLAS and OpenMP to one thread: many small fits are much slower when each is split.

    The libraries are searched once in a process, as in scikit-learn: that takes 9 ms, and a grid
    search has hundreds of fits. Call it after the estimator was made, which loads the libraries.
    """
    return _blas().limit(limits=1)


def processor_share() -> int:
    """Return how many processors this process should use, at least 1.

    The processors that it may use, by its affinity and the limit of a container, but at most
    ``OMP_NUM_THREADS``, which joblib sets for its worker processes, so that together they do not
    start more threads than there are processors.
    """
    available = cpu_count()
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]  # a list is one per level
    return min(available, int(asked)) if asked.isdigit() and int(asked) > 0 else available


def thread_count(n_jobs: int | None) -> int:
    """Return the number of threads for an ``n_jobs`` parameter, at least 1.

    Parameters
    ----------
    n_jobs : int or None
        ``None`` and -1 mean one per processor of this process's share, -2 all but one, as in
        joblib.

    Raises
    ------
    InvalidParameterError
        If `n_jobs` is 0 or not an int.
    """
    available = processor_share()
    if n_jobs is None:
        return available
    if not isinstance(n_jobs, int) or isinstance(n_jobs, bool) or n_jobs == 0:
        raise invalid("", "n_jobs", "an int other than 0, or None", n_jobs)
    return n_jobs if n_jobs > 0 else max(1, available + 1 + n_jobs)


def run_jobs(jobs: Iterable[Any], *, n_jobs: int | None, verbose: int = 0) -> list[Any]:
    """Run joblib's delayed calls; an error of this library is raised without joblib's traceback.

    joblib adds the worker's whole traceback to an error, as text in its cause. The library's errors
    say what is wrong and what to do, so only their own lines are kept.

    Parameters
    ----------
    jobs : iterable of joblib's delayed calls
        What they return is returned in order.
    n_jobs : int or None
        Number of calls at the same time, in processes.
    verbose : int, default=0
        Passed to joblib.
    """
    try:
        return Parallel(n_jobs=n_jobs, verbose=verbose)(jobs)
    except FundusError as error:
        cause = error.__cause__
        if type(cause).__name__ == "_RemoteTraceback":
            cause = None
        raise error from cause


def prefetch(
    function: Callable[[T], R], items: Iterable[T], *, threads: int, ahead: int
) -> Iterator[tuple[T, R]]:
    """Apply a function in threads; yield items and results in order, at most `ahead` waiting."""
    waiting: deque[tuple[T, Future[R]]] = deque()
    with opencv_in_our_threads(), ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(function, item)))
                if len(waiting) > ahead:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()
