"""Training and prediction of Keras heads with scikeras; no other file uses scikeras.

scikeras trains on row indices: the images' activations are too many to pass as one array, so
`KerasTrainer` streams them from a `fundus.frozen.sources.Source`. ``docs/decisions.md`` lists the
defects of scikeras 0.13 that this file works around; ``tests/test_trainer.py`` tests each of them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.runtime.tensorflow_noise import quiet_start

with quiet_start():  # unpickling a trained head may import Keras here first
    import keras
    import tensorflow as tf
    from scikeras.wrappers import BaseWrapper

    # private to TensorFlow (seen in 2.21): the seed that is set, and whether operations must be
    # deterministic
    from tensorflow.python.eager import context
    from tensorflow.python.framework import config

from fundus.exceptions import BundleError, PluginError
from fundus.frozen.sources import Source
from fundus.runtime.seeds import one_at_a_time, seeded
from fundus.runtime.tensorflow import require_tensorflow
from fundus.training.batches import TrainingRows, batches_of
from fundus.training.callbacks import bars_ended, training_callbacks
from fundus.training.checkpoints import Checkpoint, State, checkpoint_of
from fundus.training.compiled import foreign_state, fresh_network, lent_network
from fundus.training.finite import check_training
from fundus.training.fitted import check_width
from fundus.training.resumed import EpochKeeper
from fundus.training.tail import Tail, Training, build_tail

#: Rows per forward pass in prediction.
PREDICT_BATCH = 64


class KerasTrainer(BaseWrapper):
    """A scikeras wrapper whose ``X`` is row indices ``(n, 1)`` of a source.

    Its `model` is a partial of `fresh_network`.
    """

    def __init__(self, model: partial[keras.Model], training: Training) -> None:
        # no random_state, since scikeras would set the random generators of the process with it
        super().__init__(model=model, batch_size=training.batch_size)
        self.training = training

    # private to scikeras (seen in 0.13), as are `_predict_raw` and the two names in `__getstate__`
    def _fit_keras_model(
        self,
        X: NDArray[np.intp],
        y: NDArray[Any],
        sample_weight: NDArray[np.float64] | None,
        warm_start: bool,
        epochs: int,
        initial_epoch: int,
        *,
        source: Source,
        validation: TrainingRows | None,
        checkpoint: Checkpoint | None,
        n_views: int,
        start: Sequence[NDArray[Any]] | None,
    ) -> None:
        training = self.training
        if start is not None:
            begin_with(self.model_, start)
        size, seed = training.batch_size, training.seed
        batches = batches_of(TrainingRows(source, X[:, 0], y, sample_weight, size, seed, n_views))
        held_out = None if validation is None else batches_of(validation)
        watched = "loss" if held_out is None else "val_loss"
        log = keras.callbacks.History()
        callbacks = [batches, *training_callbacks(training, watched), log]
        keeper = self._keeper(checkpoint, callbacks)
        begun = {"epochs": training.epochs} if keeper is None else keeper.epochs(training.epochs)
        with bars_ended(callbacks):
            self.model_.fit(
                batches.data,
                verbose=0,
                shuffle=False,
                validation_data=None if held_out is None else held_out.data,
                callbacks=callbacks if keeper is None else [*callbacks, keeper],
                **begun,
            )
        self.history_ = {name: [float(v) for v in values] for name, values in log.history.items()}
        # the network is shared, and the next fit will change it
        self.weights_ = self.model_.get_weights()
        del self.model_

    def _keeper(
        self, checkpoint: Checkpoint | None, callbacks: list[keras.callbacks.Callback]
    ) -> EpochKeeper | None:
        """The callback that keeps the epochs, if they are kept and all state is known."""
        if checkpoint is None:
            return None
        if why := foreign_state(self.model_, self.model.keywords["tail"], self.training):
            checkpoint.begin_anew(why)
            return None
        return EpochKeeper(checkpoint, self.model_, callbacks)

    def _predict_raw(self, X: Any, **kwargs: Any) -> NDArray[np.float32]:
        """Outputs of the network for every row of a source, shape (n, n_outputs)."""
        source: Source = kwargs["source"]
        if "model_" in self.__dict__:
            model = self.model_
        else:
            model = lent_network(**self.model.keywords)
            model.set_weights(self.weights_)
        rows = np.asarray(X)[:, 0]
        outputs = []
        for start in range(0, len(rows), PREDICT_BATCH):
            take = rows[start : start + PREDICT_BATCH]
            # padded to one shape, so that a short last batch is not traced again
            padded = np.concatenate([take, np.repeat(take[:1], PREDICT_BATCH - len(take))])
            x = source.batch(padded, None)
            tail: Tail = self.model.keywords["tail"]
            check_width(x[0], tail.n_features, tail.head)
            output = np.asarray(model.predict_on_batch(x[0] if len(x) == 1 else x))
            outputs.append(output[: len(take)])
        return np.concatenate(outputs)

    def network(self) -> keras.Model:
        """Return the trained Keras model, built at the first call and used in later predictions."""
        if "model_" not in self.__dict__:
            self.model_ = build_tail(**self.model.keywords)
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


@dataclass
class TrainedNet:
    """A neural head after training, with the trained part of its backbone.

    Attributes are as in `FittedHead`.
    """

    tail: Tail
    trainer: KerasTrainer = field(repr=False)
    residual_std: float | None = None

    @property
    def is_regressor(self) -> bool:
        """Whether the head predicts a severity."""
        return self.tail.head.is_regressor

    @property
    def has_proba(self) -> bool:
        """Whether it gives probabilities, or a severity from which they are made: always."""
        return True

    @property
    def history(self) -> dict[str, list[float]]:
        """Losses and learning rate by epoch."""
        return self.trainer.history_

    def network(self) -> keras.Model:
        """Return the trained Keras model, from the tensors at the cut to the outputs."""
        return self.trainer.network()

    def weights(self) -> list[NDArray[Any]]:
        """Return the weights of `network`, without building it."""
        trainer = self.trainer
        return trainer.weights_ if "weights_" in vars(trainer) else trainer.network().get_weights()

    def outputs(self, source: Source) -> NDArray[np.float64]:
        """Severities ``(n,)`` or probabilities ``(n, n_grades)`` for all rows of a source."""
        rows = np.arange(len(source))[:, np.newaxis]
        require_tensorflow()
        with one_at_a_time:
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
    *,
    n_views: int = 0,
    start: Sequence[NDArray[Any]] | None = None,
) -> TrainedNet:
    """Train a neural head, and the backbone's layers after the cut, on rows of a source.

    Parameters
    ----------
    rows : ndarray of int, shape (n_train,)
        Rows to train on.
    positions : ndarray of int, shape (n_samples,)
        Grade of every row of the source, as its position on the scale.
    weights : ndarray of float, shape (n_samples,), or None
    held_out : ndarray of int, shape (n_held_out,), or None
        Rows whose loss early stopping monitors.
    n_views : int, default=0
        Augmented rows that follow each of `rows` in the source. An epoch draws one of them, or the
        row itself, for each.
    start : sequence of ndarray, or None
        Weights of the head to begin with; by default new ones are drawn.
    """
    require_tensorflow()
    targets = tail.head.encode(positions, tail.n_grades)
    validation = None
    if held_out is not None:
        kept = None if weights is None else weights[held_out]
        validation = TrainingRows(
            source, held_out, targets[held_out], kept, training.batch_size, None
        )
    trainer = KerasTrainer(partial(fresh_network, tail=tail, training=training), training)
    checkpoint = checkpoint_of(tail, training, source, rows, targets, weights, held_out, start)
    found = None if checkpoint is None else checkpoint.found
    if found is not None and found.about["finished"]:
        trainer.history_, trainer.weights_ = found.about["history"], found.arrays["weights"]
        check_training(tail.head, training, trainer.history_, trainer.weights_)
        return TrainedNet(tail, trainer)
    with seeded(training.seed), _deterministic(training.repeatable and _depends_on_order(tail)):
        trainer.fit(
            rows[:, np.newaxis],
            targets[rows],
            sample_weight=None if weights is None else weights[rows],
            source=source,
            validation=validation,
            checkpoint=checkpoint,
            n_views=n_views,
            start=start,
        )
    check_training(tail.head, training, trainer.history_, trainer.weights_)
    if checkpoint is not None and checkpoint.path.exists():
        about = {"finished": True, "history": trainer.history_}
        checkpoint.write(State(about, {"weights": list(map(np.asarray, trainer.weights_))}))
    return TrainedNet(tail, trainer)


def begin_with(network: keras.Model, head: Sequence[NDArray[Any]]) -> None:
    """Set the last weights of a network, which are those of its head.

    Raises
    ------
    PluginError
        If they have other shapes, as where a head builds other layers at its next call.
    """
    own = network.weights[len(network.weights) - len(head) :]
    shapes = [tuple(variable.shape) for variable in own]
    if shapes != [array.shape for array in head]:
        raise PluginError(
            f"A head must build the same layers at every call, and its weights must be the last of "
            f"the network. Got {shapes} for a head of {[array.shape for array in head]}."
        )
    for variable, value in zip(own, head, strict=True):
        variable.assign(value)


def _depends_on_order(tail: Tail) -> bool:
    """Whether results may depend on the order in which processors finish parts of an operation.

    On a CPU those of our heads do not, which are dense layers on features.
    """
    ours = type(tail.head).__module__.split(".")[0] == "fundus"
    return tail.network is not None or not ours or bool(tf.config.list_physical_devices("GPU"))


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    """Use TensorFlow's deterministic operations, and let other threads draw random numbers.

    The switch is for the whole process. While it is on, a draw from `tf.random` without a seed is
    an error; so a seed is set meanwhile if the caller has none, and so no stream to continue.
    """
    if not wanted:
        yield
        return
    seed = None
    if context.global_seed() is None:
        seed = random.SystemRandom().randrange(2**31)
        tf.random.set_seed(seed)
        time.sleep(0.05)  # for a thread that is drawing and has seen no seed
    before = config.is_op_determinism_enabled()
    config.enable_op_determinism()
    try:
        yield
    finally:
        if not before:
            config.disable_op_determinism()
        if seed is not None and context.global_seed() == seed:
            tf.random.set_seed(None)


def trained_net(
    tail: Tail, weights: list[NDArray[Any]], history: dict[str, list[float]]
) -> TrainedNet:
    """Put weights from ``model.get_weights()`` back into a network, which its first use builds."""
    training = Training(learning_rate=1e-3)
    trainer = KerasTrainer(partial(fresh_network, tail=tail, training=training), training)
    trainer.history_ = history
    trainer.weights_ = weights
    return TrainedNet(tail, trainer)


def check_weights(net: TrainedNet) -> None:
    """Raise unless the weights of a network that `trained_net` made fit it.

    Raises
    ------
    BundleError
        If they have other shapes.
    """
    if net.tail.network is None and net.tail.head._n_weights() is not None:
        return  # they were compared without building it
    # the folds of an ensemble share this network in predictions
    with one_at_a_time:
        network = lent_network(**net.trainer.model.keywords)
        expected = [tuple(weight.shape) for weight in network.weights]
    found = [array.shape for array in net.trainer.weights_]
    if found != expected:
        raise BundleError(
            f"The weights of the saved head {net.tail.head!r} must have the shapes {expected}. "
            f"Got {found} instead: the model is damaged or was changed after it was saved."
        )
