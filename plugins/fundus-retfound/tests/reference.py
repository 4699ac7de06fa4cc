"""The published networks, small, in PyTorch: what the Keras ones are compared with.

``python tests/reference.py`` writes their outputs to ``golden.json``, so that the comparison runs
where there is no PyTorch, too.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from fundus_retfound.checkpoint import expected_shapes
from fundus_retfound.config import GREEN, RETFOUND

from fundus.testing.probes import probe_images

GOLDEN = Path(__file__).with_name("golden.json")

#: The same networks, narrow and with fewer blocks; otherwise only numbers differ.
SMALL = {
    "retfound": replace(RETFOUND, image_size=32, patch=8, width=24, depth=3, heads=2),
    "retfound_green": replace(GREEN, image_size=28, patch=7, width=24, depth=3, heads=3),
}

#: Pixels: the native size, a larger and a smaller one, whose positions are resampled.
SIZES = {"retfound": (32, 48, 24), "retfound_green": (28, 42, 21)}

_STATISTICS = {
    "retfound": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "retfound_green": ([0.5] * 3, [0.5] * 3),
}


def make_state(config):
    """Numbers between -0.3 and 0.3 that are the same everywhere; scales of norms are around 1."""
    state = {}
    for k, (name, shape) in enumerate(expected_shapes(config).items()):
        x = np.sin(12.9898 * np.arange(np.prod(shape)) + 78.233 * (k + 1)) * 43758.5453
        values = 0.6 * (x - np.floor(x)) - 0.3
        is_scale = "norm" in name and name.endswith("weight")
        state[name] = (values + is_scale).reshape(shape).astype(np.float32)
    return state


def timm_features(name, state, image_size):
    """Features of four probe images, as RETFound and RETFound-Green compute them with timm."""
    import torch
    from timm.layers import resample_abs_pos_embed
    from timm.models.vision_transformer import VisionTransformer

    config = SMALL[name]
    tensors = {key: torch.from_numpy(value) for key, value in state.items()}
    side = image_size // config.patch
    prefix = int(config.class_position)
    if name == "retfound":
        # RETFound's util/pos_embed.py
        first, grid = tensors["pos_embed"][:, :1], tensors["pos_embed"][:, 1:]
        old = config.image_size // config.patch
        if old != side:
            grid = torch.nn.functional.interpolate(
                grid.reshape(1, old, old, -1).permute(0, 3, 1, 2),
                size=(side, side), mode="bicubic", align_corners=False,
            ).permute(0, 2, 3, 1).flatten(1, 2)  # fmt: skip
        tensors["pos_embed"] = torch.cat([first, grid], dim=1)
        special = {"global_pool": "avg"}
    else:
        tensors["pos_embed"] = resample_abs_pos_embed(
            tensors["pos_embed"], [side, side], num_prefix_tokens=prefix
        )
        special = {"init_values": 1e-5, "reg_tokens": 4, "no_embed_class": True}
    model = VisionTransformer(
        img_size=image_size, patch_size=config.patch, embed_dim=config.width, depth=config.depth,
        num_heads=config.heads, num_classes=0, **special,
    )  # fmt: skip
    model.load_state_dict(tensors)
    if name == "retfound_green":
        model.global_pool = "avg"  # as its README does, after the network was made
    mean, deviation = _STATISTICS[name]
    x = torch.from_numpy(probe_images(4, image_size)).float() / 255
    x = (x - torch.tensor(mean)) / torch.tensor(deviation)
    with torch.inference_mode():
        return model.eval()(x.permute(0, 3, 1, 2)).numpy()


def main():
    golden = {
        name: {
            str(size): timm_features(name, make_state(config), size).tolist()
            for size in SIZES[name]
        }
        for name, config in SMALL.items()
    }
    GOLDEN.write_text(json.dumps(golden) + "\n", "utf-8")


if __name__ == "__main__":
    main()
