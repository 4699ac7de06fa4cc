"""Fitted heads as operations of Keras: a scikit-learn estimator's, or a network's end."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import fundus.tracing.linear_ends  # noqa: F401 - registers the linear estimators
from fundus.backbones.splitting import call_again, graph_nodes, one_or_list
from fundus.exceptions import ExportError
from fundus.grades.in_keras import chosen, constant
from fundus.heads.base import NeuralHead
from fundus.runtime.keras_settings import DEFAULT_POLICY
from fundus.runtime.seeds import one_at_a_time
from fundus.runtime.tensorflow import require_tensorflow
from fundus.tracing.estimators import is_traced, traced_estimator
from fundus.training.fitted import FittedEstimator

#: How far the counterpart of a head may be from the head.
TOLERANCE = 1e-4


def traced_head(head: Any, tensors: list[Any], positions: NDArray[np.intp]) -> Any:
    """Return what a fitted head gives, as `FittedHead.outputs` does.

    Parameters
    ----------
    head : FittedHead
    tensors : list of KerasTensor
        What the frozen layers give.
    positions : ndarray of int, shape (n_classes,)
        Places of the classes on the scale, of which the probabilities are wanted.

    Returns
    -------
    KerasTensor
        A severity (batch,), or probabilities (batch, n_classes), whose sum need not be 1.

    Raises
    ------
    ExportError
        If the head has no counterpart among the operations of Keras, or that differs from it.
    """
    if isinstance(head, FittedEstimator):
        return _of_estimator(head, tensors[0], positions)
    return _of_network(head, tensors, positions)


def _of_estimator(head: FittedEstimator, tensor: Any, positions: NDArray[np.intp]) -> Any:
    from keras import KerasTensor

    estimator = head.estimator
    outputs = traced_estimator(estimator, tensor)
    rank = 1 if head.is_regressor else 2
    if not isinstance(outputs, KerasTensor) or len(outputs.shape) != rank:
        raise ExportError(
            f"What was registered for {estimator!r} must return a tensor of {rank} dimensions. "
            f"Got {outputs!r}."
        )
    check_same(estimator, tensor.shape[1], regressor=head.is_regressor)
    if head.is_regressor:
        return outputs
    # its classes are positions on the scale; those of the model are sorted as labels
    return _of_classes(outputs, np.asarray(estimator.classes_), positions)


def _of_classes(proba: Any, classes: NDArray[Any], positions: NDArray[np.intp]) -> Any:
    """Probabilities of some positions; of a class that the estimator lacks it is 0."""
    if np.isin(positions, classes).all():
        return chosen(proba, np.searchsorted(classes, positions))
    from keras import ops

    return ops.matmul(proba, constant(classes[:, np.newaxis] == positions))


def check_same(estimator: Any, width: int, *, regressor: bool) -> None:
    """Compare an estimator with its counterpart on rows near the training set's mean.

    Raises
    ------
    ExportError
        If they differ.
    """
    import keras

    rows = _probe_rows(estimator, width)
    inputs = keras.Input((width,))
    graph = keras.Model(inputs, traced_estimator(estimator, inputs))
    found = np.asarray(graph(rows, training=False), dtype=np.float64)
    if regressor:
        expected = np.asarray(estimator.predict(rows), dtype=np.float64)
    elif hasattr(estimator, "predict_proba"):
        expected = np.asarray(estimator.predict_proba(rows), dtype=np.float64)
    else:
        named = np.asarray(estimator.predict(rows))
        expected = (named[:, np.newaxis] == estimator.classes_).astype(np.float64)
    away = np.abs(found - expected) / np.maximum(1.0, np.abs(expected))
    if not away.max(initial=0.0) < TOLERANCE:
        raise ExportError(
            f"The counterpart of {estimator!r} in Keras must predict the same within "
            f"{TOLERANCE:g}. They differ by {away.max():.3g} on rows near its training set: this "
            "release of scikit-learn, or of what has registered it, computes something else."
        )


def check_decision(estimator: Any, width: int) -> None:
    """Refuse a classifier with a rule of its own, which a graph of its probabilities lacks.

    Raises
    ------
    ExportError
        If it predicts another class than its most probable one.
    """
    if not hasattr(estimator, "predict_proba"):
        return
    rows = _probe_rows(estimator, width)
    proba = np.asarray(estimator.predict_proba(rows), dtype=np.float64)
    best = np.asarray(estimator.classes_)[proba.argmax(axis=1)]
    two = np.sort(proba, axis=1)[:, -2:]
    clear = two[:, -1] - two[:, 0] > TOLERANCE if proba.shape[1] > 1 else np.ones(len(proba), bool)
    if (np.asarray(estimator.predict(rows)) != best)[clear].any():
        raise ExportError(
            f"{estimator!r} cannot be exported: it predicts another class than its most probable "
            "one, by a rule that has no counterpart in Keras. Export the classifier inside, and "
            "decide by its probabilities."
        )


def _probe_rows(estimator: Any, width: int) -> NDArray[np.float32]:
    """Rows as far from the mean of the training set as its own rows are, where scalers know it."""
    noise = np.random.default_rng(0).standard_normal((32, width))
    for step in [step for _, step in getattr(estimator, "steps", [])] or [estimator]:
        mean: Any = getattr(step, "mean_", None)
        scale: Any = getattr(step, "scale_", None)
        if np.shape(mean) == np.shape(scale) == (width,):
            return (mean + noise * scale).astype(np.float32)
    return noise.astype(np.float32)


def _of_network(net: Any, tensors: list[Any], positions: NDArray[np.intp]) -> Any:
    head, tail = net.tail.head, net.tail
    if tail.dtype_policy != DEFAULT_POLICY:
        raise ExportError(
            f"A model is exported in single precision. Got one that was trained with the dtype "
            f"policy {tail.dtype_policy!r}: train it with {DEFAULT_POLICY!r}."
        )
    _check_decode(head)
    network = own_network(net)
    outputs = _plain_call(network, tensors)
    decoded = head.decode_ops(outputs, tail.n_grades)
    if head.is_regressor:
        return decoded
    return chosen(decoded, positions)


def says_how(head: Any) -> bool:
    """Whether a fitted head says how it is expressed, rightly or not."""
    if isinstance(head, FittedEstimator):
        return is_traced(head.estimator)
    return type(head.tail.head).decode_ops is not NeuralHead.decode_ops


def _check_decode(head: NeuralHead) -> None:
    """Refuse a head whose `decode` is overridden below its counterpart, or has none."""
    order = [*type(head).__mro__]
    owners = [
        next(k for k, cls in enumerate(order) if name in vars(cls))
        for name in ("decode", "decode_ops")
    ]
    if order[owners[1]] is NeuralHead or owners[1] > owners[0]:
        raise ExportError(
            f"The head {head!r} cannot be exported: it says in 'decode' what its outputs mean, and "
            "not in 'decode_ops', which does the same with the operations of Keras. Write that "
            "method, or use another head."
        )


def own_network(net: Any) -> Any:
    """Build the trained network of one model; its own `network` is shared with other folds.

    Parameters
    ----------
    net : TrainedNet
    """
    require_tensorflow()
    from fundus.training.tail import Training, build_tail

    with one_at_a_time:
        weights = net.weights()
        network = build_tail(net.tail, Training(learning_rate=1e-3))
        network.set_weights(weights)
    return network


def _plain_call(network: Any, tensors: list[Any]) -> Any:
    """Call a network, with known numbers in the place of layers that only this library has."""
    import keras

    from fundus.heads.ordinal_layers import OrderedBias

    nodes = list(graph_nodes(network))
    if not any(isinstance(node.operation, OrderedBias) for node in nodes):
        return network(one_or_list(tensors), training=False)
    inputs = [keras.Input(batch_shape=t.shape, dtype=t.dtype) for t in tensors]
    replaced = dict(zip(map(id, network.inputs), inputs, strict=True))
    for node in nodes:
        layer = node.operation
        if isinstance(layer, OrderedBias):
            bias = np.asarray(layer(np.zeros((1, 1), np.float32)))
            outputs = [replaced[id(node.input_tensors[0])] + bias]
        elif isinstance(layer, keras.layers.Dropout):
            outputs = [replaced[id(node.input_tensors[0])]]
        else:
            outputs = call_again(node, replaced)
        replaced.update(zip(map(id, node.outputs), outputs, strict=True))
    plain = keras.Model(one_or_list(inputs), replaced[id(network.outputs[0])])
    return plain(one_or_list(tensors), training=False)
