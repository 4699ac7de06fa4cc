"""A toy model behind a real server, for the tests of `fundus serve`."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import httpx
import numpy as np

import fundus
from fundus.metrics.operating_points import OperatingPoint
from fundus.serving.app import make_app
from fundus.serving.limits import ServingLimits
from fundus.serving.served import ServedModel
from fundus.serving.server import address_of, bound, make_server

#: Small, so that tests reach them.
LIMITS = ServingLimits(
    max_bytes=150_000, max_pixels=400_000, max_files=3, max_request=500_000,
    upload_seconds=3.0, header_seconds=1.5,
)  # fmt: skip
POINTS = [
    OperatingPoint(1.5, "sensitivity", 0.9, 0.92, 0.8),
    OperatingPoint(2.25, "specificity", 0.9, 0.75, 0.91),
]


@lru_cache(maxsize=1)
def toy_model(paths: tuple[str, ...], grades: tuple[int, ...]) -> Any:
    """A conformal model around three folds with cutpoints, fitted once in a process."""
    y = np.array(grades)
    one = fundus.TransferClassifier("tiny", "ridge", weights="fixed", image_size=32, cache=False)
    cut = fundus.TunedCutpointClassifierCV(one, cv=2, random_state=0)
    ensemble = fundus.FoldEnsemble(cut, cv=3, random_state=0).fit(list(paths), y)
    model = fundus.OrdinalConformalClassifier.from_ensemble(ensemble, y, confidence_level=0.7)
    model.operating_points_ = {"sight-threatening": POINTS[1:], "referable": POINTS}
    return model


@lru_cache(maxsize=1)
def _served(model: Any) -> ServedModel:
    found = ServedModel(model, [f"class{k}" for k in range(5)], "toy <b>run</b>")
    found.warm_up()
    return found


def toy(photographs: Any) -> ServedModel:
    """The toy model, warmed up."""
    grades = tuple(np.asarray(photographs.grades).tolist())
    return _served(toy_model(tuple(photographs.paths), grades))


@contextmanager
def running(served: Any, limits: ServingLimits = LIMITS, **options: Any) -> Iterator[str]:
    """A server at a port of its own; gives its address."""
    app, service = make_app(served, limits, **options)
    with bound("127.0.0.1", 0) as taken:
        taken.listen()
        server = make_server(app, limits)
        thread = threading.Thread(target=server.run, args=([taken],))
        thread.start()
        try:
            yield address_of(taken)
        finally:
            server.should_exit = True
            thread.join(15)
            service.close()
            assert not thread.is_alive()


@contextmanager
def connected(address: str) -> Iterator[socket.socket]:
    """A plain connection to a server."""
    url = httpx.URL(address)
    with socket.create_connection((url.host, url.port), timeout=15) as plain:
        yield plain


def answer_of(plain: socket.socket) -> bytes:
    """All that a server sends until it ends the connection."""
    parts = []
    while part := plain.recv(65536):
        parts.append(part)
    return b"".join(parts)


def until(condition: Any, seconds: float = 10) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)
