"""Saved models that were changed: refused by an error of the library, or sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from attacks.bundles import attack, target

import fundus
from fundus import CoralHead, FoldEnsemble, TransferClassifier

STORED = Path(__file__).parent / "data" / "format2"
FAULTS = ("FOREIGN", "SLOW", "LARGE", "WRONG", "LATE")


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    """Models of every kind, of format 2 and of today's."""
    folder = tmp_path_factory.mktemp("targets")
    saved = folder / "saved"
    images = np.load(STORED.parent / "format1" / "photographs.npz")["images"]
    models = [target(path, images) for path in sorted(STORED.iterdir()) if path.is_dir()]
    for model in list(models):
        fundus.load(model.folder).save(saved / model.folder.name)
    X, y = fundus.make_fundus(24, 48, 3, out_dir=folder / "photos").paths, np.arange(24) % 3
    options = {"cache": False, "random_state": 0, "weights": None, "image_size": 32}
    net = {"head": CoralHead(units=4, layers=1), "epochs": 1, "validation_fraction": 0.0, **options}
    made = {
        "random": TransferClassifier("tiny", "ridge", photometric="corpus_mean", **options),
        "net": FoldEnsemble(TransferClassifier("tiny", **net), cv=2, random_state=0),
        "svm": TransferClassifier("tiny", "svm", **options),
    }
    for name, model in made.items():
        model.fit(X, y).save(saved / name)
    return [*models, *(target(path, images) for path in sorted(saved.iterdir()))]


@pytest.mark.slow
@pytest.mark.parametrize("count", [120, pytest.param(2_000, marks=pytest.mark.soak)])
def test_a_changed_model_is_refused_or_sound(targets, count, tmp_path, record_property):
    seen = attack(targets, count, 0, tmp_path)
    outcomes = {name: n for name, n in seen.items() if not name.startswith("  ")}
    record_property("promise", "A changed saved model is refused, or loads and is sound")
    record_property(
        "did",
        "bytes, JSON values, arrays, objects, links and digests of saved models of every kind "
        "changed, mostly with digests that fit",
    )
    record_property("times", count)
    record_property("outcome", ", ".join(f"{n} {name}" for name, n in sorted(outcomes.items())))
    assert sum(outcomes.values()) == count
    faults = [f"{n} {name}" for name, n in seen.items() if name.strip().split(" ")[0] in FAULTS]
    details = [name.strip() for name in seen if name.startswith("  ")]
    assert not [*faults, *details], "\n".join([*faults, *details])
    assert outcomes["refused"] > count / 3
    assert outcomes["predicts the same"] > count / 20
