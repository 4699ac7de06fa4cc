"""Keras callbacks of a training run: early stopping, learning rate, logs, progress."""

from __future__ import annotations

import copy
from dataclasses import asdict
from pathlib import Path

import keras

from fundus.runtime.keras_objects import weights_bytes
from fundus.runtime.progress import new_bar
from fundus.runtime.whole import whole_file
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
    if training.log_dir is not None:
        folder = Path(training.log_dir)
        chosen.append(kc.CSVLogger(str(folder / "log.csv")))
        chosen.append(BestWeights(folder / "best.weights.h5", monitor))
    if training.verbose:
        chosen.append(EpochBar())
    return chosen + [copy.deepcopy(callback) for callback in training.callbacks]


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
    """One line of progress on standard error: epochs done and the losses of the last."""

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Open the bar."""
        self.bar = new_bar()
        self.bar.start()
        self.task = self.bar.add_task("Training", total=self.params["epochs"])

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Advance the bar."""
        shown = {k: v for k, v in (logs or {}).items() if k.endswith("loss")}
        text = " ".join(f"{name} {value:.4f}" for name, value in shown.items())
        self.bar.update(self.task, advance=1, description=f"Training  {text}")

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Close the bar."""
        self.bar.stop()
