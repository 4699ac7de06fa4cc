"""Cumulative calibration and conformal sets: what they promise, in searches, bundles, suites."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.utils.estimator_checks import check_estimator

from fundus import (
    CumulativeCalibratedClassifierCV,
    FoldEnsemble,
    LogisticHead,
    OrdinalConformalClassifier,
    RidgeHead,
    TransferClassifier,
    coverage_report,
    load,
    ranked_probability_score,
)
from fundus.exceptions import DataError, DataWarning, InvalidParameterError, SplitError
from fundus.meta.calibration import falling, fit_map
from fundus.meta.conformal_sets import nonconformity, nonconformity_of_severity, one_image_each

SPLITS = dict.fromkeys(
    (
        "check_sample_weight_equivalence_on_dense_data",
        "check_sample_weight_equivalence_on_sparse_data",
    ),
    "folds are drawn by rows, so weighting a row and repeating it are not the same",
)


def tiny(head="logistic", **options):
    return TransferClassifier("tiny", head, **({"weights": "fixed", "random_state": 0} | options))


def ordered(n, seed=0):
    """One noisy view of five grades, four of them rare."""
    rng = np.random.default_rng(seed)
    y = rng.choice(5, n, p=[0.5, 0.08, 0.22, 0.12, 0.08])
    return (y + rng.normal(0, 1, n))[:, np.newaxis], y


class Overconfident(LogisticRegression):
    """Sharpens its probabilities."""

    def predict_proba(self, X):
        proba = super().predict_proba(X) ** 3
        return proba / proba.sum(axis=1, keepdims=True)


def test_falling_is_isotonic_regression():
    rows = np.random.default_rng(0).uniform(size=(50, 4))
    # by the min-max formula: of all blocks around a place, the least of the greatest mean
    expected = [
        [min(max(row[a:b].mean() for b in range(k + 1, 5)) for a in range(k + 1)) for k in range(4)]
        for row in rows
    ]
    np.testing.assert_allclose(falling(rows), expected, atol=1e-12)
    fallen = -np.sort(-rows, axis=1)
    assert np.array_equal(falling(fallen), fallen)
    assert falling(rows[:0]).shape == (0, 4)


def test_sigmoid_finds_the_curve_and_ignores_a_score_that_misleads():
    rng = np.random.default_rng(0)
    score = rng.normal(0, 2, 20_000)
    positive = rng.random(20_000) < 1 / (1 + np.exp(-(0.7 * score - 1)))
    slope, intercept = fit_map(score, positive, "sigmoid").x
    assert (slope, intercept) == pytest.approx((0.7, -1), abs=0.08)
    flat = fit_map(-score, positive, "sigmoid")
    assert flat(np.array([-9.0, 9.0])) == pytest.approx(positive.mean(), abs=1e-3)


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibration_mends_overconfidence(method):
    X, y = ordered(600)
    new, truth = ordered(4000, seed=1)
    raw = Overconfident().fit(X, y).predict_proba(new)
    model = CumulativeCalibratedClassifierCV(Overconfident(), method=method, random_state=0)
    proba = model.fit(X, y).predict_proba(new)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert proba.min() >= 0
    assert ranked_probability_score(truth, proba) < ranked_probability_score(truth, raw) - 0.003
    for k in range(1, 5):
        assert proba[:, k:].sum(axis=1).mean() == pytest.approx((truth >= k).mean(), abs=0.04)
    assert np.array_equal(model.predict(new), proba.argmax(axis=1))
    np.testing.assert_allclose(model.predict_severity(new), proba @ np.arange(5))


def test_maps_are_fitted_on_what_each_fold_has_not_seen():
    X, y = ordered(150)
    cv = KFold(3, shuffle=True, random_state=0)
    model = CumulativeCalibratedClassifierCV(LogisticRegression(), cv=cv).fit(X, y)
    oof = FoldEnsemble(LogisticRegression(), cv=cv).fit(X, y).oof_proba_
    at_least = oof[:, 2:].sum(axis=1)
    expected = fit_map(np.log(at_least / (1 - at_least)), y >= 2, "sigmoid")
    assert model.maps_[1].x == pytest.approx(expected.x)
    assert model.estimator_.coef_ == pytest.approx(LogisticRegression().fit(X, y).coef_)


def test_labels_in_another_order_than_their_names():
    X, y = ordered(200)
    names = np.array(["none", "mild", "moderate", "severe", "proliferative"])
    options = {"cv": KFold(3, shuffle=True, random_state=0)}
    head = TransferClassifier("precomputed", LogisticHead(C=1.0))
    plain = CumulativeCalibratedClassifierCV(clone(head).set_params(grades=5), **options)
    named = CumulativeCalibratedClassifierCV(
        clone(head).set_params(grades=names.tolist()), **options
    )
    plain.fit(X, y)
    named.fit(X, names[y])
    np.testing.assert_allclose(named.predict_severity(X), plain.predict_severity(X), atol=1e-6)
    assert named.grades_.tolist() == names.tolist()
    sets = OrdinalConformalClassifier(clone(named.estimator), **options).fit(X, names[y])
    low, high = sets.predict_set(X)
    expected = OrdinalConformalClassifier(clone(plain.estimator), **options).fit(X, y)
    assert low.tolist() == names[expected.predict_set(X)[0]].tolist()
    assert high.tolist() == names[expected.predict_set(X)[1]].tolist()
    assert np.array_equal(sets.defer(X, at="moderate"), expected.defer(X, at=2))


@pytest.mark.slow
@pytest.mark.parametrize("make", [CumulativeCalibratedClassifierCV, OrdinalConformalClassifier])
@pytest.mark.parametrize("head", ["logistic", "ridge"])
def test_on_images_by_patient_nested_and_saved(evenly_graded, tmp_path, make, head):
    X, y = evenly_graded.frame, evenly_graded.grades
    model = make(tiny(head, grades=5), cv=2, random_state=0).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))
    model.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert np.array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert np.array_equal(loaded.predict_severity(X), model.predict_severity(X))
    if make is OrdinalConformalClassifier:
        for a, b in zip(loaded.predict_set(X), model.predict_set(X), strict=True):
            assert np.array_equal(a, b)
        assert model.n_calibration_ == 40  # one of each patient's two eyes
    outer = FoldEnsemble(make(tiny(head, grades=5), cv=2, random_state=0), cv=2, random_state=0)
    outer.fit(X, y)
    assert outer.oof_proba_.shape == (80, 5)
    assert outer.ballot().scale.tolist() == list(range(5))
    outer.save(tmp_path / "outer")
    assert np.array_equal(load(tmp_path / "outer").predict_proba(X), outer.predict_proba(X))
    with pytest.raises(SplitError, match="patient"):
        make(tiny(head), cv=KFold(2, shuffle=True, random_state=0)).fit(X, y)


@pytest.mark.slow
@pytest.mark.parametrize("make", [CumulativeCalibratedClassifierCV, OrdinalConformalClassifier])
def test_in_a_search_and_in_processes(make):
    X, y = ordered(120)
    model = make(LogisticRegression(), cv=3, random_state=0, n_jobs=2).fit(X, y)
    alone = make(LogisticRegression(), cv=3, random_state=0).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), alone.predict_proba(X))
    search = GridSearchCV(make(LogisticRegression(), cv=2), {"estimator__C": [0.1, 1.0]}, cv=2)
    assert search.fit(X, y).best_estimator_.predict(X).shape == (120,)


@pytest.mark.parametrize("make", [CumulativeCalibratedClassifierCV, OrdinalConformalClassifier])
def test_without_probabilities_there_is_nothing_to_calibrate(make):
    X, y = ordered(60)
    with pytest.raises(
        InvalidParameterError, match="must be one with predict_proba or predict_severity"
    ):
        make(RidgeClassifier(), cv=2, random_state=0).fit(X, y)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (CumulativeCalibratedClassifierCV(LogisticRegression(), method="platt"), "'method' param"),
        (OrdinalConformalClassifier(LogisticRegression(), confidence_level=0), "'confidence_l"),
        (OrdinalConformalClassifier(LogisticRegression(), confidence_level=1.0), "'confidence_l"),
        (OrdinalConformalClassifier(LogisticRegression(), alpha=0), "'alpha' parameter"),
        (OrdinalConformalClassifier(LogisticRegression(), alpha="most"), "'alpha' parameter"),
        (
            OrdinalConformalClassifier(LogisticRegression(), alpha=0.1, confidence_level=0.8),
            "'alpha' parameter .* left out .* Got alpha=0.1 and confidence_level=0.8",
        ),
        (OrdinalConformalClassifier(LogisticRegression(), cv="fitted"), "'cv' parameter"),
    ],
)
def test_parameters_are_checked_in_fit(model, message):
    with pytest.raises(InvalidParameterError, match=message):
        model.fit(*ordered(60))


def test_nonconformity_is_that_of_growing_sets():
    rng = np.random.default_rng(0)
    for proba in rng.dirichlet(np.ones(5), 100):
        low = high = int(proba.argmax())
        expected, mass = {low: 0.0}, proba[low]
        while high - low < 4:
            below = proba[low - 1] if low > 0 else -1
            above = proba[high + 1] if high < 4 else -1
            low, high = (low, high + 1) if above >= below else (low - 1, high)
            taken = high if above >= below else low
            expected[taken] = mass
            mass += proba[taken]
        found = nonconformity(proba[np.newaxis])[0]
        assert found == pytest.approx([expected[k] for k in range(5)])
    assert nonconformity_of_severity(np.array([-3.0]), np.arange(5)).tolist() == [[0, 1, 2, 3, 4]]


def sets_on_new_images(frozen, level, runs=25):
    held, sizes = [], []
    for run in range(runs):
        X, y = ordered(720, seed=run)
        if frozen:
            fitted = FrozenEstimator(LogisticRegression().fit(X[:60], y[:60]))
            model = OrdinalConformalClassifier(fitted, confidence_level=level)
            model.fit(X[60:120], y[60:120])
        else:
            model = OrdinalConformalClassifier(
                LogisticRegression(), confidence_level=level, cv=4, random_state=0
            ).fit(X[:120], y[:120])
        low, high = model.predict_set(X[120:])
        held.append(((low <= y[120:]) & (y[120:] <= high)).mean())
        sizes.append((high - low + 1).mean())
        assert (low <= high).all()
    return np.mean(held), np.mean(sizes)


@pytest.mark.slow
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.filterwarnings("ignore:The least populated class")
def test_sets_cover_and_grow_with_confidence(frozen):
    loose, small = sets_on_new_images(frozen, 0.7)
    strict, large = sets_on_new_images(frozen, 0.9)
    assert loose >= 0.66
    assert 0.87 <= strict <= 0.96
    assert small < large < 5


def test_one_image_of_each_patient():
    patients = np.repeat(np.arange(30), 3)
    rows = one_image_each(patients, 90, 0)
    assert patients[rows].tolist() == list(range(30))
    assert len(set(rows % 3)) == 3
    assert not np.array_equal(rows, one_image_each(patients, 90, 1))
    with pytest.raises(DataError, match="one patient a row. Got 2 for 3"):
        one_image_each(["a", "b"], 3, 0)


def test_an_ensemble_is_calibrated_without_a_fit(photographs):
    X, y = photographs.frame, photographs.grades
    ensemble = FoldEnsemble(tiny(), cv=2, random_state=0).fit(X, y)
    model = OrdinalConformalClassifier.from_ensemble(
        ensemble, y, groups=photographs.patients, confidence_level=0.8, random_state=0
    )
    fitted = OrdinalConformalClassifier(tiny(), confidence_level=0.8, cv=2, random_state=0).fit(
        X, y
    )
    for a, b in zip(model.predict_set(X), fitted.predict_set(X), strict=True):
        assert np.array_equal(a, b)
    with pytest.raises(DataError, match="Got 39 grades for 40"):
        OrdinalConformalClassifier.from_ensemble(ensemble, y[1:])


def test_too_few_images_give_sets_of_all_grades():
    X, y = ordered(100)
    model = OrdinalConformalClassifier(FrozenEstimator(LogisticRegression().fit(X, y)))
    with pytest.warns(DataWarning, match=r"8 calibration images.*_level=0.9, which needs 9"):
        model.fit(X[:8], y[:8])
    low, high = model.predict_set(X)
    assert (low == 0).all()
    assert (high == 4).all()
    assert model.defer(X).all()


LEVELS = [0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.975, 0.99]


def test_a_confidence_level_is_the_alpha_it_was_before():
    """To the last bit, so that sets and bundles stay what they were: 1 - 0.9 is not 0.1."""
    X, y = ordered(119)  # (1 - alpha) * 120 is a whole number for many levels
    frozen = FrozenEstimator(LogisticRegression().fit(X, y))
    for level in LEVELS:
        alpha = float(f"{1 - level:.4g}")
        new = OrdinalConformalClassifier(frozen, confidence_level=level).fit(X, y)
        with pytest.warns(FutureWarning, match=f"confidence_level={level:g}"):
            old = OrdinalConformalClassifier(frozen, alpha=alpha).fit(X, y)
        assert new.rule_.alpha == old.rule_.alpha == alpha
        assert np.array_equal(new.predict_set(X), old.predict_set(X))
        # the rule as it was: a grade stays where fewer than that many scores are below its own
        kept = np.searchsorted(new.rule_.scores[0], new._nonconformity(
            new.members(new.read_images(X))[0])) < (1 - alpha) * 120  # fmt: skip
        assert np.array_equal(new.predict_set(X)[0], kept.argmax(axis=1))
    ensemble = FoldEnsemble(LogisticRegression(), cv=3, random_state=0).fit(X, y)
    with pytest.warns(FutureWarning, match=r"confidence_level=0\.7"):
        old = OrdinalConformalClassifier.from_ensemble(ensemble, y, alpha=0.3)
    new = OrdinalConformalClassifier.from_ensemble(ensemble, y, confidence_level=0.7)
    assert np.array_equal(new.predict_set(X), old.predict_set(X))
    with pytest.raises(InvalidParameterError, match="'alpha' parameter .* left out"):
        OrdinalConformalClassifier.from_ensemble(ensemble, y, alpha=0.3, confidence_level=0.7)


def test_either_name_is_cloned_set_and_searched():
    X, y = ordered(120)
    model = OrdinalConformalClassifier(LogisticRegression(), cv=2, random_state=0)
    assert model.get_params(deep=False)["confidence_level"] == 0.9
    assert clone(model).set_params(confidence_level=0.6).fit(X, y).rule_.alpha == 0.4

    def width(model, X, y=None):
        low, high = model.predict_set(X)
        return -np.mean(high - low)

    search = GridSearchCV(model, {"confidence_level": [0.95, 0.6]}, scoring=width, cv=2).fit(X, y)
    assert search.best_params_ == {"confidence_level": 0.6}
    search = GridSearchCV(model, {"alpha": [0.05, 0.4]}, scoring=width, cv=2)
    with pytest.warns(FutureWarning, match="alpha=0.*is deprecated"):
        search.fit(X, y)
    assert search.best_params_ == {"alpha": 0.4}
    assert search.best_estimator_.rule_.alpha == 0.4
    back = clone(search.best_estimator_).set_params(alpha="deprecated", confidence_level=0.8)
    assert back.fit(X, y).rule_.alpha == 0.2


@pytest.mark.parametrize("make", [LogisticRegression, lambda: FoldEnsemble(LogisticRegression())])
def test_prefit_is_a_frozen_estimator(make, tmp_path):
    X, y = ordered(300)
    fitted = make().fit(X[:200], y[:200])
    frozen = OrdinalConformalClassifier(FrozenEstimator(fitted), random_state=0)
    frozen.fit(X[200:], y[200:], groups=np.arange(100) // 2)
    for estimator in (fitted, FrozenEstimator(fitted)):
        model = OrdinalConformalClassifier(estimator, cv="prefit", random_state=0)
        with pytest.warns(FutureWarning, match=r"FrozenEstimator\(model\)"):
            model.fit(X[200:], y[200:], groups=np.arange(100) // 2)
        assert model.ensemble_ is frozen.ensemble_ is fitted
        assert np.array_equal(model.rule_.scores[0], frozen.rule_.scores[0])
        assert np.array_equal(model.predict_set(X), frozen.predict_set(X))
        expected = np.array(model.predict_set(X))
        # what was calibrated is a fact of the fit, and no parameter
        assert np.array_equal(model.set_params(cv=5).predict_set(X), expected)
        model.save(tmp_path / type(estimator).__name__)
        again = load(tmp_path / type(estimator).__name__)
        assert np.array_equal(again.predict_set(X), expected)
        assert np.array_equal(again.set_params(cv=3).predict_set(X), expected)
    assert len(frozen.rule_.scores) == 1
    assert clone(frozen).fit(X[200:], y[200:]).ensemble_ is fitted, "a frozen model stays fitted"


def test_each_folds_model_is_asked_whatever_cv_becomes():
    X, y = ordered(120)
    model = OrdinalConformalClassifier(LogisticRegression(), cv=3, random_state=0).fit(X, y)
    expected = np.array(model.predict_set(X))
    assert len(model.rule_.scores) == 3
    assert np.array_equal(model.set_params(cv="prefit").predict_set(X), expected)


def test_a_frozen_model_is_calibrated_on_the_images_given():
    X, y = ordered(600)
    frozen = FrozenEstimator(Overconfident().fit(X[:200], y[:200]))
    few = y[200:] < 4  # a grade that the model knows, and these images lack
    model = CumulativeCalibratedClassifierCV(frozen).fit(X[200:][few], y[200:][few])
    assert model.estimator_ is frozen.estimator
    assert model.classes_.tolist() == [0, 1, 2, 3, 4]
    at_least = frozen.predict_proba(X[200:][few])[:, 2:].sum(axis=1)
    clipped = np.clip(at_least, 1e-6, 1 - 1e-6)
    expected = fit_map(np.log(clipped / (1 - clipped)), y[200:][few] >= 2, "sigmoid")
    assert model.maps_[1].x == pytest.approx(expected.x)
    new, truth = ordered(4000, seed=1)
    model.fit(X[200:], y[200:])
    before = ranked_probability_score(truth, frozen.predict_proba(new))
    assert ranked_probability_score(truth, model.predict_proba(new)) < before - 0.003


def test_coverage_is_counted_by_grade():
    true = [0, 0, 1, 2, 2, 3, 4, 4]
    report = coverage_report(true, [0, 1, 1, 1, 3, 3, 3, 4], [0, 2, 1, 2, 4, 3, 4, 4])
    assert report.coverage.value == 6 / 8
    assert [m.value for m in report.by_grade] == [0.5, 1, 0.5, 1, 1]
    assert report.size.value == 12 / 8
    assert report.deferred.value == 4 / 8
    assert report.undecided.value == 2 / 8
    assert report.coverage.interval.method == "wilson"
    with pytest.raises(DataError, match="lowest above its highest"):
        coverage_report([0], [2], [1])


CASES = {
    "calibrated": CumulativeCalibratedClassifierCV(
        TransferClassifier("precomputed", LogisticHead(C=1.0)), cv=2, random_state=0
    ),
    "conformal": OrdinalConformalClassifier(
        TransferClassifier("precomputed", RidgeHead(alpha=1.0)), cv=2, random_state=0
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")  # told in the records
@pytest.mark.filterwarnings("ignore:The least populated class")  # the suite's sets are that small
@pytest.mark.filterwarnings("ignore:.* calibration images")  # likewise
def test_check_estimator(name):
    records = check_estimator(CASES[name], expected_failed_checks=SPLITS, on_fail=None)
    failed = [f"{r['check_name']}: {r['exception']!r}" for r in records if r["status"] == "failed"]
    assert failed == []
    assert sum(r["status"] == "passed" for r in records) >= 50
