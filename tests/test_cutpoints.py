"""Cutpoints: the optimum against brute force, the two classifiers, and their ensembles."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics import cohen_kappa_score
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    ShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    cross_val_predict,
)

from fundus import (
    CumulativeCalibratedClassifierCV,
    FixedCutpointClassifier,
    FoldEnsemble,
    LogisticHead,
    OrdinalConformalClassifier,
    OrdinalRidgeHead,
    RidgeHead,
    TransferClassifier,
    TunedCutpointClassifierCV,
    kappa_scorer,
    load,
    optimal_cutpoints,
    quadratic_weighted_kappa,
)
from fundus.exceptions import (
    BundleError,
    DataError,
    DataWarning,
    InvalidGradeError,
    InvalidParameterError,
    SplitError,
)
from fundus.grades.cutpoints import grades_at
from fundus.meta.conformal_sets import nonconformity_of_severity
from fundus.meta.voting import middle_cutpoints
from fundus.reporting.predictions import out_of_fold_predictions, predict_images


def kappa(true, pred, n_grades, weight=None):
    return cohen_kappa_score(
        true, pred, labels=np.arange(n_grades), weights="quadratic", sample_weight=weight
    )


def score(true, pred, n_grades, cost, weight):
    if cost is None:
        return kappa(true, pred, n_grades, weight)
    return -np.average(np.asarray(cost)[true, pred], weights=weight)


def quick_score(true, pred, n_grades, cost, weight):
    """As `score`; thousands of calls of scikit-learn's kappa would take a minute."""
    if cost is not None:
        return score(true, pred, n_grades, cost, weight)
    cells = np.bincount(true * n_grades + pred, weight, n_grades**2).reshape(n_grades, n_grades)
    apart = np.subtract.outer(np.arange(n_grades), np.arange(n_grades)) ** 2
    expected = np.outer(cells.sum(axis=1), cells.sum(axis=0)) / cells.sum()
    return 1 - (apart * cells).sum() / (apart * expected).sum()


def brute_force(severity, true, n_grades, cost, weight, allowed):
    """Best score over every monotone way to cut the distinct severities."""
    heavy = np.ones(len(true), bool) if weight is None else weight > 0
    values = np.unique(severity[heavy])
    cuts = np.concatenate([[-np.inf], (values[1:] + values[:-1]) / 2, [np.inf]])
    best = -np.inf
    for cutpoints in itertools.combinations_with_replacement(cuts, len(allowed) - 1):
        pred = allowed[(severity[:, None] >= np.array(cutpoints)).sum(axis=1)]
        best = max(best, quick_score(true, pred, n_grades, cost, weight))
    return best


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("by_cost", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_optimum_is_that_of_brute_force(ties, by_cost, weighted):
    rng = np.random.default_rng([ties, by_cost, weighted])
    for _ in range(25):
        n, n_grades = int(rng.integers(3, 8)), int(rng.integers(2, 6))
        severity = rng.choice([0.1, 0.4, 0.9, 1.7, 2.2], n) if ties else rng.normal(size=n)
        true = rng.integers(0, n_grades, n)  # often without some grades
        true[:2] = [0, n_grades - 1]
        weight = rng.random(n) * (rng.random(n) < 0.8) if weighted else None
        if weighted:
            weight[:2] = [0.5, 1.5]
        cost = rng.random((n_grades, n_grades)) if by_cost else None
        allowed = np.unique(rng.integers(0, n_grades, n_grades))
        best = brute_force(severity, true, n_grades, cost, weight, allowed)
        cutpoints, found = optimal_cutpoints(
            severity,
            true,
            n_grades=n_grades,
            scoring="qwk" if cost is None else cost,
            sample_weight=weight,
            allowed=allowed,
        )
        assert found == pytest.approx(best, abs=1e-12)
        pred = grades_at(severity, cutpoints)
        assert score(true, pred, n_grades, cost, weight) == pytest.approx(best, abs=1e-12)
        assert set(pred) <= set(allowed)
        assert cutpoints.shape == (n_grades - 1,)
        assert not (np.diff(cutpoints[np.isfinite(cutpoints)]) < 0).any()


def test_a_weight_of_two_is_a_row_twice():
    rng = np.random.default_rng(0)
    severity, true = rng.normal(size=40), rng.integers(0, 4, 40)
    weight = rng.integers(0, 3, 40)
    weighted = optimal_cutpoints(severity, true, n_grades=4, sample_weight=weight)
    rows = np.repeat(np.arange(40), weight)
    repeated = optimal_cutpoints(severity[rows], true[rows], n_grades=4)
    assert weighted[0] == pytest.approx(repeated[0])
    assert weighted[1] == pytest.approx(repeated[1])


def test_where_cutpoints_lie():
    severity, true = [0.0, 1.0, 2.0, 5.0], [0, 0, 2, 2]
    cutpoints, found = optimal_cutpoints(severity, true, n_grades=4)
    assert found == 1.0
    # midway; nothing is grade 1, so its ends coincide; nothing is grade 3, however severe
    assert cutpoints.tolist() == [1.5, 1.5, np.inf]
    assert grades_at([1.5, 1e9, -1e9], cutpoints).tolist() == [2, 2, 0]
    assert optimal_cutpoints(severity, [1, 1, 2, 2], n_grades=3)[0].tolist() == [-np.inf, 1.5]
    order = [2, 0, 3, 1]
    shuffled = optimal_cutpoints(np.take(severity, order), np.take(true, order), n_grades=4)
    assert shuffled[0].tolist() == cutpoints.tolist()


def test_of_several_optima_the_lowest_is_taken():
    cost = [[0, 1], [1, 0]]
    # 0 | 1 0 | 1: cutting before or after the middle pair costs one image each
    cutpoints, found = optimal_cutpoints([0, 1, 2, 3], [0, 1, 0, 1], n_grades=2, scoring=cost)
    assert (cutpoints.tolist(), found) == ([0.5], -0.25)


def test_adjacent_floats_are_told_apart():
    low = 1.0
    high = np.nextafter(low, 2)
    cutpoints, found = optimal_cutpoints([low, high], [0, 1], n_grades=2)
    assert found == 1.0
    assert grades_at([low, high], cutpoints).tolist() == [0, 1]


@pytest.mark.parametrize("severity", [[1.0] * 5, [4.0, 3.0, 2.0, 1.0, 0.0]])
def test_severities_that_say_nothing_give_all_one_grade(severity):
    cutpoints, found = optimal_cutpoints(severity, [0, 2, 2, 2, 4])
    assert found == 0.0
    assert grades_at([-9, 0, 9], cutpoints).tolist() == [2, 2, 2]


def test_input_that_cannot_be_cut():
    with pytest.raises(DataError, match=r"severity must hold finite numbers. Got nan in row 1"):
        optimal_cutpoints([0, np.nan], [0, 1])
    with pytest.raises(DataError, match=r"one value a row. Got shapes \(3,\), \(2,\)"):
        optimal_cutpoints([0, 1, 2], [0, 1])
    with pytest.raises(DataError, match="at least 0. Got -1.0 in row 0"):
        optimal_cutpoints([0, 1], [0, 1], sample_weight=[-1, 1])
    with pytest.raises(DataError, match="rows with weight. Got none"):
        optimal_cutpoints([0, 1], [0, 1], sample_weight=[0, 0])
    with pytest.raises(InvalidGradeError, match="grades must hold grades out of .* Got 5 in row 1"):
        optimal_cutpoints([0, 1], [0, 5])
    with pytest.raises(InvalidGradeError, match=r"at least 2 different true grades \(classes\)"):
        optimal_cutpoints([0, 1], [3, 3])
    for scoring in ("accuracy", np.eye(4), np.full((5, 5), np.nan), [[1], [2, 3]]):
        with pytest.raises(InvalidParameterError, match=r"'qwk' or a matrix .* shape \(5, 5\)"):
            optimal_cutpoints([0, 1], [0, 1], scoring=scoring)


@pytest.fixture(scope="module")
def graded():
    """150 rows of 8 features; the grade follows the first, unevenly."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 8))
    y = np.digitize(X[:, 0] + 0.4 * rng.normal(size=150), [0.0, 0.3, 1.0, 1.3])
    return X, y


def ridge(**options):
    return TransferClassifier("precomputed", RidgeHead(alpha=1.0), grades=5, **options)


def logistic(**options):
    return TransferClassifier("precomputed", LogisticHead(C=1.0), grades=5, **options)


def ordinal_ridge():
    return TransferClassifier("precomputed", OrdinalRidgeHead(), grades=5)


def tuned(estimator, **options):
    return TunedCutpointClassifierCV(estimator, **({"cv": 3, "random_state": 0} | options))


def test_cutpoints_are_fitted_on_out_of_fold_severities(graded):
    X, y = graded
    cv = StratifiedKFold(3, shuffle=True, random_state=0)
    model = tuned(Ridge(), cv=cv).fit(X, y)
    expected = cross_val_predict(Ridge(), X, y, cv=cv)
    assert model.oof_severity_ == pytest.approx(expected)
    cutpoints, best = optimal_cutpoints(expected, y)
    assert model.cutpoints_ == pytest.approx(cutpoints)
    assert model.best_score_ == pytest.approx(best)
    severity = Ridge().fit(X, y).predict(X)
    assert model.predict_severity(X) == pytest.approx(severity)
    assert np.array_equal(model.predict(X), np.searchsorted(cutpoints, severity, side="right"))
    assert not hasattr(model, "predict_proba")
    assert best > quadratic_weighted_kappa(y, np.clip(np.rint(expected), 0, 4).astype(int))


def test_severities_of_classifiers_and_searches(graded):
    X, y = graded
    plain = tuned(LogisticRegression()).fit(X, y)
    proba = LogisticRegression().fit(X, y).predict_proba(X)
    assert plain.predict_severity(X) == pytest.approx(proba @ np.arange(5))
    assert plain.predict_proba(X) == pytest.approx(proba)
    search = tuned(GridSearchCV(ridge(), {"head__alpha": [1.0, 10.0]}, cv=2)).fit(X, y)
    best = search.estimator_.best_estimator_
    assert search.predict_severity(X) == pytest.approx(best.predict_severity(X))
    regressor = tuned(GridSearchCV(Ridge(), {"alpha": [1.0, 10.0]}, cv=2)).fit(X, y)
    assert regressor.predict_severity(X) == pytest.approx(regressor.estimator_.predict(X))
    names = np.array(["a none", "b mild", "c moderate", "d severe", "e proliferative"])
    with pytest.warns(DataWarning, match="alphabet"):
        named = tuned(Ridge()).fit(X, names[y])
    assert np.array_equal(named.predict(X), names[tuned(Ridge()).fit(X, y).predict(X)])
    with pytest.raises(InvalidParameterError, match="a regressor, or a classifier with predict_"):
        tuned(RidgeClassifier()).fit(X, y)


def test_a_cost_matrix_moves_the_cutpoints(graded):
    X, y = graded
    grades = np.arange(5)
    missed = np.where(grades[:, None] > grades, 5.0, 1.0) * abs(grades[:, None] - grades)
    even = tuned(ridge(), scoring=abs(grades[:, None] - grades)).fit(X, y)
    careful = tuned(ridge(), scoring=missed.tolist()).fit(X, y)
    assert (careful.cutpoints_ <= even.cutpoints_).all()
    assert careful.predict(X).mean() > even.predict(X).mean()
    pred = grades_at(careful.oof_severity_, careful.cutpoints_)
    assert careful.best_score_ == pytest.approx(-missed[y, pred].mean())
    with pytest.raises(InvalidParameterError, match=r"shape \(5, 5\)"):
        tuned(ridge(), scoring=np.eye(3)).fit(X, y)


def test_sample_weight_reaches_models_and_score(graded):
    X, y = graded
    weight = np.where(np.arange(150) < 75, 1.0, 0.0)
    cv = list(StratifiedKFold(3, shuffle=True, random_state=0).split(X, y))
    weighted = tuned(Ridge(), cv=cv).fit(X, y, sample_weight=weight)
    half = tuned(Ridge(), cv=[(a[a < 75], b[b < 75]) for a, b in cv]).fit(X[:75], y[:75])
    assert weighted.cutpoints_ == pytest.approx(half.cutpoints_)
    assert weighted.best_score_ == pytest.approx(half.best_score_)


def test_one_fold_without_refit(graded):
    X, y = graded
    one = ShuffleSplit(1, test_size=0.4, random_state=0)
    train, test = next(one.split(X))
    model = tuned(Ridge(), cv=one, refit=False).fit(X, y)
    severity = Ridge().fit(X[train], y[train]).predict(X)
    assert model.predict_severity(X) == pytest.approx(severity)
    assert model.cutpoints_ == pytest.approx(optimal_cutpoints(severity[test], y[test])[0])
    assert np.isnan(model.oof_severity_[train]).all()
    with pytest.raises(InvalidParameterError, match="'refit' .* Got False and 3 folds"):
        tuned(Ridge(), refit=False).fit(X, y)


def test_a_fitted_model_takes_cutpoints(graded):
    X, y = graded
    fitted = Ridge().fit(X[:75], y[:75])
    with pytest.raises(InvalidParameterError, match=r"FrozenEstimator\(model\).* Got 'prefit'"):
        tuned(fitted, cv="prefit").fit(X, y)
    cutpoints, best = optimal_cutpoints(fitted.predict(X[75:]), y[75:])
    model = tuned(FrozenEstimator(fitted)).fit(X[75:], y[75:])
    assert model.estimator_ is fitted
    assert np.array_equal(model.cutpoints_, cutpoints)
    assert model.best_score_ == best
    assert np.array_equal(model.oof_severity_, fitted.predict(X[75:]))
    model = FixedCutpointClassifier(FrozenEstimator(fitted), cutpoints=cutpoints)
    model.fit(X[75:], y[75:])
    assert np.array_equal(model.predict(X), grades_at(fitted.predict(X), cutpoints))


def test_fixed_cutpoints(graded):
    X, y = graded
    model = FixedCutpointClassifier(ridge(), cutpoints=(0.2, 0.2, 2.0, 9.0)).fit(X, y)
    assert np.array_equal(
        model.predict(X), grades_at(ridge().fit(X, y).predict_severity(X), (0.2, 0.2, 2.0, 9.0))
    )
    rounded = FixedCutpointClassifier(ridge()).fit(X, y)
    assert np.array_equal(rounded.predict(X), ridge().fit(X, y).predict(X))
    lacking = FixedCutpointClassifier(ridge()).fit(X[y != 3], y[y != 3])
    assert set(lacking.predict(X)) <= {0, 1, 2, 4}
    for cutpoints in ((0.5, 1.5), (0.5, 1.5, 2.5, 3.5, 4.5)):
        with pytest.raises(InvalidParameterError, match="4 ascending numbers"):
            FixedCutpointClassifier(ridge(), cutpoints=cutpoints).fit(X, y)
    for cutpoints in ((2.0, 1.0, 3.0, 4.0), "abcd", (), None, (0.5, np.nan, 2.5, 3.5)):
        with pytest.raises(InvalidParameterError, match="sequence of ascending numbers"):
            FixedCutpointClassifier(ridge(), cutpoints=cutpoints).fit(X, y)


def test_patients_stay_together(graded):
    X, y = graded
    patients = np.arange(150) // 2
    frame = pd.DataFrame(X).assign(patient=patients)

    seen = []

    class Recorder(LinearRegression):
        def fit(self, X, y, groups=None):
            seen.append(set(groups))
            return super().fit(X, y)

    tuned(Recorder()).fit(X, y, groups=patients)
    parts = sorted(map(len, seen))
    assert parts[-1] == 75
    assert sum(75 - n for n in parts[:-1]) == 75, "every patient is out of exactly one fold"
    with pytest.raises(SplitError, match="patient .* on both sides"):
        tuned(Ridge(), cv=KFold(3, shuffle=True, random_state=0)).fit(X, y, groups=patients)
    with pytest.raises(SplitError, match="patient .* on both sides"):
        tuned(Ridge(), cv=KFold(3, shuffle=True, random_state=0)).fit(frame, y)
    with pytest.raises(DataError, match="one patient a row. Got 3 for 150 rows"):
        tuned(Ridge()).fit(X, y, groups=[1, 2, 3])
    with pytest.raises(DataError, match="'patient' column of X .* row 5"):
        tuned(Ridge()).fit(frame.assign(patient=frame["patient"].where(frame.index != 5)), y)


def test_folds_that_cannot_teach():
    rng = np.random.default_rng(0)
    X, y, patients = rng.normal(size=(40, 3)), np.repeat([0, 1, 2, 3], 10), np.arange(40)
    with pytest.raises(SplitError, match="3 folds need at least 3 patients. Got 2"):
        tuned(Ridge()).fit(X, y, groups=np.arange(40) % 2)
    one = np.where(y == 3, 99, patients)
    with pytest.raises(SplitError, match="no image of grade 3 .* only patient 99 has it"):
        tuned(Ridge()).fit(X, y, groups=one)
    with pytest.raises(SplitError, match="Fold 0 has no image of grade 0 .* all 10 of it are in"):
        tuned(Ridge(), cv=KFold(4)).fit(X, y)
    with pytest.raises(SplitError, match="Fold 0 has no image of grade 0"):
        tuned(Ridge(), cv=list(KFold(4).split(X))).fit(X, y)  # an ensemble would take them
    with pytest.raises(DataError, match="two test folds"):
        tuned(Ridge(), cv=ShuffleSplit(5, random_state=0)).fit(X, y)
    with pytest.raises(InvalidGradeError, match="at least 2 grades"):
        tuned(Ridge()).fit(X, np.zeros(40))
    # a grade that a test part lacks is no fault
    parts = StratifiedGroupKFold(2).split(X, y, np.where(y == 3, 90 + patients % 3, patients))
    assert tuned(Ridge(), cv=list(parts)).fit(X, y).cutpoints_.shape == (3,)


@pytest.mark.slow
def test_in_a_grid_search(graded):
    X, y = graded
    search = GridSearchCV(
        tuned(ridge()),
        {"estimator__head__alpha": [1.0, 1e5], "scoring": ["qwk", (1 - np.eye(5)).tolist()]},
        scoring=kappa_scorer,
        cv=2,
    ).fit(X, y)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_estimator_.cutpoints_.shape == (4,)
    often = np.isin(y, (0, 2, 4))  # three splits, one in another, leave too few of the others
    model = FoldEnsemble(search, cv=2, random_state=0).fit(X[often], y[often])
    assert model.voting_ == "cutpoints"
    assert set(model.predict(X)) <= {0, 2, 4}


def test_processes_and_clones_give_the_same(graded):
    X, y = graded
    one = tuned(ridge()).fit(X, y)
    two = clone(tuned(ridge(), n_jobs=2)).fit(X, y)
    assert np.array_equal(one.cutpoints_, two.cutpoints_)
    assert np.array_equal(one.predict(X), two.predict(X))


@pytest.mark.parametrize("make", [ridge, logistic, ordinal_ridge, Ridge])
def test_an_ensemble_cuts_the_mean_severity(graded, make, tmp_path):
    X, y = graded
    model = FoldEnsemble(tuned(make()), cv=3, random_state=0).fit(X, y)
    assert model.voting_ == "cutpoints"
    for k, own in enumerate(model.estimators_):
        rows = model.oof_fold_ == k
        assert np.array_equal(model.oof_prediction_[rows], own.predict(X[rows]))
        assert model.oof_severity_[rows] == pytest.approx(own.predict_severity(X[rows]))
    severity = np.mean([m.predict_severity(X) for m in model.estimators_], axis=0)
    cutpoints = np.median([m.cutpoints_ for m in model.estimators_], axis=0)
    assert model.predict_severity(X) == pytest.approx(severity)
    assert np.array_equal(model.predict(X), np.searchsorted(cutpoints, severity, side="right"))
    assert hasattr(model, "oof_proba_") == hasattr(model, "predict_proba") == (make is not Ridge)
    if make is not Ridge:
        mean = np.mean([m.predict_proba(X) for m in model.estimators_], axis=0)
        assert model.predict_proba(X) == pytest.approx(mean)
        scores = predict_images(model, X)
        assert np.array_equal(scores.grades, model.predict(X))
        assert np.array_equal(out_of_fold_predictions(model).grades, model.oof_prediction_)
        one = model.estimators_[0]
        assert np.array_equal(predict_images(one, X).grades, one.predict(X))
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert np.array_equal(again.predict(X), model.predict(X))
    assert np.array_equal(again.estimators_[1].cutpoints_, model.estimators_[1].cutpoints_)
    with pytest.raises(InvalidParameterError, match="without cutpoints"):
        FoldEnsemble(LogisticRegression(), voting="cutpoints", cv=2).fit(X, y)


@pytest.mark.parametrize("prefit", [False, True])
@pytest.mark.parametrize("make", [ridge, logistic, Ridge])
def test_conformal_sets_around_cutpoints(graded, make, prefit, tmp_path):
    """They are those of the severity; the grade is the cutpoints'."""
    X, y = graded
    new = np.random.default_rng(1).normal(size=(200, 8))
    grades = np.digitize(new[:, 0], [0.0, 0.3, 1.0, 1.3])
    if prefit:
        inner = tuned(make()).fit(X, y)
        model = OrdinalConformalClassifier(FrozenEstimator(inner), confidence_level=0.8)
        model.fit(new, grades)
        away = nonconformity_of_severity(inner.predict_severity(new), np.arange(5))
        assert np.array_equal(model.rule_.scores[0], np.sort(away[np.arange(200), grades]))
    else:
        model = OrdinalConformalClassifier(
            tuned(make()), confidence_level=0.8, cv=3, random_state=0
        )
        low, high = model.fit(X, y).predict_set(new)
        assert ((low <= grades) & (grades <= high)).mean() > 0.75
    assert model.ballot_.voting == "cutpoints"
    assert np.array_equal(model.predict(X), model.ensemble_.predict(X))
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert np.array_equal(again.predict(X), model.predict(X))
    assert np.array_equal(again.predict_set(X), model.predict_set(X))
    assert hasattr(model, "predict_proba") == (make is not Ridge)


@pytest.mark.slow
def test_calibration_goes_inside_cutpoints(tmp_path):
    X = np.random.default_rng(0).normal(size=(400, 4))
    y = np.digitize(X[:, 0] + 0.2 * X[:, 1], [0.0, 0.3, 1.0, 1.3])
    with pytest.raises(InvalidParameterError, match="put the cutpoints around the result"):
        CumulativeCalibratedClassifierCV(tuned(ridge()), cv=3).fit(X, y)
    for make in (ridge, logistic):
        calibrated = CumulativeCalibratedClassifierCV(make(), cv=2, random_state=0)
        model = FoldEnsemble(tuned(calibrated, cv=2), cv=2, random_state=0).fit(X, y)
        assert model.voting_ == "cutpoints"
        own = model.estimators_[0]
        np.testing.assert_allclose(
            own.predict_severity(X), own.estimator_.predict_proba(X) @ np.arange(5)
        )
        model.save(tmp_path / make.__name__)
        again = load(tmp_path / make.__name__)
        assert np.array_equal(again.predict(X), model.predict(X))
        assert np.array_equal(again.predict_proba(X), model.predict_proba(X))


def test_the_middle_of_cutpoints():
    inf = np.inf
    cases = {
        (0.25,): [(0.25,)],
        (2.0, 4.0): [(1.0, 3.0), (2.0, 4.0), (9.0, inf)],
        (1.5, 3.0): [(1.0, 3.0), (2.0, inf)],
        (-inf, 1.0): [(-inf, 1.0), (inf, inf)],
        (3.0, 3.0): [(1.0, 2.0), (5.0, inf)],  # in order, though the lower middle is less
    }
    for expected, given in cases.items():
        assert tuple(middle_cutpoints([np.array(c) for c in given])) == expected


def test_an_ensemble_whose_fold_lacks_a_grade():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2, 4], 12)
    X = y[:, None] + 0.2 * rng.normal(size=(48, 2))
    y[47] = 3  # its fold's model sees no grade 3, and has the scale 0, 1, 2, 4
    X[47] = 3.0
    cv = list(StratifiedKFold(2, shuffle=True, random_state=0).split(X, np.where(y == 3, 4, y)))
    estimator = FixedCutpointClassifier(TransferClassifier("precomputed", RidgeHead(alpha=0.1)))
    model = FoldEnsemble(estimator, cv=cv).fit(X, y)
    assert model.grades_.tolist() == [0, 1, 2, 3, 4]
    held = int(model.oof_fold_[47])
    assert model.estimators_[held].grades_.tolist() == [0, 1, 2, 4]
    assert model.oof_severity_[47] == pytest.approx(3.0, abs=0.4)
    tested = (model.oof_fold_ == held) & (y != 3)
    assert (model.oof_prediction_[tested] == y[tested]).mean() > 0.9
    assert (model.predict(X) == y).mean() > 0.9


def test_saved_without_pickle(graded, tmp_path):
    X, y = graded
    cost = abs(np.subtract.outer(np.arange(5), np.arange(5)))
    for k, model in enumerate(
        (
            tuned(logistic(), scoring=cost),
            tuned(Ridge()),
            FixedCutpointClassifier(ridge(), cutpoints=[0.4, 1.4, 2.4, np.inf]),
        )
    ):
        with pytest.raises(BundleError, match="call fit first"):
            model.save(tmp_path / "none")
        model.fit(X, y).save(tmp_path / str(k))
        again = load(tmp_path / str(k))
        assert type(again) is type(model)
        assert np.array_equal(again.cutpoints_, model.cutpoints_)
        assert np.array_equal(again.predict(X), model.predict(X))
        assert np.array_equal(again.predict_severity(X), model.predict_severity(X))
        assert again.n_features_in_ == 8
        if k < 2:
            assert again.best_score_ == model.best_score_
            assert np.array_equal(again.oof_severity_, model.oof_severity_)
        assert clone(again).fit(X, y).cutpoints_.shape == (4,)


def test_on_photographs(photographs):
    """Frozen work is shared, and a frame brings its patients."""
    estimator = TransferClassifier("tiny", "ridge", weights="fixed", grades=5, random_state=0)
    model = FoldEnsemble(tuned(estimator, cv=2), cv=2, random_state=0)
    model.fit(photographs.frame, np.minimum(photographs.grades, 2))  # of several patients each
    assert model.voting_ == "cutpoints"
    severity = np.mean([m.predict_severity(photographs.frame) for m in model.estimators_], axis=0)
    assert model.predict_severity(photographs.frame) == pytest.approx(severity)
