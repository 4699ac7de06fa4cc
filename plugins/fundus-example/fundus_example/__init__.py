"""An example plugin: a small backbone, a head for ordered grades and two preprocessors."""

from __future__ import annotations

import cv2
import numpy as np

from fundus.hookspecs import BackboneSpec, HeadSpec, PreprocessorSpec, hookimpl

fundus_api = 1  # the version of the contract this module was written for


def build_sepnet(*, image_size, weights):
    """Build four strided convolutions, small enough to train from scratch on a laptop."""
    import keras  # here, since listing backbones must not wait for Keras
    from keras import layers

    x = inputs = keras.Input((image_size, image_size, 3), name="image")
    for k, filters in enumerate((16, 32, 64, 128), 1):
        convolution = layers.Conv2D if k == 1 else layers.SeparableConv2D
        x = convolution(filters, 3, 2, padding="same", use_bias=False, name=f"block{k}_conv")(x)
        x = layers.BatchNormalization(name=f"block{k}_bn")(x)
        x = layers.ReLU(name=f"block{k}_relu")(x)
    return keras.Model(inputs, x, name="sepnet")


def red_free(images):
    """Equalise the local contrast of the green channel, in which red lesions are darkest; uint8."""
    clahe = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(4, 4))
    green = np.stack([clahe.apply(np.ascontiguousarray(image[..., 1])) for image in images])
    return np.repeat(green[..., np.newaxis], 3, axis=-1)


def green_clahe(images):
    """Do the same, and scale it for `sepnet`."""
    return red_free(images).astype(np.float32) / 127.5 - 1


@hookimpl
def fundus_backbones():
    """Return the backbone; it has no pretrained weights, so users pass ``weights=None``."""
    return [
        BackboneSpec(
            name="sepnet",
            build=build_sepnet,
            image_size=128,
            normalise="example/green_clahe",
            parameters=13_152,
            licence="BSD-3-Clause",
            pretrained=(),
        )
    ]


@hookimpl
def fundus_heads():
    """Return the head, by its place: listing heads then imports none."""
    text = "Softmax with targets that spread over neighbouring grades (Keras)."
    return [
        HeadSpec(name="soft_labels", make="fundus_example.heads:SoftLabelsHead", description=text)
    ]


@hookimpl
def fundus_preprocessors():
    """Return a photometric step, for every network, and the scale of our own."""
    text = "Green channel with local contrast equalised, in all channels"
    return [
        PreprocessorSpec(
            name="red_free", kind="photometric", apply=red_free, description=f"{text}."
        ),
        PreprocessorSpec(name="green_clahe", apply=green_clahe, description=f"{text}: -1 to 1."),
    ]
