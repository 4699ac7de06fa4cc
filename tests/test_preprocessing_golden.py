"""Each backbone's preprocessing, against Keras's own; a wrong one costs accuracy in silence."""

import importlib

import numpy as np
import pytest

from fundus.builtin import efficientnet_lite, keras_applications
from fundus.builtin.preprocessors import fundus_preprocessors

SPECS = {spec.name: spec for spec in keras_applications.fundus_backbones()}
PREPROCESSORS = {spec.name: spec.apply for spec in fundus_preprocessors()}

#: Backbone to the Keras module that holds its `preprocess_input`.
MODULES = {
    "convnext_tiny": "convnext",
    "densenet121": "densenet",
    "efficientnet_b0": "efficientnet",
    "efficientnet_v2_b0": "efficientnet_v2",
    "efficientnet_v2_s": "efficientnet_v2",
    "inception_resnet_v2": "inception_resnet_v2",
    "inception_v3": "inception_v3",
    "mobilenet": "mobilenet",
    "mobilenet_v2": "mobilenet_v2",
    "mobilenet_v3_large": "mobilenet_v3",
    "nasnet_mobile": "nasnet",
    "resnet50": "resnet",
    "resnet50_v2": "resnet_v2",
    "vgg16": "vgg16",
    "vgg19": "vgg19",
    "xception": "xception",
}


@pytest.fixture
def images():
    """Every value of every channel, in unequal amounts, and no symmetry between channels."""
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    images[1, ..., 0] = np.arange(256).reshape(16, 16)
    images[1, ..., 2] //= 3
    return images


@pytest.mark.parametrize("name", MODULES)
def test_equals_the_preprocessing_of_keras(name, images):
    module = importlib.import_module(f"keras.applications.{MODULES[name]}")
    expected = module.preprocess_input(images.astype("float32"))
    before = images.copy()
    found = PREPROCESSORS[SPECS[name].normalise](images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=2e-5)
    np.testing.assert_array_equal(images, before)


def test_every_family_is_covered():
    families = {row.family for row in keras_applications._ROWS}
    covered = {row.family for row in keras_applications._ROWS if row.name in MODULES}
    assert covered == families


@pytest.mark.parametrize("spec", efficientnet_lite.fundus_backbones(), ids=lambda spec: spec.name)
def test_efficientnet_lite(spec, images):
    found = PREPROCESSORS[spec.normalise](images)
    np.testing.assert_allclose(found, (images.astype("float64") - 127) / 128, atol=1e-6)


def test_golden_values():
    """Written out by hand: one pixel with red 255, green 128 and blue 0."""
    pixel = np.array([[[[255, 128, 0]]]], np.uint8)
    golden = {
        "none": (255, 128, 0),
        "tf": (1, 128 / 127.5 - 1, -1),
        "torch": ((1 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, -0.406 / 0.225),
        "caffe": (0 - 103.939, 128 - 116.779, 255 - 123.68),
        "lite": (1, 1 / 128, -127 / 128),
    }
    for name, expected in golden.items():
        found = PREPROCESSORS[name](pixel).ravel()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5, err_msg=name)
