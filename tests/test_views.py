"""Augmented views: fixed warps, made once and kept, for training images only."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler

from fundus import (
    Augmentation,
    FoldEnsemble,
    LogisticHead,
    ReluHead,
    SoftmaxHead,
    TransferClassifier,
    exceptions,
)
from fundus.backbones.network import load_frozen
from fundus.data.inputs import as_images
from fundus.exceptions import DataWarning, InvalidParameterError
from fundus.frozen import sources
from fundus.frozen.prepare import draw_seed
from fundus.frozen.settings import FrozenSettings
from fundus.frozen.sources import ArraySource
from fundus.frozen.views import with_views
from fundus.frozen.work import digests, features, start_work, work_done
from fundus.images import ImageRecipe, load_image
from fundus.images.aperture import field_of_view

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


def test_a_views_field_of_view_is_that_of_the_image_warped_with_it(photographs):
    images = as_images(photographs.paths[:2])
    augmentation = Augmentation(zoom=(0.5, 0.7), fill="nearest")
    viewed = with_views(images, augmentation, 7, 2)
    for row in range(6):
        picture, mask = viewed.picture_and_mask(row, RECIPE)
        assert np.array_equal(picture, viewed.picture(row, RECIPE))
        clean, plain = images.picture_and_mask(row // 3, RECIPE)
        assert np.array_equal(plain, field_of_view(clean[None])[0])
        if row % 3 == 0:
            assert np.array_equal(mask, plain)
            continue
        assert 0.2 < mask.sum() / plain.sum() < 0.6  # the square of the zoom
        seed = viewed._seed(row % 3, clean)
        assert np.array_equal(mask, augmentation.augment_pair(clean, plain, seed)[1])
        # what is found in the view is more: where the rim touches the edge, it fills the outside
        assert not np.array_equal(mask, field_of_view(picture[None])[0])


def test_features_of_views_are_pooled_over_their_masks(photographs, tmp_path):
    X, y = photographs.paths[:12], photographs.grades[:12]
    warp = Augmentation(zoom=(0.4, 0.5), rotation=0, shift=0)
    options = {"augment": warp, "augment_views": 1, "cache": tmp_path, "class_weight": None}
    model = tiny(pool_over="fov", **options).fit(X, y)
    viewed = with_views(as_images(X), warp, draw_seed(0), 1)
    network = load_frozen(model.frozen_.network)
    pairs = [viewed.picture_and_mask(row, RECIPE) for row in range(24)]
    x = model.frozen_.normaliser.apply(np.stack([picture for picture, _ in pairs]))
    expected = network.predict_on_batch([x, np.stack([mask for _, mask in pairs])])
    kept = features(start_work(FrozenSettings.of(model), viewed, model.frozen_))
    np.testing.assert_allclose(kept, expected, rtol=1e-4, atol=1e-5)
    without = features(start_work(FrozenSettings.of(model, cache=False), viewed, model.frozen_))
    np.testing.assert_allclose(without, expected, rtol=1e-4, atol=1e-5)
    found = network.predict_on_batch([x, field_of_view(np.stack([p for p, _ in pairs]))])
    assert np.abs(found[1::2] - expected[1::2]).max() > 1e-3


@pytest.mark.slow
def test_augmented_in_every_epoch_pictures_keep_their_field_of_view(photographs, monkeypatch):
    seen = []
    original = sources.run_frozen

    def spy(frozen, pictures, *, masks=None, **options):
        seen.append((pictures, masks))
        return original(frozen, pictures, masks=masks, **options)

    monkeypatch.setattr(sources, "run_frozen", spy)
    warp = Augmentation(zoom=(0.4, 0.4), rotation=0, shift=0)
    options = {"augment": warp, "augment_views": None, "epochs": 1, "validation_fraction": 0.0}
    options["pool_over"] = "fov"
    tiny(SMALL_HEAD, **options).fit(photographs.paths[:16], photographs.grades[:16] > 1)
    shares = [mask.mean() for pictures, masks in seen for mask in masks]
    assert min(shares) < 0.2
    monkeypatch.setattr(exceptions, "_given", set())
    far = Augmentation(shift=1.0, zoom=(0.1, 0.1))
    with pytest.warns(DataWarning, match="A view of row .* shows nothing of its field of view"):
        tiny(SMALL_HEAD, **{**options, "augment": far}).fit(
            photographs.paths[:16], photographs.grades[:16] > 1
        )


@pytest.mark.slow
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


def test_a_head_is_fitted_on_all_views(photographs, monkeypatch):
    X, y = photographs.paths, photographs.grades
    rows, fit = [], StandardScaler.fit

    def counted(self, X, y=None, sample_weight=None):
        rows.append(len(X))
        return fit(self, X, y, sample_weight)

    monkeypatch.setattr(StandardScaler, "fit", counted)
    model = tiny(LogisticHead(C=1.0)).fit(X, y)
    assert rows == [3 * len(X)]
    # which share the weight of their image
    assert model.model_.steps[0][1].n_samples_seen_ == pytest.approx(len(X), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("freeze", ["all", 5])
def test_views_stay_with_their_image_in_the_inner_split(photographs, monkeypatch, freeze):
    import fundus.training.trainer as trainer

    seen = {}
    original = trainer.train_net

    def spy(tail, training, source, rows, positions, weights, held_out, *, n_views):
        seen.update(rows=rows, held_out=held_out, positions=positions, n=len(source))
        return original(tail, training, source, rows, positions, weights, held_out, n_views=n_views)

    monkeypatch.setattr(trainer, "train_net", spy)
    frame, y = photographs.frame, photographs.grades
    tiny(SMALL_HEAD, freeze=freeze, epochs=1, validation_fraction=0.3).fit(frame, y)
    assert seen["n"] == 3 * len(y)
    assert (seen["held_out"] % 3 == 0).all(), "held-out images are watched as they are"
    assert (seen["rows"] % 3 == 0).all(), "each is followed by its views"
    patients = frame["patient"].to_numpy()
    assert not set(patients[seen["rows"] // 3]) & set(patients[seen["held_out"] // 3])
    assert np.array_equal(seen["positions"][seen["rows"]], y[seen["rows"] // 3])
    assert len(seen["rows"]) == len(y) - len(seen["held_out"])


class Inputs:
    """A source that remembers which rows were asked for."""

    def __init__(self, n):
        self.n, self.asked = n, []

    def __len__(self):
        return self.n

    def batch(self, rows, epoch):
        self.asked.append(rows)
        return [rows.astype(np.float32)[:, np.newaxis]]


def rows_of(batches, epoch):
    """Rows of the source that Keras gets in an epoch, in order, with targets and weights."""
    batches.on_epoch_begin(epoch)
    parts = [np.concatenate(part) for part in zip(*batches.data, strict=True)]
    return (parts[0][:, 0].astype(int), *parts[1:])


def of_images(n_views, kind, n=30, seed=5):
    from fundus.training import batches

    features = np.arange(n * (n_views + 1), dtype=np.float32)[:, np.newaxis]
    source = Inputs(len(features)) if kind == "streamed" else ArraySource(features)
    images = np.arange(n)
    rows = batches.TrainingRows(
        source, images * (n_views + 1), images * 10, images / 2, 8, seed, n_views
    )
    made = batches.batches_of(rows)
    assert type(made).__name__ == {"streamed": "StreamedBatches"}.get(kind, "FeatureBatches")
    return made


@pytest.mark.parametrize("kind", ["streamed", "in memory"])
@pytest.mark.parametrize("n_views", [1, 3])
def test_an_epoch_takes_one_view_of_each_image(n_views, kind):
    each, batches = n_views + 1, of_images(n_views, kind)
    assert len(batches.data) == 4, "as many steps as without views"
    drawn = {}
    for epoch in range(12):
        rows, targets, weights = rows_of(batches, epoch)
        images = rows // each
        assert sorted(images) == list(range(30))
        assert np.array_equal(targets, images * 10)
        assert np.array_equal(weights, np.float32(images / 2))
        drawn[epoch] = dict(zip(images.tolist(), (rows % each).tolist(), strict=True))
    # all views of every image are seen sooner or later, and no epoch is like the one before
    seen = [{views[image] for views in drawn.values()} for image in range(30)]
    assert np.mean([len(views) for views in seen]) > 0.9 * each
    assert len({tuple(sorted(views.items())) for views in drawn.values()}) == 12
    share = np.bincount([v for views in drawn.values() for v in views.values()]) / (12 * 30)
    assert np.allclose(share, 1 / each, atol=0.1)


def test_the_draw_is_that_of_the_seed_and_the_epoch_whatever_came_before():
    one, two = of_images(2, "streamed"), of_images(2, "in memory")
    for epoch in (7, 0, 3):
        for a, b in zip(rows_of(one, epoch), rows_of(two, epoch), strict=True):
            assert np.array_equal(a, b)
    again = of_images(2, "in memory")
    assert np.array_equal(rows_of(again, 3)[0], rows_of(two, 3)[0])
    other = of_images(2, "in memory", seed=6)
    assert not np.array_equal(rows_of(other, 3)[0], rows_of(two, 3)[0])
    # images that follow do not change the draw, nor does the size of batches
    more = of_images(2, "streamed", n=40)
    assert np.array_equal(more.run.views(3)[:30], one.run.views(3))


def test_a_network_without_views_is_the_one_it_was(blobs):
    """Its rows and their order are those of earlier releases."""
    from fundus.training.batches import TrainingRows

    rows = TrainingRows(ArraySource(blobs[0]), np.arange(90), blobs[1], None, 16, 3)
    assert not rows.views(4).any()
    assert np.array_equal(rows.order(4), np.random.default_rng([3, 4]).permutation(90))


@pytest.mark.slow
@pytest.mark.parametrize("head", [SMALL_HEAD, ReluHead(units=8, layers=1, dropout=0.0)])
def test_a_network_on_warps_of_nothing_is_trained_as_without(photographs, tmp_path, head):
    X, y = photographs.paths, photographs.grades
    still = Augmentation(0, 0, (1, 1), flip_horizontal=False, flip_vertical=False)
    # enough are held out for a regressor's error, which is thus not trained for
    options = {"epochs": 3, "cache": tmp_path, "learning_rate": 0.01, "validation_fraction": 0.4}
    plain = tiny(head, augment=None, augment_views=None, **options).fit(X, y)
    views = tiny(head, augment=still, **options).fit(X, y)
    assert np.allclose(views.predict_severity(X), plain.predict_severity(X), atol=1e-4)
    assert len(views.history_["val_loss"]) == 3
    if head is not SMALL_HEAD:
        assert views.head_.residual_std == pytest.approx(plain.head_.residual_std, rel=1e-4)


def test_the_plan_counts_one_view_an_epoch(photographs):
    plans = [
        tiny(SMALL_HEAD, freeze=4, epochs=4, augment_views=k, augment=bool(k), cache=False).plan(
            photographs.paths
        )
        for k in (None, 2)
    ]
    assert [plan.n_images for plan in plans] == [40, 120]
    assert [plan.chosen.forward_passes for plan in plans] == [4 * 40, 4 * 40]
    # every view is decoded once before the training, so that a bad file is told
    assert [plan.chosen.decodes for plan in plans] == [40 + 4 * 40, 120 + 4 * 40]


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


@pytest.mark.parametrize("size", [33, 320])
def test_a_view_is_the_same_with_and_without_its_mask(photographs, size):
    """Changes of colour end at the field of view that pooling is given."""
    recipe = ImageRecipe(size)
    viewed = with_views(as_images(photographs.paths[:2]), Augmentation.cameras(), 3, 2)
    for row in range(6):
        assert np.array_equal(viewed.picture_and_mask(row, recipe)[0], viewed.picture(row, recipe))
