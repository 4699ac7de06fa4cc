"""The stages of a network: where its maps are down-sampled, and which of them are asked for."""

from __future__ import annotations

import math
import numbers
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fundus.backbones.splitting import call_again, graph_nodes, one_or_list, source_name
from fundus.parameters import invalid

if TYPE_CHECKING:
    import keras

_KINDS = "None, a slice, or numbers or names of stages"


def stages_text(owner: object, stages: Any) -> str | None:
    """Read a ``stages=`` parameter as text that names it in keys and in saved models.

    Parameters
    ----------
    owner : object
        Whose parameter it is.
    stages : None, slice, int, str, or sequence of int and str

    Raises
    ------
    InvalidParameterError
        If it is something else, or an empty sequence.

    Examples
    --------
    >>> stages_text("", slice(None, -1)), stages_text("", [0, 2]), stages_text("", None)
    (':-1', '0,2', None)
    """
    if stages is None:
        return None
    if isinstance(stages, slice):
        ends = [stages.start, stages.stop, *([] if stages.step is None else [stages.step])]
        if all(end is None or _is_number(end) for end in ends) and stages.step != 0:
            return ":".join("" if end is None else str(int(end)) for end in ends)
        raise invalid(owner, "stages", _KINDS, stages)
    parts = [stages] if isinstance(stages, str) or _is_number(stages) else stages
    named = isinstance(parts, Sequence) and all(
        _is_number(part) or (isinstance(part, str) and part and not {*part} & {",", ":"})
        for part in parts
    )
    if not named or not len(parts):
        raise invalid(owner, "stages", _KINDS, stages)
    return ",".join(part if isinstance(part, str) else str(int(part)) for part in parts)


def is_stages_text(text: Any) -> bool:
    """Whether a text is one of `stages_text` without names.

    Examples
    --------
    >>> is_stages_text(":-1"), is_stages_text("0,2"), is_stages_text("block2a")
    (True, True, False)
    """
    end = r"(-?\d{1,4})?"
    number = r"-?\d{1,4}"
    pattern = rf"{end}:{end}(:{number})?|{number}(,{number})*"
    return isinstance(text, str) and re.fullmatch(pattern, text) is not None


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def names_in(text: str | None) -> bool:
    """Whether stages are asked for by names, which only the built network knows.

    Examples
    --------
    >>> names_in("block2a,-1"), names_in("0,2"), names_in(":-1"), names_in(None)
    (True, False, False, False)
    """
    return text is not None and ":" not in text and not all(map(_as_int, text.split(",")))


def _as_int(part: str) -> list[int]:
    """The number that a text is, in a list; an empty one for a name."""
    try:
        return [int(part)]
    except ValueError:
        return []


def chosen_stages(model: keras.Model, maps: list[Any], text: str | None) -> list[int]:
    """Return which stages are asked for, in the order of the network.

    Parameters
    ----------
    model : keras.Model
    maps : list of KerasTensor
        Of all its stages, from `stage_outputs`.
    text : str or None
        From `stages_text`; ``None`` for all.

    Raises
    ------
    InvalidParameterError
        If a stage does not exist, or there is none in the slice.
    """
    places = list(range(len(maps)))
    if text is None:
        return places
    if ":" in text:
        chosen = places[slice(*(int(end) if end else None for end in text.split(":")))]
    else:
        chosen = [place for part in text.split(",") for place in _stage(part, maps)]
    if not chosen or None in chosen:
        there = ", ".join(f"{place} {_told(maps[place])}" for place in places)
        expected = f"{_KINDS} of {model.name!r}, which has {len(maps)} ({there})"
        raise invalid("TransferClassifier", "stages", expected, text)
    return sorted({*chosen})


def _stage(part: str, maps: list[Any]) -> list[Any]:
    """The stages of a number or a name; ``[None]`` where there is none."""
    n = len(maps)
    named = [place for place, tensor in enumerate(maps) if source_name(tensor) == part]
    counted = [place % n for place in _as_int(part) if -n <= place < n]
    return named or counted or [None]


def _told(tensor: Any) -> str:
    return f"{source_name(tensor)!r} {'x'.join(map(str, tensor.shape[1:]))}"


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


def last_map(model: keras.Model) -> tuple[list[Any], Any, list[Any]] | None:
    """Find the last tensor of a network that has positions and that all its paths cross.

    Parameters
    ----------
    model : keras.Model
        Functional, with one output. Nested models are looked into.

    Returns
    -------
    tuple or None
        The inputs of the graph, the tensor, and the outputs. A map of height and width goes before
        a list of tokens; ``None`` where no tensor has more than one position.

    Examples
    --------
    >>> import keras
    >>> from fundus.builtin.tiny import build
    >>> body = build(image_size=32, weights=None)
    >>> pooled = keras.layers.GlobalAveragePooling2D()(body.output)
    >>> _, found, _ = last_map(keras.Model(body.inputs, keras.layers.Dense(3)(pooled)))
    >>> tuple(found.shape)
    (None, 8, 8, 16)
    """
    flat = _unnested(model)
    (output,) = flat.outputs
    crossed = _paths(flat)
    total = crossed[id(output)]
    made = [tensor for node in graph_nodes(flat) for tensor in node.outputs]
    whole = [t for t in [*flat.inputs, *made] if crossed[id(t)] == total and _edge(t) > 1]
    for rank in (4, 3):
        of_rank = [t for t in whole if len(t.shape) == rank]
        if of_rank:
            return flat.inputs, of_rank[-1], flat.outputs
    return None


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
