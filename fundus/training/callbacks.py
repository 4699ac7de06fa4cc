"""Keras callbacks of a training run: early stopping, learning rate, logs, progress."""

from __future__ import annotations

import copy
from dataclasses import asdict
from pathlib import Path

import keras

from fundus.training.tail import Training


def training_callbacks(training: Training, monitor: str) -> list[keras.callbacks.Callback]:
    """Return the callbacks of one run.

    Parameters
    ----------
    monitor : str
        Name of the loss to monitor.

    Returns
    -------
    list of Callback
        The caller's callbacks are copied.
    """
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
        chosen.append(
            kc.ModelCheckpoint(
                str(folder / "best.weights.h5"),
                monitor,
                save_best_only=True,
                save_weights_only=True,
            )
        )
    if training.verbose:
        chosen.append(EpochBar())
    return chosen + [copy.deepcopy(callback) for callback in training.callbacks]


class EpochBar(keras.callbacks.Callback):
    """One line of progress on standard error: epochs done and the losses of the last."""

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Open the bar."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self.bar = Progress(*columns, console=Console(stderr=True))
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
