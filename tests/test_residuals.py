"""Probabilities of regressors: none is 0, and as wide as the residuals on unseen images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from fundus import FoldEnsemble, LogisticHead, ReluHead, RidgeHead, TransferClassifier
from fundus.exceptions import DataWarning
from fundus.frozen.prepare import draw_seed
from fundus.grades.severity import interpolated_proba, spread_proba
from fundus.heads.ridge_residuals import left_out_residuals
from fundus.metrics.probability import ranked_probability_score
from fundus.saving.bundle import load, save
from fundus.transfer.residuals import inner_folds
from fundus.transfer.validation_split import inner_split

DATA = Path(__file__).parent / "data"
OLDER = pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")


@pytest.fixture(scope="module")
def graded():
    """300 rows of 12 features that tell five grades, the middle one most frequent, with errors."""
    rng = np.random.default_rng(0)
    y = rng.choice(5, 300, p=[0.28, 0.05, 0.35, 0.19, 0.13])
    X = rng.normal(size=(300, 12)) * 1.5
    X[:, :3] += y[:, np.newaxis]
    return X, y


def table(head, **options):
    options = {"grades": 5, "random_state": 0, **options}
    return TransferClassifier("precomputed", head, **options)


def relu(**options):
    return table(ReluHead(units=8, layers=1, dropout=0.0), learning_rate=0.01, **options)


@pytest.mark.parametrize("std", [0.2, 0.5, 1.0, 7.0])
@pytest.mark.parametrize("places", [range(5), (0, 2, 3), (3, 0, 1), (4, 2, 0), (0, 3), (2,)])
def test_the_formula(places, std):
    places = np.array(places)
    severity = np.linspace(-1, 6, 71)
    clipped = np.clip(severity, places.min(), places.max())
    want = np.exp(-((places - clipped[:, np.newaxis]) ** 2) / (2 * std**2))
    want /= want.sum(axis=1, keepdims=True)
    assert_allclose(spread_proba(severity, places, std), want, rtol=1e-9)


@pytest.mark.parametrize("std", [0.0, 1e-9, 0.3, 1.0, 5.0, 1e6])
@pytest.mark.parametrize("places", [range(5), range(20), (0, 2, 3), (3, 0, 1), (4, 2, 0), (0, 3)])
def test_the_most_probable_grade_is_the_nearest_and_no_other_is_impossible(places, std):
    places = np.array(places)
    halves = np.arange(-2, 2 * places.max() + 4) / 2
    near = np.concatenate([np.nextafter(halves, -9), halves, np.nextafter(halves, 99)])
    severity = np.concatenate([near, near + 1e-12, np.random.default_rng(0).uniform(-1, 21, 500)])
    proba = spread_proba(severity, places, std)
    assert (proba > 0).all()
    assert_allclose(proba.sum(axis=1), 1.0)
    # what was predicted before there were such probabilities, ties too
    assert_array_equal(proba.argmax(axis=1), interpolated_proba(severity, places).argmax(axis=1))


def test_the_expected_grade_moves_towards_the_middle():
    proba = spread_proba(np.array([0.0, 1.0, 2.0, 4.0]), np.arange(5), 0.8)
    expected = proba @ np.arange(5)
    assert expected[0] > 0.2
    assert expected[1] > 1.0
    assert expected[2] == pytest.approx(2.0)
    assert expected[3] < 3.8


def refitted(Z, y, weights, units, alpha):
    """Residuals of each unit by a regression without it."""
    residuals = np.empty(len(y))
    for unit in np.unique(units):
        out = units == unit
        ridge = Ridge(alpha=alpha).fit(Z[~out], y[~out], sample_weight=weights[~out])
        residuals[out] = y[out] - ridge.predict(Z[out])
    return residuals


@pytest.mark.parametrize("n_features", [6, 150])
def test_ridge_residuals_are_those_of_fits_without_the_unit(n_features):
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(80, n_features)), rng.integers(0, 5, 80)
    weights = rng.uniform(0, 2, 80)
    weights[:3] = 0.0
    units = rng.permutation(np.arange(80) // 3)
    model = make_pipeline(StandardScaler(), Ridge(alpha=2.0)).fit(
        X, y, ridge__sample_weight=weights
    )
    got = left_out_residuals(model, X, y, weights, units)
    assert_allclose(got, refitted(model[0].transform(X), y, weights, units, 2.0), atol=1e-9)
    chosen = RidgeCV(alphas=[0.5, 50.0]).fit(X, y)
    got = left_out_residuals(chosen, X, y, None, units)
    assert_allclose(got, refitted(X, y, np.ones(80), units, chosen.alpha_), atol=1e-9)
    if n_features < len(y):  # scikit-learn itself warns of others
        assert left_out_residuals(Ridge(alpha=0.0).fit(X, y), X, y, None, units) is None


@pytest.mark.parametrize("patients", [False, True])
def test_the_ridge_head_leaves_out_images_or_patients(graded, patients):
    X, y = graded
    units = np.arange(300) // 2 if patients else np.arange(300)
    weight = np.random.default_rng(0).uniform(0.5, 2, 300)
    model = table(RidgeHead(alpha=3.0), class_weight={0: 1, 1: 4, 2: 1, 3: 1, 4: 2})
    model.fit(X, y, sample_weight=weight, groups=units if patients else None)
    Z = StandardScaler().fit(X, sample_weight=weight).transform(X)
    residuals = refitted(Z, y, weight * np.array([1, 4, 1, 1, 2])[y], units, 3.0)
    # class weights are part of the fit, not of how frequent the images are
    want = np.sqrt(np.average(residuals**2, weights=weight))
    assert model.head_.residual_std == pytest.approx(want, rel=1e-9)
    proba = spread_proba(model.predict_severity(X), np.arange(5), want)
    assert_allclose(model.predict_proba(X), proba, rtol=1e-6)
    assert_array_equal(model.predict(X), np.clip(np.rint(model.predict_severity(X)), 0, 4))


@pytest.mark.parametrize("regressor", [RidgeHead(alpha=1.0), KNeighborsRegressor(1)])
def test_copies_are_left_out_together(graded, regressor):
    _, y = graded
    noise = np.random.default_rng(2).normal(size=(60, 3))
    model = table(regressor, class_weight=None)
    twice = model.fit(np.repeat(noise, 2, axis=0), np.repeat(y[:60], 2)).head_.residual_std
    # its copy would tell the neighbour's model each image's grade
    assert twice > 0.8 * y[:60].std()
    if isinstance(regressor, RidgeHead):
        weighted = model.fit(noise, y[:60], sample_weight=np.full(60, 2.0)).head_.residual_std
        assert twice == pytest.approx(weighted, rel=1e-9)


def test_patients_are_left_out_together_on_inner_folds():
    patients = np.repeat(np.arange(40), 3)
    rng = np.random.default_rng(3)
    y = np.repeat(rng.integers(0, 5, 40), 3)
    X = np.repeat(rng.normal(size=(40, 2)), 3, axis=0) + rng.normal(size=(120, 2)) * 1e-3
    model = table(KNeighborsRegressor(1), class_weight=None)
    assert model.fit(X, y).head_.residual_std < 0.8
    assert model.fit(X, y, groups=patients).head_.residual_std > 1.0


def test_views_are_left_out_with_their_image(photographs):
    by_heart = DecisionTreeRegressor(random_state=0)
    model = TransferClassifier(
        "tiny", by_heart, weights="fixed", grades=5, class_weight=None, random_state=0, cache=False
    )
    plain = model.fit(photographs.paths, photographs.grades).head_.residual_std
    model.set_params(augment=True, augment_views=2)
    views = model.fit(photographs.paths, photographs.grades).head_.residual_std
    assert plain > 0.5
    assert views > 0.5


def test_inner_folds_part_units_evenly_by_grade():
    units = np.repeat(np.arange(30), 2)
    positions = np.repeat(np.arange(30) % 5, 2)
    folds = inner_folds(units, positions, 0)
    assert sorted(np.concatenate([out for _, out in folds])) == list(range(60))
    for train, out in folds:
        assert not set(units[train]) & set(units[out])
        assert np.bincount(positions[out], minlength=5).tolist() == [4] * 5
    assert inner_folds(np.zeros(9, int), np.arange(9), 0) == []
    assert inner_folds(np.arange(3), np.array([0, 0, 1]), 0) == []


@pytest.mark.slow
def test_a_network_takes_what_it_held_out(graded):
    X, y = graded
    model = relu(epochs=5, validation_fraction=0.2).fit(X, y)
    _, held_out = inner_split(y, None, 0.2, draw_seed(0))
    residuals = model.predict_severity(X[held_out]) - y[held_out]
    assert model.head_.residual_std == pytest.approx(np.sqrt(np.mean(residuals**2)), rel=1e-6)
    weight = np.linspace(0.5, 2, 300)
    model.fit(X, y, sample_weight=weight)
    residuals = model.predict_severity(X[held_out]) - y[held_out]
    want = np.sqrt(np.average(residuals**2, weights=weight[held_out]))
    assert model.head_.residual_std == pytest.approx(want, rel=1e-6)


@pytest.mark.slow
def test_a_network_that_held_out_nothing_is_trained_again_without_some(graded):
    _, y = graded
    noise = np.random.default_rng(4).normal(size=(40, 40))
    model = relu(epochs=40, validation_fraction=0, class_weight=None)
    model.set_params(learning_rate=0.05).fit(noise, y[:40])
    fitted = model.predict_severity(noise) - y[:40]
    # it has learnt the noise by heart, which is no sign of what it makes of others
    assert np.sqrt(np.mean(fitted**2)) < 0.7
    assert model.head_.residual_std > 1.1
    assert len(model.history_["loss"]) <= 40


@pytest.mark.parametrize(("head", "n"), [(KNeighborsRegressor(1), 2), (KNeighborsRegressor(6), 6)])
def test_too_few_images_are_told(graded, head, n):
    X = graded[0][:n]
    with pytest.warns(DataWarning, match="severity's error is one grade"):
        model = table(head, class_weight=None).fit(X, np.arange(n) % 5)
    assert model.head_.residual_std == 1.0
    assert (model.predict_proba(X) > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "head",
    [
        RidgeHead(alpha=10.0),
        RandomForestRegressor(20, random_state=0),
        GridSearchCV(Ridge(), {"alpha": [1.0, 10.0]}),
        ReluHead(units=8, layers=1),
    ],
)
def test_log_loss_is_better_than_a_uniform_guess(graded, head):
    X, y = graded
    weights = None if isinstance(head, GridSearchCV) else "balanced"
    training = {"epochs": 15, "learning_rate": 0.02} if isinstance(head, ReluHead) else {}
    model = table(head, class_weight=weights, **training)
    ensemble = FoldEnsemble(model, cv=3, random_state=0).fit(X, y)
    assert log_loss(y, ensemble.oof_proba_) < np.log(5) - 0.1
    before = interpolated_proba(ensemble.oof_severity_, np.arange(5))
    assert log_loss(y, before) > np.log(5)
    assert ranked_probability_score(y, ensemble.oof_proba_) < ranked_probability_score(y, before)
    assert_array_equal(ensemble.oof_prediction_, before.argmax(axis=1))


def test_an_ensemble_takes_the_root_mean_square_of_its_models(graded):
    X, y = graded
    model = FoldEnsemble(table(RidgeHead(alpha=10.0)), cv=3, random_state=0).fit(X, y)
    each = [fold.head_.residual_std for fold in model.estimators_]
    assert len(set(each)) == 3
    severity = model.predict_severity(X)
    want = spread_proba(severity, np.arange(5), np.sqrt(np.mean(np.square(each))))
    assert_allclose(model.predict_proba(X), want, rtol=1e-12)
    assert_array_equal(model.predict(X), np.clip(np.rint(severity), 0, 4))


@pytest.mark.parametrize("kind", ["ridge", "relu"])
def test_the_error_is_saved(graded, tmp_path, kind):
    X, y = graded
    model = table(RidgeHead(alpha=10.0)) if kind == "ridge" else relu(epochs=2)
    model.fit(X, y)
    save(model, tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.head_.residual_std == model.head_.residual_std
    assert_array_equal(again.predict_proba(X), model.predict_proba(X))


@OLDER
@pytest.mark.parametrize("kind", ["ridge", "relu"])
def test_models_of_the_first_format_keep_their_probabilities(kind):
    expected = np.load(DATA / "format-1-expected.npz")
    X = expected["X"]
    model = load(DATA / f"format-1-{kind}")
    assert_array_equal(model.predict(X), expected[f"{kind}_grade"])
    assert_allclose(model.predict_severity(X), expected[f"{kind}_severity"], rtol=1e-6)
    proba = model.predict_proba(X)
    assert_array_equal(proba, interpolated_proba(model.predict_severity(X), np.arange(5)))
    assert_allclose(proba, expected[f"{kind}_proba"], atol=1e-6)
    if kind == "ridge":
        assert_array_equal(model.estimators_[0].predict(X), expected["ridge0_grade"])
        assert_allclose(model.estimators_[0].predict_proba(X), expected["ridge0_proba"], atol=1e-12)


@OLDER
def test_an_older_model_saved_again_stays_as_it_was(tmp_path):
    X = np.load(DATA / "format-1-expected.npz")["X"]
    model = load(DATA / "format-1-ridge")
    save(model, tmp_path / "again")
    assert_array_equal(load(tmp_path / "again").predict_proba(X), model.predict_proba(X))


def test_classifiers_whose_severities_vote_are_as_sure_as_on_the_other_folds(graded, tmp_path):
    X, y = graded
    model = table(LogisticHead(C=1.0), class_weight=None)
    ensemble = FoldEnsemble(model, cv=3, voting="severity", random_state=0).fit(X, y)
    residuals = ensemble.oof_severity_ - y
    assert ensemble.severity_std_ == pytest.approx(np.sqrt(np.mean(residuals**2)))
    first = ensemble.oof_fold_ == 0
    std = np.sqrt(np.mean(residuals[~first] ** 2))
    want = spread_proba(ensemble.oof_severity_[first], np.arange(5), std)
    assert_allclose(ensemble.oof_proba_[first], want, rtol=1e-9)
    assert log_loss(y, ensemble.oof_proba_) < np.log(5)
    proba = ensemble.predict_proba(X)
    assert (proba > 0).all()
    assert_array_equal(proba.argmax(axis=1), ensemble.predict(X))
    save(ensemble, tmp_path / "model")
    assert_array_equal(load(tmp_path / "model").predict_proba(X), proba)
