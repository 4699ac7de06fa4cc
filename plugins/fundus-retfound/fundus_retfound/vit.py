"""The vision transformer of timm as a functional Keras model, one layer after another.

Nothing is nested, so the model can be cut after any layer of any block.
"""

from __future__ import annotations

import keras
from keras import layers, ops

from fundus_retfound.config import ViTConfig

_EPSILON = 1e-6


@keras.saving.register_keras_serializable("fundus_retfound")
class AddTokens(layers.Layer):
    """Put a class token and registers before the patch tokens, and add position embeddings.

    Parameters
    ----------
    registers : int
        How many registers follow the class token.
    class_position : bool
        Whether the class token has a position embedding too.
    """

    def __init__(self, registers, class_position, **kwargs):
        super().__init__(**kwargs)
        self.registers = registers
        self.class_position = class_position

    def build(self, input_shape):
        """Make the weights for so many patches."""
        _, patches, width = input_shape
        self.cls_token = self.add_weight(
            shape=(1, 1, width), initializer=_narrow(), name="cls_token"
        )
        self.reg_token = None
        if self.registers:
            shape = (1, self.registers, width)
            self.reg_token = self.add_weight(shape=shape, initializer=_narrow(), name="reg_token")
        shape = (1, patches + self.class_position, width)
        self.pos_embed = self.add_weight(shape=shape, initializer=_narrow(), name="pos_embed")

    def call(self, patches):
        """Return (batch, 1 + registers + patches, width)."""
        shape = (ops.shape(patches)[0], 1, 1)
        tokens = [ops.tile(self.cls_token, shape)]
        if self.reg_token is not None:
            tokens.append(ops.tile(self.reg_token, shape))
        if self.class_position:
            return ops.concatenate([*tokens, patches], axis=1) + self.pos_embed
        return ops.concatenate([*tokens, patches + self.pos_embed], axis=1)

    def compute_output_shape(self, input_shape):
        """Return the shape with the tokens."""
        batch, patches, width = input_shape
        return (batch, 1 + self.registers + patches, width)

    def get_config(self):
        """Return the parameters."""
        own = {"registers": self.registers, "class_position": self.class_position}
        return super().get_config() | own


@keras.saving.register_keras_serializable("fundus_retfound")
class LayerScale(layers.Layer):
    """Multiply each channel by a learned number (doi:10.1109/ICCV48922.2021.00010)."""

    def build(self, input_shape):
        """Make one number per channel."""
        small = keras.initializers.Constant(1e-5)
        self.gamma = self.add_weight(shape=(input_shape[-1],), initializer=small, name="gamma")

    def call(self, x):
        """Return the shape of `x`."""
        return x * self.gamma


def build_vit(config: ViTConfig, image_size: int) -> keras.Model:
    """Build the network with random weights.

    Parameters
    ----------
    config : ViTConfig
    image_size : int
        Edge of the input, in pixels; a multiple of ``config.patch``.

    Returns
    -------
    keras.Model
        Output ``(batch, width)`` if ``config.pool_first``, else the normalised patch tokens as a
        map, ``(batch, image_size / patch, image_size / patch, width)``.
    """
    side = image_size // config.patch
    inputs = keras.Input((image_size, image_size, 3), name="image")
    x = layers.Conv2D(config.width, config.patch, config.patch, name="patch_embed")(inputs)
    x = layers.Reshape((side * side, config.width), name="patches")(x)
    x = AddTokens(config.registers, config.class_position, name="tokens")(x)
    for k in range(config.depth):
        x = _block(config, x, f"block{k}")
    x = layers.Cropping1D((1 + config.registers, 0), name="patch_tokens")(x)
    if config.pool_first:
        x = layers.GlobalAveragePooling1D(name="pool")(x)
        x = _norm("fc_norm")(x)
    else:
        x = _norm("norm")(x)
        x = layers.Reshape((side, side, config.width), name="map")(x)
    return keras.Model(inputs, x, name=config.name)


def _narrow() -> keras.initializers.Initializer:
    # not at the top of the module, whose import in a seeded build would then draw a number of it
    return keras.initializers.TruncatedNormal(stddev=0.02)


def _norm(name: str) -> layers.LayerNormalization:
    return layers.LayerNormalization(epsilon=_EPSILON, name=name)


def _block(config: ViTConfig, x, name: str):
    y = _norm(f"{name}_norm1")(x)
    attention = layers.MultiHeadAttention(
        config.heads, config.width // config.heads, name=f"{name}_attn"
    )
    y = attention(y, y)
    if config.layer_scale:
        y = LayerScale(name=f"{name}_ls1")(y)
    x = layers.Add(name=f"{name}_add1")([x, y])
    y = _norm(f"{name}_norm2")(x)
    y = layers.Dense(4 * config.width, name=f"{name}_fc1")(y)
    y = layers.Activation("gelu", name=f"{name}_gelu")(y)
    y = layers.Dense(config.width, name=f"{name}_fc2")(y)
    if config.layer_scale:
        y = LayerScale(name=f"{name}_ls2")(y)
    return layers.Add(name=f"{name}_add2")([x, y])
