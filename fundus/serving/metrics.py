"""Numbers of a server for Prometheus; none of them names a photograph."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters, gauges and histograms of one server.

    Parameters
    ----------
    waiting, held : callable
        Photographs in the queue, and bytes of uploads in memory.

    Examples
    --------
    >>> found = Metrics(lambda: 3, lambda: 0)
    >>> found.graded.inc(2)
    >>> b"fundus_graded_total 2.0" in found.text(), b"fundus_waiting 3.0" in found.text()
    (True, True)
    """

    def __init__(self, waiting: Callable[[], float], held: Callable[[], float]) -> None:
        # not the process-wide one, so that several servers may be in one process
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "fundus_requests", "Answers, by path and status.", ["path", "status"], registry=registry
        )
        self.seconds = Histogram(
            "fundus_request_seconds", "Seconds from request to answer.", ["path"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.graded = Counter("fundus_graded", "Photographs that were graded.", registry=registry)
        self.refused = Counter(
            "fundus_refused", "Photographs that could not be graded.", registry=registry
        )
        self.left = Counter(
            "fundus_left", "Requests whose client left before the answer.", registry=registry
        )
        self.batch = Histogram(
            "fundus_batch_size", "Photographs that the model worked on together.",
            buckets=(1, 2, 4, 8, 16, 32, 64), registry=registry,
        )  # fmt: skip
        self.batch_seconds = Histogram(
            "fundus_batch_seconds", "Seconds that the model took for a batch.",
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        Gauge("fundus_waiting", "Photographs in the queue.", registry=registry).set_function(
            waiting
        )
        Gauge("fundus_held_bytes", "Bytes of uploads in memory.", registry=registry).set_function(
            held
        )

    def took(self, count: int, seconds: float) -> None:
        """Note a batch."""
        self.batch.observe(count)
        self.batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """Return all numbers in the text format of Prometheus."""
        return generate_latest(self._registry)
