"""Training and prediction of Keras heads through scikeras; no other file knows scikeras.

scikeras trains on row indices: the images' activations are too many to pass as one array, so
`KerasTrainer` streams them from a `fundus.sources.Source`. See ``docs/design.md`` for the defects
of scikeras 0.13 that this file works around; ``tests/test_trainer.py`` pins each of them.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from scikeras.wrappers import BaseWrapper

from fundus.heads.base import NeuralHead
from fundus.network import Network
from fundus.sources import Source

# seeding is global in Keras, so two seeded fits in threads would disturb each other
_one_fit_at_a_time = threading.RLock()

#: Rows per forward pass in prediction.
PREDICT_BATCH = 64


@dataclass(frozen=True)
class Training:
    """Settings of one training run.

    Parameters
    ----------
    learning_rate, beta_1, beta_2, epsilon : float
        Of Adam.
    batch_size, epochs : int
    patience : int or None
        Epochs without a better loss before training stops; ``None`` never stops early.
    lr_factor, lr_patience, min_learning_rate : float, int, float
        The learning rate is multiplied by the factor after so many epochs without a better loss.
    callbacks : tuple of Callback
        More Keras callbacks; copied before use.
    log_dir : str or None
        Where ``log.csv`` and ``best.weights.h5`` are written.
    seed : int or None
    verbose : int
    """

    learning_rate: float
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    batch_size: int = 16
    epochs: int = 40
    patience: int | None = 10
    lr_factor: float = 0.5
    lr_patience: int = 3
    min_learning_rate: float = 1e-6
    callbacks: tuple[Any, ...] = ()
    log_dir: str | None = None
    seed: int | None = None
    verbose: int = 0


@dataclass(frozen=True)
class Tail:
    """The trained part of a network: what stands after the cut, pooling and the head.

    Parameters
    ----------
    head : NeuralHead
    n_grades : int
    n_features : int or None
        Width of the frozen features; ``None`` where layers of the backbone are trained.
    network : Network or None
        The backbone, where layers of it are trained.
    """

    head: NeuralHead
    n_grades: int
    n_features: int | None = None
    network: Network | None = None


def build_tail(tail: Tail, training: Training) -> keras.Model:
    """Build and compile the trained part of a network.

    Parameters
    ----------
    tail : Tail
    training : Training

    Returns
    -------
    keras.Model
        From the tensors at the cut to the head's outputs.
    """
    from fundus.backbones import pooled, require_tensorflow

    require_tensorflow()
    if tail.network is None:
        inputs = keras.Input((tail.n_features,), dtype="float32", name="features")
        outputs = tail.head.build(inputs, tail.n_grades)
    else:
        suffix = tail.network.split().suffix
        body = pooled(suffix, tail.network.pooling)
        inputs = body.inputs
        outputs = tail.head.build(body.outputs[0], tail.n_grades)
    model = keras.Model(inputs, outputs)
    optimizer = keras.optimizers.Adam(
        training.learning_rate,
        beta_1=training.beta_1,
        beta_2=training.beta_2,
        epsilon=training.epsilon,
    )
    loss = tail.head.loss(tail.n_grades)
    model.compile(optimizer=optimizer, loss=loss, metrics=tail.head.metrics(tail.n_grades))
    return model


class RowBatches(keras.utils.PyDataset):
    """Batches of inputs, targets and weights; every row once an epoch, the last batch included.

    Parameters
    ----------
    source : Source
    rows : ndarray of int, shape (n,)
    y : ndarray, shape (n, …)
        Targets, aligned with `rows`.
    weights : ndarray of float, shape (n,), or None
    batch_size : int
    seed : int or None
        Shuffles and augments anew at every epoch; ``None`` does neither.
    """

    def __init__(
        self,
        source: Source,
        rows: NDArray[np.intp],
        y: NDArray[Any],
        weights: NDArray[np.float64] | None,
        batch_size: int,
        seed: int | None,
    ) -> None:
        super().__init__()
        self.source, self.rows, self.y, self.weights = source, rows, y, weights
        self.batch_size, self.seed = batch_size, seed
        self.epoch = 0
        self.order = self._shuffled()

    def _shuffled(self) -> NDArray[np.intp]:
        if self.seed is None:
            return np.arange(len(self.rows))
        return np.random.default_rng([self.seed, self.epoch]).permutation(len(self.rows))

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __getitem__(self, k: int) -> tuple[Any, ...]:
        take = self.order[k * self.batch_size : (k + 1) * self.batch_size]
        epoch = None if self.seed is None else self.epoch
        x = tuple(self.source.batch(self.rows[take], epoch))
        batch = (x[0] if len(x) == 1 else x, self.y[take])
        return batch if self.weights is None else (*batch, self.weights[take].astype(np.float32))

    def on_epoch_end(self) -> None:
        """Shuffle for the next epoch."""
        self.epoch += 1
        self.order = self._shuffled()


@dataclass(frozen=True)
class Validation:
    """Rows held out of a training run, for early stopping.

    Parameters
    ----------
    source : Source
    rows : ndarray of int, shape (n,)
    y : ndarray, shape (n, …)
        Encoded targets.
    weights : ndarray of float, shape (n,), or None
    """

    source: Source
    rows: NDArray[np.intp]
    y: NDArray[Any]
    weights: NDArray[np.float64] | None = None


class KerasTrainer(BaseWrapper):
    """A scikeras wrapper whose ``X`` is row indices ``(n, 1)`` of a source.

    Parameters
    ----------
    model : functools.partial
        Of `build_tail`.
    random_state : int or None
    training : Training
    """

    def __init__(
        self, model: Callable[..., keras.Model], random_state: int | None, training: Training
    ) -> None:
        super().__init__(model=model, random_state=random_state, batch_size=training.batch_size)
        self.training = training

    def _fit_keras_model(  # type: ignore[override]
        self,
        X: NDArray[np.intp],
        y: NDArray[Any],
        sample_weight: NDArray[np.float64] | None,
        warm_start: bool,
        epochs: int,
        initial_epoch: int,
        *,
        source: Source,
        validation: Validation | None,
    ) -> None:
        from scikeras.utils.random_state import tensorflow_random_state

        training = self.training
        shuffle_seed = training.seed
        if shuffle_seed is None:
            shuffle_seed = int(np.random.SeedSequence().generate_state(1)[0])
        batches = RowBatches(
            source, X[:, 0], y, sample_weight, training.batch_size, shuffle_seed
        )
        held_out = None
        if validation is not None:
            held_out = RowBatches(
                validation.source,
                validation.rows,
                validation.y,
                validation.weights,
                training.batch_size,
                None,
            )
        settings = {
            "epochs": training.epochs,
            "verbose": 0,
            "validation_data": held_out,
            "callbacks": _callbacks(training, "loss" if held_out is None else "val_loss"),
        }
        if training.seed is None:
            history = self.model_.fit(batches, **settings)
        else:
            with tensorflow_random_state(training.seed):
                history = self.model_.fit(batches, **settings)
        self.history_ = {
            name: [float(v) for v in values] for name, values in history.history.items()
        }

    def _predict_raw(self, X: Any, **kwargs: Any) -> NDArray[np.float32]:
        """Outputs of the network for every row of a source, shape (n, n_outputs)."""
        source: Source = kwargs["source"]
        model = self.network()
        rows = np.asarray(X)[:, 0]
        outputs = []
        for start in range(0, len(rows), PREDICT_BATCH):
            take = rows[start : start + PREDICT_BATCH]
            # padded to one shape, so that a last short batch is not traced anew
            padded = np.concatenate([take, np.repeat(take[:1], PREDICT_BATCH - len(take))])
            x = source.batch(padded, None)
            output = np.asarray(model.predict_on_batch(x[0] if len(x) == 1 else x))
            outputs.append(output[: len(take)])
        return np.concatenate(outputs)

    def network(self) -> keras.Model:
        """Return the trained Keras model; rebuilt first, where this came out of a pickle."""
        if "model_" not in self.__dict__:
            self.model_ = self.model()
            self.model_.set_weights(self.__dict__.pop("weights_"))
        return self.model_

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        model = state.pop("model_", None)
        if model is not None:
            state["weights_"] = model.get_weights()
        for name in ("_fit_callbacks", "_predict_callbacks"):
            state.pop(name, None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def _callbacks(training: Training, monitor: str) -> list[keras.callbacks.Callback]:
    from keras import callbacks as kc

    chosen: list[keras.callbacks.Callback] = [
        kc.ReduceLROnPlateau(
            monitor,
            factor=training.lr_factor,
            patience=training.lr_patience,
            min_lr=training.min_learning_rate,
        )
    ]
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


@dataclass
class TrainedNet:
    """A neural head after training, with the trained part of its backbone."""

    tail: Tail
    trainer: KerasTrainer = field(repr=False)

    @property
    def is_regressor(self) -> bool:
        """Whether the head predicts a severity."""
        return self.tail.head.is_regressor

    @property
    def has_proba(self) -> bool:
        """Whether it gives probabilities, or a severity to interpolate them from: always."""
        return True

    @property
    def history(self) -> dict[str, list[float]]:
        """Losses and learning rate by epoch."""
        return self.trainer.history_

    def network(self) -> keras.Model:
        """Return the trained Keras model, from the tensors at the cut to the outputs."""
        return self.trainer.network()

    def outputs(self, source: Source) -> NDArray[np.float64]:
        """Severities ``(n,)`` or probabilities ``(n, n_grades)`` for all rows of a source."""
        rows = np.arange(len(source))[:, np.newaxis]
        with _one_fit_at_a_time:
            raw = self.trainer._predict_raw(rows, source=source)
        return self.tail.head.decode(raw, self.tail.n_grades)


def train_net(
    tail: Tail,
    training: Training,
    source: Source,
    rows: NDArray[np.intp],
    positions: NDArray[np.intp],
    weights: NDArray[np.float64] | None,
    held_out: NDArray[np.intp] | None,
) -> TrainedNet:
    """Train a neural head, and the backbone's layers after the cut, on rows of a source.

    Parameters
    ----------
    tail : Tail
    training : Training
    source : Source
    rows : ndarray of int, shape (n_train,)
        Rows to train on.
    positions : ndarray of int, shape (n_samples,)
        Grade of every row of the source, as its place on the scale.
    weights : ndarray of float, shape (n_samples,), or None
    held_out : ndarray of int, shape (n_held_out,), or None
        Rows that early stopping watches.

    Returns
    -------
    TrainedNet
    """
    from tensorflow.python.framework import config

    targets = tail.head.encode(positions, tail.n_grades)
    validation = None
    if held_out is not None:
        validation = Validation(
            source, held_out, targets[held_out], None if weights is None else weights[held_out]
        )
    trainer = KerasTrainer(
        partial(build_tail, tail=tail, training=training), training.seed, training
    )
    with _one_fit_at_a_time:
        # asked once, so that scikeras finds the switch as it was and can restore it
        config.is_op_determinism_enabled()
        trainer.fit(
            rows[:, np.newaxis],
            targets[rows],
            sample_weight=None if weights is None else weights[rows],
            source=source,
            validation=validation,
        )
    return TrainedNet(tail, trainer)


def trained_net(
    tail: Tail, weights: list[NDArray[Any]], history: dict[str, list[float]]
) -> TrainedNet:
    """Put trained weights back into a network.

    Parameters
    ----------
    tail : Tail
    weights : list of ndarray
        As ``model.get_weights()`` gave them.
    history : dict of str to list of float

    Returns
    -------
    TrainedNet
        The Keras model is built at its first use.
    """
    training = Training(learning_rate=1e-3)
    trainer = KerasTrainer(partial(build_tail, tail=tail, training=training), None, training)
    trainer.history_ = history
    trainer.weights_ = weights
    return TrainedNet(tail, trainer)
