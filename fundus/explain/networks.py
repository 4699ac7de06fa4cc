"""Gradients of trained networks: what a map's positions add, to first order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fundus.backbones.splitting import one_or_list
from fundus.backbones.stages import last_map
from fundus.explain.slopes import Value
from fundus.runtime.seeds import one_at_a_time
from fundus.runtime.tensorflow import require_tensorflow

if TYPE_CHECKING:
    import keras

Floats = NDArray[np.float64]


def decoded(head: Any, n_grades: int, columns: NDArray[np.intp], outputs: NDArray[Any]) -> Floats:
    """What a neural head predicts from a network's outputs.

    Parameters
    ----------
    head : NeuralHead
    n_grades : int
    columns : ndarray of int, shape (n_classes,)
        The grades it was trained on.
    outputs : ndarray of float, shape (n, n_outputs)

    Returns
    -------
    ndarray of float64, shape (n,) or (n, n_classes)
        A regressor's severities, or probabilities, of sum 1.
    """
    found = head.decode(outputs, n_grades)
    if found.ndim == 1:
        return found
    known = found[:, columns]
    return known / np.maximum(known.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)


def _slopes_in_outputs(value: Value, outputs: Floats) -> NDArray[np.float32]:
    """Slopes of a value in the outputs of a network, by differences small beside each output."""
    slopes = np.empty_like(outputs)
    for k in range(outputs.shape[1]):
        step = np.zeros_like(outputs)
        step[:, k] = np.maximum(1e-4 * np.abs(outputs[:, k]), 1e-9)
        slopes[:, k] = (value(outputs + step) - value(outputs - step)) / (2 * step[:, k])
    return slopes.astype(np.float32)


def slopes_in_features(net: keras.Model, features: Floats, value: Value) -> tuple[Floats, Floats]:
    """Outputs of a network on features, and the slopes of a value of them in the features.

    Parameters
    ----------
    net : keras.Model
        From features to outputs.
    features : ndarray of float, shape (n, n_features)
    value : callable
        From outputs (n, n_outputs) to (n,).

    Returns
    -------
    outputs : ndarray of float64, shape (n, n_outputs)
    slopes : ndarray of float64, shape (n, n_features)
    """
    require_tensorflow()
    import tensorflow as tf

    with one_at_a_time:
        with tf.GradientTape() as tape:
            x = tf.convert_to_tensor(features.astype(np.float32))
            tape.watch(x)
            outputs = net(x, training=False)
        found = np.asarray(outputs, dtype=np.float64)
        weights = tf.cast(_slopes_in_outputs(value, found), outputs.dtype)
        slopes = tape.gradient(outputs, x, output_gradients=weights)
    return found, np.asarray(slopes, dtype=np.float64)


class LastMap:
    """A trained network, with its last map beside its outputs.

    Parameters
    ----------
    net : keras.Model
        From the tensors at the cut to the outputs.
    """

    def __init__(self, net: keras.Model) -> None:
        import keras

        found = last_map(net)
        self.net: keras.Model | None = None
        if found is None:
            return
        inputs, tensor, outputs = found
        self.shape = tuple(tensor.shape[1:])
        self.net = keras.Model(one_or_list(inputs), [tensor, *outputs])

    def parts(
        self, arrays: list[NDArray[np.float32]], value: Value
    ) -> tuple[Floats, NDArray[np.float64]]:
        """Return outputs, and what each position adds: its values times their slopes (HiResCAM).

        Parameters
        ----------
        arrays : list of ndarray of float32
            The tensors at the cut.
        value : callable
            From outputs (n, n_outputs) to (n,).

        Returns
        -------
        outputs : ndarray of float64, shape (n, n_outputs)
        parts : ndarray of float64, shape (n, positions)
        """
        require_tensorflow()
        import tensorflow as tf

        assert self.net is not None
        with one_at_a_time:
            with tf.GradientTape() as tape:
                x = [tf.convert_to_tensor(array) for array in arrays]
                tape.watch(x)
                maps, outputs = self.net(one_or_list(x), training=False)
            found = np.asarray(outputs, dtype=np.float64)
            weights = tf.cast(_slopes_in_outputs(value, found), outputs.dtype)
            slopes = tape.gradient(outputs, maps, output_gradients=weights)
        products = np.asarray(maps, np.float64) * np.asarray(slopes, np.float64)
        return found, products.reshape(len(found), -1, products.shape[-1]).sum(axis=2)
