"""Dense heads after the chapter: a softmax classifier and a ReLU regressor."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fundus.heads.base import NeuralHead
from fundus.parameters import check_int, check_real

if TYPE_CHECKING:
    import keras


class DenseHead(NeuralHead):
    """Hidden layers that both heads share: Dense, ReLU, Dropout.

    Parameters
    ----------
    units : int, default=512
        Width of a hidden layer.
    layers : int, default=2
        Hidden layers.
    dropout : float, default=0.5
        Share of units dropped in training, in [0, 1).
    """

    def __init__(self, units: int = 512, layers: int = 2, dropout: float = 0.5) -> None:
        self.units = units
        self.layers = layers
        self.dropout = dropout

    def _n_weights(self) -> int | None:
        # a subclass of another package may build other layers
        if type(self).__module__.split(".")[0] != "fundus":
            return None
        for name, low in (("units", 1), ("layers", 0)):
            check_int(self, name, low=low)
        check_real(self, "dropout", low=0, high=1)
        return 2 * int(self.layers) + len(self._output_shapes(1, 3))

    def _weight_shapes(self, n_features: int, n_grades: int) -> list[tuple[int, ...]]:
        widths = [n_features, *[int(self.units)] * int(self.layers)]
        hidden = [shape for a, b in pairwise(widths) for shape in ((a, b), (b,))]
        return hidden + self._output_shapes(widths[-1], n_grades)

    def _output_shapes(self, width: int, n_grades: int) -> list[tuple[int, ...]]:
        """Return the shapes of the arrays of the last layer, after one of a width."""
        return [(width, n_grades), (n_grades,)]

    def hidden(self, features: keras.KerasTensor) -> keras.KerasTensor:
        """Add the hidden layers.

        Parameters
        ----------
        features : KerasTensor, shape (batch, n_features)

        Returns
        -------
        KerasTensor, shape (batch, units)
        """
        from keras import layers

        x = features
        for k in range(1, self.layers + 1):
            x = layers.Dense(self.units, activation="relu", name=f"head_dense{k}")(x)
            x = layers.Dropout(self.dropout, name=f"head_dropout{k}")(x)
        return x


class SoftmaxHead(DenseHead):
    """Softmax classifier with cross-entropy.

    Parameters
    ----------
    units : int, default=512
        Width of a hidden layer.
    layers : int, default=2
        Hidden layers.
    dropout : float, default=0.5
        Share of units dropped in training, in [0, 1).

    Examples
    --------
    >>> SoftmaxHead(units=64)
    SoftmaxHead(units=64)
    """

    def build(self, features: keras.KerasTensor, n_grades: int) -> keras.KerasTensor:
        """Add hidden layers and one softmax output per grade."""
        from keras import layers

        return layers.Dense(n_grades, activation="softmax", name="head_output")(
            self.hidden(features)
        )

    def loss(self, n_grades: int) -> str:
        """Cross-entropy of the true grade."""
        return "sparse_categorical_crossentropy"

    def metrics(self, n_grades: int) -> list[Any]:
        """Accuracy."""
        return ["accuracy"]

    def encode(self, positions: NDArray[np.intp], n_grades: int) -> NDArray[Any]:
        """Return the positions themselves."""
        return positions

    def decode(self, outputs: NDArray[np.float32], n_grades: int) -> NDArray[np.float64]:
        """Return the probabilities, in double precision."""
        proba = outputs.astype(np.float64)
        return proba / proba.sum(axis=1, keepdims=True)

    def decode_ops(self, outputs: Any, n_grades: int) -> Any:
        """Return the probabilities."""
        return outputs


class ReluHead(DenseHead):
    """Regressor with one ReLU output and mean squared error.

    Parameters
    ----------
    units : int, default=512
        Width of a hidden layer.
    layers : int, default=2
        Hidden layers.
    dropout : float, default=0.5
        Share of units dropped in training, in [0, 1).

    Examples
    --------
    >>> ReluHead().is_regressor
    True
    """

    is_regressor = True

    def build(self, features: keras.KerasTensor, n_grades: int) -> keras.KerasTensor:
        """Add hidden layers and one ReLU output, which starts in the middle of the scale."""
        from keras import initializers, layers

        # from zero, an unlucky output would be negative for every image and never learn
        middle = initializers.Constant((n_grades - 1) / 2)
        return layers.Dense(1, activation="relu", bias_initializer=middle, name="head_output")(
            self.hidden(features)
        )

    def _output_shapes(self, width: int, n_grades: int) -> list[tuple[int, ...]]:
        return [(width, 1), (1,)]

    def loss(self, n_grades: int) -> str:
        """Mean squared error on the grade axis."""
        return "mean_squared_error"

    def encode(self, positions: NDArray[np.intp], n_grades: int) -> NDArray[Any]:
        """Return the positions as float32."""
        return positions.astype(np.float32)

    def decode(self, outputs: NDArray[np.float32], n_grades: int) -> NDArray[np.float64]:
        """Return the output as the severity."""
        return outputs[:, 0].astype(np.float64)

    def decode_ops(self, outputs: Any, n_grades: int) -> Any:
        """Return the output as the severity."""
        return outputs[:, 0]
