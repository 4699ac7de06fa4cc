"""The conformance kit finds each fault of backbones and heads, and says what to change."""

import itertools
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

from fundus.backbones.build import build_backbone
from fundus.exceptions import UnknownNameError
from fundus.heads.base import EstimatorHead
from fundus.heads.neural import SoftmaxHead
from fundus.hookspecs import BackboneSpec, HeadSpec
from fundus.plugins import get_registry
from fundus.testing import (
    check_backbone,
    check_head,
    probe_images,
)

# --- backbones -----------------------------------------------------------------------------------


def convolutions(size, *, kernel=3, padding="same", initializer="glorot_uniform"):
    inputs = keras.Input((size, size, 3))
    x = layers.Conv2D(4, kernel, 2, padding=padding, kernel_initializer=initializer)(inputs)
    x = layers.ReLU()(x)
    x = layers.Conv2D(6, kernel, 2, padding=padding)(x)
    return inputs, x


def build(*, image_size, weights):
    return keras.Model(*convolutions(image_size))


class Noise(layers.Layer):
    def call(self, x):
        return x + keras.random.normal(keras.ops.shape(x))


def draws_in_inference(*, image_size, weights):
    inputs, x = convolutions(image_size)
    return keras.Model(inputs, Noise()(x))


def subtracts_the_mean_of_the_batch(*, image_size, weights):
    inputs, x = convolutions(image_size)
    return keras.Model(inputs, x - keras.ops.mean(x, axis=0, keepdims=True))


_seeds = itertools.count()


def seeds_itself(*, image_size, weights):
    initializer = keras.initializers.RandomNormal(seed=next(_seeds))
    return keras.Model(*convolutions(image_size, initializer=initializer))


def ignores_the_size(*, image_size, weights):
    return keras.Model(*convolutions(24))


def is_nested(*, image_size, weights):
    inputs = keras.Input((image_size, image_size, 3))
    return keras.Model(inputs, build(image_size=image_size, weights=None)(inputs))


def keeps_a_secret(*, image_size, weights):
    inputs, x = convolutions(image_size)
    return keras.Model(inputs, x * float(np.random.uniform(1, 2)))  # noqa: NPY002


def stops_gradients(*, image_size, weights):
    inputs, x = convolutions(image_size)
    return keras.Model(inputs, keras.ops.stop_gradient(x))


def is_constant(*, image_size, weights):
    inputs, x = convolutions(image_size)
    return keras.Model(inputs, x * 0.0)


def needs_large_images(*, image_size, weights):
    return keras.Model(*convolutions(image_size, kernel=5, padding="valid"))


def raises(*, image_size, weights):
    raise ZeroDivisionError("no such luck")


def loads_half(*, image_size, weights):
    model = build(image_size=image_size, weights=None)
    if weights is not None:
        kernel, bias = model.layers[1].get_weights()
        model.layers[1].set_weights([np.ones_like(kernel), bias])
    return model


def batch_mean(images):
    return images.astype(np.float32) - images.mean(axis=0, dtype=np.float32)


def leaves_grey_images(images):
    """Scale what has colour, or one grey only."""
    grey = np.ptp(images, axis=3).max(axis=(1, 2)) == 0
    uneven = np.ptp(images, axis=(1, 2)).max(axis=1) > 0
    values = images.astype(np.float32)
    return np.where((grey & uneven)[:, None, None, None], values, values / 255)


def minus(images, mean):
    return images.astype(np.float32) - np.float32(mean)


def backbone(function=build, **changes):
    parameters = 4 * 28 + 6 * 37
    fields = {
        "name": "candidate",
        "image_size": 16,
        "normalise": "tf",
        "parameters": parameters,
        "licence": "MIT",
        "pretrained": (),
        "min_image_size": 8,
    }
    return BackboneSpec(build=function, **(fields | changes))


FAULTY_BACKBONES = {
    "random": (backbone(draws_in_inference), "inference must repeat itself"),
    "batch statistics": (
        backbone(subtracts_the_mean_of_the_batch),
        "inference must treat every image on its own.*over axis 0",
    ),
    "own seed": (backbone(seeds_itself), "two builds with one seed must have the same weights"),
    "other size": (backbone(ignores_the_size), "must have one float32 input of shape"),
    "nested": (backbone(is_nested), "must have layers to cut between, but model.layers has 2"),
    "secret": (backbone(keeps_a_secret), "weights=<file of its own weights> must give the same"),
    "gradients": (backbone(stops_gradients), "one training step with .* layers frozen"),
    "constant": (backbone(is_constant), "different images must give different outputs"),
    "smallest": (
        backbone(needs_large_images, parameters=4 * 76 + 6 * 101),
        "at its 'min_image_size' of 8 pixels",
    ),
    "raises": (backbone(raises), r"build\(image_size=16, weights=None\) failed with Zero.*luck"),
    "parameters": (backbone(parameters=5), "'parameters' must be the number .* 334. Got 5"),
    "wraps": (backbone(normalise=lambda x: x - 127), "must return float32. Got uint8"),
    "batch mean": (backbone(normalise=batch_mean), "preprocessing must treat every image on its"),
    "photometric": (backbone(normalise="clahe"), "photometric step .* and a network needs a scale"),
    "range": (
        backbone(normalise=leaves_grey_images),
        "photometric='builtin/green' and .* give values of 0 to 255, where .* trained with 0 to 1",
    ),
    "no such preprocessor": (backbone(normalise="not_there"), "no preprocessor called 'not_there'"),
    "weights_path": (
        backbone(pretrained=("x",), weights_path=lambda name: Path("not/there")),
        "weights_path.'x'. must return None or the Path of a file that exists",
    ),
    "fields": (backbone(pretrained="imagenet"), "'pretrained' must be a tuple of str"),
    "lambda": (
        backbone(normalise=lambda x: x.astype(np.float32) / 255),
        "pickling it failed with .* at the top level of a module",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTY_BACKBONES)
def test_faults_of_backbones(fault):
    spec, message = FAULTY_BACKBONES[fault]
    with pytest.raises(AssertionError, match=f"(?s)'candidate'.*{message}"):
        check_backbone(spec)


def test_pretrained_weights_must_be_complete():
    spec = backbone(loads_half, pretrained=("half",))
    with pytest.raises(AssertionError, match="weights='half' must set every weight, but some"):
        check_backbone(spec, weights="half")


@pytest.mark.slow
def test_a_sound_backbone_passes_unregistered_and_leaves_the_registry_alone():
    before = list(get_registry().entries["backbone"])
    # a function that goes by no name must survive saving and pickling too
    check_backbone(backbone(normalise=partial(minus, mean=100.0)))
    assert get_registry().entries["backbone"] == before


class Scale(layers.Layer):
    def build(self, shape):
        # no name of its own: Keras calls it "variable", "variable_1", ... over the whole process
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, x):
        return x * self.scale


def has_an_unnamed_weight(*, image_size, weights):
    inputs, x = convolutions(image_size)
    return keras.Model(inputs, Scale()(x))


@pytest.mark.slow
def test_a_backbone_whose_weights_have_no_names_passes():
    check_backbone(backbone(has_an_unnamed_weight, parameters=4 * 28 + 6 * 37 + 6))


@pytest.mark.slow
def test_golden_values_of_a_backbone():
    expected = probe_images(2, 4) / 127.5 - 1
    spec = get_registry().find("backbone", "tiny").spec
    images = (probe_images(3, 16) / 127.5 - 1).astype(np.float32)
    model = build_backbone(spec, image_size=16, weights="fixed")
    features = model(images, training=False).numpy().mean(axis=(1, 2))
    check = {"weights": "fixed", "image_size": 16}
    check_backbone("tiny", **check, golden=expected, golden_features=features[:, :5])
    with pytest.raises(AssertionError, match="must agree with the golden values to 0.0001. Got"):
        check_backbone("tiny", **check, golden=expected[..., ::-1])
    with pytest.raises(AssertionError, match="pooled features must agree with the golden values"):
        check_backbone("tiny", **check, golden_features=features + 0.01 * features.max())
    with pytest.raises(AssertionError, match="golden must have the shape"):
        check_backbone("tiny", **check, golden=expected[0])


def test_unknown_names_and_other_objects():
    with pytest.raises(UnknownNameError, match="There is no backbone called 'nothing'"):
        check_backbone("nothing")
    with pytest.raises(AssertionError, match="must be a BackboneSpec or a registered name"):
        check_backbone(get_registry().find("head", "svm").spec)


# --- heads ---------------------------------------------------------------------------------------


class Small(SoftmaxHead):
    def __init__(self, units=8, layers=0, dropout=0.0):
        super().__init__(units, layers, dropout)


class Changes(Small):
    def __init__(self, units=8, layers=0, dropout=0.0):
        super().__init__(2 * units, layers, dropout)


class Logits(Small):
    def decode(self, outputs, n_grades):
        return np.log(outputs.astype(np.float64)) + 1


class Nans(Small):
    def decode(self, outputs, n_grades):
        return outputs * np.nan


class Reversed(Small):
    def decode(self, outputs, n_grades):
        return super().decode(outputs, n_grades)[:, ::-1]


class Raises(Small):
    def encode(self, positions, n_grades):
        raise ZeroDivisionError("no such luck")


class Unseeded(EstimatorHead):
    def make_estimator(self, *, grade_counts, random_state):
        return ExtraTreesClassifier(5, max_depth=2)


class Neighbours(EstimatorHead):
    def make_estimator(self, *, grade_counts, random_state):
        return KNeighborsClassifier(5, algorithm="brute")


class Deaf(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        return super().fit(X, y)


class DeafHead(EstimatorHead):
    def make_estimator(self, *, grade_counts, random_state):
        return Deaf()


def head(make):
    return HeadSpec(name="candidate", make=make, description="A head.")


_one = Small()

FAULTY_HEADS = {
    "no head": (dict, "make must return a NeuralHead, an EstimatorHead or a scikit-learn"),
    "one object": (lambda: _one, "make must return a new object at every call"),
    "needs an argument": (lambda size: Small(size), "Give every parameter a default"),
    "changes arguments": (Changes, "clone failed .* store each argument under its own name"),
    "logits": (Logits, "must return a non-negative column per grade"),
    "nan": (Nans, "must return a finite number per row"),
    "reversed": (Reversed, "severity rises with the grade. .* agree on the order"),
    "raises": (Raises, "fit failed with ZeroDivisionError: no such luck"),
    "unseeded": (Unseeded, "two fits with one random_state must give one result"),
    "no weights": (Neighbours, "takes no sample weights, .* takes_weights=False"),
    "factory": (lambda: Small(), "saving and loading it failed .* register the class of a head"),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTY_HEADS)
def test_faults_of_heads(fault):
    make, message = FAULTY_HEADS[fault]
    with pytest.raises(AssertionError, match=f"(?s)'candidate'.*{message}"):
        check_head(head(make), trusted=["sklearn.tree._tree.Tree"])


def test_weights_must_count():
    trusted = [f"{Deaf.__module__}.Deaf"]
    with pytest.raises(AssertionError, match="not trusted"):
        check_head(head(DeafHead))
    with pytest.raises(AssertionError, match="sample_weight must count"):
        check_head(head(DeafHead), trusted=trusted)
    check_head(head(DeafHead), trusted=trusted, takes_weights=False)


def test_sound_heads_pass():
    check_head(head(GaussianNB))
    check_head(head(Neighbours), takes_weights=False)
