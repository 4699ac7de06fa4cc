"""The plugin as its users meet it; presets are written here, with random weights."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from fundus_keras_hub import preset_backbone
from fundus_keras_hub.preset import Preset, rescaling
from fundus_keras_hub.specs import local_backbones, registered_backbones
from fundus_keras_hub.table import FAMILIES, PRESETS

from fundus.backbones.build import build_backbone
from fundus.backbones.splitting import split
from fundus.exceptions import (
    BundleError,
    FundusWarning,
    InvalidParameterError,
    WeightsNotAvailableError,
)
from fundus.plugins import get_registry, registry
from fundus.testing import check_plugin
from fundus.testing.probes import probe_images

sys.path.insert(0, str(Path(__file__).parent))
from families import SIZES, save_preset
from registry import rows

#: What the converters of keras-hub's presets do: ImageNet's statistics, -1 to 1, nothing.
CONVERTERS = {
    "imagenet": {
        "scale": [1 / 255 / s for s in (0.229, 0.224, 0.225)],
        "offset": [-2.117904, -2.035714, -1.804444],
    },
    "half": {"scale": 1 / 127.5, "offset": -1.0},
    "scale_only": {"scale": 1 / 255.0},
    "as_it_is": {},
}

#: What they make of a pixel of 0, 51 and 255, computed by hand.
GOLDEN = {
    "imagenet": [-2.117904, -1.142857, 2.64],
    "half": [-1.0, -0.6, 1.0],
    "scale_only": [0.0, 0.2, 1.0],
    "as_it_is": [0.0, 51.0, 255.0],
}


@pytest.fixture(autouse=True)
def _nothing_of_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv("FUNDUS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kaggle"))
    monkeypatch.delenv("FUNDUS_KERAS_HUB_PRESETS", raising=False)


def test_it_is_installed_and_loads():
    (status,) = [s for s in get_registry().statuses if s.distribution == "fundus-keras-hub"]
    assert (status.name, status.state) == ("keras_hub", "loaded"), status.details
    assert len(status.offers) == len(PRESETS)


def test_the_table_is_keras_hubs_registry():
    assert [tuple(row) for row in PRESETS] == list(rows(FAMILIES))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_class_of_backbone(tmp_path, family):
    """The features are the unwrapped backbone's, whole and cut."""
    whole = save_preset(tmp_path / "small", family, scale=1 / 255.0)
    spec = preset_backbone(tmp_path / "small")
    model = build_backbone(spec, weights="preset")
    assert model.count_params() == spec.parameters == whole.count_params()
    x = spec.normalise(probe_images(2, spec.image_size))
    inputs = dict.fromkeys(whole.input, x) if isinstance(whole.input, dict) else x
    expected = whole(inputs, training=False)
    np.testing.assert_allclose(model(x, training=False), expected, atol=1e-6)
    for n_frozen in {2, len(model.layers) // 2, len(model.layers) - 1}:
        parts = split(model, n_frozen)
        middle = x if parts.prefix is None else parts.prefix(x, training=False)
        np.testing.assert_allclose(parts.suffix(middle, training=False), expected, atol=1e-5)


@pytest.fixture
def check_presets(tmp_path, monkeypatch):
    """Return a function that checks the plugin, and of its backbones presets written here.

    Those of the table cannot be built without their files.
    """
    monkeypatch.setenv("FUNDUS_KERAS_HUB_PRESETS", str(tmp_path / "presets"))

    def check(families):
        golden = probe_images(3, 8) / 127.5 - 1
        options = {}
        for family in families:
            folder = tmp_path / "presets" / family.removesuffix("Backbone").lower()
            save_preset(
                folder, family, image_size=SIZES.get(family, (64, 64)), **CONVERTERS["half"]
            )
            options[f"backbone:{folder.name}"] = {"weights": "preset", "golden": golden}
        check_plugin("fundus-keras-hub", only=options, options=options)

    # the registry of this process is kept, and must not keep these presets
    registry._loaded.cache_clear()
    yield check
    registry._loaded.cache_clear()


def test_the_plugin_keeps_the_contract(check_presets):
    check_presets(["VGGBackbone", "ViTBackbone"])


@pytest.mark.zoo
def test_the_plugin_keeps_the_contract_with_every_class_of_backbone(check_presets):
    check_presets(FAMILIES)


@pytest.mark.parametrize("name", CONVERTERS)
def test_preprocessing_is_the_presets_own(tmp_path, name):
    from keras_hub.layers import VGGImageConverter

    converter = VGGImageConverter(**CONVERTERS[name])
    converter.save_to_preset(tmp_path)
    preset = Preset("small", str(tmp_path))
    images = probe_images(4, 8)
    np.testing.assert_allclose(preset.normalise(images), np.asarray(converter(images)), atol=1e-5)
    pixel = np.array([[[[0, 51, 255]]]], np.uint8)
    np.testing.assert_allclose(preset.normalise(pixel).ravel(), GOLDEN[name], rtol=1e-4)


def test_preprocessing_of_older_presets():
    from keras_hub.layers import VGGImageConverter

    old = {"scale": 1 / 255, "mean": [0.4, 0.5, 0.6], "variance": [0.04, 0.05, 0.06]}
    converter = VGGImageConverter(**old)
    scale, offset = rescaling(old)
    np.testing.assert_allclose(scale, converter.scale)
    np.testing.assert_allclose(offset, converter.offset)


def test_without_its_converter_a_preset_is_refused(tmp_path):
    save_preset(tmp_path / "small", "VGGBackbone")
    with pytest.raises(WeightsNotAvailableError, match=r"no file 'image_converter\.json'"):
        preset_backbone(tmp_path / "small")


def test_a_folder_of_presets(tmp_path, monkeypatch):
    home = tmp_path / "presets"
    save_preset(home / "vgg_16_imagenet", "VGGBackbone", **CONVERTERS["half"])
    save_preset(home / "My Net", "VGGBackbone", image_size=(48, 48))
    (home / "broken").mkdir()
    (home / "broken" / "config.json").write_text("{}")
    monkeypatch.setenv("FUNDUS_KERAS_HUB_PRESETS", str(home))
    with pytest.warns(FundusWarning, match="'broken' has a 'config.json' that is not of keras-hub"):
        specs = {spec.name: spec for spec in local_backbones()}
    assert set(specs) == {"my_net", "vgg_16_imagenet"}
    assert specs["my_net"].image_size == 48
    # two folders side by side differ, as does their preprocessing
    pixel = np.full((1, 1, 1, 3), 255, np.uint8)
    assert specs["my_net"].normalise(pixel).max() == 255
    assert specs["vgg_16_imagenet"].normalise(pixel).max() == 1


def test_a_preset_that_cannot_be_had(monkeypatch):
    import kagglehub

    def offline(handle, path):
        raise OSError("no route")

    monkeypatch.setattr(kagglehub, "model_download", offline)
    spec = {spec.name: spec for spec in registered_backbones()}["vgg_11_imagenet"]
    assert spec.weights_path("preset") is None
    wanted = "vgg_11_imagenet' is not on this machine.*no route.*FUNDUS_KERAS_HUB_PRESETS"
    for weights in ("preset", None):
        with pytest.raises(WeightsNotAvailableError, match=wanted):
            build_backbone(spec, weights=weights)
    with pytest.raises(WeightsNotAvailableError, match=wanted):
        spec.normalise(probe_images(1, 8))


def test_a_download_is_used_where_kagglehub_left_it(tmp_path):
    from kagglehub import cache
    from kagglehub.handle import parse_model_handle

    row = next(row for row in PRESETS if row.name == "vgg_11_imagenet")
    preset, handle = Preset(row.name, row.handle), parse_model_handle(row.handle)
    path = Path(cache.get_cached_path(handle, "config.json"))
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    assert preset.file("config.json", download=False) is None  # half a download
    cache.Cache().mark_as_complete(handle, "config.json")
    assert preset.file("config.json", download=False) == path
    cache.Cache().mark_as_incomplete(handle, "config.json")
    cache.Cache().mark_as_complete(handle)
    assert preset.file("config.json", download=False) == path


def test_what_is_no_vision_backbone(tmp_path):
    save_preset(tmp_path / "small", "VGGBackbone", scale=1.0)
    path = tmp_path / "small" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"class_name": "BertBackbone"}))
    with pytest.raises(BundleError, match="holds a BertBackbone, which is none of the vision"):
        preset_backbone(tmp_path / "small")
    path.write_text("no JSON")
    with pytest.raises(BundleError, match="is no JSON"):
        preset_backbone(tmp_path / "small")


def test_learned_positions_fix_the_image_size(tmp_path):
    save_preset(tmp_path / "small", "ViTBackbone", scale=1.0)
    spec = preset_backbone(tmp_path / "small")
    assert spec.min_image_size == spec.image_size == 64
    with pytest.raises(InvalidParameterError, match=r"cannot be built with image_size=96"):
        build_backbone(spec, image_size=96, weights="preset")
