"""Poolings of the last map and of every stage, the finder of stages, and the power."""

import itertools
import pickle

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers
from sklearn.base import clone
from sklearn.pipeline import FeatureUnion

from fundus import (
    FeatureExtractor,
    FoldEnsemble,
    LogisticHead,
    SoftmaxHead,
    TransferClassifier,
    load,
)
from fundus.backbones.build import build_backbone
from fundus.backbones.network import load_frozen
from fundus.backbones.pooling import POOLINGS, of_all_stages, pooled, signed_power
from fundus.backbones.splitting import graph_nodes
from fundus.backbones.stages import stage_outputs
from fundus.exceptions import InvalidParameterError
from fundus.frozen.work import work_done
from fundus.hookspecs import BackboneSpec
from fundus.images import ImageRecipe, load_image
from fundus.images.aperture import field_of_view
from fundus.plugins import get_registry

SMALL_HEAD = SoftmaxHead(units=4, layers=1, dropout=0.0)

#: The layers after which each family is down-sampled, read off the papers' tables and the graphs.
STAGES = {
    "efficientnet_lite0": "block2a_expand_activation block3a_expand_activation "
    "block4a_expand_activation block6a_expand_activation top_activation",
    "mobilenet_v2": "block_1_expand_relu block_3_expand_relu block_6_expand_relu "
    "block_13_expand_relu out_relu",
    "resnet50": "conv1_relu conv2_block3_out conv3_block4_out conv4_block6_out conv5_block3_out",
    "vgg16": "block1_conv2 block2_conv2 block3_conv3 block4_conv3 block5_conv3 block5_pool",
    # the strided paths of a block start at its input, or at what its first layers make of it
    "resnet50_v2": "conv1_conv conv2_block2_out conv3_block3_out conv4_block5_out post_relu",
    "densenet121": "conv1_relu pool2_conv pool3_conv pool4_conv relu",
    "convnext_tiny": "convnext_tiny_downsampling_layernorm_0 "
    "convnext_tiny_downsampling_layernorm_1 convnext_tiny_downsampling_layernorm_2 "
    "layer_normalization",
    "efficientnet_b0": "block2a_expand_activation block3a_expand_activation "
    "block4a_expand_activation block6a_expand_activation top_activation",
    "efficientnet_v2_b0": "block1a_project_activation block2b_add block4a_expand_activation "
    "block6a_expand_activation top_activation",
    # a cell reads the two before it, so no map is crossed by all paths
    "nasnet_mobile": "stem_bn1 reduction_concat_stem_1 normal_concat_3 normal_concat_8 activation",
    "xception": "block1_conv2_act add add add block14_sepconv2_act",
    "inception_v3": "activation activation mixed2 mixed7 mixed10",
    "inception_resnet_v2": "activation activation block35_10_ac block17_20_ac conv_7b_ac",
    "mobilenet": "conv_pw_1_relu conv_pw_3_relu conv_pw_5_relu conv_pw_11_relu conv_pw_13_relu",
    "mobilenet_v3_small": "activation re_lu activation activation activation",
}
#: Keras numbers these by what was built before.
UNNAMED = ("activation", "add", "layer_normalization", "re_lu")
QUICK = ("efficientnet_lite0", "mobilenet_v2", "vgg16")


def tiny(head="logistic", **options):
    return TransferClassifier("tiny", head, **({"weights": "fixed", "random_state": 0} | options))


def extractor(**options):
    return FeatureExtractor("tiny", **({"weights": "fixed", "cache": False} | options))


def over_positions(function, array):
    return function(array, axis=tuple(range(1, array.ndim - 1)))


# --- the last map ------------------------------------------------------------------------------

LAST = {
    "avg": lambda a: over_positions(np.mean, a),
    "max": lambda a: over_positions(np.max, a),
    "avg+max": lambda a: np.hstack([over_positions(np.mean, a), over_positions(np.max, a)]),
    "gem": lambda a: np.cbrt(over_positions(np.mean, np.maximum(a, 0.0) ** 3)),
    "std": lambda a: over_positions(np.std, a),
    "flatten": lambda a: a.reshape(len(a), -1),
}


@pytest.mark.parametrize("pooling", LAST)
@pytest.mark.parametrize("shape", [(4, 5, 3), (6, 3)])
def test_pooling_of_the_last_map(pooling, shape):
    inputs = keras.Input(shape)
    model = pooled(keras.Model(inputs, layers.Activation("linear")(inputs)), pooling)
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    np.testing.assert_allclose(model(x), LAST[pooling](x), rtol=1e-5, atol=1e-6)


def test_vectors_stay_and_unknown_words_are_refused():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, layers.ReLU()(inputs))
    assert pooled(model, "gem") is model
    message = r"The 'pooling' parameter .* 'avg', 'max', .* Got 'mean' instead"
    with pytest.raises(InvalidParameterError, match=message):
        pooled(model, "mean")
    with pytest.raises(InvalidParameterError, match=message):
        extractor(pooling="mean").fit(np.zeros((1, 32, 32, 3), np.uint8))


# --- every stage -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pooling", "functions"),
    [
        ("multilevel", "avg"),
        ("multilevel_max", "max"),
        ("multilevel_avg+max", "avg+max"),
        ("multilevel_std", "std"),
    ],
)
def test_multilevel_equals_a_computation_by_hand(pooling, functions):
    spec = get_registry().find("backbone", "efficientnet_lite0").spec
    network = build_backbone(spec, image_size=64)
    maps = [network.get_layer(name).output for name in STAGES["efficientnet_lite0"].split()]
    x = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("float32")
    by_hand = [LAST[functions](np.asarray(m)) for m in keras.Model(network.input, maps)(x)]
    found = pooled(network, pooling)(x)
    np.testing.assert_allclose(found, np.hstack(by_hand), rtol=1e-4, atol=1e-5)


def check_family(name):
    spec = get_registry().find("backbone", name).spec
    network = build_backbone(spec, weights=None)
    inputs, maps = stage_outputs(network)
    names = [tensor._keras_history.operation.name for tensor in maps]
    for name_found, wanted in zip(names, STAGES[name].split(), strict=True):
        assert name_found == wanted or (wanted in UNNAMED and name_found.startswith(wanted))
    edges = [tensor.shape[1] for tensor in maps]
    assert all(2 * b <= a + 1 for a, b in itertools.pairwise(edges))
    assert all(2 * b >= a - 5 for a, b in itertools.pairwise(edges))  # none is left out
    # so a frozen one is pooled over the field of view, without being built to find out
    assert all(len(tensor.shape) == 4 for tensor in maps)
    if name != "nasnet_mobile":
        flat = keras.Model(inputs[0], maps[-1])
        assert all(cuts(flat, tensor) for tensor in maps)


def cuts(network, tensor):
    """Whether the output cannot be reached from the input without a tensor."""
    reached = {id(t) for t in network.inputs}
    for node in graph_nodes(network):
        if any(id(t) in reached for t in node.input_tensors):
            reached |= {id(t) for t in node.outputs} - {id(tensor)}
    return id(network.outputs[0]) not in reached


@pytest.mark.parametrize("name", QUICK)
def test_stages(name):
    check_family(name)


@pytest.mark.zoo
@pytest.mark.parametrize("name", sorted(set(STAGES) - set(QUICK)))
def test_stages_of_every_family(name):
    check_family(name)


def convolution(x, channels, stride=1):
    return layers.Conv2D(channels, 3, stride, padding="same", activation="relu")(x)


def widths(model):
    return [tuple(tensor.shape[1:]) for tensor in stage_outputs(model)[1]]


def test_a_block_ends_with_its_sum_and_gates_are_no_stages():
    x = inputs = keras.Input((32, 32, 3))
    x = convolution(layers.ZeroPadding2D()(layers.Rescaling(2.0)(x)), 4, 2)
    x = layers.Add()([x, convolution(convolution(x, 8), 4)])
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = layers.Multiply()([x, layers.Conv2D(4, 1, activation="sigmoid")(gate)])
    wide = convolution(x, 16)  # later than the shortcut, and no end of the stage
    x = layers.Add()([convolution(x, 5, 2), convolution(wide, 5, 2)])
    assert widths(keras.Model(inputs, x)) == [(17, 17, 4), (9, 9, 5)]


def nested(wrap):
    inner_inputs = keras.Input((16, 16, 4))
    y = layers.Dropout(0.5)(convolution(inner_inputs, 6))
    inner = keras.Model(inner_inputs, convolution(y, 7, 2))
    x = inputs = keras.Input((32, 32, 3))
    x = convolution(x, 4, 2)
    x = wrap(inner)(x)
    return keras.Model(inputs, convolution(x, 8, 2))


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: keras.Sequential([m])])
def test_nested_models_are_looked_into(wrap):
    model = nested(wrap)
    assert widths(model) == [(16, 16, 6), (8, 8, 7), (4, 4, 8)]
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    features = np.asarray(pooled(model, "multilevel")(x))
    assert features.shape == (2, 21)
    np.testing.assert_allclose(features[:, 13:], LAST["avg"](np.asarray(model(x))), rtol=1e-5)


class Doubled(keras.Model):
    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(inputs)


def test_a_nested_model_with_a_call_of_its_own_is_one_step():
    def wrap(model):
        return Doubled(model.inputs[0], model.outputs[0])

    model = nested(wrap)
    assert widths(model) == [(16, 16, 4), (8, 8, 7), (4, 4, 8)]
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    features = np.asarray(pooled(model, "multilevel")(x))
    np.testing.assert_allclose(features[:, -8:], LAST["avg"](np.asarray(model(x))), rtol=1e-5)


def transformer():
    x = inputs = keras.Input((32, 32, 3))
    x = layers.Reshape((16, 8))(layers.Conv2D(8, 8, 8)(x))
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(x, x)])
    return keras.Model(inputs, layers.LayerNormalization()(x), name="vit")


def test_a_network_of_one_stage_is_refused_with_advice():
    model = transformer()
    assert widths(model) == [(16, 8)]
    assert pooled(model, "avg+max").output_shape == (None, 16)
    with pytest.raises(InvalidParameterError, match=r"must be 'avg', .*'vit', .* has one stage"):
        pooled(model, "multilevel")


def test_a_vector_takes_the_place_of_the_last_map():
    x = inputs = keras.Input((32, 32, 3))
    x = convolution(convolution(x, 4, 2), 5, 2)
    x = layers.GlobalAveragePooling2D()(x)
    assert widths(keras.Model(inputs, x)) == [(16, 16, 4), (5,)]


# --- some stages -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stages", "chosen"),
    [
        (":-1", [0, 1]),
        ("1:", [1, 2]),
        ("::2", [0, 2]),
        ("-1", [2]),
        ("2,0,0", [0, 2]),
        (None, [0, 1, 2]),
    ],
)
def test_stages_by_number(stages, chosen):
    model = nested(lambda m: m)
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    parts = np.split(np.asarray(pooled(model, "multilevel")(x)), [6, 13], axis=1)
    found = pooled(model, "multilevel", stages=stages)(x)
    np.testing.assert_allclose(found, np.hstack([parts[k] for k in chosen]), rtol=1e-5)


def test_stages_by_name_are_kept_by_number(photographs):
    spec = get_registry().find("backbone", "tiny").spec
    first, _ = stage_outputs(build_backbone(spec, weights=None))[1]
    named = extractor(pooling="multilevel", stages=[first._keras_history.operation.name])
    F = named.fit_transform(photographs.paths[:2])
    assert named.frozen_.network.stages == "0"
    assert np.array_equal(
        F, extractor(pooling="multilevel", stages=[0]).fit_transform(photographs.paths[:2])
    )
    assert F.shape == (2, 8)


@pytest.mark.parametrize("stages", [[2], -3, "block9", slice(5, None), [0, "x"]])
def test_a_stage_that_there_is_not_is_refused_with_those_that_there_are(photographs, stages):
    message = r"'stages' parameter .* 'tiny', which has 2 \(0 '\w+' 16x16x8, 1 '\w+' 8x8x16\)"
    with pytest.raises(InvalidParameterError, match=message):
        extractor(pooling="multilevel", stages=stages).fit_transform(photographs.paths[:1])


@pytest.mark.parametrize("stages", [True, [], "0,1", 1.0, [None], slice("a", None), slice(0, 1, 0)])
def test_what_are_no_stages(photographs, stages):
    with pytest.raises(InvalidParameterError, match="'stages' .* None, a slice, or numbers or nam"):
        extractor(pooling="multilevel", stages=stages).fit(photographs.paths[:1])


def test_stages_need_a_multilevel_pooling(photographs):
    message = r"'stages' .* None unless 'pooling' is one of 'multilevel', .*pooling='std'"
    with pytest.raises(InvalidParameterError, match=message):
        extractor(pooling="std", stages=[0]).fit(photographs.paths[:1])
    with pytest.raises(InvalidParameterError, match="'stages' parameter .* must be None"):
        TransferClassifier("precomputed", stages=[0]).fit(np.eye(4), [0, 1, 0, 1])


# --- the field of view -------------------------------------------------------------------------


def area_of(mask, height, width):
    """Share of each cell that is in the mask, by counting on a grid fine enough for all."""
    size = mask.shape[-1]
    fine = np.repeat(np.repeat(mask.astype(float), height, -2), width, -1)
    return fine.reshape(-1, height, size, width, size).mean(axis=(2, 4))


def weighted(how, a, w):
    """Poolings by hand: maps (n, positions, channels) and weights (n, positions)."""
    if how == "avg+max":
        return np.hstack([weighted("avg", a, w), weighted("max", a, w)])
    if how == "max":
        least = np.minimum(0.5, w.max(axis=1))
        return np.stack([x[v >= k].max(axis=0) for x, v, k in zip(a, w, least, strict=True)])
    if how == "flatten":
        return (a * w[..., None]).reshape(len(a), -1)
    if how == "gem":
        return np.cbrt(weighted("avg", np.maximum(a, 0) ** 3, w))
    mean = np.stack([np.average(x, axis=0, weights=v) for x, v in zip(a, w, strict=True)])
    if how == "avg":
        return mean
    return np.sqrt(weighted("avg", (a - mean[:, None]) ** 2, w))


def masks_of(size, n=3):
    rows, columns = np.mgrid[:size, :size]
    made = [np.hypot(rows - 0.4 * size, columns - 0.5 * size) < r * size for r in (0.5, 0.3)]
    made.append((rows == 0) & (columns < 2))  # less than half of any position
    return np.stack(made)[:n]


LAST_ONLY = [how for how in POOLINGS if not of_all_stages(how)]


@pytest.mark.parametrize("how", LAST_ONLY)
@pytest.mark.parametrize("shape", [(5, 7, 3), (4, 4, 3), (1, 1, 3)])
def test_pooling_over_the_field_of_view(how, shape):
    height, width, channels = shape
    inputs = keras.Input((18, 18, 3))
    maps = layers.Resizing(height, width)(inputs)
    model = pooled(keras.Model(inputs, maps), how, pool_over="fov")
    x = np.random.default_rng(0).normal(size=(3, 18, 18, 3)).astype("float32")
    masks = masks_of(18)
    a = np.asarray(keras.Model(inputs, maps)(x), np.float64).reshape(3, -1, channels)
    expected = weighted(how, a, area_of(masks, height, width).reshape(3, -1))
    found = model.predict_on_batch([x, masks])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("how", LAST_ONLY)
def test_a_mask_of_everything_or_of_nothing_is_pooling_over_all(how):
    inputs = keras.Input((12, 12, 3))
    network = keras.Model(inputs, layers.Conv2D(4, 3, 3)(inputs))
    x = np.random.default_rng(0).normal(size=(2, 12, 12, 3)).astype("float32")
    masks = np.stack([np.ones((12, 12), bool), np.zeros((12, 12), bool)])
    found = pooled(network, how, pool_over="fov").predict_on_batch([x, masks])
    np.testing.assert_allclose(found, pooled(network, how)(x), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_every_stage_has_its_own_weights():
    spec = get_registry().find("backbone", "efficientnet_lite0").spec
    network = build_backbone(spec, image_size=64)
    maps = [network.get_layer(name).output for name in STAGES["efficientnet_lite0"].split()]
    x = np.random.default_rng(0).normal(size=(3, 64, 64, 3)).astype("float32")
    masks, outputs = masks_of(64), [np.asarray(m) for m in keras.Model(network.input, maps)(x)]
    for how in ("multilevel_max", "multilevel_std"):
        by_hand = [
            weighted(
                how.partition("_")[2] or "avg",
                a.reshape(3, -1, a.shape[-1]),
                area_of(masks, *a.shape[1:3]).reshape(3, -1),
            )
            for a in outputs
        ]
        found = pooled(network, how, pool_over="fov")([x, masks])
        np.testing.assert_allclose(found, np.hstack(by_hand), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("extras", [0, 1, 5])
@pytest.mark.parametrize("how", ["avg", "max", "std", "flatten"])
def test_patches_of_tokens_are_selected(how, extras):
    inputs = keras.Input((16, 16, 3))
    patches = layers.Reshape((16, 6))(layers.Conv2D(6, 4, 4)(inputs))
    tokens = layers.Concatenate(axis=1)([patches[:, :extras] + 9.0, patches]) if extras else patches
    network = keras.Model(inputs, tokens)
    x = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
    a, masks = np.asarray(network(x)), masks_of(16, 2)
    expected = weighted(how, a[:, extras:], area_of(masks, 4, 4).reshape(2, -1))
    if how == "flatten":
        expected = np.hstack([a[:, :extras].reshape(2, -1), expected])
    found = pooled(network, how, pool_over="fov").predict_on_batch([x, masks])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def blackened(pictures, share):
    """The same photographs through a smaller aperture."""
    size = pictures.shape[1]
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    return np.where((np.hypot(rows, columns) < share * size / 2)[..., None], pictures, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "size", "options"),
    [
        ("tiny", 64, {"weights": "fixed", "stages": [0]}),
        ("efficientnet_lite0", 96, {"stages": [0, 1]}),
    ],
)
def test_features_move_less_with_the_aperture(photographs, backbone, size, options):
    """Those of early stages: a position of the last map sees the border from everywhere."""
    options = {"pooling": "multilevel", **options}
    whole = np.stack([load_image(path, ImageRecipe(size)) for path in photographs.paths[:8]])
    smaller = blackened(whole, 0.8).astype(np.uint8)
    moved = {}
    for place in ("fov", "all"):
        extract = FeatureExtractor(
            backbone, image_size=size, crop=None, pool_over=place, cache=False, **options
        ).fit(whole)
        F, G = extract.transform(whole), extract.transform(smaller)
        spread = F.std(axis=0).mean()  # how far photographs are from each other
        moved[place] = np.abs((G - F).mean(axis=0)).mean() / spread
    assert moved["fov"] < 0.5 * moved["all"]


@pytest.mark.slow
def test_auto_is_the_field_of_view_of_frozen_maps_alone(photographs):
    X, y = photographs.paths[:20], photographs.grades[:20]
    model = tiny(pool_over="auto").fit(X, y)
    assert model.frozen_.network.pool_over == "fov"
    assert model.plan_.cut == "all layers of tiny, avg pooling over the field of view"
    trained = tiny(SMALL_HEAD, freeze=5, epochs=1, pool_over="auto").fit(X, y)
    assert trained.frozen_.network.pool_over == "all"
    assert "then trained layers and avg pooling over all positions" in trained.plan_.cut
    everywhere = tiny(pool_over="all", pooling="multilevel", stages=[1]).fit(X, y)
    assert everywhere.plan_.cut.endswith("multilevel pooling of stages 1 over all positions")


def test_auto_is_all_for_tokens_and_vectors(photographs):
    X = np.stack([load_image(path, ImageRecipe(32)) for path in photographs.paths[:3]])
    spec = BackboneSpec.from_model(transformer(), normalise="tf")

    def made(**options):
        how = {"cache": False, "crop": None, **options}
        return FeatureExtractor(options.pop("backbone", spec), **how).fit(X)

    auto, fov, everywhere = made(pool_over="auto"), made(pool_over="fov"), made(pool_over="all")
    assert auto.frozen_.key() == everywhere.frozen_.key() != fov.frozen_.key()
    assert np.array_equal(auto.transform(X), everywhere.transform(X))
    tokens = transformer()
    tokens.set_weights(load_frozen(auto.network_).get_weights())
    a = np.asarray(tokens(auto.frozen_.normaliser.apply(X)))
    expected = weighted("avg", a, area_of(field_of_view(X), 4, 4).reshape(3, -1))
    np.testing.assert_allclose(fov.transform(X), expected, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_pooled_over_the_field_of_view(photographs):
    X, y = photographs.paths, photographs.grades
    with pytest.raises(InvalidParameterError, match=r"'pool_over' .* unless freeze='all', as .*=5"):
        tiny(SMALL_HEAD, freeze=5, pool_over="fov").fit(X, y)
    with pytest.raises(InvalidParameterError, match="'pool_over' .* for backbone='precomputed'"):
        TransferClassifier("precomputed", pool_over="fov").fit(np.eye(4), [0, 1, 0, 1])
    with pytest.raises(InvalidParameterError, match="'pool_over' .* one of 'auto', 'fov', 'all'"):
        extractor(pool_over="disc").fit(X[:1])
    inputs = keras.Input((32, 32, 3))
    vector = keras.Model(inputs, layers.GlobalAveragePooling2D()(inputs), name="vector")
    odd = keras.Model(inputs, layers.Reshape((350, 8))(layers.Cropping1D((0, 272))(
        layers.Reshape((3072, 1))(inputs))), name="odd")  # fmt: skip
    for network, what in ((vector, "a vector without"), (odd, "350 tokens, no square")):
        spec = BackboneSpec.from_model(network, normalise="tf")
        with pytest.raises(InvalidParameterError, match=f"'auto' or 'all' .* gives {what}"):
            FeatureExtractor(spec, pool_over="fov", cache=False).fit(X[:1])


def test_the_key_of_all_positions_is_that_of_earlier_releases(photographs):
    import hashlib
    import json

    from fundus.backbones.network import release_of, weights_identity
    from fundus.frozen.function import _origin

    def key_then(frozen):
        network = frozen.network
        what = {
            "backbone": "tiny", "origin": _origin("tiny"), "keras": release_of("keras"),
            "tensorflow": release_of("tensorflow"), "precision": "float32",
            "weights": weights_identity(network), "image": frozen.recipe.key(),
            "normaliser": frozen.normaliser.key(), "freeze": "str all", "pooling": "multilevel",
        }  # fmt: skip
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()

    X, keys = photographs.paths[:1], []
    for place, stages in (("all", None), ("fov", None), ("fov", [0]), ("all", [0])):
        frozen = extractor(pooling="multilevel", pool_over=place, stages=stages).fit(X).frozen_
        keys.append(frozen.key())
        assert (frozen.key() == key_then(frozen)) == (place == "all" and stages is None)
    assert len(set(keys)) == 4


# --- the estimators ----------------------------------------------------------------------------


def test_signed_power():
    x = np.array([[-4.0, 0.0, 9.0]], np.float32)
    assert signed_power(x, None) is x
    root = signed_power(x, 0.5)
    assert root.dtype == np.float32
    assert root.tolist() == [[-2.0, 0.0, 3.0]]


def test_one_entry_of_the_store_serves_all_powers(photographs, tmp_path):
    plain, root = (extractor(cache=tmp_path, pooling="multilevel", power=p) for p in (None, 0.5))
    F = plain.fit_transform(photographs.paths[:6])
    before = work_done["forward_passes"]
    G = root.fit_transform(photographs.paths[:6])
    assert work_done["forward_passes"] == before
    np.testing.assert_allclose(G, np.sqrt(F), rtol=1e-6)
    assert F.shape == (6, 24)  # 8 of the first stage, 16 of the second
    np.testing.assert_allclose(
        F[:, 8:], extractor().fit_transform(photographs.paths[:6]), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("power", [0, -0.5, 2, "sqrt", True])
def test_powers_that_are_none(power):
    with pytest.raises(InvalidParameterError, match=r"'power' parameter of FeatureExtractor must"):
        extractor(power=power).fit(np.zeros((1, 32, 32, 3), np.uint8))


def test_names_of_features_and_frames(photographs):
    both = FeatureUnion(
        [("last", extractor()), ("all", extractor(pooling="multilevel", power=0.5))]
    ).set_output(transform="pandas")
    X = both.fit_transform(photographs.paths[:3])
    assert isinstance(X, pd.DataFrame)
    names = both.get_feature_names_out().tolist()
    assert X.columns.tolist() == names
    assert len(names) == 16 + 24
    assert names[16] == "all__featureextractor0"


def test_extractors_clone_and_pickle(photographs):
    model = clone(extractor(pooling="multilevel_avg+max", power=0.25)).fit(photographs.paths[:3])
    again = pickle.loads(pickle.dumps(model))
    X = photographs.paths[:3]
    assert np.array_equal(again.transform(X), model.transform(X))
    assert again.get_feature_names_out().shape == (48,)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "options"),
    [
        ("logistic", {"pooling": "multilevel_max"}),
        (SMALL_HEAD, {"pooling": "multilevel", "freeze": 1.0, "epochs": 1}),
        (SMALL_HEAD, {"pooling": "flatten", "epochs": 1}),
        (SMALL_HEAD, {"pooling": "gem", "augment": True, "epochs": 1}),
        ("ridge", {"pooling": "multilevel_std", "stages": slice(None, -1), "pool_over": "all"}),
    ],
    ids=["estimator", "neural", "streamed", "live", "stages"],
)
def test_classifiers_with_a_power_predict_the_same_after_loading(
    photographs, tmp_path, head, options
):
    X, y = photographs.paths, photographs.grades
    model = tiny(head, power=0.5, **options).fit(X, y)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.get_params()["power"] == 0.5
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))
    (source,) = model.read_images(X).sources.values()
    features = {k: options[k] for k in ("pooling", "stages", "pool_over") if k in options}
    assert features.items() <= again.get_params().items()
    first = extractor(power=0.5, **features).fit_transform(X[:2])
    np.testing.assert_allclose(source.batch(np.arange(2), None)[0], first, rtol=1e-4, atol=1e-5)


def test_the_classifier_is_the_extractor_and_the_head(photographs):
    X, y = photographs.paths, photographs.grades
    how = {"pooling": "multilevel", "power": 0.5}
    joined = tiny(LogisticHead(), **how).fit(X, y)
    apart = TransferClassifier("precomputed", LogisticHead(), random_state=0)
    F = extractor(**how).fit_transform(X)
    assert np.allclose(joined.predict_proba(X), apart.fit(F, y).predict_proba(F), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["avg+max", "gem"])
def test_poolings_of_a_trained_network(photographs, pooling):
    model = tiny(SMALL_HEAD, freeze=5, epochs=2, pooling=pooling)
    model.fit(photographs.paths, photographs.grades)
    assert np.isfinite(model.history_["loss"]).all()
    assert np.isfinite(model.predict_proba(photographs.paths)).all()


def test_what_needs_a_frozen_network(photographs):
    X, y = photographs.paths, photographs.grades
    with pytest.raises(InvalidParameterError, match=r"'pooling' .* unless freeze='all'.*freeze=5"):
        tiny(SMALL_HEAD, freeze=5, pooling="multilevel").fit(X, y)
    with pytest.raises(InvalidParameterError, match=r"'power' .* unless freeze='all'.*Got 0.5"):
        tiny(SMALL_HEAD, freeze=5, power=0.5).fit(X, y)
    with pytest.raises(InvalidParameterError, match="'power' parameter .* must be None"):
        TransferClassifier("precomputed", power=0.5).fit(np.eye(4), [0, 1, 0, 1])


def test_an_ensemble_does_not_share_features_between_powers(photographs):
    X, y = photographs.paths, photographs.grades
    models = [tiny(power=power).fit(X, y) for power in (None, 0.5)]
    ensemble = FoldEnsemble(tiny(), cv=2, voting="soft").fit(X, y)
    ensemble.estimators_ = models[:1] * 2
    assert len(ensemble.read_images(X).sources) == 1
    ensemble.estimators_ = models
    assert not ensemble.read_images(X).sources
    apart = np.mean([model.predict_proba(X) for model in models], axis=0)
    np.testing.assert_allclose(ensemble.predict_proba(X), apart, atol=1e-9)
