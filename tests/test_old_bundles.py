"""Models that format 1 wrote predict what they did, though their names mean something else now."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.base import clone

import fundus
from fundus.backbones.network import load_frozen
from fundus.exceptions import BundleError
from fundus.images import ImageRecipe, prepare_array
from fundus.plugins import registry
from fundus.saving.bundle import FORMAT

# they are written once, and read with every scikit-learn that comes after
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")
STORED = Path(__file__).parent / "data" / "format1"
NAMES = ["backbone", "ben_graham", "corpus_mean", "image_mean"]


@pytest.fixture(scope="module")
def photos():
    return np.load(STORED / "photographs.npz")["images"]


@pytest.fixture(scope="module")
def expected():
    return dict(np.load(STORED / "expected.npz"))


def loaded(name, folder=STORED):
    model = fundus.load(folder / name)
    model.cache = False
    return model


def as_then(name, images, state):
    """What the network got from format 1, float32."""
    x = images.astype(np.float32)
    if name == "backbone":
        return x / np.float32(127.5) - np.float32(1)
    if name == "corpus_mean":
        return x - np.asarray(state["mean"], np.float32)
    if name == "image_mean":
        means = [image.mean(axis=(0, 1), dtype=np.float64) for image in x]
        return np.stack([i - m.astype(np.float32) for i, m in zip(x, means, strict=True)])
    blurred = np.stack([cv2.GaussianBlur(image, (0, 0), 32 / 30) for image in x])
    return np.clip(4.0 * (x - blurred) + 128.0, 0.0, 255.0)


@pytest.mark.parametrize("name", NAMES)
def test_stored_models_predict_the_same_bits(photos, expected, name):
    record = json.loads((STORED / name / "model.json").read_text())
    assert record["format"] == 1 < FORMAT
    model = loaded(name)
    found = {
        "proba": model.predict_proba(photos),
        "severity": model.predict_severity(photos),
        "grade": model.predict(photos),
    }
    # another processor adds up in another order; the model without any step tells whether this one
    # does, and then the next test holds
    here = np.array_equal(loaded("backbone").predict_proba(photos), expected["backbone_proba"])
    for what, values in found.items():
        stored = expected[f"{name}_{what}"]
        np.testing.assert_allclose(values, stored, rtol=0, atol=1e-3)
        assert not here or np.array_equal(values, stored), what


@pytest.mark.parametrize("name", NAMES)
def test_their_networks_get_the_same_input(photos, name):
    model = loaded(name)
    images = np.stack([prepare_array(photo, ImageRecipe(32, "fov")) for photo in photos])
    state = dict(json.loads((STORED / name / "model.json").read_text())["model"]["frozen"]["state"])
    x = as_then(name, images, state)
    assert np.array_equal(model.frozen_.normaliser.apply(images), x)
    # over all positions, also where the estimator is fitted again
    assert model.frozen_.network.pool_over == model.get_params()["pool_over"] == "all"
    padded = np.concatenate([x, np.repeat(x[:1], 32 - len(x), axis=0)])
    features = load_frozen(model.frozen_.network).predict_on_batch(padded)[: len(x)]
    if name == "image_mean":  # a ridge regression
        found, wanted = model.head_.estimator.predict(features), model.predict_severity(photos)
    else:
        found, wanted = model.head_.estimator.predict_proba(features), model.predict_proba(photos)
    np.testing.assert_allclose(wanted, found, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_saved_again_they_stay_as_they_are(photos, name, tmp_path):
    model = loaded(name)
    model.save(tmp_path / name)
    record = json.loads((tmp_path / name / "model.json").read_text())
    assert record["format"] == FORMAT
    frozen = record["model"]["frozen"]
    assert (frozen["normalise"], frozen["photometric"]) == (name.replace("backbone", "tf"), None)
    again = loaded(name, tmp_path)
    assert np.array_equal(again.predict_proba(photos), model.predict_proba(photos))


def test_a_new_fit_has_the_scale_of_its_network(photos, tmp_path):
    old = loaded("ben_graham")
    with pytest.warns(FutureWarning, match="photometric='ben_graham'"):
        new = clone(old).fit(photos, [0, 1, 2, 3, 4, 4])
    assert new.frozen_.normaliser.function == "tf"
    new.save(tmp_path / "new")
    frozen = json.loads((tmp_path / "new" / "model.json").read_text())["model"]["frozen"]
    assert frozen["normalise"] == "tf"
    assert frozen["photometric"]["name"] == "ben_graham"
    again = loaded("new", tmp_path)
    assert np.array_equal(again.predict_proba(photos), new.predict_proba(photos))
    made = again.frozen_.normaliser.apply(photos)
    assert -1 <= made.min() < made.max() <= 1


def test_a_step_that_became_another_kind_is_told(photos, tmp_path, install):
    code = (
        "import numpy as np\n"
        "from fundus.hookspecs import PreprocessorSpec, hookimpl\n"
        "def apply(images):\n"
        "    return {}\n"
        "@hookimpl\n"
        "def fundus_preprocessors():\n"
        "    return [PreprocessorSpec(name='green', apply=apply, description='One.', kind='{}')]\n"
    )
    place = install("eyes", code.format("images / np.float32(255)", "scale"), folder="first")
    model = fundus.TransferClassifier(
        "tiny", "logistic", weights="fixed", normalise="eyes/green", cache=False, random_state=0
    )
    model.fit(photos, [0, 1] * 3).save(tmp_path / "model")
    plugin = next(place.glob("fake_plugin_*.py"))
    plugin.write_text(code.format("images[..., [1, 1, 1]]", "photometric"))
    sys.modules.pop(plugin.stem)
    registry._loaded.cache_clear()
    with pytest.raises(BundleError, match="'eyes/green' of dist-eyes 1.0.*of another kind"):
        fundus.load(tmp_path / "model")
