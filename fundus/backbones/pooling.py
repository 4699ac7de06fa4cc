"""Turn feature maps into one vector per image: of the last map, or of every stage's."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fundus.backbones.splitting import call_again, graph_nodes, one_or_list
from fundus.parameters import invalid

if TYPE_CHECKING:
    import keras

#: Values of ``pooling``; those of every stage start with ``"multilevel"``.
POOLINGS = (
    *("avg", "max", "avg+max", "gem", "flatten"),
    *("multilevel", "multilevel_max", "multilevel_avg+max"),
)

GEM_POWER = 3.0
_GEM_FLOOR = 1e-6


def of_all_stages(pooling: str) -> bool:
    """Whether a pooling needs the map of every stage, not the last one alone."""
    return pooling.startswith("multilevel")


def pooled(model: keras.Model, pooling: str) -> keras.Model:
    """Turn a model's feature map into one vector per image.

    Parameters
    ----------
    model : keras.Model
        With one output: ``(batch, height, width, channels)``, ``(batch, tokens, channels)`` or
        ``(batch, channels)``; the last stays as it is.
    pooling : str
        ``"avg"``, ``"max"``: mean or maximum over the positions; ``"avg+max"``: one after the
        other; ``"gem"``: generalised mean [1]_ with exponent 3, negative values as 0;
        ``"flatten"``: all values one after another. ``"multilevel"``, ``"multilevel_max"`` and
        ``"multilevel_avg+max"``: mean, maximum or both of every stage of the network, first stage
        first; see `stage_outputs`.

    Returns
    -------
    keras.Model
        Shares the layers of `model`; output ``(batch, features)``.

    Raises
    ------
    InvalidParameterError
        If `pooling` is none of these, or the network has one stage only and every stage is asked
        for.

    References
    ----------
    .. [1] F. Radenović, G. Tolias, O. Chum, "Fine-tuning CNN image retrieval with no human
       annotation", IEEE TPAMI 41(7), 2019. :doi:`10.1109/TPAMI.2018.2846566`
    """
    if pooling not in POOLINGS:
        raise invalid(
            "TransferClassifier", "pooling", f"one of {', '.join(map(repr, POOLINGS))}", pooling
        )
    import keras

    if of_all_stages(pooling):
        _, _, how = pooling.partition("_")
        inputs, maps = stage_outputs(model)
        if len(maps) == 1:
            expected = (
                f"'avg', 'max', 'avg+max', 'gem' or 'flatten' for the backbone {model.name!r}, "
                "whose maps all have one size, so that it has one stage"
            )
            raise invalid("TransferClassifier", "pooling", expected, pooling)
        vectors = [_pool(tensor, how or "avg") for tensor in maps]
        features = keras.layers.Concatenate(name="pool_stages")(vectors)
    else:
        inputs, (output,) = model.inputs, model.outputs
        if len(output.shape) == 2:
            return model
        features = _pool(output, pooling)
    # a layer's name has no plus sign
    name = f"{model.name}_{pooling.replace('+', '_')}"
    return keras.Model(one_or_list(inputs), features, name=name)


def _pool(tensor: Any, how: str) -> Any:
    from keras import layers, ops

    if len(tensor.shape) == 2:
        return tensor
    planar = len(tensor.shape) == 4
    if how == "avg":
        mean = layers.GlobalAveragePooling2D if planar else layers.GlobalAveragePooling1D
        return mean()(tensor)
    if how == "max":
        return (layers.GlobalMaxPooling2D if planar else layers.GlobalMaxPooling1D)()(tensor)
    if how == "avg+max":
        return layers.Concatenate()([_pool(tensor, "avg"), _pool(tensor, "max")])
    if how == "gem":
        raised = ops.power(ops.maximum(tensor, _GEM_FLOOR), GEM_POWER)
        return ops.power(_pool(raised, "avg"), 1 / GEM_POWER)
    return layers.Flatten()(tensor)


def signed_power(features: NDArray[Any], power: float | None) -> NDArray[Any]:
    """Raise the absolute values to a power and keep the signs.

    The square root draws in the few large values of pooled features, which otherwise decide linear
    models [1]_.

    Parameters
    ----------
    features : ndarray of float
    power : float or None
        ``None`` changes nothing.

    Returns
    -------
    ndarray of float
        Of the same shape and dtype.

    References
    ----------
    .. [1] F. Perronnin, J. Sánchez, T. Mensink, "Improving the Fisher kernel for large-scale image
       classification", ECCV 2010. :doi:`10.1007/978-3-642-15561-1_11`

    Examples
    --------
    >>> signed_power(np.array([4.0, -9.0, 0.0]), 0.5).tolist()
    [2.0, -3.0, 0.0]
    """
    if power is None:
        return features
    return np.copysign(np.abs(features) ** features.dtype.type(power), features)


def stage_outputs(model: keras.Model) -> tuple[list[Any], list[Any]]:
    """Find the output of every stage of a network: what stands before each down-sampling.

    A stage is the part of the network at one size of the maps; it ends where the edge is at least
    halved, whatever layer does that. Its output is the last map that all paths through the network
    cross, so a block's sum and not one of its branches. Where paths run past every map of a stage
    (NASNet), it is the one that most of them cross. Padding, and what comes before the first
    layer with a kernel, is no output. Nested models are looked into.

    Parameters
    ----------
    model : keras.Model
        Functional, with one output.

    Returns
    -------
    inputs : list of KerasTensor
        Of the graph the maps belong to.
    maps : list of KerasTensor
        First stage first; the last is the output of the model. One only where nothing is
        down-sampled after the first kernel, as in a plain vision transformer. Where the output is
        a vector already, it takes the place of the last map.

    Examples
    --------
    >>> from fundus.builtin.tiny import build
    >>> _, maps = stage_outputs(build(image_size=32, weights=None))
    >>> [tuple(m.shape[1:]) for m in maps]
    [(16, 16, 8), (8, 8, 16)]
    """
    flat = _unnested(model)
    (output,) = flat.outputs
    order, level, may_be = _levels(flat)
    crossed = _paths(flat)
    total = crossed[id(output)]
    whole = [t for t in order if len(t.shape) > 2 and crossed[id(t)] == total]
    last = level[id(whole[-1])] if whole else 0
    best: dict[int, Any] = {}
    for tensor in order:
        key = id(tensor)
        if may_be[key] and level[key] < last:
            rival = best.get(level[key], tensor)
            best[level[key]] = tensor if crossed[key] >= crossed[id(rival)] else rival
    return flat.inputs, [*(best[k] for k in sorted(best)), output]


def _levels(model: keras.Model) -> tuple[list[Any], dict[int, int], dict[int, bool]]:
    """All tensors in order, how often each was down-sampled, and whether it may end a stage."""
    order: list[Any] = []
    level = {id(tensor): 0 for tensor in model.inputs}
    learned = {id(tensor): False for tensor in model.inputs}
    may_be = dict(learned)
    for node in graph_nodes(model):
        sources = node.input_tensors
        weights = getattr(node.operation, "weights", [])
        has_kernel = any(len(weight.shape) > 1 for weight in weights)
        for tensor in node.outputs:
            key, edge = id(tensor), _edge(tensor)
            # the least, as a gate's global mean, or attention's scores, come back to larger maps
            level[key] = min(level[id(t)] + _halves(_edge(t), edge) for t in sources)
            learned[key] = has_kernel or any(learned[id(t)] for t in sources)
            grown = edge > max(_edge(t) for t in sources)
            may_be[key] = learned[key] and len(tensor.shape) > 2 and not grown
            order.append(tensor)
    return order, level, may_be


def _edge(tensor: Any) -> float:
    """Edge of a square map in positions; of a list of tokens, the square root of its length."""
    return math.sqrt(math.prod(size or 1 for size in tensor.shape[1:-1]))


def _halves(before: float, after: float) -> bool:
    # an odd edge is rounded up; 1 stays 1
    return after < before and after <= (before + 1) / 2


def _paths(model: keras.Model) -> Counter[int]:
    """How many paths from the input to the output cross each tensor, by its id."""
    nodes = list(graph_nodes(model))
    reached = Counter({id(tensor): 1 for tensor in model.inputs})
    for node in nodes:
        total = sum(reached[id(t)] for t in node.input_tensors)
        reached.update({id(t): total for t in node.outputs})
    left = Counter({id(tensor): 1 for tensor in model.outputs})
    for node in reversed(nodes):
        total = sum(left[id(t)] for t in node.outputs)
        for tensor in node.input_tensors:
            left[id(tensor)] += total
    return Counter({key: reached[key] * left[key] for key in reached})


def _unnested(model: keras.Model) -> keras.Model:
    """The same graph with the calls of nested functional models in the place of these."""
    import keras

    plain = keras.Model(one_or_list(model.inputs), one_or_list(model.outputs), name=model.name)
    functional = type(plain).call

    def inside(operation: Any) -> Any:
        inner = getattr(operation, "_functional", None) or operation  # Sequential holds one
        return inner if getattr(type(inner), "call", None) is functional else None

    if not any(inside(node.operation) for node in graph_nodes(model)):
        return plain

    def replay(graph: Any, inputs: list[Any]) -> list[Any]:
        replaced = dict(zip(map(id, graph.inputs), inputs, strict=True))
        for node in graph_nodes(graph):
            inner = inside(node.operation)
            if inner is None or node.arguments.kwargs.get("training"):
                outputs = call_again(node, replaced)
            else:
                outputs = replay(inner, [replaced[id(t)] for t in node.input_tensors])
            replaced.update(zip(map(id, node.outputs), outputs, strict=True))
        return [replaced[id(tensor)] for tensor in graph.outputs]

    inputs = [keras.Input(batch_shape=t.shape, dtype=t.dtype) for t in model.inputs]
    outputs = replay(model, inputs)
    return keras.Model(one_or_list(inputs), one_or_list(outputs), name=model.name)
