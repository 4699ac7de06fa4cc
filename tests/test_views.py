"""Augmented views: fixed warps, made once and kept, for training images only."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

from fundus import Augmentation, FoldEnsemble, LogisticHead, SoftmaxHead, TransferClassifier
from fundus.data.inputs import as_images
from fundus.exceptions import InvalidParameterError
from fundus.frozen.views import with_views
from fundus.frozen.work import digests, work_done
from fundus.images import ImageRecipe, load_image

RECIPE = ImageRecipe(32)
SMALL_HEAD = SoftmaxHead(units=8, layers=1, dropout=0.0)


def tiny(head="logistic", **options):
    defaults = {"weights": "fixed", "random_state": 0, "augment": True, "augment_views": 2}
    return TransferClassifier("tiny", head, **(defaults | options))


def test_views_follow_the_image_and_the_seed(photographs):
    images = as_images(photographs.paths[:3])
    viewed = with_views(images, Augmentation(), 7, 2)
    assert len(viewed) == 9
    pictures = [viewed.picture(row, RECIPE) for row in range(9)]
    for row in range(3):
        assert np.array_equal(pictures[3 * row], load_image(photographs.paths[row], RECIPE))
    assert len({picture.tobytes() for picture in pictures}) == 9
    # in another order and company
    other = with_views(as_images(photographs.paths[[4, 1]]), Augmentation(), 7, 2)
    assert np.array_equal(other.picture(5, RECIPE), pictures[5])
    assert not np.array_equal(
        with_views(images, Augmentation(), 8, 2).picture(1, RECIPE), pictures[1]
    )
    names = digests(viewed, None)
    assert len(set(names)) == 9
    assert names[0] == digests(images, None)[0]
    milder = with_views(images, Augmentation(rotation=1.0), 7, 2)
    assert set(digests(milder, None)) & set(names) == set(names[::3])


def test_arrays_have_views_too():
    arrays = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    viewed = with_views(as_images(arrays), Augmentation(), 0, 1)
    assert np.array_equal(viewed.picture(2, ImageRecipe(32, None)), arrays[1])
    assert len(set(digests(viewed, None))) == 6


@pytest.mark.parametrize("head", ["logistic", "ridge", SMALL_HEAD])
def test_each_view_is_made_once(photographs, tmp_path, head):
    X, y = photographs.paths, photographs.grades
    options = {"cache": tmp_path, **({"epochs": 2} if head is SMALL_HEAD else {})}
    before = work_done.copy()
    first = tiny(head, **options).fit(X, y)
    done = work_done - before
    assert done["forward_passes"] == 3 * len(X)
    before = work_done.copy()
    second = tiny(head, **options).fit(X, y)
    assert work_done == before
    assert np.array_equal(first.predict_proba(X), second.predict_proba(X))
    plain = tiny(head, augment=None, augment_views=None, **options).fit(X, y)
    assert not np.allclose(first.predict_proba(X), plain.predict_proba(X))


def test_an_image_is_decoded_once_for_all_its_views(photographs, tmp_path, monkeypatch):
    from fundus.data import inputs

    decoded = []
    original = inputs.decode
    monkeypatch.setattr(inputs, "decode", lambda *a, **k: decoded.append(1) or original(*a, **k))
    tiny(cache=tmp_path).fit(photographs.paths, photographs.grades)
    assert len(decoded) == len(photographs.paths)


def test_a_head_is_fitted_on_all_views(photographs):
    X, y = photographs.paths, photographs.grades
    model = tiny(LogisticHead(C=1.0)).fit(X, y)
    scaler = model.model_.steps[0][1]
    assert scaler.n_samples_seen_ == 3 * len(X)


@pytest.mark.parametrize("freeze", ["all", 5])
def test_views_stay_with_their_image_in_the_inner_split(photographs, monkeypatch, freeze):
    import fundus.training.trainer as trainer

    seen = {}
    original = trainer.train_net

    def spy(tail, training, source, rows, positions, weights, held_out):
        seen.update(rows=rows, held_out=held_out, positions=positions, n=len(source))
        return original(tail, training, source, rows, positions, weights, held_out)

    monkeypatch.setattr(trainer, "train_net", spy)
    frame, y = photographs.frame, photographs.grades
    tiny(SMALL_HEAD, freeze=freeze, epochs=1, validation_fraction=0.3).fit(frame, y)
    assert seen["n"] == 3 * len(y)
    assert (seen["held_out"] % 3 == 0).all(), "held-out images are watched as they are"
    patients = frame["patient"].to_numpy()
    assert not set(patients[seen["rows"] // 3]) & set(patients[seen["held_out"] // 3])
    assert np.array_equal(seen["positions"][seen["rows"]], y[seen["rows"] // 3])
    assert len(seen["rows"]) == 3 * (len(y) - len(seen["held_out"]))


def test_in_a_search_and_an_ensemble(photographs, tmp_path):
    search = GridSearchCV(tiny(LogisticHead(), cache=tmp_path), {"head__C": [1e-3, 1e-1]}, cv=2)
    before = work_done.copy()
    model = FoldEnsemble(search, cv=2, random_state=0).fit(photographs.frame, photographs.grades)
    # every image is trained on in some fold, and its views are shared by all folds
    assert (work_done - before)["forward_passes"] == 3 * len(photographs.grades)
    assert np.isfinite(model.oof_severity_).all()


@pytest.mark.parametrize("options", [{"augment_views": 0}, {"augment": None}, {"augment": False}])
def test_what_is_refused(photographs, options):
    with pytest.raises(InvalidParameterError, match="'augment(_views)?' parameter"):
        tiny(**options).fit(photographs.paths, photographs.grades)
