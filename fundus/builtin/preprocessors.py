"""The preprocessors that ship."""

from __future__ import annotations

from fundus.hookspecs import PreprocessorSpec, hookimpl
from fundus.preprocessing import functions, photometric

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
        *_photometric_steps(),
    ]


def _photometric_steps() -> list[PreprocessorSpec]:
    return [
        PreprocessorSpec(
            name="ben_graham",
            kind="photometric",
            apply=photometric.ben_graham,
            description="Local mean colour subtracted, contrast raised fourfold around 128 "
            "(Graham 2015).",
        ),
        PreprocessorSpec(
            name="clahe",
            kind="photometric",
            apply=photometric.clahe,
            description="Local contrast of the lightness equalised, with a limit.",
        ),
        PreprocessorSpec(
            name="corpus_mean",
            kind="photometric",
            apply=photometric.corpus_mean,
            fit=functions.fit_corpus_mean,
            description="Shifted so that the training images have the mean 128, 128, 128.",
        ),
        PreprocessorSpec(
            name="green",
            kind="photometric",
            apply=photometric.green,
            description="The green channel in all three.",
        ),
        PreprocessorSpec(
            name="grey_world",
            kind="photometric",
            apply=photometric.grey_world,
            description="Channels multiplied so that each image's mean colour is grey.",
        ),
        PreprocessorSpec(
            name="image_mean",
            kind="photometric",
            apply=photometric.image_mean,
            description="Shifted so that each image has the mean 128, 128, 128.",
        ),
    ]
