"""Cut a backbone at the freeze boundary into a frozen prefix and a trained suffix.

Frozen layers in inference mode are a pure function of the image, so their activations can be
computed once and kept; training then sees the suffix alone.
"""

from __future__ import annotations

import difflib
import numbers
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fundus.exceptions import InvalidParameterError, PluginError
from fundus.parameters import invalid

if TYPE_CHECKING:
    import keras

Freeze = str | int | float


@dataclass(frozen=True)
class Split:
    """A model cut in two; ``suffix(prefix(x))`` is ``model(x)``.

    Parameters
    ----------
    prefix : keras.Model or None
        From the image to the cut; every layer frozen. ``None`` where nothing is computed before
        the cut. Run it with ``training=False``.
    suffix : keras.Model or None
        From the cut to the output of the model. ``None`` where every layer is frozen.
    n_frozen : int
        How many initial layers are frozen, the input layer included.
    cut_shapes : list of tuple of int
        Shapes of the tensors at the cut, without the batch.
    cut_names : list of str
        Names of the layers these tensors come from.
    """

    prefix: keras.Model | None
    suffix: keras.Model | None
    n_frozen: int
    cut_shapes: list[tuple[int, ...]]
    cut_names: list[str]


def resolve_freeze(model: keras.Model, freeze: Freeze) -> int:
    """Return how many initial layers of a model are frozen, 0 to ``len(model.layers)``.

    Parameters
    ----------
    freeze : "all", int, float or str
        All layers; the first so many of ``model.layers``, which counts the input layer; a
        fraction of them; or up to and including the layer of that name.

    Raises
    ------
    InvalidParameterError
        If `freeze` is of another kind or out of range, or no layer has that name.
    """
    n_layers = len(model.layers)
    if isinstance(freeze, str):
        return n_layers if freeze == "all" else _position(model, freeze) + 1
    if isinstance(freeze, numbers.Integral) and not isinstance(freeze, bool):
        if 0 <= freeze <= n_layers:
            return int(freeze)
        raise _refused(
            freeze, f"an int in the range [0, {n_layers}], as {model.name!r} has {n_layers} layers"
        )
    if isinstance(freeze, numbers.Real) and not isinstance(freeze, bool):
        if 0.0 <= freeze <= 1.0:
            return round(float(freeze) * n_layers)
        raise _refused(freeze, "a float in the range [0.0, 1.0], the share of the layers")
    raise _refused(freeze, "'all', an int, a float in the range [0.0, 1.0] or a layer's name")


def _position(model: keras.Model, name: str) -> int:
    names = [layer.name for layer in model.layers]
    if name in names:
        return names.index(name)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names[1:4]
    raise _refused(
        name,
        f"'all' or the name of one of the {len(names)} layers of {model.name!r}, "
        f"such as {', '.join(map(repr, near))}",
    )


def _refused(freeze: Any, expected: str) -> InvalidParameterError:
    return invalid("TransferClassifier", "freeze", expected, freeze)


def split(model: keras.Model, freeze: Freeze) -> Split:
    """Cut a functional model at the freeze boundary.

    An operation belongs to the prefix if its layer is frozen and all its inputs come from the
    prefix. A frozen layer that depends on a trained one stays in the suffix. What the prefix gives
    without a batch axis, such as rotary angles, is a constant of the suffix. The parts share
    layers and weights with the model, and ``trainable`` of its layers is set to match `freeze`;
    so a later split of the same model changes what an earlier one trains.

    Parameters
    ----------
    model : keras.Model
        A functional model; one input, or several.
    freeze : "all", int, float or str
        See `resolve_freeze`.

    Raises
    ------
    InvalidParameterError
        If `freeze` does not fit the model.
    PluginError
        If a tensor at the cut has an unknown size, or no batch axis but a value for each image.
    """
    n_frozen = resolve_freeze(model, freeze)
    layers = model.layers
    for layer in layers[n_frozen:]:
        layer.trainable = True
    # second, so that a layer shared between a frozen and a trained nested model is frozen
    for layer in layers[:n_frozen]:
        layer.trainable = False
    if n_frozen <= 1:
        return _whole(model, n_frozen, frozen=False)
    if n_frozen == len(layers):
        return _whole(model, n_frozen, frozen=True)
    return _cut(model, n_frozen)


def _whole(model: keras.Model, n_frozen: int, *, frozen: bool) -> Split:
    tensors = model.outputs if frozen else model.inputs
    return Split(
        prefix=model if frozen else None,
        suffix=None if frozen else model,
        n_frozen=n_frozen,
        cut_shapes=[_shape(model, tensor) for tensor in tensors],
        cut_names=[source_name(tensor) for tensor in tensors],
    )


def _cut(model: keras.Model, n_frozen: int) -> Split:
    import keras

    frozen = {id(layer) for layer in model.layers[:n_frozen]}
    inside: dict[int, Any] = {id(tensor): tensor for tensor in model.inputs}
    suffix_nodes = []
    computed = False
    for node in graph_nodes(model):
        operation = node.operation
        # what is no layer has no weights to train
        is_frozen = id(operation) in frozen or not isinstance(operation, keras.Layer)
        if is_frozen and all(id(tensor) in inside for tensor in node.input_tensors):
            inside.update((id(tensor), tensor) for tensor in node.outputs)
            computed = True
        else:
            suffix_nodes.append(node)
    if not computed:
        return _whole(model, n_frozen, frozen=False)
    if not suffix_nodes:
        return _whole(model, n_frozen, frozen=True)
    used = {id(tensor) for node in suffix_nodes for tensor in node.input_tensors}
    used |= {id(tensor) for tensor in model.outputs}
    crossing = [tensor for key, tensor in inside.items() if key in used]
    constants = _constants(model, crossing)
    cut = [tensor for tensor in crossing if id(tensor) not in constants]
    inputs, outputs = one_or_list(model.inputs), one_or_list(cut)
    return Split(
        prefix=keras.Model(inputs, outputs, name=f"{model.name}_prefix"),
        suffix=_replay(model, suffix_nodes, cut, constants),
        n_frozen=n_frozen,
        cut_shapes=[_shape(model, tensor) for tensor in cut],
        cut_names=[source_name(tensor) for tensor in cut],
    )


def graph_nodes(model: keras.Model) -> Iterator[Any]:
    """Yield the calls of a model's graph, each after those it depends on."""
    # Keras has no public way to a graph's calls; the tests pin this one over the whole zoo
    by_depth = model._nodes_by_depth
    for depth in sorted(by_depth, reverse=True):
        for node in by_depth[depth]:
            if not node.is_input:
                yield node


def _constants(model: keras.Model, tensors: list[Any]) -> dict[int, Any]:
    """Values, by ``id``, of the tensors without a batch axis, such as the angles of positions.

    They cannot be kept for each image, and need not: with frozen weights they are the same for all.
    """
    import keras

    outputs = {id(tensor) for tensor in model.outputs}
    without = [t for t in tensors if t.shape[:1] != (None,) and id(t) not in outputs]
    if not without:
        return {}
    computed = keras.Model(one_or_list(model.inputs), without)
    shapes = [_shape(model, tensor) for tensor in model.inputs]
    noise = np.random.default_rng(0)
    dark = [np.zeros((1, *shape), np.float32) for shape in shapes]
    noisy = [noise.uniform(-1, 1, (2, *shape)).astype(np.float32) for shape in shapes]
    values, others = (computed(one_or_list(x), training=False) for x in (dark, noisy))
    for tensor, value, other in zip(without, values, others, strict=True):
        if not np.array_equal(value, other):
            raise PluginError(
                f"The backbone {model.name!r} must have only tensors of shape (batch, ...) at the "
                f"cut, or the same for all images, but {source_name(tensor)!r} gives "
                f"{tuple(tensor.shape)}, and other values for other images."
            )
    return {id(tensor): value for tensor, value in zip(without, values, strict=True)}


def _replay(
    model: keras.Model, nodes: list[Any], cut: list[Any], constants: dict[int, Any]
) -> keras.Model:
    """Call the layers of the suffix again, on fresh inputs in place of the cut tensors."""
    import keras

    inputs = [
        keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=f"cut_{i}")
        for i, tensor in enumerate(cut)
    ]
    replaced = constants | {id(old): new for old, new in zip(cut, inputs, strict=True)}
    for node in nodes:
        outputs = call_again(node, replaced)
        replaced.update((id(old), new) for old, new in zip(node.outputs, outputs, strict=True))
    outputs = [replaced[id(tensor)] for tensor in model.outputs]
    return keras.Model(one_or_list(inputs), one_or_list(outputs), name=f"{model.name}_suffix")


def call_again(node: Any, replaced: dict[int, Any]) -> list[Any]:
    """Repeat a call of a graph on other tensors.

    Parameters
    ----------
    node : Node
        As `graph_nodes` yields them; the results are in the order of its ``outputs``.
    replaced : dict of int to KerasTensor
        By the ``id`` of a tensor in the old graph, the one in its place.
    """
    import keras

    def current(argument: Any) -> Any:
        return replaced[id(argument)] if isinstance(argument, keras.KerasTensor) else argument

    arguments = (node.arguments.args, node.arguments.kwargs)
    args, kwargs = keras.tree.map_structure(current, arguments)
    return keras.tree.flatten(node.operation(*args, **kwargs))


def one_or_list(tensors: list[Any]) -> Any:
    """Return the one tensor of a list, or the list: how Keras wants inputs and outputs."""
    return tensors[0] if len(tensors) == 1 else tensors


def source_name(tensor: Any) -> str:
    """Return the name of the layer or operation that a tensor comes from."""
    return tensor._keras_history.operation.name


def _shape(model: keras.Model, tensor: Any) -> tuple[int, ...]:
    batch, *shape = tensor.shape
    if batch is not None or None in shape:
        raise PluginError(
            f"The backbone {model.name!r} must have only tensors of shape (batch, ...) with known "
            f"sizes at the cut, but {source_name(tensor)!r} gives {tuple(tensor.shape)}."
        )
    return tuple(shape)
