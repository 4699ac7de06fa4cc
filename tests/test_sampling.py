"""``sampling=``: training rows are drawn, and no others."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

import fundus
from fundus import FoldEnsemble, TransferClassifier
from fundus.exceptions import InvalidParameterError, MissingDependencyError


@pytest.fixture(scope="module")
def rare():
    """Features of 30, 12 and 6 rows of three grades; no row is like another."""
    y = np.repeat([0, 1, 2], [30, 12, 6])
    return np.random.default_rng(0).normal(size=(48, 5)) + y[:, np.newaxis], y


def rows_seen(model, X):
    """Which rows of X a nearest-neighbours head was fitted on, copies included."""
    fitted = model.head_.estimator._fit_X
    return np.array([int(np.flatnonzero((row == X).all(axis=1))[0]) for row in fitted])


def neighbours(**parameters):
    head = KNeighborsClassifier(1)
    return TransferClassifier("precomputed", head, class_weight=None, random_state=0, **parameters)


@pytest.mark.parametrize(("sampling", "each"), [("over", 30), ("under", 6)])
def test_every_grade_has_as_many_training_rows(rare, sampling, each):
    X, y = rare
    rows = rows_seen(neighbours(sampling=sampling).fit(X, y), X)
    assert np.bincount(y[rows]).tolist() == [each] * 3
    if sampling == "over":
        assert set(rows) == set(range(48))  # nothing is lost
    else:
        assert len(set(rows)) == len(rows)  # nothing is repeated
    again = rows_seen(neighbours(sampling=sampling).fit(X, y), X)
    other = rows_seen(neighbours(sampling=sampling).set_params(random_state=1).fit(X, y), X)
    assert rows.tolist() == again.tolist()
    assert rows.tolist() != other.tolist()
    assert rows_seen(neighbours().fit(X, y), X).tolist() == list(range(48))


def test_rows_of_the_test_fold_are_never_drawn(rare):
    X, y = rare
    ensemble = FoldEnsemble(neighbours(sampling="over"), cv=3, random_state=0).fit(X, y)
    for k, model in enumerate(ensemble.estimators_):
        seen = rows_seen(model, X)
        assert set(seen) == set(np.flatnonzero(ensemble.oof_fold_ != k))
        assert len(set(np.bincount(y[seen]))) == 1


def test_weights_count_the_rows_that_were_drawn(rare):
    """Sampling and balanced weights do not make up for one imbalance twice."""
    X, y = rare
    models = {
        weight: TransferClassifier(
            "precomputed", SVC(), class_weight=weight, sampling="over", random_state=0
        ).fit(X, y)
        for weight in ("balanced", None)
    }
    scores = [m.head_.estimator.decision_function(X) for m in models.values()]
    np.testing.assert_array_equal(*scores)


@pytest.mark.slow
@pytest.mark.parametrize("views", [None, 2])
def test_images_held_out_for_early_stopping_are_not_drawn(photographs, monkeypatch, views):
    import fundus.training.trainer as trainer

    calls = []
    train_net = trainer.train_net

    def recorded(tail, training, source, rows, positions, weights, held_out, **views):
        calls.append((rows, positions, weights, held_out))
        return train_net(tail, training, source, rows, positions, weights, held_out, **views)

    monkeypatch.setattr(trainer, "train_net", recorded)
    y = photographs.grades % 2
    for sampling in (None, "over"):
        TransferClassifier(
            "tiny", "softmax", weights="fixed", cache=False, epochs=1, sampling=sampling,
            validation_fraction=0.2, augment=views is not None, augment_views=views,
            random_state=0,
        ).fit(photographs.paths, y)  # fmt: skip
    (plain, _, plain_weights, plain_out), (rows, positions, weights, held_out) = calls
    each = (views or 0) + 1
    assert held_out.tolist() == plain_out.tolist()
    assert not set(rows // each) & set(held_out // each)
    assert set(rows) == set(plain)
    assert len(set(np.bincount(positions[rows]))) == 1
    assert len(set(np.bincount(positions[plain]))) == 2
    np.testing.assert_allclose(weights[rows], 1)
    np.testing.assert_array_equal(weights[held_out], plain_weights[held_out])


def test_a_sampled_model_is_saved_and_loaded(photographs, tmp_path):
    model = TransferClassifier(
        "tiny", "logistic", weights="fixed", cache=False, sampling="under", random_state=0
    ).fit(photographs.paths, photographs.grades)
    model.save(tmp_path / "model")
    loaded = fundus.load(tmp_path / "model")
    assert loaded.sampling == "under"
    np.testing.assert_array_equal(
        loaded.predict_proba(photographs.paths), model.predict_proba(photographs.paths)
    )


def test_what_sampling_may_be(rare, monkeypatch):
    X, y = rare
    with pytest.raises(InvalidParameterError, match="'sampling' parameter of TransferClassifier"):
        neighbours(sampling="smote").fit(X, y)
    monkeypatch.setitem(sys.modules, "imblearn.over_sampling", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'fundus-zoo\[imbalance\]'"):
        neighbours(sampling="over").fit(X, y)
    neighbours().fit(X, y)
