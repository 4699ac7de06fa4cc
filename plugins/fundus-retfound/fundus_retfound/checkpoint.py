"""Read the authors' PyTorch checkpoints into the Keras model, without PyTorch."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fundus.backbones.torch_reader import read_torch_state
from fundus.exceptions import BundleError, WeightsNotAvailableError
from fundus_retfound.config import ViTConfig
from fundus_retfound.resample import resample_bicubic

if TYPE_CHECKING:
    import keras

State = dict[str, NDArray[Any]]

#: What a checkpoint may hold besides the encoder: a classifier, the decoder of the pretraining, and
#: the token that stood for a masked patch.
_UNUSED = re.compile(r"(head\.|decoder_|mask_token$)")


def load_checkpoint(config: ViTConfig, model: keras.Model, path: Path) -> None:
    """Set all weights of a model from a PyTorch checkpoint.

    Position embeddings of another image size are resampled as the authors do. RETFound's
    pretraining left no ``fc_norm``; it is then set to scale 1 and offset 0, as RETFound's code
    starts it, and the encoder's own last ``norm`` is left out, as that code does.

    Parameters
    ----------
    config : ViTConfig
        What `model` was built from.
    model : keras.Model
    path : Path
        A ``.safetensors`` file, or what ``torch.save`` wrote; nothing in it is executed.

    Raises
    ------
    WeightsNotAvailableError
        If there is no such file.
    BundleError
        If it cannot be read, or lacks tensors, has unknown ones, or such of other shapes.
    """
    state = _read(config, path)
    if config.pool_first:
        state = {name: value for name, value in state.items() if not name.startswith("norm.")}
        if not any(name.startswith("fc_norm.") for name in state):
            state["fc_norm.weight"] = np.ones(config.width, np.float32)
            state["fc_norm.bias"] = np.zeros(config.width, np.float32)
    _check(config, state, path)
    patches = model.get_layer("patches").output.shape[1]
    state["pos_embed"] = _positions(config, state["pos_embed"], math.isqrt(patches), path)
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(_layer_weights(config, state, layer.name))


def _read(config: ViTConfig, path: Path) -> State:
    if not path.is_file():
        raise WeightsNotAvailableError(f"There is no weights file {str(path)!r}.")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            state = load_file(path)
        except SafetensorError as error:
            raise BundleError(
                f"The file {str(path)!r} is damaged or no safetensors file ({error}); get it again."
            ) from error
    else:
        state = read_torch_state(path, key=config.checkpoint_key)
    return {name: value for name, value in state.items() if not _UNUSED.match(name)}


def expected_shapes(config: ViTConfig) -> dict[str, tuple[int, ...]]:
    """Return the tensors of a checkpoint of the size the network was pretrained on.

    Parameters
    ----------
    config : ViTConfig

    Returns
    -------
    dict of str to tuple of int
        timm's names.
    """
    width, patch = config.width, config.patch
    patches = (config.image_size // patch) ** 2
    shapes: dict[str, tuple[int, ...]] = {"cls_token": (1, 1, width)}
    if config.registers:
        shapes["reg_token"] = (1, config.registers, width)
    shapes["pos_embed"] = (1, patches + config.class_position, width)
    shapes["patch_embed.proj.weight"] = (width, 3, patch, patch)
    shapes["patch_embed.proj.bias"] = (width,)
    linear = {"attn.qkv": (3, 1), "attn.proj": (1, 1), "mlp.fc1": (4, 1), "mlp.fc2": (1, 4)}
    for k in range(config.depth):
        for norm in ("norm1", "norm2"):
            shapes |= _norm_shapes(f"blocks.{k}.{norm}", width)
        for name, (out, into) in linear.items():
            shapes[f"blocks.{k}.{name}.weight"] = (out * width, into * width)
            shapes[f"blocks.{k}.{name}.bias"] = (out * width,)
        if config.layer_scale:
            shapes |= {f"blocks.{k}.{scale}.gamma": (width,) for scale in ("ls1", "ls2")}
    return shapes | _norm_shapes("fc_norm" if config.pool_first else "norm", width)


def _norm_shapes(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _check(config: ViTConfig, state: State, path: Path) -> None:
    expected = expected_shapes(config)
    missing = [name for name in expected if name not in state]
    unknown = [name for name in state if name not in expected]
    # any square number of patches will do: position embeddings are resampled
    fixed = [name for name in expected if name in state and name != "pos_embed"]
    other = [
        f"{name!r} {state[name].shape} instead of {expected[name]}"
        for name in fixed
        if state[name].shape != expected[name]
    ]
    found = {
        "it lacks": [repr(name) for name in missing],
        "it has the unknown": [repr(name) for name in unknown],
        "of another shape are": other,
    }
    problems = [f"{what} {_some(names)}" for what, names in found.items() if names]
    if problems:
        raise BundleError(
            f"The file {str(path)!r} is no checkpoint of {config.name!r}: {'; '.join(problems)}. "
            "Give the file its authors published for this network."
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more


def _positions(config: ViTConfig, embedding: NDArray[Any], side: int, path: Path) -> NDArray[Any]:
    """Resample position embeddings, as trained for a square of patches, to `side` x `side`."""
    prefix = int(config.class_position)
    count = embedding.shape[1] - prefix if embedding.ndim == 3 else -1
    old = math.isqrt(max(count, 0))
    if count < 1 or old * old != count or embedding.shape != (1, count + prefix, config.width):
        raise BundleError(
            f"The tensor 'pos_embed' of {str(path)!r} must have the shape (1, {prefix} + n * n, "
            f"{config.width}), n patches a side, but has {embedding.shape}."
        )
    if old == side:
        return embedding
    grid = embedding[0, prefix:].reshape(old, old, config.width)
    # RETFound resamples with PyTorch's plain bicubic kernel, timm with the smoothing one
    grid = resample_bicubic(grid, side, antialias=not config.class_position)
    return np.concatenate([embedding[:, :prefix], grid.reshape(1, side * side, -1)], axis=1)


def _layer_weights(config: ViTConfig, state: State, layer: str) -> list[NDArray[Any]]:
    """Return the arrays of one Keras layer, in its order and layout."""
    if layer == "tokens":
        names = ["cls_token", *(["reg_token"] if config.registers else []), "pos_embed"]
        return [state[name] for name in names]
    if layer == "patch_embed":
        kernel = state["patch_embed.proj.weight"].transpose(2, 3, 1, 0)
        return [kernel, state["patch_embed.proj.bias"]]
    if layer in ("norm", "fc_norm"):
        return [state[f"{layer}.weight"], state[f"{layer}.bias"]]
    block, _, part = layer.partition("_")
    prefix = f"blocks.{block.removeprefix('block')}."
    if part == "attn":
        return _attention_weights(config, state, prefix + "attn.")
    if part in ("ls1", "ls2"):
        return [state[f"{prefix}{part}.gamma"]]
    if part in ("fc1", "fc2"):
        return [state[f"{prefix}mlp.{part}.weight"].T, state[f"{prefix}mlp.{part}.bias"]]
    return [state[f"{prefix}{part}.weight"], state[f"{prefix}{part}.bias"]]


def _attention_weights(config: ViTConfig, state: State, prefix: str) -> list[NDArray[Any]]:
    """Take query, key and value out of the one matrix that holds them; (out, in) to (in, h, d)."""
    width, heads = config.width, (config.heads, config.width // config.heads)
    weights = []
    for kernel, bias in zip(
        np.split(state[f"{prefix}qkv.weight"], 3), np.split(state[f"{prefix}qkv.bias"], 3),
        strict=True,
    ):  # fmt: skip
        weights += [kernel.T.reshape(width, *heads), bias.reshape(heads)]
    out = state[f"{prefix}proj.weight"].T.reshape(*heads, width)
    return [*weights, out, state[f"{prefix}proj.bias"]]
