"""Training layers of a backbone without spoiling them: rates, and what is held as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

#: Share of the steps in which the learning rate rises, from 0.
RISE = 0.1


def cosine(rate: float, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Return a schedule that rises to a rate on a line, and falls to 0 on a cosine.

    Parameters
    ----------
    rate : float
        The highest learning rate.
    steps : int
        Steps of the whole training.
    """
    import keras

    rise = max(1, round(RISE * steps))
    # the first of several steps has rate 0, an only one must not
    first = rate if rise == 1 else 0.0
    return keras.optimizers.schedules.CosineDecay(
        first, max(1, steps - rise), warmup_target=rate, warmup_steps=rise
    )


def hold_norms(model: keras.Model) -> None:
    """Let the batch normalisations of a model normalise by what they know, in training too.

    The statistics of a batch of 16 photographs are far from those that the layers were trained
    with, and the head has learned on what these give.
    """
    import keras

    # private to Keras (seen in 3.15); there is no public way to the layers inside of a layer
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def lower_rates(network: keras.Model, body: keras.Model, lowest: float) -> None:
    """Let a compiled network's optimizer train the layers of its body the slower the lower.

    Parameters
    ----------
    network : keras.Model
        Compiled; the layers of `body` are some of its own.
    body : keras.Model
    lowest : float
        Rate of the lowest weights that are trained, as a share of the rate of those that are not in
        the body; from one to the next above it rises by the same factor.
    """
    trained = body.trainable_variables  # from the lowest layer up
    factor_of = {
        id(variable): lowest ** ((len(trained) - k) / len(trained))
        for k, variable in enumerate(trained)
    }
    factors = [factor_of.get(id(variable), 1.0) for variable in network.trainable_variables]
    # an optimizer that scales the loss hands its steps on
    optimizer = getattr(network.optimizer, "inner_optimizer", network.optimizer)
    whole_step = optimizer.update_step

    # private to Keras (seen in 3.15), as is the index of a variable
    def update_step(gradient: Any, variable: Any, learning_rate: Any) -> None:
        factor = factors[optimizer._get_variable_index(variable)]
        whole_step(gradient, variable, learning_rate * factor)

    optimizer.update_step = update_step
