"""Turn feature maps into one vector per image: of the last map, or of several stages'."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fundus.backbones import positions
from fundus.backbones.splitting import one_or_list
from fundus.backbones.stages import chosen_stages, stage_outputs
from fundus.parameters import invalid

if TYPE_CHECKING:
    import keras

#: Values of ``pooling``; those of every stage start with ``"multilevel"``.
POOLINGS = (
    *("avg", "max", "avg+max", "gem", "std", "flatten"),
    *("multilevel", "multilevel_max", "multilevel_avg+max", "multilevel_std"),
)

#: Values of ``pool_over``; a `fundus.backbones.network.Network` holds one of the last two.
POOL_OVERS = ("auto", "fov", "all")

GEM_POWER = 3.0
GEM_FLOOR = 1e-6


def of_all_stages(pooling: str) -> bool:
    """Whether a pooling takes the maps of several stages, not the last one alone."""
    return pooling.startswith("multilevel")


def pooled(
    model: keras.Model,
    pooling: str,
    *,
    pool_over: str = "all",
    stages: str | None = None,
    keep_maps: bool = False,
) -> keras.Model:
    """Turn a model's feature map into one vector per image.

    Parameters
    ----------
    model : keras.Model
        With one output: ``(batch, height, width, channels)``, ``(batch, tokens, channels)`` or
        ``(batch, channels)``; the last stays as it is.
    pooling : str
        ``"avg"``, ``"max"``: mean or maximum over the positions; ``"avg+max"``: one after the
        other; ``"gem"``: generalised mean [1]_ with exponent 3, negative values as 0; ``"std"``:
        standard deviation; ``"flatten"``: all values one after another. ``"multilevel"``,
        ``"multilevel_max"``, ``"multilevel_avg+max"`` and ``"multilevel_std"``: mean, maximum, both
        or standard deviation of every stage of the network, first stage first; see `stage_outputs`.
    pool_over : {"all", "fov"}, default="all"
        Over all positions, or over the field of view, whose mask is then a second input, bool of
        shape ``(batch, size, size)``. A position weighs as much as the mask covers of it; for a
        maximum, those of at least one half count, or the largest where none is; flattened values
        are multiplied. Of tokens, the square of patches at the end counts; others before it are
        left out.
    stages : str or None, default=None
        For a multilevel pooling, which stages: see `stages_text`.
    keep_maps : bool, default=False
        Whether the maps that are pooled are outputs too, after the vector, first stage first.

    Returns
    -------
    keras.Model
        Shares the layers of `model`; output ``(batch, features)``.

    Raises
    ------
    InvalidParameterError
        If `pooling` is none of these, a stage is asked for that is none, the network has one stage
        only and every stage is asked for, or no map has the positions of the picture.

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

    inputs, maps = maps_to_pool(model, pooling, stages)
    if pool_over == "fov":
        refuse_without_positions(model, maps)
    how = pooling
    if of_all_stages(pooling):
        how = pooling.partition("_")[2] or "avg"
    elif len(maps[0].shape) == 2:
        return keras.Model(one_or_list(inputs), [*maps, *maps]) if keep_maps else model
    weigh: Callable[[int, int], Any] | None = None
    if pool_over == "fov":
        edges = model.inputs[0].shape[1:3]
        mask = keras.Input(edges, dtype="bool", name="field_of_view")
        inputs = [*inputs, mask]
        weigh = cache(lambda height, width: positions.weights_of(mask, height, width))
    vectors = [
        _pool(tensor, how) if weigh is None else _weighed(tensor, how, weigh) for tensor in maps
    ]
    if of_all_stages(pooling) and len(vectors) > 1:
        features = keras.layers.Concatenate(name="pool_stages")(vectors)
    else:
        (features,) = vectors
    # a layer's name has no plus sign
    name = f"{model.name}_{pooling.replace('+', '_')}"
    outputs = [features, *maps] if keep_maps else features
    return keras.Model(one_or_list(inputs), outputs, name=name)


def maps_to_pool(
    model: keras.Model, pooling: str, stages: str | None
) -> tuple[list[Any], list[Any]]:
    """Return the inputs of a model and the maps that a pooling takes, first stage first.

    Raises
    ------
    InvalidParameterError
        If there is one stage only for a multilevel pooling, or a stage is asked for that is none.
    """
    if not of_all_stages(pooling):
        return model.inputs, model.outputs
    inputs, maps = stage_outputs(model)
    if len(maps) == 1:
        *others, last = (repr(name) for name in POOLINGS if not of_all_stages(name))
        expected = (
            f"{', '.join(others)} or {last} for the backbone {model.name!r}, "
            "whose maps all have one size, so that it has one stage"
        )
        raise invalid("TransferClassifier", "pooling", expected, pooling)
    return inputs, [maps[place] for place in chosen_stages(model, maps, stages)]


def refuse_without_positions(model: keras.Model, maps: list[Any]) -> None:
    """Raise where no map, or a map of tokens, cannot be told which of it is the field of view.

    Raises
    ------
    InvalidParameterError
    """
    shapes = [tensor.shape[1:] for tensor in maps if len(tensor.shape) > 2]
    odd = [shape[0] for shape in shapes if len(shape) == 2 and not positions.patch_grid(shape[0])]
    if shapes and not odd:
        return
    what = (
        f"which gives {odd[0]} tokens, no square of patches"
        if odd
        else "which gives a vector without positions"
    )
    expected = f"'auto' or 'all' for the backbone {model.name!r}, {what}"
    raise invalid("TransferClassifier", "pool_over", expected, "fov")


def _pool(tensor: Any, how: str) -> Any:
    """A map's vector, over all its positions; a vector stays."""
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
        raised = ops.power(ops.maximum(tensor, GEM_FLOOR), GEM_POWER)
        return ops.power(_pool(raised, "avg"), 1 / GEM_POWER)
    if how == "std":
        return positions.deviation(positions.as_rows(tensor), None)
    return layers.Flatten()(tensor)


def _weighed(tensor: Any, how: str, weigh: Callable[[int, int], Any]) -> Any:
    """A map's vector, over its positions with their weights in the field of view."""
    from keras import ops

    if len(tensor.shape) == 2:
        return tensor
    extras = 0
    if len(tensor.shape) == 4:
        height, width = tensor.shape[1:3]
    else:
        height, extras = positions.patch_grid(tensor.shape[1]) or (0, 0)
        width = height
    weights = weigh(height, width)
    rows = positions.as_rows(tensor, extras)
    if how == "flatten":
        inside = ops.reshape(
            rows * ops.expand_dims(weights, 2), (-1, rows.shape[1] * rows.shape[2])
        )
        if not extras:
            return inside
        outside = positions.as_rows(tensor)[:, :extras]
        others = ops.reshape(outside, (-1, extras * rows.shape[2]))
        return ops.concatenate([others, inside], axis=1)
    if how == "gem":
        raised = ops.power(ops.maximum(rows, GEM_FLOOR), GEM_POWER)
        return ops.power(positions.mean(raised, weights), 1 / GEM_POWER)
    if how == "avg+max":
        parts = [positions.mean(rows, weights), positions.maximum(rows, weights)]
        return ops.concatenate(parts, axis=1)
    of = {"avg": positions.mean, "max": positions.maximum, "std": positions.deviation}
    return of[how](rows, weights)


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
