"""The preprocessors that ship."""

from __future__ import annotations

from fundus.hookspecs import PreprocessorSpec, hookimpl
from fundus.preprocessing import functions

fundus_api = 1


@hookimpl
def fundus_preprocessors() -> list[PreprocessorSpec]:
    """Return the built-in preprocessors."""
    return [
        PreprocessorSpec(
            name="none",
            apply=functions.none,
            description="Values as they are: 0 to 255, RGB.",
        ),
        PreprocessorSpec(
            name="tf",
            apply=functions.scale_pm1,
            description="Scaled to -1 to 1, RGB (Keras's 'tf' mode).",
        ),
        PreprocessorSpec(
            name="scale",
            apply=functions.scale_01,
            description="Scaled to 0 to 1, RGB.",
        ),
        PreprocessorSpec(
            name="torch",
            apply=functions.torch,
            description="Scaled to 0 to 1, minus ImageNet's mean, over its deviation: "
            "-2.12 to 2.64, RGB.",
        ),
        PreprocessorSpec(
            name="caffe",
            apply=functions.caffe,
            description="Minus ImageNet's mean colour: -123.68 to 151.06, BGR.",
        ),
        PreprocessorSpec(
            name="lite",
            apply=functions.lite,
            description="(x - 127) / 128: -0.992 to 1, RGB (EfficientNet-Lite).",
        ),
        PreprocessorSpec(
            name="corpus_mean",
            apply=functions.corpus_mean,
            fit=functions.fit_corpus_mean,
            description="Minus the mean colour of the training images: within -255 to 255, RGB.",
        ),
        PreprocessorSpec(
            name="image_mean",
            apply=functions.image_mean,
            description="Minus each image's own mean colour: within -255 to 255, RGB.",
        ),
        PreprocessorSpec(
            name="ben_graham",
            apply=functions.ben_graham,
            description="Local mean colour subtracted, contrast raised fourfold around 128: "
            "0 to 255, RGB (Graham 2015).",
        ),
    ]
