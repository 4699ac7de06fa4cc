"""Keras callbacks of a training run: early stopping, learning rate, logs, progress."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from fundus.runtime.keras_objects import weights_bytes
from fundus.runtime.progress import Bar
from fundus.runtime.verbosity import shows_progress
from fundus.runtime.whole import whole_file, writing
from fundus.training.tail import Training


def training_callbacks(training: Training, monitor: str) -> list[keras.callbacks.Callback]:
    """Return the callbacks of one run; they monitor one loss. The caller's are copied."""
    kc = keras.callbacks
    chosen: list[keras.callbacks.Callback] = []
    if training.plateau is not None:
        chosen.append(kc.ReduceLROnPlateau(monitor, **asdict(training.plateau)))
    if training.patience is not None:
        chosen.append(
            kc.EarlyStopping(monitor, patience=training.patience, restore_best_weights=True)
        )
    if training.gently is not None and training.gently.averaged:  # after early stopping
        chosen.append(AveragedWeights(training.epochs, training.gently.averaged))
    if training.log_dir is not None:
        folder = Path(training.log_dir)
        chosen.append(EpochLog(str(folder / "log.csv")))
        chosen.append(BestWeights(folder / "best.weights.h5", monitor))
    if training.verbose or shows_progress():
        chosen.append(EpochBar(training.verbose))
    return chosen + [copy.deepcopy(callback) for callback in training.callbacks]


@contextmanager
def bars_ended(callbacks: list[keras.callbacks.Callback]) -> Iterator[None]:
    """End bars also where a training does not: Keras tells no callback of an error or Ctrl-C."""
    try:
        yield
    finally:
        for callback in callbacks:
            if isinstance(callback, EpochBar):
                callback.bar.close(finished=False)


class AveragedWeights(keras.callbacks.Callback):
    """Leaves the mean of the weights after each of the last epochs, if training reaches the end.

    No layer's statistics have to be found again for them, as batch normalisations are held
    (P. Izmailov et al., "Averaging weights leads to wider optima", UAI 2018, arXiv:1803.05407).

    Parameters
    ----------
    epochs : int
        Epochs of the training.
    averaged : int
        How many of them, at the end, are averaged.
    """

    def __init__(self, epochs: int, averaged: int) -> None:
        super().__init__()
        self.epochs, self.averaged = epochs, averaged
        self.seen, self.mean = 0, list[NDArray[Any]]()

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Forget an earlier training."""
        self.seen, self.mean = 0, []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Add the present weights to the mean."""
        if epoch < self.epochs - self.averaged:
            return
        self.seen += 1
        now = [np.asarray(variable) for variable in self.model.trainable_variables]
        # what a checkpoint kept may be of another precision
        kept = [mean.astype(v.dtype) for mean, v in zip(self.mean, now, strict=False)]
        means = kept or [np.zeros_like(value) for value in now]
        self.mean = [m + (v - m) / v.dtype.type(self.seen) for m, v in zip(means, now, strict=True)]

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Set the mean, unless training has stopped early or diverged."""
        if self.seen == self.averaged and all(np.isfinite(mean).all() for mean in self.mean):
            for variable, value in zip(self.model.trainable_variables, self.mean, strict=True):
                variable.assign(value)


class EpochLog(keras.callbacks.CSVLogger):
    """Keras's log of epochs, whose errors name the file, such as on a full disk."""

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Open the file."""
        with writing(self.filename):
            super().on_train_begin(logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write a line."""
        with writing(self.filename):
            super().on_epoch_end(epoch, logs)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Close the file."""
        with writing(self.filename):
            super().on_train_end(logs)


class BestWeights(keras.callbacks.Callback):
    """Writes the weights of the epoch with the lowest loss into a file, whole.

    Parameters
    ----------
    path : Path
    monitor : str
        Name of the loss.
    """

    def __init__(self, path: Path, monitor: str) -> None:
        super().__init__()
        self.path, self.monitor, self.best = path, monitor, float("inf")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write the weights if they are the best so far."""
        loss = (logs or {})[self.monitor]
        if loss < self.best:
            self.best = loss
            self.write()

    def write(self) -> None:
        """Write the present weights.

        Raises
        ------
        WriteError
        """
        with whole_file(self.path) as part:
            part.write_bytes(weights_bytes(self.model))


class EpochBar(keras.callbacks.Callback):
    """One line of progress on standard error: epochs done and the losses of the last.

    Parameters
    ----------
    asked : int
        The estimator's ``verbose``.
    """

    def __init__(self, asked: int) -> None:
        super().__init__()
        self.asked = asked
        self.bar = Bar("Training", 1, asked)

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Open the bar."""
        self.bar = Bar("Training", self.params["epochs"], self.asked)
        self.bar.advance(0)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Advance the bar."""
        shown = {k: v for k, v in (logs or {}).items() if k.endswith("loss")}
        self.bar.advance(1, " ".join(f"{name} {value:.4f}" for name, value in shown.items()))

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Close the bar, full where training has stopped early."""
        self.bar.close()
