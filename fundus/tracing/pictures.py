"""Preprocessing as operations of Keras: what a network gets of a uint8 picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fundus.exceptions import ExportError
from fundus.frozen.normaliser import Normaliser, Photometric
from fundus.frozen.steps import find_photometric, find_scale
from fundus.grades.in_keras import constant
from fundus.preprocessing import functions, photometric

#: From uint8 pictures (batch, height, width, 3) to float32, or to whole numbers 0–255 as float32
#: where the step is photometric; further arguments are what the step's ``fit`` has found.
TracedStep = Callable[..., Any]

_IMAGENET_MEAN = constant([0.485, 0.456, 0.406])
_IMAGENET_STD = constant([0.229, 0.224, 0.225])
_CAFFE_MEAN_BGR = constant([103.939, 116.779, 123.68])

_NO_FIELD = (
    "it has no 'traced' in its record, so only its own code can run it: run it before the picture "
    "is given to an exported model that was trained without it, or use another step"
)
_OPENCV = "it is computed by OpenCV, and has no counterpart among the operations of Keras"


def _floats(images: Any) -> Any:
    from keras import ops

    return ops.cast(images, "float32")


def _none(images: Any) -> Any:
    return _floats(images)


def _scale_pm1(images: Any) -> Any:
    return _floats(images) / 127.5 - 1.0


def _scale_01(images: Any) -> Any:
    return _floats(images) / 255.0


def _torch(images: Any) -> Any:
    return (_floats(images) / 255.0 - _IMAGENET_MEAN) / _IMAGENET_STD


def _caffe(images: Any) -> Any:
    from keras import ops

    values = _floats(images)
    bgr = ops.concatenate([values[..., k : k + 1] for k in (2, 1, 0)], axis=-1)
    return bgr - _CAFFE_MEAN_BGR


def _lite(images: Any) -> Any:
    return (_floats(images) - 127.0) / 128.0


def _corpus_mean(images: Any, *, mean: Any) -> Any:
    return _floats(images) - constant(mean)


def _image_mean(images: Any) -> Any:
    values = _floats(images)
    return values - _means(values)


def _means(values: Any) -> Any:
    """Mean of each channel of each picture, (batch, 1, 1, 3), of rows first, which rounds less."""
    from keras import ops

    return ops.mean(ops.mean(values, axis=2, keepdims=True), axis=1, keepdims=True)


def _rounded(values: Any) -> Any:
    """Whole numbers 0–255, as uint8 would hold them."""
    from keras import ops

    return ops.clip(ops.round(values), 0.0, 255.0)


def _green(images: Any) -> Any:
    from keras import ops

    channel = _floats(images)[..., 1:2]
    return ops.concatenate([channel] * 3, axis=-1)


def _shifted_to_corpus(images: Any, *, mean: Any) -> Any:
    return _rounded(_floats(images) + constant(photometric.MID_GREY - np.asarray(mean)))


def _shifted(images: Any) -> Any:
    values = _floats(images)
    return _rounded(values + (photometric.MID_GREY - _means(values)))


def _grey_world(images: Any) -> Any:
    from keras import ops

    values = _floats(images)
    means = _means(values)
    grey = ops.mean(means, axis=-1, keepdims=True)
    known = means > 0
    gains = ops.where(known, grey / ops.where(known, means, 1.0), 1.0)
    return _rounded(values * gains)


#: Of the steps that ship, by the function that each one's record applies.
_OURS: dict[Any, TracedStep] = {
    functions.none: _none,
    functions.scale_pm1: _scale_pm1,
    functions.scale_01: _scale_01,
    functions.torch: _torch,
    functions.caffe: _caffe,
    functions.lite: _lite,
    functions.corpus_mean: _corpus_mean,
    functions.image_mean: _image_mean,
    photometric.green: _green,
    photometric.corpus_mean: _shifted_to_corpus,
    photometric.image_mean: _shifted,
    photometric.grey_world: _grey_world,
}


def traced_step(step: Normaliser | Photometric) -> TracedStep:
    """Return a scale, or a photometric step, as a function of tensors.

    Raises
    ------
    ExportError
        If it has no counterpart among the operations of Keras.
    """
    find, kind = find_scale, "scale"
    if isinstance(step, Photometric):
        find, kind = find_photometric, "photometric step"
    if isinstance(step.function, str):
        given = getattr(find(step.function).spec, "traced", None)
        if given is not None:
            return given
    # by identity: a callable of a plugin need not be hashable
    ours = next((mine for function, mine in _OURS.items() if function is step.call), None)
    if ours is not None:
        return ours
    why = _NO_FIELD
    if step.call in (photometric.clahe, photometric.ben_graham, functions.ben_graham):
        why = f"{_OPENCV}: train with another one, such as 'grey_world' or 'image_mean', or none"
    name = step.function if isinstance(step.function, str) else getattr(
        step.function, "__name__", repr(step.function)
    )  # fmt: skip
    raise ExportError(f"The {kind} {name!r} cannot be exported: {why}.")


def normalised_pictures(normaliser: Normaliser, images: Any) -> Any:
    """Run a normaliser on uint8 pictures: the photometric step, if there is one, then the scale."""
    step = normaliser.photometric
    if step is not None:
        images = traced_step(step)(images, **dict(step.state))
    return traced_step(normaliser)(images, **dict(normaliser.state))
