"""One thread that works for many requests: it grades together what waits together."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from fundus.serving.problems import busy

T = TypeVar("T")

#: Seconds for which photographs that are on their way are waited for, at most.
LINGER = 0.03


class Batches(Generic[T]):
    """A bounded queue with a thread that takes several things out of it at once.

    Parameters
    ----------
    together : callable
        From things to an answer for each, in order.
    alone : callable
        From one thing to its answer; things of `alone` and batches take turns.
    max_batch : int
    max_waiting : int
        Things that wait, of both kinds.
    took : callable, default=None
        Told of the length of each batch and of its seconds.
    """

    def __init__(
        self,
        together: Callable[[Sequence[T]], Sequence[Any]],
        alone: Callable[[T], Any],
        *,
        max_batch: int,
        max_waiting: int,
        took: Callable[[int, float], None] | None = None,
    ) -> None:
        self._together, self._alone, self._took = together, alone, took
        self._max_batch, self._max_waiting = max_batch, max_waiting
        self._many: deque[tuple[T, Future[Any]]] = deque()
        self._single: deque[tuple[T, Future[Any]]] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._on_the_way = 0
        #: Seconds that one thing took of late, of which Retry-After is made.
        self._each = 0.1
        self._thread = threading.Thread(target=self._work, name="fundus-grader", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Things in the queue."""
        return len(self._many) + len(self._single)

    @property
    def ended(self) -> bool:
        """Whether it was closed."""
        return self._ended

    def expect(self, count: int) -> None:
        """Tell of things that are on their way, or with a negative number that they are not."""
        with self._changed:
            self._on_the_way += count
            self._changed.notify_all()

    def check_room(self, count: int, before: int = 0) -> None:
        """Refuse things for which there is no room.

        Parameters
        ----------
        count : int
        before : int, default=0
            Things that are not in the queue yet, and will be before these.

        Raises
        ------
        Problem
            If there is none.
        """
        with self._changed:
            for one in (self._many, self._single):  # of clients that have left
                gone = [pair for pair in one if pair[1].cancelled()]
                for pair in gone:
                    one.remove(pair)
            wait = self.waiting + before
            if wait + count > self._max_waiting or self._ended:
                raise busy(
                    f"{wait} photographs wait for the model already, of {self._max_waiting} that "
                    "may.",
                    wait * self._each,
                )

    def put(self, things: Sequence[T]) -> list[Future[Any]]:
        """Add things to be worked on together with others.

        Raises
        ------
        Problem
            If there is no room for all of them.
        """
        return self._add(self._many, things)

    def put_alone(self, thing: T) -> Future[Any]:
        """Add one thing to be worked on alone.

        Raises
        ------
        Problem
            If there is no room.
        """
        return self._add(self._single, [thing])[0]

    def _add(self, queue: deque[tuple[T, Future[Any]]], things: Sequence[T]) -> list[Future[Any]]:
        with self._changed:
            self.check_room(len(things))
            futures: list[Future[Any]] = [Future() for _ in things]
            queue.extend(zip(things, futures, strict=True))
            self._changed.notify_all()
        return futures

    def close(self) -> None:
        """End the thread after what it is doing; what waits is cancelled."""
        with self._changed:
            self._ended = True
            for _, future in (*self._many, *self._single):
                future.cancel()
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        single_next = False
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or self.waiting > 0)
                if self._ended:
                    return
                alone = bool(self._single) and (single_next or not self._many)
                if alone:
                    taken = [self._single.popleft()]
                else:
                    self._changed.wait_for(self._enough, timeout=LINGER)
                    count = min(self._max_batch, len(self._many))
                    taken = [self._many.popleft() for _ in range(count)]
            single_next = not alone
            live = [pair for pair in taken if pair[1].set_running_or_notify_cancel()]
            if live:
                self._do(live, alone)

    def _enough(self) -> bool:
        """Whether a batch is full, or nothing else is on its way."""
        return self._ended or len(self._many) >= self._max_batch or self._on_the_way <= 0

    def _do(self, live: list[tuple[T, Future[Any]]], alone: bool) -> None:
        things = [thing for thing, _ in live]
        began = time.monotonic()
        try:
            answers = [self._alone(things[0])] if alone else self._together(things)
        except BaseException as error:
            if len(live) > 1 and isinstance(error, Exception):
                for pair in live:  # one of them is to blame, and the others are not
                    self._do([pair], alone)
                return
            # the thread goes on, and those who wait are told
            for _, future in live:
                future.set_exception(error)
            return
        seconds = time.monotonic() - began
        self._each = 0.8 * self._each + 0.2 * seconds / len(live)
        if self._took is not None:
            self._took(len(live), seconds)
        for (_, future), answer in zip(live, answers, strict=True):
            future.set_result(answer)
