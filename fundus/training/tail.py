"""The trained part of a network: its parts, and the settings of its training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fundus.backbones.network import Network
from fundus.backbones.pooling import pooled
from fundus.heads.base import NeuralHead
from fundus.runtime.keras_settings import DEFAULT_POLICY, under_policy
from fundus.runtime.tensorflow import require_tensorflow
from fundus.training.losses import built_loss
from fundus.training.optimizers import ADAM, Recipe, only_sets_the_rate

if TYPE_CHECKING:
    import keras

#: Training steps of a head on features that TensorFlow runs without returning to Python.
STEPS_PER_CALL = 32


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
            inputs = body.inputs
            outputs = tail.head.build(body.outputs[0], tail.n_grades)
        model = keras.Model(inputs, outputs)
        ours = to_train and training.only_rates
        model.compile(
            optimizer=training.optimizer.build(training.learning_rate, fused=ours),
            loss=built_loss(tail.head, tail.n_grades, training.loss),
            metrics=tail.head.metrics(tail.n_grades),
            steps_per_execution=STEPS_PER_CALL if ours and tail.network is None else 1,
        )
    return model
