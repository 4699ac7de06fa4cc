"""What tells one vision transformer from the other."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """A vision transformer without a classification head.

    Parameters
    ----------
    name : str
        Name of the backbone.
    image_size : int
        Edge of the square input it was pretrained on, in pixels.
    patch : int
        Edge of a patch, in pixels.
    width, depth, heads : int
        Channels of a token, blocks, and attention heads of a block.
    registers : int, default=0
        Extra tokens after the class token.
    layer_scale : bool, default=False
        Whether each residual branch is multiplied by a learned vector.
    class_position : bool
        Whether the class token has a position embedding.
    pool_first : bool
        Whether the patch tokens are averaged before the last normalisation (``fc_norm``), which
        gives a vector, or only normalised (``norm``), which gives a feature map.
    checkpoint_key : str or None
        Entry of the PyTorch checkpoint that holds the tensors.
    """

    name: str
    image_size: int
    patch: int
    width: int
    depth: int
    heads: int
    registers: int = 0
    layer_scale: bool = False
    class_position: bool
    pool_first: bool
    checkpoint_key: str | None


#: The encoder of a masked autoencoder, as RETFound's ``vit_large_patch16(global_pool=True)``.
RETFOUND = ViTConfig(
    name="retfound",
    image_size=224,
    patch=16,
    width=1024,
    depth=24,
    heads=16,
    class_position=True,
    pool_first=True,
    checkpoint_key="model",
)

#: ``vit_small_patch14_reg4_dinov2`` of timm at 392 pixels, as RETFound-Green uses it.
GREEN = ViTConfig(
    name="retfound_green",
    image_size=392,
    patch=14,
    width=384,
    depth=12,
    heads=6,
    registers=4,
    layer_scale=True,
    class_position=False,
    pool_first=False,
    checkpoint_key=None,
)
