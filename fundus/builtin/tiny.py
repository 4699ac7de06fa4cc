"""The backbone ``tiny``: a convolutional network of eleven layers, for tests and quick trials."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fundus.hookspecs import BackboneSpec, hookimpl

if TYPE_CHECKING:
    import keras

_SEED = 20150217


def build(*, image_size: int, weights: str | None) -> keras.Model:
    """Build the network; ``weights="fixed"`` gives the same random weights on every machine."""
    import keras
    from keras import layers

    def convolution(x: keras.KerasTensor, filters: int, strides: int, block: int):
        x = layers.Conv2D(
            filters, 3, strides, padding="same", use_bias=False, name=f"block{block}_conv"
        )(x)
        return layers.BatchNormalization(name=f"block{block}_bn")(x)

    inputs = keras.Input((image_size, image_size, 3), name="image")
    x = layers.ReLU(name="block1_relu")(convolution(inputs, 8, 2, 1))
    shortcut = x
    x = layers.Add(name="block2_add")([shortcut, convolution(x, 8, 1, 2)])
    x = layers.ReLU(name="block2_relu")(x)
    x = layers.ReLU(name="block3_relu")(convolution(x, 16, 2, 3))
    model = keras.Model(inputs, x, name="tiny")
    if weights == "fixed":
        _set_fixed_weights(model)
    return model


def _set_fixed_weights(model: keras.Model) -> None:
    # RandomState, whose stream never changes; a Generator's may between numpy versions
    random = np.random.RandomState(_SEED)
    for weight in model.weights:
        shape = tuple(weight.shape)
        if weight.name == "kernel":
            value = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))
        elif weight.name in ("gamma", "moving_variance"):
            value = random.uniform(0.8, 1.2, shape)
        else:
            value = random.uniform(-0.2, 0.2, shape)
        weight.assign(value.astype(np.float32))


def weights_path(name: str) -> Path | None:
    """Return this file: the fixed weights are computed by it."""
    return Path(__file__) if name == "fixed" else None


@hookimpl
def fundus_backbones() -> list[BackboneSpec]:
    """Return the one backbone of this module."""
    return [
        BackboneSpec(
            name="tiny",
            build=build,
            image_size=32,
            normalise="tf",
            parameters=2072,
            licence="BSD-3-Clause",
            pretrained=("fixed",),
            weights_path=weights_path,
            min_image_size=8,
        )
    ]
