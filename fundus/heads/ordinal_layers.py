"""Keras layers and losses of the ordinal heads; imported only when a network is built."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

#: Biases per unit of weight. Adam moves each weight by about the learning rate, and the score, a
#: sum over hundreds of them, grows far faster than a bias would: the gaps between biases stay too
#: narrow for a middle grade ever to be the most probable.
PACE = 10.0


@keras.saving.register_keras_serializable("fundus")
class OrderedBias(keras.layers.Layer):
    """One score, shifted by decreasing biases: ``score + b_k`` with ``b_0 > b_1 > …``.

    The differences are softplus of `PACE` times the weights, so that no training makes the biases
    cross. They start where a score of 0 gives every grade the same probability.
    """

    def __init__(self, n_outputs: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n_outputs = n_outputs

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        above = np.arange(self.n_outputs, 0, -1) / (self.n_outputs + 1)
        start = np.log(above / (1 - above))
        self.first = self.add_weight(
            shape=(1,), initializer=keras.initializers.Constant(start[0] / PACE), name="first"
        )
        self.steps = self.add_weight(
            shape=(self.n_outputs - 1,),
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(
                np.log(np.expm1(-np.diff(start))) / PACE, dtype
            ),
            name="steps",
        )

    def call(self, score: Any) -> Any:
        """Return logits, shape (batch, n_outputs)."""
        first, below = PACE * self.first, ops.cumsum(ops.softplus(PACE * self.steps))
        return score + ops.concatenate([first, first - below])

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "n_outputs": self.n_outputs}


def _binary_cross_entropy(levels: Any, logits: Any) -> Any:
    return ops.softplus(logits) - levels * logits


@keras.saving.register_keras_serializable("fundus")
class CoralLoss(keras.losses.Loss):
    """Sum of the binary cross-entropies of ``y > k``, as in CORAL."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of every row, from levels and logits of one shape."""
        return ops.sum(_binary_cross_entropy(y_true, y_pred), axis=-1)


@keras.saving.register_keras_serializable("fundus")
class CornLoss(keras.losses.Loss):
    """Binary cross-entropies of ``y > k`` on the rows with ``y >= k``, as in CORN.

    Their sum over a batch is divided by their number; rows are scaled so that Keras's mean does
    that.
    """

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of every row, from levels and logits of one shape."""
        asked = ops.concatenate([ops.ones_like(y_true[:, :1]), y_true[:, :-1]], axis=-1)
        loss = ops.sum(asked * _binary_cross_entropy(y_true, y_pred), axis=-1)
        return loss / ops.mean(ops.sum(asked, axis=-1))
