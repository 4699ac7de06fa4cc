"""The trained part of a network: its parts, and the settings of its training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fundus.backbones.network import Network
from fundus.backbones.pooling import pooled
from fundus.heads.base import NeuralHead
from fundus.runtime.keras_settings import DEFAULT_POLICY, under_policy
from fundus.runtime.tensorflow import require_tensorflow
from fundus.training.gentle import cosine, hold_norms, lower_rates
from fundus.training.losses import built_loss
from fundus.training.optimizers import ADAM, Recipe, only_sets_the_rate

if TYPE_CHECKING:
    import keras

#: Training steps of a head on features that TensorFlow runs without returning to Python.
STEPS_PER_CALL = 32


#: Share of the epochs, the last ones, whose weights are averaged where a head has learned first.
AVERAGED = 0.25


@dataclass(frozen=True)
class Plateau:
    """Lower the rate when the loss stops falling, like `keras.callbacks.ReduceLROnPlateau`.

    Parameters
    ----------
    factor : float, default=0.5
        Factor of the learning rate.
    patience : int, default=3
        Epochs without a better loss before the rate is lowered.
    min_lr : float, default=1e-6
        Lowest learning rate.
    """

    factor: float = 0.5
    patience: int = 3
    min_lr: float = 1e-6


@dataclass(frozen=True)
class HeadFirst:
    """The first epochs of a training, in which only the head learns.

    Parameters
    ----------
    epochs : int
    learning_rate : float or None
        ``None`` where the optimizer has a schedule.
    """

    epochs: int
    learning_rate: float | None


@dataclass(frozen=True)
class Gently:
    """How layers of a backbone are trained under a head that has learned.

    Parameters
    ----------
    steps : int, default=0
        Steps over which the learning rate rises and falls; 0 leaves it to the optimizer or a
        callback.
    averaged : int, default=0
        Epochs at the end whose weights are averaged.
    lowest : float, default=0.1
        Learning rate of the lowest trained layer, as a share of the head's.
    """

    steps: int = 0
    averaged: int = 0
    lowest: float = 0.1


@dataclass(frozen=True)
class Training:
    """Settings of one training run.

    Parameters
    ----------
    learning_rate : float or None
        ``None`` where the optimizer has a schedule.
    loss : object, default=None
        As Keras takes it; ``None`` is the head's own.
    patience : int or None
        Epochs without a better loss before training stops; ``None`` never stops early.
    plateau : Plateau or None
        ``None`` where a schedule or a callback sets the learning rate.
    callbacks : tuple of Callback
        More Keras callbacks; copied before use.
    log_dir : str or None
        Where ``log.csv`` and ``best.weights.h5`` are written.
    seed : int
        Seed of the initial weights, of Dropout, and of the order of the images.
    repeatable : bool
        Whether fits with the same seed give the same bits, at the cost of slower operations.
    head_first : HeadFirst or None
        Epochs, of all of them, in which the head learns alone; see `fundus.training.gentle`.
    gently : Gently or None
        How the layers of a backbone are trained after that.
    """

    learning_rate: float | None
    optimizer: Recipe = ADAM
    loss: Any = None
    batch_size: int = 16
    epochs: int = 40
    patience: int | None = 10
    plateau: Plateau | None = Plateau()
    callbacks: tuple[Any, ...] = ()
    log_dir: str | None = None
    seed: int = 0
    repeatable: bool = True
    verbose: int = 0
    head_first: HeadFirst | None = None
    gently: Gently | None = None

    @property
    def rate(self) -> Any:
        """The rate for the optimizer: a number, a schedule, or None where it has its own."""
        if self.learning_rate is None or self.gently is None or self.gently.steps == 0:
            return self.learning_rate
        return cosine(self.learning_rate, self.gently.steps)

    def head_alone(self) -> Training:
        """Return the training of the head alone, on features, where `head_first` asks for it.

        The caller's callbacks and log are for the layers of the backbone.
        """
        assert self.head_first is not None
        return replace(
            self,
            learning_rate=self.head_first.learning_rate,
            epochs=self.head_first.epochs,
            plateau=None,
            callbacks=(),
            log_dir=None,
            head_first=None,
        )

    def after_head(self, n_rows: int) -> Training:
        """Return the training of head and layers together, once the head has learned alone.

        Parameters
        ----------
        n_rows : int
            Training rows of an epoch.
        """
        assert self.head_first is not None
        epochs = self.epochs - self.head_first.epochs
        # where the optimizer has a schedule, or a callback sets the rate, that is left to them
        ours = self.learning_rate is not None and self.plateau == Plateau()
        steps = epochs * -(-n_rows // self.batch_size)
        return replace(
            self,
            epochs=epochs,
            plateau=None if ours else self.plateau,
            head_first=None,
            gently=Gently(steps if ours else 0, max(1, round(AVERAGED * epochs))),
        )

    @property
    def only_rates(self) -> bool:
        """Whether the caller's callbacks, if there are any, only set the learning rate."""
        return all(only_sets_the_rate(callback) for callback in self.callbacks)


@dataclass(frozen=True)
class Tail:
    """The trained part of a network: the layers after the cut, pooling and the head.

    Parameters
    ----------
    n_features : int or None
        Width of the frozen features; ``None`` where layers of the backbone are trained.
    network : Network or None
        The backbone, where layers of it are trained.
    dtype_policy : str, default="float32"
        Keras's dtype policy under which it is built, in training and in prediction.
    """

    head: NeuralHead
    n_grades: int
    n_features: int | None = None
    network: Network | None = None
    dtype_policy: str = DEFAULT_POLICY


def build_tail(tail: Tail, training: Training, *, to_train: bool = False) -> keras.Model:
    """Build and compile the trained part, from the tensors at the cut to the head's outputs.

    Parameters
    ----------
    to_train : bool, default=False
        Compile it for training here: with `FusedAdam`, and several steps of a head on
        features in one call. The caller's callbacks get each step, and Keras's optimizer.
    """
    require_tensorflow()
    import keras

    with under_policy(tail.dtype_policy):
        if tail.network is None:
            inputs = keras.Input((tail.n_features,), dtype="float32", name="features")
            outputs = tail.head.build(inputs, tail.n_grades)
        else:
            body = pooled(tail.network.split().suffix, tail.network.pooling)
            if training.gently is not None:
                hold_norms(body)
            inputs = body.inputs
            outputs = tail.head.build(body.outputs[0], tail.n_grades)
        model = keras.Model(inputs, outputs)
        ours = to_train and training.only_rates
        model.compile(
            optimizer=training.optimizer.build(training.rate, fused=ours),
            loss=built_loss(tail.head, tail.n_grades, training.loss),
            metrics=tail.head.metrics(tail.n_grades),
            steps_per_execution=STEPS_PER_CALL if ours and tail.network is None else 1,
        )
        if to_train and tail.network is not None and training.gently is not None:
            lower_rates(model, body, training.gently.lowest)
    return model
