"""The plugin as its users meet it: installed, found by name, next to the built-in entries."""

import numpy as np
import pytest
from fundus_example import green_clahe
from fundus_example.heads import SoftLabelsHead
from sklearn.model_selection import GridSearchCV, StratifiedKFold

import fundus
from fundus.plugins import get_registry
from fundus.testing import check_plugin

#: Rows of the green channel of ``probe_images(3, 8)`` after equalisation: a ramp from top to
#: bottom, black and white. They must never change under one name.
GOLDEN_ROWS = np.array(
    [[128, 191, 160, 191, 223, 255, 223, 255], [128] * 8, [255] * 8], dtype=np.float64
)
GOLDEN_BYTES = np.broadcast_to(GOLDEN_ROWS[:, :, np.newaxis, np.newaxis], (3, 8, 8, 3))
GOLDEN = GOLDEN_BYTES / 127.5 - 1


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FUNDUS_CACHE_DIR", str(tmp_path / "cache"))


def test_it_is_installed_and_loads():
    (status,) = [s for s in get_registry().statuses if s.distribution == "fundus-example"]
    assert (status.name, status.state) == ("example", "loaded"), status.details
    assert set(status.offers) == {
        "backbone:sepnet",
        "head:soft_labels",
        "preprocessor:green_clahe",
        "preprocessor:red_free",
    }
    assert "sepnet" in fundus.list_backbones()


def test_everything_keeps_the_contract():
    check_plugin(
        "fundus-example",
        options={
            "backbone:sepnet": {"image_size": 32, "golden": GOLDEN},
            "head:soft_labels": {"params": {"units": 32, "layers": 1, "dropout": 0.0}},
            "preprocessor:green_clahe": {"golden": GOLDEN},
            "preprocessor:red_free": {"golden": GOLDEN_BYTES},
        },
    )


def test_preprocessor_reads_the_green_channel_alone_and_raises_local_contrast():
    image = np.full((1, 64, 64, 3), 120, np.uint8)
    image[0, 28:36, 28:36] = 110
    other = image.copy()
    other[..., [0, 2]] = 0
    assert np.array_equal(green_clahe(image), green_clahe(other))
    assert np.ptp(green_clahe(image)) > np.ptp(image[..., 1] / 127.5)


def test_targets_spread_over_neighbouring_grades():
    target = SoftLabelsHead(width=0.5).encode(np.array([1]), 4)[0]
    weights = [np.exp(-2), 1, np.exp(-2), np.exp(-4)]
    np.testing.assert_allclose(target, weights / np.sum(weights), rtol=1e-6)


# the number of epochs is for one of the two heads
@pytest.mark.filterwarnings("ignore:The head 'logistic' .* ignores epochs")
def test_everything_in_a_grid_search(tmp_path):
    data = fundus.make_fundus(20, 64, 0, out_dir=tmp_path / "images")
    model = fundus.TransferClassifier(
        "sepnet", weights=None, image_size=32, epochs=2, random_state=0
    )
    model.set_params(normalise="tf")
    grid = {"head": ["soft_labels", "logistic"], "photometric": ["red_free", None]}
    cv = StratifiedKFold(2, shuffle=True, random_state=0)
    search = GridSearchCV(model, grid, scoring=fundus.kappa_scorer, cv=cv, error_score="raise")
    search.fit(data.paths, data.grades)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(search.cv_results_["params"]) == 4
    np.testing.assert_allclose(search.predict_proba(data.paths).sum(axis=1), 1.0)
