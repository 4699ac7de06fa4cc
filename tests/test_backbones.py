import json
import os
import random
import subprocess
import sys

import keras
import numpy as np
import pytest

from fundus.backbones.build import build_backbone, weights_digest
from fundus.builtin import efficientnet_lite, keras_applications, tiny
from fundus.exceptions import (
    BackendError,
    BundleError,
    InvalidParameterError,
    PluginError,
)
from fundus.hookspecs import BackboneSpec
from fundus.runtime.seeds import seeded
from fundus.runtime.tensorflow import require_tensorflow

# numpy 2 deprecates a call that Keras makes whenever it saves a model
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

KERAS = {spec.name: spec for spec in keras_applications.fundus_backbones()}
LITE = {spec.name: spec for spec in efficientnet_lite.fundus_backbones()}
(TINY,) = tiny.fundus_backbones()


def build_small(spec, **options):
    return build_backbone(spec, image_size=max(32, spec.min_image_size), **options)


# --- build_backbone --------------------------------------------------------------------------


def test_fixed_weights_do_not_depend_on_any_seed():
    digests = set()
    for seed in (None, 0, 1):
        keras.utils.set_random_seed(7 + (seed or 0))
        digests.add(weights_digest(build_backbone(TINY, weights="fixed", seed=seed)))
    assert len(digests) == 1
    features = np.asarray(build_backbone(TINY, weights="fixed")(np.zeros((1, 32, 32, 3))))
    assert 0.1 < features.std() < 10


def test_seed_decides_random_weights():
    def digest(seed):
        return weights_digest(build_backbone(TINY, weights=None, seed=seed))

    assert digest(3) == digest(3) != digest(4)
    assert digest(None) != digest(None)


@pytest.mark.parametrize("seed", [None, 5])
def test_no_global_generator_is_moved(seed):
    def draw():
        keras.utils.set_random_seed(11)
        if during:
            build_backbone(TINY, weights=None, seed=seed)
        # what `random_normal` without a seed draws comes from Keras's and TensorFlow's own
        return [random.random(), np.random.random(), float(keras.random.normal(()))]  # noqa: NPY002

    during = False
    expected = draw()
    during = True
    assert draw() == expected


def test_generators_are_restored_after_an_error():
    state = random.getstate()
    with pytest.raises(KeyError), seeded(0):
        raise KeyError
    assert random.getstate() == state


@pytest.mark.parametrize("size", [7, 0, 32.0, True, "32"])
def test_image_size_is_checked(size):
    with pytest.raises(
        InvalidParameterError, match=r"'image_size'.*'tiny'.*at least 8 pixels"
    ) as e:
        build_backbone(TINY, image_size=size, weights=None)
    assert f"Got {size!r} instead" in str(e.value)


def test_image_size_defaults_to_the_backbones_own():
    assert build_backbone(TINY, weights=None).input_shape == (None, 32, 32, 3)
    assert build_backbone(TINY, weights=None, image_size=np.int64(48)).output_shape[1:3] == (12, 12)


@pytest.mark.parametrize("weights", ["imagenet", "missing.h5", 3, "."])
def test_weights_are_checked(weights):
    with pytest.raises(InvalidParameterError, match=r"'weights'.*'tiny' must be 'fixed', None or"):
        build_backbone(TINY, weights=weights)


def test_weights_from_a_file(tmp_path):
    model = build_backbone(TINY, weights=None, seed=1)
    model.save_weights(tmp_path / "tiny.weights.h5")
    loaded = build_backbone(TINY, weights=tmp_path / "tiny.weights.h5")
    assert weights_digest(loaded) == weights_digest(model)


@pytest.mark.slow
def test_a_file_of_another_network_is_an_error(tmp_path):
    path = tmp_path / "vgg.weights.h5"
    build_small(KERAS["vgg19"], weights=None).save_weights(path)
    expected = r"vgg\.weights\.h5' does not fit the backbone 'vgg16' .*block4_conv1"
    with pytest.raises(BundleError, match=expected) as caught:
        build_small(KERAS["vgg16"], weights=path)
    message = str(caught.value)
    assert "(3, 3, 256, 512)" in message
    assert "(3, 3, 256, 256)" in message
    assert len(message) < 800


@pytest.mark.parametrize("name", ["top.weights.h5", "top.keras"])
def test_a_file_of_a_larger_network_is_an_error(tmp_path, name):
    model = build_backbone(TINY, weights=None)
    larger = keras.Model(model.inputs, keras.layers.Conv2D(4, 1)(model.outputs[0]))
    (larger.save_weights if "weights" in name else larger.save)(tmp_path / name)
    with pytest.raises(BundleError, match="holds 17 arrays, but the backbone 'tiny' has 15"):
        build_backbone(TINY, weights=tmp_path / name)


@pytest.mark.parametrize("name", ["whole.keras", "whole.h5"])
def test_weights_from_a_whole_trained_model(tmp_path, name):
    model = build_backbone(TINY, weights=None, seed=1)
    model.compile("adam", "mse", metrics=["mae"], run_eagerly=True)
    model.train_on_batch(np.ones((2, 32, 32, 3)), np.zeros((2, 8, 8, 16)))
    model.save(tmp_path / name)
    assert weights_digest(build_backbone(TINY, weights=tmp_path / name)) == weights_digest(model)


@pytest.mark.parametrize("name", ["junk.weights.h5", "junk.h5", "junk.keras", "junk.txt", "j.pth"])
def test_a_file_that_holds_no_weights_is_an_error(tmp_path, name):
    (tmp_path / name).write_bytes(b"not weights")
    for spec in (TINY, LITE["efficientnet_lite0"]):
        with pytest.raises(BundleError, match=name.replace(".", r"\.")):
            build_backbone(spec, weights=tmp_path / name)


def network(inputs, function):
    return keras.Model(inputs, function(inputs))


def flat(x):
    return keras.layers.Flatten()(x)


BROKEN = {
    "a Sequential": (
        lambda s: keras.Sequential([keras.Input((s, s, 3)), keras.layers.Conv2D(2, 3)]),
        "must build a functional keras.Model, but built a Sequential",
    ),
    "no model": (lambda s: None, "but built a NoneType"),
    "another size": (
        lambda s: network(keras.Input((s + 1, s + 1, 3)), flat),
        r"must have one float32 input of shape \(None, 8, 8, 3\), but has .*9, 9",
    ),
    "integers": (
        lambda s: network(keras.Input((s, s, 3), dtype="uint8"), flat),
        "but has .*uint8",
    ),
    "two outputs": (
        lambda s: network(keras.Input((s, s, 3)), lambda x: [x, flat(x)]),
        "must have one output",
    ),
    "a scalar": (
        lambda s: network(keras.Input((s, s, 3)), lambda x: keras.ops.mean(x, axis=(1, 2, 3))),
        r"must have one output .* but has \[\(None,\)\]",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_network_that_breaks_the_contract(case):
    make, message = BROKEN[case]
    spec = BackboneSpec(
        name="broken",
        build=lambda *, image_size, weights: make(image_size),
        image_size=8,
        parameters=0,
        licence="MIT",
    )
    with pytest.raises(PluginError, match=f"'broken' {message}|'broken' .*{message}"):
        build_backbone(spec, weights=None)


# --- digest ------------------------------------------------------------------------------------


def unnamed():
    x = inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(2, 3, kernel_initializer="ones")(x)
    x = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(x))
    return keras.Model(inputs, keras.layers.Conv2D(2, 1, kernel_initializer="ones")(x))


def test_digest_ignores_numbered_names_and_trainable_but_not_values():
    one, other = unnamed(), unnamed()
    assert one.layers[1].name != other.layers[1].name
    other.trainable = False
    assert weights_digest(one) == weights_digest(other)
    other.layers[2].moving_mean.assign([0.0, 1e-7])
    assert weights_digest(one) != weights_digest(other)


def test_digest_tells_shapes_apart():
    def dense(units, inputs):
        x = keras.Input((inputs,))
        return keras.Model(
            x, keras.layers.Dense(units, use_bias=False, kernel_initializer="ones")(x)
        )

    assert weights_digest(dense(2, 3)) != weights_digest(dense(3, 2))


# --- the backend -------------------------------------------------------------------------------


def test_another_backend_is_an_error(monkeypatch):
    require_tensorflow()
    monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    with pytest.raises(BackendError, match="runs on 'jax'; set KERAS_BACKEND=tensorflow"):
        build_backbone(TINY, weights=None)


def test_channels_first_is_an_error(monkeypatch):
    monkeypatch.setattr("keras.config.image_data_format", lambda: "channels_first")
    with pytest.raises(BackendError, match="'channels_last', but it is 'channels_first'"):
        require_tensorflow()


def test_a_backend_that_is_not_installed_is_the_same_error():
    code = (
        "import json, fundus.backbones.build as b, fundus.exceptions as e\n"
        "try: b.require_tensorflow()\n"
        "except e.BackendError as error: print(json.dumps(str(error)))\n"
    )
    environment = {**os.environ, "KERAS_BACKEND": "no_such_backend"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert "set KERAS_BACKEND=tensorflow" in json.loads(run.stdout.splitlines()[-1])
