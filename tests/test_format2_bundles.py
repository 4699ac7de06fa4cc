"""Models of every kind that an earlier release wrote in format 2 load, and say what they said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import fundus

# they are written once, and read with every scikit-learn that comes after
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")
STORED = Path(__file__).parent / "data" / "format2"
KINDS = sorted(path.name for path in STORED.iterdir() if path.is_dir())
METHODS = ("predict", "predict_proba", "predict_severity", "predict_set")


def stored(name):
    """Load a model that keeps nothing of its work."""
    model = fundus.load(STORED / name)
    for key, value in model.get_params().items():
        if key.split("__")[-1] == "cache" and value is True:
            model.set_params(**{key: False})
    return model


def test_one_of_each_kind_is_stored():
    kinds = {json.loads((STORED / name / "model.json").read_text())["model"]["kind"]
             for name in KINDS}  # fmt: skip
    assert kinds == {
        "CumulativeCalibratedClassifierCV", "FixedCutpointClassifier", "FoldEnsemble",
        "OrdinalConformalClassifier", "SecondStageClassifier", "TransferClassifier",
        "TunedCutpointClassifierCV",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_stored_models_load_and_say_the_same(name, tmp_path, monkeypatch):
    monkeypatch.setenv("FUNDUS_CACHE_DIR", str(tmp_path))
    photos = np.load(STORED.parent / "format1" / "photographs.npz")["images"]
    expected = np.load(STORED / "expected.npz")
    model = stored(name)
    asked = [method for method in METHODS if f"{name}-{method}" in expected.files]
    assert {"predict", "predict_proba"} <= set(asked)
    model.save(tmp_path / "again")
    again = fundus.load(tmp_path / "again")
    for method in asked:
        found = np.asarray(getattr(model, method)(photos))
        then = expected[f"{name}-{method}"]
        # another processor adds up in another order
        np.testing.assert_allclose(found.astype(float), then.astype(float), rtol=0, atol=1e-3)
        assert np.array_equal(np.asarray(getattr(again, method)(photos)), found)
