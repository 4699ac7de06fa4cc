"""The retina foundation models RETFound and RETFound-Green as backbones.

Their weights are read from a local file of the authors; see the README for where to get them and
for their licences, which forbid commercial use.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fundus.exceptions import InvalidParameterError
from fundus.hookspecs import BackboneSpec, PreprocessorSpec, hookimpl
from fundus.preprocessing.functions import scale_pm1
from fundus_retfound.config import GREEN, RETFOUND, ViTConfig

if TYPE_CHECKING:
    import keras

fundus_api = 1

#: For `fundus.testing.check_plugin`: at their own sizes it would take long.
fundus_checks = {
    "backbone:retfound": {"image_size": 64},
    "backbone:retfound_green": {"image_size": 56},
}

_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


def imagenet(images):
    """Scale to 0–1, subtract ImageNet's mean and divide by its deviation: RETFound's own.

    The same as the preprocessor ``torch`` of today; a function of its own, since models that were
    trained with one must never meet another.
    """
    return ((images.astype(np.float32) / 255.0) - _MEAN) / _DEVIATION


def half(images):
    """Scale to −1 to 1, which is a mean and a deviation of 0.5: RETFound-Green's own."""
    return scale_pm1(images)


def _build(config: ViTConfig, *, image_size: int, weights: None) -> keras.Model:
    if image_size % config.patch:
        lower = image_size - image_size % config.patch
        raise InvalidParameterError(
            f"The 'image_size' parameter of the backbone {config.name!r} must be a multiple of "
            f"{config.patch} pixels, the edge of its patches, such as {lower} or "
            f"{lower + config.patch}. Got {image_size!r} instead."
        )
    from fundus_retfound.vit import build_vit

    return build_vit(config, image_size)


def _load_weights(config: ViTConfig, model: keras.Model, path: Path) -> None:
    if path.name.endswith((".weights.h5", ".keras")):
        model.load_weights(path)
        return
    from fundus_retfound.checkpoint import load_checkpoint

    load_checkpoint(config, model, path)


def _spec(config: ViTConfig, **fields) -> BackboneSpec:
    return BackboneSpec(
        name=config.name,
        build=partial(_build, config),
        load_weights=partial(_load_weights, config),
        weights_formats=(".pth", ".pt", ".bin", ".safetensors", ".weights.h5", ".keras"),
        image_size=config.image_size,
        min_image_size=config.patch * 2,
        pretrained=(),
        **fields,
    )


@hookimpl
def fundus_backbones():
    """Return the two networks; their weights are a file, so users pass its path."""
    return [
        _spec(
            RETFOUND,
            normalise="retfound/retfound_imagenet",
            parameters=303_301_632,
            licence="CC-BY-NC-4.0",
            citation="https://doi.org/10.1038/s41586-023-06555-x",
        ),
        _spec(
            GREEN,
            normalise="retfound/retfound_half",
            parameters=21_832_704,
            licence="Custom Non-Commercial Research Licence (CNCRL)",
            citation="https://doi.org/10.1038/s41467-025-62123-z",
        ),
    ]


@hookimpl
def fundus_preprocessors():
    """Return what the two were pretrained with."""
    return [
        PreprocessorSpec(
            name="retfound_imagenet",
            apply=imagenet,
            description="Scaled to 0 to 1, minus ImageNet's mean, over its deviation (RETFound).",
        ),
        PreprocessorSpec(
            name="retfound_half",
            apply=half,
            description="Scaled to -1 to 1: mean and deviation 0.5 (RETFound-Green).",
        ),
    ]
