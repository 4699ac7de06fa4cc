"""Cutpoints as the median over resamples of patients."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import ShuffleSplit, cross_val_predict

from fundus import (
    FoldEnsemble,
    RidgeHead,
    TransferClassifier,
    TunedCutpointClassifierCV,
    load,
    optimal_cutpoints,
    quadratic_weighted_kappa,
)
from fundus.exceptions import BundleError, InvalidParameterError
from fundus.grades.cutpoints import grades_at
from fundus.meta.tuned_cutpoints import resampled_weights, tuned_cutpoints


@pytest.fixture(scope="module")
def graded():
    """120 rows of 4 features of 60 patients; the grade follows the first, unevenly."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 4))
    y = np.digitize(X[:, 0] + 0.4 * rng.normal(size=120), [0.0, 0.3, 1.0, 1.3])
    return X, y, np.arange(120) // 2


def ridge():
    return TransferClassifier("precomputed", RidgeHead(alpha=1.0), grades=5)


def tuned(estimator, **options):
    return TunedCutpointClassifierCV(estimator, **({"cv": 3, "random_state": 0} | options))


def test_none_is_the_optimum_to_the_bit(graded):
    X, y, _ = graded
    model = tuned(Ridge(), n_bootstraps=5).fit(X, y)
    assert model.cutpoint_samples_.shape == (5, 4)
    model.set_params(n_bootstraps=0).fit(X, y)
    assert not hasattr(model, "cutpoint_samples_")
    cutpoints, best = optimal_cutpoints(model.oof_severity_, y)
    assert np.array_equal(model.cutpoints_, cutpoints)
    assert model.best_score_ == best


@pytest.mark.parametrize("by_patient", [False, True])
def test_the_median_of_the_best_of_each_resample(graded, by_patient):
    X, y, patients = graded
    groups = patients if by_patient else None
    model = tuned(Ridge(), n_bootstraps=40).fit(X, y, groups=groups)
    plain = tuned(Ridge()).fit(X, y, groups=groups)
    assert np.array_equal(model.oof_severity_, plain.oof_severity_)
    by_hand = [
        optimal_cutpoints(model.oof_severity_, y, sample_weight=drawn)[0]
        for drawn in resampled_weights(y, groups, None, 40, 0)
    ]
    assert np.array_equal(model.cutpoint_samples_, by_hand)
    assert len(np.unique(model.cutpoint_samples_, axis=0)) > 10
    assert model.cutpoints_ == pytest.approx(np.median(by_hand, axis=0))
    assert (np.diff(model.cutpoints_) >= 0).all()
    pred = grades_at(model.oof_severity_, model.cutpoints_)
    assert model.best_score_ == pytest.approx(quadratic_weighted_kappa(y, pred))
    assert model.best_score_ <= plain.best_score_


def test_the_seed_decides(graded):
    X, y, _ = graded
    fitted = FrozenEstimator(Ridge().fit(X, y))

    def make(state):
        return tuned(fitted, n_bootstraps=20, random_state=state)

    one, two = make(0).fit(X, y), make(0).fit(X, y)
    assert np.array_equal(one.cutpoint_samples_, two.cutpoint_samples_)
    assert not np.array_equal(one.cutpoint_samples_, make(1).fit(X, y).cutpoint_samples_)
    state = make(np.random.RandomState(0)).fit(X, y)
    assert np.array_equal(one.cutpoint_samples_, state.cutpoint_samples_)


def test_images_are_drawn_within_their_grade():
    grades = np.repeat([0, 1, 4], [20, 9, 1])
    draws = np.stack(list(resampled_weights(grades, None, None, 30, 0)))
    for grade, n in ((0, 20), (1, 9), (4, 1)):
        assert (draws[:, grades == grade].sum(axis=1) == n).all()
    assert (draws[:, grades == 0].max(axis=1) > 1).all(), "with replacement"


def test_patients_are_drawn_whole_and_no_grade_is_lost():
    rng = np.random.default_rng(0)
    patients = np.concatenate([np.repeat(np.arange(30), 2), [99, 99]])
    grades = np.concatenate([rng.choice([0, 2, 4], 60), [1, 2]])  # 1 is one patient's better eye
    draws = np.stack(list(resampled_weights(grades, patients, None, 200, 0)))
    frame = pd.DataFrame(draws.T).groupby(patients)
    assert (frame.min() == frame.max()).all(axis=None)
    assert (draws[:, grades == 1] >= 1).all()
    lone = frame.first().loc[99]
    assert (lone > 1).any(), "it is drawn like others too"
    for grade in (0, 2, 4):
        assert draws[:, grades == grade].any(axis=1).all()
    worst = pd.Series(grades).groupby(patients).max()
    n_of_worst = frame.first().groupby(worst).sum()
    extra = n_of_worst.loc[2] - (worst == 2).sum()
    assert set(extra) == {0, 1}, "the patient with the lost grade is drawn in addition"
    assert (n_of_worst.loc[4] == (worst == 4).sum()).all()


def test_weights_are_kept():
    grades, weight = np.repeat([0, 1], 10), np.tile([0.0, 0.5, 2.0, 1.0, 1.0], 4)
    for drawn in resampled_weights(grades, np.arange(20) // 2, weight, 20, 0):
        assert not drawn[weight == 0].any()
        times = drawn[weight > 0] / weight[weight > 0]
        assert np.array_equal(times, np.rint(times))
    rng = np.random.default_rng(0)
    severity = grades + rng.normal(size=20)
    heavy = weight > 0
    whole = tuned_cutpoints(severity, grades, np.arange(2), weight=weight, n_bootstraps=9,
                            random_state=0)  # fmt: skip
    part = tuned_cutpoints(severity[heavy], grades[heavy], np.arange(2), weight=weight[heavy],
                           n_bootstraps=9, random_state=0)  # fmt: skip
    assert np.array_equal(whole[2], part[2])


def test_costs_and_grades_that_are_never_predicted():
    severity, y = np.array([0.0, 1.0, 2.0, 3.0] * 5), np.array([0, 0, 2, 2] * 5)
    cost = abs(np.subtract.outer(np.arange(4), np.arange(4)))
    for scoring, best in (("qwk", 1.0), (cost, 0.0)):
        found = tuned_cutpoints(severity, y, np.arange(4), scoring=scoring, n_bootstraps=11,
                                allowed=[0, 2], random_state=0)  # fmt: skip
        assert found[0].tolist() == [1.5, 1.5, np.inf]
        assert found[1] == best


def test_in_every_form(graded, tmp_path):
    X, y, patients = graded
    fitted = ridge().fit(X[:60], y[:60])
    frozen = tuned(FrozenEstimator(fitted), n_bootstraps=15).fit(X[60:], y[60:])
    samples = tuned_cutpoints(
        fitted.predict_severity(X[60:]), y[60:], np.arange(5), n_bootstraps=15, random_state=0
    )[2]
    assert np.array_equal(frozen.cutpoint_samples_, samples)
    one = tuned(ridge(), cv=ShuffleSplit(1, test_size=0.5, random_state=1), refit=False,
                n_bootstraps=15).fit(X, y)  # fmt: skip
    assert one.cutpoint_samples_.shape == (15, 4)
    folds = FoldEnsemble(tuned(ridge(), n_bootstraps=15), cv=2, random_state=0)
    folds.fit(X, np.minimum(y, 2), groups=patients)
    assert folds.voting_ == "cutpoints"
    assert all(model.cutpoint_samples_.shape == (15, 4) for model in folds.estimators_)
    around = tuned(FrozenEstimator(FoldEnsemble(LogisticRegression(), cv=2).fit(X, y)))
    assert around.set_params(n_bootstraps=3).fit(X, y).cutpoint_samples_.shape == (3, 4)
    for k, model in enumerate((frozen, folds)):
        model.save(tmp_path / str(k))
        again = load(tmp_path / str(k))
        assert np.array_equal(again.predict(X), model.predict(X))
    again = load(tmp_path / "0")
    assert np.array_equal(again.cutpoint_samples_, frozen.cutpoint_samples_)
    assert clone(again).n_bootstraps == 15


def test_what_cannot_be(graded, tmp_path):
    X, y, _ = graded
    for n in (-1, 1.5, "many", True, None):
        with pytest.raises(InvalidParameterError, match="'n_bootstraps' .* at least 0"):
            tuned(Ridge(), n_bootstraps=n).fit(X, y)
    model = tuned(Ridge(), n_bootstraps=3).fit(X, y)
    for k, wrong in enumerate((model.cutpoint_samples_[:2], model.cutpoint_samples_[:, ::-1])):
        model.cutpoint_samples_ = wrong
        model.save(tmp_path / str(k))
        with pytest.raises(BundleError, match="'cutpoint_samples_'"):
            load(tmp_path / str(k))


def test_a_median_is_steadier_than_the_best():
    """Over other draws of the same photographs' kind, the cutpoints move less."""
    best, median = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        y = np.concatenate([np.arange(5), rng.choice(5, 75, p=[0.4, 0.1, 0.25, 0.15, 0.1])])
        severity = y + rng.normal(size=80)
        best.append(tuned_cutpoints(severity, y, np.arange(5))[0])
        median.append(
            tuned_cutpoints(severity, y, np.arange(5), n_bootstraps=40, random_state=0)[0]
        )
    best, median = np.clip(best, -2, 6), np.clip(median, -2, 6)
    assert median.std(axis=0).mean() < 0.9 * best.std(axis=0).mean()


def test_severities_are_those_of_the_folds(graded):
    X, y, _ = graded
    cv = list(ShuffleSplit(1, test_size=0.5, random_state=0).split(X))
    cv += [(test, train) for train, test in cv]
    model = tuned(Ridge(), cv=cv, n_bootstraps=2).fit(X, y)
    assert model.oof_severity_ == pytest.approx(cross_val_predict(Ridge(), X, y, cv=cv))
