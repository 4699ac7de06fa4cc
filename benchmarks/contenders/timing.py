"""Times of epochs and forward passes, which only the contender can take."""

from __future__ import annotations

import time

import keras
import numpy as np


class EpochClock(keras.callbacks.Callback):
    """Seconds of every epoch; copies write into the same list."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def __deepcopy__(self, memo):
        twin = EpochClock()
        twin.seconds = self.seconds
        return twin

    def on_epoch_begin(self, epoch, logs=None) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None) -> None:
        """Stop it."""
        self.seconds.append(time.perf_counter() - self._start)


def forward_seconds(model: keras.Model, batch_size: int, repeats: int = 7) -> float:
    """Median seconds of one forward pass of a batch, after one that compiles."""
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(batch_size, *i.shape[1:])).astype(np.float32) for i in model.inputs]
    x = x[0] if len(x) == 1 else x
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        model.predict_on_batch(x)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[1:]))


def training_seconds(model: keras.Model, batch_size: int, repeats: int = 5) -> float:
    """Median seconds of one training step on a batch in memory, after one that compiles."""
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(batch_size, *i.shape[1:])).astype(np.float32) for i in model.inputs]
    x, y = x[0] if len(x) == 1 else tuple(x), np.zeros(batch_size, dtype=np.intp)
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        model.train_on_batch(x, y)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[1:]))
