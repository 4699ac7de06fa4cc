"""The cut at the freeze boundary, against the same model uncut."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from fundus.backbones.build import build_backbone
from fundus.backbones.splitting import resolve_freeze, split
from fundus.builtin import efficientnet_lite, keras_applications, tiny
from fundus.exceptions import InvalidParameterError, PluginError

SPECS = {
    spec.name: spec
    for module in (keras_applications, efficientnet_lite, tiny)
    for spec in module.fundus_backbones()
}
#: Networks whose graphs differ by kind: joined branches, gates, skips, a chain.
KINDS = (
    *("convnext_tiny", "inception_v3", "mobilenet_v3_small", "vgg16", "efficientnet_lite0", "tiny"),
)


def small(name, seed=0):
    spec = SPECS[name]
    return build_backbone(spec, image_size=max(32, spec.min_image_size), weights=None, seed=seed)


def pixels(model, n=2, seed=0):
    random = np.random.default_rng(seed)
    return random.uniform(-1, 1, (n, *model.input_shape[1:])).astype("float32")


def as_list(value):
    return value if isinstance(value, list) else [value]


def run(model, x):
    return as_list(model(x, training=False))


def joined(cut, x):
    """Run prefix and suffix one after the other, through numpy as the store does."""
    if cut.prefix is not None:
        outputs = [np.asarray(t) for t in run(cut.prefix, x)]
        assert [t.shape[1:] for t in outputs] == cut.cut_shapes
        x = outputs if len(outputs) > 1 else outputs[0]
    return run(cut.suffix, x) if cut.suffix is not None else as_list(x)


def check_cut(model, freeze, x, expected):
    cut = split(model, freeze)
    assert len(cut.cut_names) == len(cut.cut_shapes)
    for got, wanted in zip(joined(cut, x), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())
    assert [layer.trainable for layer in model.layers] == [
        i >= cut.n_frozen for i in range(len(model.layers))
    ]
    assert cut.prefix is None or not cut.prefix.trainable_weights
    trained = {id(w) for layer in model.layers[cut.n_frozen :] for w in layer.trainable_weights}
    in_suffix = [] if cut.suffix is None else cut.suffix.trainable_weights
    assert {id(w) for w in in_suffix} == trained
    return cut


def check_cuts(model, *shares):
    x = pixels(model)
    expected = [np.asarray(t) for t in run(model, x)]
    n = len(model.layers)
    for freeze in sorted({2, n - 1, *(int(share * n) for share in shares)}):
        cut = check_cut(model, freeze, x, expected)
        assert cut.prefix is not None
        assert cut.suffix is not None
    return x, expected


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_prefix_and_suffix_equal_the_network(name):
    check_cuts(small(name), 0.5)


@pytest.mark.zoo
@pytest.mark.parametrize("name", sorted(SPECS))
def test_prefix_and_suffix_equal_the_network_over_the_whole_zoo(name):
    check_cuts(small(name), 0.25, 0.5, 0.75)


def test_every_cut_of_tiny_and_the_two_ends():
    model = small("tiny")
    x = pixels(model)
    expected = [np.asarray(t) for t in run(model, x)]
    for n in range(len(model.layers) + 1):
        check_cut(model, n, x, expected)
    for freeze in (0, 1, 0.0):
        cut = split(model, freeze)
        assert cut.prefix is None
        assert cut.suffix is model
        assert cut.cut_shapes == [(32, 32, 3)]
    for freeze in ("all", len(model.layers), 1.0):
        cut = split(model, freeze)
        assert cut.suffix is None
        assert cut.prefix is model
        assert cut.cut_shapes == [(8, 8, 16)]
        assert not model.trainable_weights


def test_a_skip_connection_gives_two_tensors():
    model = small("tiny")
    cut = split(model, "block2_conv")
    assert cut.cut_names == ["block1_relu", "block2_conv"]
    assert cut.cut_shapes == [(16, 16, 8), (16, 16, 8)]


def test_weights_are_shared_not_copied():
    model = small("tiny")
    cut = split(model, "block1_relu")
    parts = {id(w) for part in (cut.prefix, cut.suffix) for w in part.weights}
    assert parts == {id(w) for w in model.weights}


# --- graphs that no network of the zoo has --------------------------------------------------


def image():
    return keras.Input((8, 8, 3), name="image")


def test_a_layer_used_on_both_sides_of_the_cut():
    x = inputs = image()
    shared = layers.Conv2D(3, 3, padding="same", name="shared")
    x = shared(x)
    x = layers.Conv2D(3, 3, padding="same", name="trained")(x)
    x = shared(x)
    model = keras.Model(inputs, layers.Conv2D(4, 1, name="last")(x))
    cut = check_cut(model, "shared", *_sample(model))
    assert "shared" in [layer.name for layer in cut.suffix.layers]


def _sample(model):
    x = pixels(model)
    return x, [np.asarray(t) for t in run(model, x)]


def test_a_frozen_layer_behind_a_trained_one_stays_in_the_suffix_untrained():
    inputs = image()
    left = layers.Conv2D(4, 3, padding="same", name="left")(inputs)
    right = layers.Conv2D(4, 3, padding="same", name="right")(inputs)
    deep = layers.Conv2D(4, 1, name="deep")(right)
    model = keras.Model(inputs, layers.Add(name="add")([left, deep]))
    order = [layer.name for layer in model.layers]
    x, expected = _sample(model)
    for n in range(len(order) + 1):
        check_cut(model, n, x, expected)


@pytest.mark.parametrize("freeze", ["all", 1, 2, 3, 4])
def test_a_nested_model_counts_as_one_layer(freeze):
    inner_input = keras.Input((8, 8, 4))
    inner = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(inner_input))
    nested = keras.Model(inner_input, layers.Add()([inner, inner_input]), name="nested")
    inputs = image()
    x = layers.Conv2D(4, 1, name="first")(inputs)
    x = keras.Sequential([nested, layers.ReLU()], name="chain")(x)
    model = keras.Model(inputs, layers.Conv2D(2, 1, name="last")(x))
    assert len(model.layers) == 4
    check_cut(model, freeze, *_sample(model))


class Halves(keras.layers.Layer):
    def call(self, x, *, scale=None):
        left, right = ops.split(x, 2, axis=-1)
        return {"left": left if scale is None else left * scale, "right": right}


def test_several_outputs_keyword_tensors_and_operations_that_are_no_layers():
    inputs = image()
    x = inputs / 2.0
    x = layers.Conv2D(4, 3, padding="same", name="first")(x)
    gate = ops.sigmoid(ops.mean(x, axis=(1, 2), keepdims=True))
    halves = Halves(name="halves")(x, scale=gate[..., :1])
    y = layers.Conv2D(2, 1, name="second")(halves["left"])
    y = ops.concatenate([y, halves["right"], ops.multiply(x, gate), inputs], axis=-1)
    model = keras.Model(inputs, layers.Conv2D(3, 1, name="last")(y))
    x, expected = _sample(model)
    for n in range(len(model.layers) + 1):
        check_cut(model, n, x, expected)
    # the input itself crosses the cut, as do two outputs of one layer
    names = split(model, "halves").cut_names
    assert "image" in names
    assert names.count("halves") == 2


def test_an_output_of_the_model_that_comes_out_of_the_prefix():
    inputs = image()
    early = layers.Conv2D(4, 3, name="early")(inputs)
    late = layers.Conv2D(2, 1, name="late")(early)
    model = keras.Model(inputs, [early, late])
    cut = check_cut(model, "early", *_sample(model))
    assert cut.cut_names == ["early"]


class Angles(layers.Layer):
    """A value for every row of an image, the same for all images, as rotary positions are."""

    def call(self, x):
        return ops.cos(ops.arange(x.shape[1], dtype="float32"))

    def compute_output_shape(self, input_shape):
        return (input_shape[1],)


@pytest.mark.parametrize(("freeze", "names"), [("angles", ["image"]), ("first", ["first"])])
def test_what_is_the_same_for_all_images_is_a_constant_of_the_suffix(freeze, names):
    inputs = image()
    angles = Angles(name="angles")(inputs)
    x = layers.Conv2D(4, 1, name="first")(inputs)
    x = layers.Conv2D(2, 1, name="last")(x) * ops.reshape(ops.square(angles), (1, -1, 1, 1))
    model = keras.Model(inputs, x)
    cut = check_cut(model, freeze, *_sample(model))
    assert cut.cut_names == names


def test_a_tensor_without_a_batch_axis_cannot_be_cut_where_it_depends_on_the_image():
    inputs = image()
    x = layers.Conv2D(4, 1, name="first")(inputs)
    x = ops.mean(x, axis=0, keepdims=True)
    model = keras.Model(inputs, layers.Conv2D(2, 1, name="last")(x), name="odd")
    with pytest.raises(
        PluginError,
        match=r"'odd' must have only tensors of shape \(batch, \.\.\.\) at the cut, or the same "
        r"for all images, but '\w+' gives \(1, .*, 4\), and other values for other images\.",
    ):
        split(model, "first")


# --- training --------------------------------------------------------------------------------


def with_head(backbone, optimizer):
    x = layers.GlobalAveragePooling2D()(backbone.outputs[0])
    initial = keras.initializers.RandomUniform(-0.1, 0.1, seed=3)
    x = layers.Dense(2, kernel_initializer=initial)(x)
    inputs = backbone.inputs if len(backbone.inputs) > 1 else backbone.inputs[0]
    model = keras.Model(inputs, x)
    # eager: for a few batches, tracing a large graph takes far longer than running it
    model.compile(optimizer, "mse", run_eagerly=True)
    return model


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "freeze"),
    [
        *(("tiny", "block2_conv"), ("efficientnet_lite0", 0.8)),
        pytest.param("vgg16", 10, marks=pytest.mark.zoo),
    ],
)
def test_training_the_suffix_is_training_the_network(name, freeze):
    whole, cut_model = small(name), small(name)
    n_frozen = resolve_freeze(whole, freeze)
    for layer in whole.layers[:n_frozen]:
        layer.trainable = False
    cut = split(cut_model, freeze)
    before = [w.numpy() for layer in cut_model.layers[:n_frozen] for w in layer.weights]
    # in numpy as the store keeps them, before any training
    batches = [(pixels(whole, 4, seed), np.full((4, 2), seed, "float32")) for seed in range(3)]
    cached = [([np.asarray(t) for t in run(cut.prefix, x)], y) for x, y in batches]

    reference, trained = (
        with_head(model, keras.optimizers.SGD(0.05, momentum=0.9)) for model in (whole, cut.suffix)
    )
    losses = [reference.train_on_batch(x, y) for x, y in batches * 2]
    ours = [trained.train_on_batch(x if len(x) > 1 else x[0], y) for x, y in cached * 2]

    np.testing.assert_allclose(ours, losses, rtol=1e-4)
    for one, other in zip(whole.weights, cut_model.weights, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-5, err_msg=one.path)
    after = [w.numpy() for layer in cut_model.layers[:n_frozen] for w in layer.weights]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["vgg16", *(pytest.param(n, marks=pytest.mark.zoo) for n in ("resnet50", "inception_v3"))],
)
def test_freeze_10_trains_exactly_the_other_layers(name):
    model = small(name)
    cut = split(model, 10)
    before = [[w.numpy() for w in layer.weights] for layer in model.layers]
    x, y = pixels(model, 4), np.eye(2, dtype="float32")[[0, 1, 0, 1]]
    trained = with_head(cut.suffix, keras.optimizers.Adam(1e-3))
    activations = [np.asarray(t) for t in run(cut.prefix, x)]
    for _ in range(2):
        trained.train_on_batch(activations if len(activations) > 1 else activations[0], y)
    for i, (layer, old) in enumerate(zip(model.layers, before, strict=True)):
        changed = [not np.array_equal(w, o) for w, o in zip(layer.weights, old, strict=True)]
        if i < 10:
            assert not any(changed), layer.name
        elif layer.weights:
            assert any(changed), layer.name


def test_batch_statistics_of_frozen_layers_stand_still_and_others_move():
    model = small("tiny")
    # the first block stays in the prefix; the second's normalisation is trained
    cut = split(model, "block2_conv")
    trained = with_head(cut.suffix, keras.optimizers.SGD(0.05))
    statistics = {
        layer.name: layer.moving_mean.numpy() for layer in model.layers if "_bn" in layer.name
    }
    trained.train_on_batch(run(cut.prefix, pixels(model, 4)), np.ones((4, 2), "float32"))
    moved = {
        name: not np.array_equal(model.get_layer(name).moving_mean, old)
        for name, old in statistics.items()
    }
    assert moved == {"block1_bn": False, "block2_bn": True, "block3_bn": True}


# --- the parameter ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("freeze", "n"),
    [
        *(("all", 11), (0, 0), (1, 1), (11, 11), (np.int64(5), 5)),
        *((0.0, 0), (1.0, 11), (0.5, 6), (0.26, 3), (np.float32(0.5), 6)),
        *(("image", 1), ("block1_bn", 3), ("block3_relu", 11)),
    ],
)
def test_resolve_freeze(freeze, n):
    assert resolve_freeze(small("tiny"), freeze) == n


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        (12, r"an int in the range \[0, 11\], as 'tiny' has 11 layers\. Got 12 instead"),
        (-1, r"an int in the range \[0, 11\].* Got -1 instead"),
        (1.5, r"a float in the range \[0\.0, 1\.0\].* Got 1\.5 instead"),
        (float("nan"), r"a float in the range \[0\.0, 1\.0\].* Got nan instead"),
        (True, r"'all', an int, a float .* or a layer's name\. Got True instead"),
        (None, r"'all', an int, a float .* or a layer's name\. Got None instead"),
        ("block1_relus", r"one of the 11 layers of 'tiny', such as 'block1_relu', .* Got 'block1_"),
        ("zzz", r"one of the 11 layers of 'tiny', such as 'block1_conv', .* Got 'zzz' instead"),
    ],
)
def test_resolve_freeze_refuses(freeze, message):
    with pytest.raises(InvalidParameterError, match=message) as caught:
        resolve_freeze(small("tiny"), freeze)
    assert str(caught.value).startswith("The 'freeze' parameter of TransferClassifier must be ")
