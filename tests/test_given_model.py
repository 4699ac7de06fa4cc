"""A Keras model of the user's as a backbone."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from sklearn.base import clone

from fundus import Cache, FeatureExtractor, TransferClassifier
from fundus.exceptions import BundleError, InvalidParameterError
from fundus.hookspecs import BackboneSpec
from fundus.testing import check_backbone


def net(seed=1, *, activation="relu", size=32, scale=1.0):
    import keras
    from keras import layers

    random = keras.initializers.RandomNormal(seed=seed)
    inputs = keras.Input((size, size, 3), name="image")
    x = layers.Conv2D(
        8,
        3,
        strides=2,
        activation=activation,
        kernel_initializer=random,
        name="conv",
    )(inputs)
    if scale != 1.0:
        x = layers.Rescaling(scale, name="scale")(x)
    last = layers.Conv2D(4, 3, strides=2, kernel_initializer=random, name="last")
    return keras.Model(inputs, last(x), name="mine")


def spec_of(model, **options):
    return BackboneSpec.from_model(model, **{"normalise": "tf", **options})


@pytest.fixture(scope="module")
def images():
    X = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
    return X, np.arange(10) % 2


def by_hand(model, X):
    outputs = model.predict_on_batch(X.astype(np.float32) / 127.5 - 1)
    return np.asarray(outputs).mean(axis=(1, 2))


def features(spec, X, **options):
    options = {"crop": None, "cache": False, **options}
    return FeatureExtractor(spec, **options).fit_transform(X)


def test_features_are_the_models_own(images, tmp_path):
    X, y = images
    model = net()
    spec = spec_of(model)
    expected = by_hand(model, X)
    assert np.allclose(features(spec, X), expected, atol=1e-5)
    model.save(tmp_path / "mine.keras")
    assert spec_of(tmp_path / "mine.keras") == spec
    # a copy: what becomes of the model later changes nothing
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    assert np.allclose(features(spec, X), expected, atol=1e-5)
    assert TransferClassifier(spec, "logistic", cache=False).fit(X, y).predict(X).shape == (10,)


@pytest.mark.slow
def test_two_models_never_share_what_is_kept(images, tmp_path):
    X, _ = images
    # the last two have the weights of the first, and another configuration
    models = [net(1), net(2), net(1, activation="tanh"), net(1, scale=0.5)]
    store = Cache(tmp_path / "store")
    for model in models:
        assert np.allclose(features(spec_of(model), X, cache=store), by_hand(model, X), atol=1e-5)
    specs = [spec_of(model) for model in models]
    for a, b in itertools.combinations(specs, 2):
        assert a.build != b.build
    # and one model, given again or gone through a pickle, finds what is kept
    names = {
        FeatureExtractor(s, cache=False).fit(X).frozen_.key()
        for s in (specs[0], spec_of(net(1)), pickle.loads(pickle.dumps(specs[0])))
    }
    assert len(names) == 1


def own_layer(factor):
    """A layer class whose code differs only in a constant."""
    import keras

    class Twice(keras.layers.Layer):
        def call(self, x):
            return x * 2.0 if factor == 2 else x * 3.0

    code = f"def call(self, x):\n    return x * {float(factor)}\n"
    found: dict = {}
    exec(code, found)
    Twice.call = found["call"]
    Twice.__module__ = "somebody"
    return keras.saving.register_keras_serializable("somebody", "Twice")(Twice)


def test_the_code_of_own_layers_counts():
    import keras

    digests = []
    for factor in (2, 3):
        inputs = keras.Input((16, 16, 3), name="image")
        layer = own_layer(factor)(name="own")
        digests.append(spec_of(keras.Model(inputs, layer(inputs), name="mine")).build.digest)
    assert digests[0] != digests[1]


@pytest.mark.slow
def test_it_keeps_the_contract_and_is_trained(images):
    import keras

    X, y = images
    model = net()
    model.trainable = False
    spec = spec_of(model)
    check_backbone(spec)
    fitted = TransferClassifier(
        spec, "softmax", freeze=0, epochs=1, learning_rate=0.1, cache=False, random_state=0,
        validation_fraction=0.0,
    ).fit(X, y)  # fmt: skip
    kernels = [w.numpy() for w in fitted.model_.weights if w.shape == (3, 3, 3, 8)]
    assert not np.allclose(kernels[0], model.get_layer("conv").kernel.numpy())
    assert isinstance(spec.build(image_size=32, weights=None), keras.Model)


def test_copies_are_the_record_itself():
    spec = spec_of(net())
    assert clone(TransferClassifier(spec)).backbone.build is spec.build
    assert len(repr(spec)) < 500


def test_sizes(images):
    import keras
    from keras import layers

    X, y = images
    with pytest.raises(InvalidParameterError, match="'image_size' .* must be an int, in pixels"):
        spec_of(net(size=None))
    spec = spec_of(net(size=None), image_size=40)
    assert spec.image_size == 40
    dense = keras.Sequential([keras.Input((16, 16, 3)), layers.Flatten(), layers.Dense(5)])
    fixed = spec_of(dense)
    assert features(fixed, X).shape == (10, 5)
    model = TransferClassifier(fixed, "logistic", image_size=48, cache=False)
    with pytest.raises(InvalidParameterError, match="must be 16 or None for the given model"):
        model.fit(X, y)


def test_what_cannot_be_a_backbone_says_how(images, tmp_path):
    import keras
    from keras import layers

    X, y = images
    model = net()
    with pytest.raises(InvalidParameterError, match=r"BackboneSpec\.from_model\(model, normalise="):
        FeatureExtractor(model).fit(X)
    with pytest.raises(InvalidParameterError, match=r"from_model\('mine\.keras', normalise="):
        TransferClassifier("mine.keras", "logistic").fit(X, y)
    squared = layers.Lambda(lambda x: x * x, name="square")(model.output)
    with pytest.raises(InvalidParameterError, match="Lambda layer 'square'"):
        spec_of(keras.Model(model.input, squared))
    keras.Model(model.input, squared).save(tmp_path / "code.keras")
    with pytest.raises(InvalidParameterError, match="cannot be loaded in safe mode"):
        spec_of(tmp_path / "code.keras")
    with pytest.raises(InvalidParameterError, match="must be a .keras file that exists"):
        spec_of(tmp_path / "none.keras")
    with pytest.raises(InvalidParameterError, match="one float32 input of shape"):
        spec_of(keras.Model(*[keras.Input((8,))] * 2))
    with pytest.raises(InvalidParameterError, match="functional or a built"):
        spec_of(5)
    fitted = TransferClassifier(spec_of(model), "logistic", cache=False).fit(X, y)
    with pytest.raises(BundleError, match="'mine' was given as a BackboneSpec"):
        fitted.save(tmp_path / "bundle")
