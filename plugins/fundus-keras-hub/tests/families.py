"""A small network of each backbone class, and presets of them with random weights."""

from __future__ import annotations

SIZE = 64

#: Pixels, where a family cannot have `SIZE`.
SIZES = {"DINOV2Backbone": (56, 56)}

_RESNET = {
    "input_conv_filters": [64], "input_conv_kernel_sizes": [7], "stackwise_num_filters": [64, 64],
    "stackwise_num_blocks": [1, 1], "stackwise_num_strides": [1, 2], "block_type": "basic_block",
}  # fmt: skip
_TRANSFORMER = {"patch_size": 16, "num_layers": 2, "num_heads": 2, "hidden_dim": 16}
_SHAPE = {"image_shape": (SIZE, SIZE, 3)}

SMALL = {
    "CSPNetBackbone": {
        "stem_filters": 8, "stem_kernel_size": 3, "stem_strides": 1, "stackwise_depth": [1, 1],
        "stackwise_strides": [2, 2], "stackwise_num_filters": [8, 16], "block_type": "dark_block",
        "stage_type": "csp", "expand_ratio": [2.0, 1.0], "bottle_ratio": [0.5, 1.0],
        "block_ratio": [1.0, 0.5], "down_growth": True,
    },
    "DeiTBackbone": _SHAPE | _TRANSFORMER | {"intermediate_dim": 32},
    "DenseNetBackbone": {"stackwise_num_repeats": [1, 1], "growth_rate": 4},
    "DINOV2Backbone": _SHAPE | _TRANSFORMER
    | {"patch_size": 14, "image_shape": (56, 56, 3), "intermediate_dim": 32,
       "num_register_tokens": 2, "position_embedding_shape": (70, 70, 3)},
    "DINOV3Backbone": _SHAPE | _TRANSFORMER | {"intermediate_dim": 32},
    "EfficientNetBackbone": {
        "stackwise_kernel_sizes": [3, 3], "stackwise_num_repeats": [1, 1],
        "stackwise_input_filters": [8, 8], "stackwise_output_filters": [8, 16],
        "stackwise_expansion_ratios": [1, 2], "stackwise_squeeze_and_excite_ratios": [0.25, 0.25],
        "stackwise_strides": [1, 2], "stackwise_block_types": ["v1", "v1"],
        "width_coefficient": 1.0, "depth_coefficient": 1.0,
    },
    "MiTBackbone": {
        "layerwise_depths": [1, 1], "num_layers": 2, "layerwise_num_heads": [1, 2],
        "layerwise_sr_ratios": [4, 1], "max_drop_path_rate": 0.1,
        "layerwise_patch_sizes": [7, 3], "layerwise_strides": [4, 2], "hidden_dims": [8, 16],
        "image_shape": (SIZE, SIZE, 3),
    },
    "MobileNetBackbone": {
        "stackwise_expansion": [[8, 16], [16]], "stackwise_num_blocks": [2, 1],
        "stackwise_num_filters": [[8, 8], [16]], "stackwise_kernel_size": [[3, 3], [5]],
        "stackwise_num_strides": [[2, 1], [2]], "stackwise_se_ratio": [[None, None], [0.25]],
        "stackwise_activation": [["relu", "relu"], ["hard_swish"]], "output_num_filters": 24,
        "stackwise_padding": [[1, 1], [2]],
        "input_activation": "hard_swish", "output_activation": "hard_swish",
        "input_num_filters": 8, "depthwise_filters": 8, "depthwise_stride": 2,
        "depthwise_residual": False, "squeeze_and_excite": 0.5, "last_layer_filter": 24,
    },
    "ResNetBackbone": _RESNET,
    "VGGBackbone": {"stackwise_num_repeats": [1, 1], "stackwise_num_filters": [8, 16]},
    "ViTBackbone": _SHAPE | _TRANSFORMER | {"mlp_dim": 32},
    "XceptionBackbone": {
        "stackwise_conv_filters": [[8, 16], [16, 16]], "stackwise_pooling": [True, False],
    },
}  # fmt: skip


def save_preset(folder, family, **converter):
    """Write a preset, as keras-hub's own tools do, and return its backbone."""
    from keras_hub import layers, models

    backbone = getattr(models, family)(**SMALL[family])
    backbone.save_to_preset(folder)
    if converter:
        make = getattr(layers, family.removesuffix("Backbone") + "ImageConverter")
        make(**converter).save_to_preset(folder)
    return backbone
