"""The plan of a fit: what it says is what is done, and it chooses by cost."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from fundus import (
    Augmentation,
    FoldEnsemble,
    SoftmaxHead,
    TransferClassifier,
    TunedCutpointClassifierCV,
)
from fundus.exceptions import ImageReadError, InvalidParameterError
from fundus.frozen.loading import work_done
from fundus.store import Cache, open_store
from fundus.transfer import planning
from fundus.transfer.probe import Probe

SMALL_HEAD = SoftmaxHead(units=8, layers=1, dropout=0.0)


def tiny(head="logistic", **options):
    defaults = {"weights": "fixed", "random_state": 0}
    if not isinstance(head, str):  # others ignore the number of epochs
        defaults["epochs"] = 2
    return TransferClassifier("tiny", head, **(defaults | options))


def done_by(action):
    before = work_done.copy()
    action()
    return work_done - before


def test_the_plan_of_a_fit_on_features(photographs, tmp_path):
    model = tiny(cache=tmp_path)
    X, y = photographs.paths, photographs.grades
    done = done_by(lambda: model.fit(X, y))
    plan = model.plan_
    assert plan.chosen.way == "features"
    assert (plan.n_images, plan.n_distinct, plan.n_present) == (40, 40, 0)
    assert plan.chosen.forward_passes == done["forward_passes"] == 40
    assert plan.chosen.decodes == done["decodes"] == 40
    (source,) = model.read_images(X).sources.values()
    features = source.batch(np.arange(40), None)[0]
    assert plan.ram_bytes == features.nbytes
    assert plan.bytes_per_image == features[0].nbytes
    assert plan.chosen.seconds is None  # there was nothing to choose, so nothing was measured
    model.fit(X, y)
    assert (model.plan_.n_present, model.plan_.chosen.forward_passes) == (40, 0)
    assert pickle.loads(pickle.dumps(model.plan_)) == model.plan_


def test_a_file_given_twice_is_planned_once(photographs, tmp_path):
    X = [*photographs.paths, photographs.paths[0]]
    plan = tiny(cache=tmp_path).plan(X)
    assert (plan.n_images, plan.n_distinct, plan.chosen.forward_passes) == (41, 40, 40)


@pytest.mark.slow
def test_planning_measures_two_batches_and_keeps_them(synthetic_arrays, tmp_path):
    X, y = synthetic_arrays
    model = tiny(SMALL_HEAD, freeze=4, cache=tmp_path)
    done = done_by(lambda: model.plan(X))
    assert done["forward_passes"] == 64 + 16  # and one training batch
    plan = model.plan(X)
    assert plan.n_present == 64
    assert plan.chosen.forward_passes == len(X) - 64
    assert done_by(lambda: model.fit(X, y))["forward_passes"] == len(X) - 64
    assert model.plan_.chosen.way == "activations"
    bytes_there = sum(info.n_bytes for info in open_store(tmp_path).infos())
    assert model.plan_.chosen.disk_bytes < bytes_there < 2 * model.plan_.chosen.disk_bytes + 1e6


@pytest.fixture(scope="module")
def synthetic_arrays():
    rng = np.random.default_rng(0)
    return rng.integers(0, 255, (80, 32, 32, 3), dtype=np.uint8), np.arange(80) % 2


def with_costs(monkeypatch, **seconds):
    monkeypatch.setattr(planning, "probe", lambda *_, **__: Probe(**seconds))


@pytest.mark.slow
def test_what_is_dearer_to_keep_is_computed_again(synthetic_arrays, tmp_path, monkeypatch):
    X, y = synthetic_arrays
    kept = tiny(SMALL_HEAD, freeze=4, cache=tmp_path).fit(X, y)
    with_costs(monkeypatch, decode=1e-3, forward=1e-6, write=1e-2, read=1e-2)
    again = tiny(SMALL_HEAD, freeze=4, cache=tmp_path / "other")
    done = done_by(lambda: again.fit(X, y))
    assert kept.plan_.chosen.way == "activations"
    assert again.plan_.chosen.way == "images"
    assert "times cheaper" in again.plan_.reason
    assert done["forward_passes"] > 2 * 70  # in each epoch
    assert np.allclose(again.predict_proba(X), kept.predict_proba(X), atol=1e-4)


@pytest.mark.parametrize("forward", [1e-2, 0.9e-3])
def test_a_small_gain_does_not_change_the_way(synthetic_arrays, tmp_path, monkeypatch, forward):
    with_costs(monkeypatch, decode=1e-6, forward=forward, write=1e-6, read=1e-3)
    plan = tiny(SMALL_HEAD, freeze=4, cache=tmp_path).plan(synthetic_arrays[0])
    assert plan.chosen.way == "activations"
    assert "would cost" in plan.reason


@pytest.mark.slow
def test_what_there_is_no_room_for_is_computed_again(synthetic_arrays, tmp_path):
    X, y = synthetic_arrays
    model = tiny(SMALL_HEAD, freeze=4, cache=Cache(tmp_path, limit="600KB")).fit(X, y)
    assert model.plan_.chosen.way == "images"
    assert "no room" in model.plan_.reason
    assert not model.plan_.others[0].fits


def test_augmentation_and_no_cache(photographs, tmp_path):
    X = photographs.paths
    plan = tiny(SMALL_HEAD, augment=Augmentation(), cache=tmp_path).plan(X)
    assert (plan.chosen.way, plan.chosen.forward_passes) == ("images", 2 * 40)
    plan = tiny(SMALL_HEAD, augment=True, augment_views=2, cache=tmp_path).plan(X)
    assert (plan.chosen.way, plan.chosen.forward_passes) == ("features", 3 * 40)
    assert tiny(cache=False).plan(X).chosen.way == "features"
    assert tiny(SMALL_HEAD, freeze=4, cache=False).plan(X).chosen.way == "files"
    nothing = tiny(SMALL_HEAD, freeze=0, cache=tmp_path).plan(X)
    assert (nothing.chosen.way, nothing.chosen.forward_passes) == ("images", 0)


@pytest.mark.slow
def test_a_cut_that_leaves_nothing_to_train_is_all(photographs, tmp_path):
    model = tiny(SMALL_HEAD, freeze=1.0, cache=tmp_path).fit(photographs.paths, photographs.grades)
    assert model.frozen_.network.freeze == "all"
    assert model.plan_.chosen.way == "features"
    whole = tiny(SMALL_HEAD, cache=tmp_path).fit(photographs.paths, photographs.grades)
    assert np.allclose(
        model.predict_proba(photographs.paths), whole.predict_proba(photographs.paths)
    )


def test_it_is_told_once(synthetic_arrays, tmp_path, capsys):
    X, y = synthetic_arrays
    FoldEnsemble(tiny(cache=tmp_path, verbose=1), cv=2).fit(X, y)
    told = capsys.readouterr().err
    assert told.count("frozen part") == 1
    assert "forward passes" in told
    tuned = TunedCutpointClassifierCV(tiny(cache=tmp_path, verbose=1), cv=2, random_state=0)
    FoldEnsemble(tuned, cv=2, random_state=0).fit(X, y)
    assert capsys.readouterr().err.count("frozen part") == 1
    tiny(cache=tmp_path).fit(X, y)
    assert capsys.readouterr().err == ""


def test_planning_refuses_what_fit_refuses(tmp_path):
    with pytest.raises(InvalidParameterError, match="'backbone'"):
        TransferClassifier("precomputed").plan(np.zeros((3, 2)))
    with pytest.raises(ImageReadError, match=r"no\.jpg"):
        tiny(cache=tmp_path).plan([str(tmp_path / "no.jpg")])
