"""FoldEnsemble: honest out-of-fold scores and the average of the fold models."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    ShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    cross_val_predict,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from fundus import (
    FeatureExtractor,
    FoldEnsemble,
    LogisticHead,
    RidgeHead,
    SoftmaxHead,
    TransferClassifier,
    load,
    quadratic_weighted_kappa,
)
from fundus.exceptions import DataError, InvalidParameterError, SplitError
from fundus.store import open_store

CHECKS_AT_LEAST = 50


def tiny(head="logistic", **options):
    return TransferClassifier("tiny", head, **({"weights": "fixed", "random_state": 0} | options))


def test_out_of_fold_is_what_cross_val_predict_gives(photographs):
    X, y = photographs.paths, photographs.grades
    cv = StratifiedKFold(4, shuffle=True, random_state=1)
    model = FoldEnsemble(tiny(), cv=cv).fit(X, y)
    expected = cross_val_predict(tiny(), X, y, cv=cv, method="predict_proba")
    assert np.allclose(model.oof_proba_, expected)
    assert np.array_equal(model.oof_prediction_, expected.argmax(axis=1))
    assert model.oof_severity_ == pytest.approx(expected @ np.arange(5))
    for k, (train, test) in enumerate(cv.split(X, y)):
        assert (model.oof_fold_[test] == k).all()
        assert model.cv_results_["n_train"][k] == len(train)
        kappa = quadratic_weighted_kappa(y[test], model.oof_prediction_[test])
        assert model.cv_results_["test_kappa"][k] == pytest.approx(kappa)


@pytest.mark.slow
def test_no_test_image_reaches_the_model_scored_on_it(photographs):
    """Permuted grades: whatever a model memorises, it must not know its own fold."""
    X, y = photographs.paths, photographs.grades
    kappas = []
    for seed in range(10):
        permuted = np.random.default_rng(seed).permutation(y)
        model = FoldEnsemble(tiny(LogisticHead(C=100.0)), cv=4, random_state=seed)
        model.fit(X, permuted)
        kappas.append(quadratic_weighted_kappa(permuted, model.oof_prediction_))
    assert abs(np.mean(kappas)) < 0.15


def test_soft_voting_is_the_mean_of_probabilities(photographs):
    X, y = photographs.paths, photographs.grades
    model = FoldEnsemble(tiny(), cv=3, random_state=0).fit(X, y)
    assert model.voting_ == "soft"
    mean = np.mean([m.predict_proba(X) for m in model.estimators_], axis=0)
    assert np.allclose(model.predict_proba(X), mean)
    assert np.array_equal(model.predict(X), mean.argmax(axis=1))
    assert model.predict_severity(X) == pytest.approx(mean @ np.arange(5))


def test_severity_voting_is_the_mean_of_scores_then_the_grade(photographs):
    X, y = photographs.paths, photographs.grades
    model = FoldEnsemble(tiny("ridge"), cv=3, random_state=0).fit(X, y)
    assert model.voting_ == "severity"
    mean = np.mean([m.predict_severity(X) for m in model.estimators_], axis=0)
    assert model.predict_severity(X) == pytest.approx(mean)
    assert np.array_equal(model.predict(X), np.clip(np.rint(mean), 0, 4).astype(int))
    error = np.mean([m.head_.residual_std**2 for m in model.estimators_])
    proba = np.exp(-((np.clip(mean, 0, 4)[:, np.newaxis] - np.arange(5)) ** 2) / (2 * error))
    assert model.predict_proba(X) == pytest.approx(proba / proba.sum(axis=1, keepdims=True))
    by_choice = FoldEnsemble(tiny(), cv=3, voting="severity", random_state=0).fit(X, y)
    severities = [m.predict_severity(X) for m in by_choice.estimators_]
    assert by_choice.predict_severity(X) == pytest.approx(np.mean(severities, axis=0))


def test_hard_voting_is_the_majority(blobs):
    X, y = blobs
    model = FoldEnsemble(RidgeClassifier(), cv=3, random_state=0).fit(X, y)
    assert model.voting_ == "hard"
    assert not hasattr(model, "predict_proba")
    assert not hasattr(model, "oof_proba_")
    votes = np.stack([m.predict(X) for m in model.estimators_])
    majority = [np.bincount(column).argmax() for column in votes.T]
    assert np.array_equal(model.predict(X), majority)
    with pytest.raises(InvalidParameterError, match="'voting' parameter"):
        FoldEnsemble(RidgeClassifier(), voting="soft").fit(X, y)


def test_patients_stay_on_one_side(photographs):
    model = FoldEnsemble(tiny(), cv=3, random_state=0).fit(photographs.frame, photographs.grades)
    folds = {}
    for patient, fold in zip(photographs.patients, model.oof_fold_, strict=True):
        assert folds.setdefault(patient, fold) == fold
    by_groups = FoldEnsemble(tiny(), cv=3, random_state=0).fit(
        photographs.paths, photographs.grades, groups=photographs.patients
    )
    assert np.array_equal(by_groups.oof_fold_, model.oof_fold_)
    with pytest.raises(SplitError, match="patient .* on both sides"):
        FoldEnsemble(tiny(), cv=KFold(3, shuffle=True, random_state=0)).fit(
            photographs.frame, photographs.grades
        )


def test_a_fold_that_lacks_a_grade_is_aligned(photographs):
    X, y = photographs.paths, photographs.grades
    kept = np.flatnonzero((y != 4) | (np.cumsum(y == 4) == 1))  # one image of grade 4
    X, y = X[kept], y[kept]
    with pytest.warns(UserWarning, match="least populated class"):
        folds = list(StratifiedKFold(3, shuffle=True, random_state=0).split(X, y))
    model = FoldEnsemble(tiny(), cv=folds).fit(X, y)
    assert model.classes_.tolist() == [0, 1, 2, 3, 4]
    held = int(model.oof_fold_[y == 4][0])
    assert model.estimators_[held].classes_.tolist() == [0, 1, 2, 3]
    assert (model.oof_proba_[model.oof_fold_ == held, 4] == 0).all()
    assert np.allclose(model.predict_proba(X).sum(axis=1), 1)


def test_a_regressors_own_scale_is_mapped_to_the_ensembles(photographs):
    X, y = photographs.paths, np.where(photographs.grades == 3, 2, photographs.grades)
    one_three = y.copy()
    one_three[np.flatnonzero(y == 2)[0]] = 3  # grade 3 in one fold only
    with pytest.warns(UserWarning, match="least populated class"):
        folds = list(StratifiedKFold(3, shuffle=True, random_state=0).split(X, one_three))
    model = FoldEnsemble(tiny(RidgeHead(alpha=10.0)), cv=folds).fit(X, one_three)
    held = int(model.oof_fold_[one_three == 3][0])
    own = model.estimators_[held]
    assert own.grades_.tolist() == [0, 1, 2, 4]
    rows = model.oof_fold_ == held
    expected = np.interp(own.predict_severity(X[rows]), [-9, 0, 1, 2, 3, 13], [-9, 0, 1, 2, 4, 14])
    assert model.oof_severity_[rows] == pytest.approx(expected)


def test_from_cv_results(photographs):
    X, y = photographs.paths, photographs.grades
    cv = StratifiedKFold(3)
    results = cross_validate(tiny(), X, y, cv=cv, return_estimator=True, return_indices=True)
    model = FoldEnsemble.from_cv_results(results, X, y)
    direct = FoldEnsemble(tiny(), cv=cv).fit(X, y)
    assert np.allclose(model.oof_proba_, direct.oof_proba_)
    assert np.allclose(model.predict_proba(X), direct.predict_proba(X))
    assert clone(model).fit(X, y).oof_fold_.tolist() == model.oof_fold_.tolist()
    with pytest.raises(InvalidParameterError, match="return_indices=True"):
        FoldEnsemble.from_cv_results(cross_validate(tiny(), X, y, cv=cv), X, y)


def test_a_search_inside_is_nested(photographs):
    search = GridSearchCV(tiny(LogisticHead()), {"head__C": [1e-3, 1e-1]}, cv=2)
    model = FoldEnsemble(search, cv=2, random_state=0).fit(photographs.paths, photographs.grades)
    assert all(hasattr(m, "best_params_") for m in model.estimators_)
    assert model.oof_proba_.shape == (40, 5)


def test_in_and_next_to_a_voting_classifier(photographs):
    X, y = photographs.paths, photographs.grades
    voting = VotingClassifier(
        [("folds", FoldEnsemble(tiny(), cv=2, random_state=0)), ("one", tiny("svm"))],
        voting="soft",
    ).fit(X, y)
    parts = [m.predict_proba(X) for m in voting.estimators_]
    assert np.allclose(voting.predict_proba(X), np.mean(parts, axis=0))
    outer = FoldEnsemble(VotingClassifier([("a", tiny()), ("b", tiny("svm"))], voting="soft"), cv=2)
    assert outer.fit(X, y).predict_proba(X).shape == (40, 5)


@pytest.mark.slow
def test_processes_give_the_same(photographs):
    X, y = photographs.frame, photographs.grades
    serial = FoldEnsemble(tiny(), cv=2, random_state=0).fit(X, y)
    parallel = FoldEnsemble(tiny(), cv=2, n_jobs=2, random_state=0).fit(X, y)
    assert np.allclose(serial.oof_proba_, parallel.oof_proba_)
    again = pickle.loads(pickle.dumps(parallel))
    assert np.array_equal(again.predict_proba(X), parallel.predict_proba(X))


@pytest.mark.slow
def test_each_fold_has_its_own_log(photographs, tmp_path):
    head = SoftmaxHead(units=4, layers=1)
    estimator = tiny(head, epochs=1, log_dir=tmp_path / "logs")
    model = FoldEnsemble(estimator, cv=2, random_state=0).fit(photographs.paths, photographs.grades)
    assert len({m.log_dir_ for m in model.estimators_}) == 2
    assert sorted(p.name for p in (tmp_path / "logs").iterdir()) == ["fold-0", "fold-1"]
    assert all(list((tmp_path / "logs" / f).rglob("log.csv")) for f in ("fold-0", "fold-1"))


def test_sample_weight_reaches_the_folds(blobs):
    X, y = blobs
    weight = (np.arange(len(y)) % 5 > 0).astype(float)
    cv = StratifiedKFold(3)
    model = FoldEnsemble(LogisticRegression(), cv=cv).fit(X, y, sample_weight=weight)
    train, _ = next(cv.split(X, y))
    expected = LogisticRegression().fit(X[train], y[train], sample_weight=weight[train])
    assert np.allclose(model.estimators_[0].coef_, expected.coef_)


def test_rows_in_two_test_folds_are_refused(blobs):
    X, y = blobs
    with pytest.raises(DataError, match="two test folds"):
        FoldEnsemble(LogisticRegression(), cv=ShuffleSplit(5, random_state=0)).fit(X, y)


def test_rows_in_no_test_fold_are_told_apart(blobs):
    X, y = blobs
    half = [(np.arange(0, 90, 2), np.arange(1, 90, 4))]
    model = FoldEnsemble(LogisticRegression(), cv=half).fit(X, y)
    untested = model.oof_fold_ == -1
    assert untested.sum() == 90 - 23
    assert np.isnan(model.oof_proba_[untested]).all()


def test_group_kfold_with_too_few_patients(photographs):
    with pytest.raises(SplitError, match="at least 7 patients. Got 2"):
        FoldEnsemble(tiny(), cv=7).fit(
            photographs.paths, photographs.grades, groups=["a", "b"] * 20
        )
    with pytest.raises(DataError, match="one patient a row"):
        FoldEnsemble(tiny(), cv=StratifiedGroupKFold(2)).fit(
            photographs.paths, photographs.grades, groups=["a", "b"]
        )


@pytest.mark.slow
@pytest.mark.parametrize("head", [LogisticHead(C=1.0), RidgeHead(alpha=1.0)])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")  # told in the records
@pytest.mark.filterwarnings("ignore:The least populated class")  # the suite's sets are that small
def test_check_estimator(head):
    splits = "folds are drawn by rows, so weighting a row and repeating it are not the same"
    records = check_estimator(
        FoldEnsemble(TransferClassifier("precomputed", head), cv=2, random_state=0),
        expected_failed_checks={
            "check_sample_weight_equivalence_on_dense_data": splits,
            "check_sample_weight_equivalence_on_sparse_data": splits,
        },
        on_fail=None,
    )
    failed = [f"{r['check_name']}: {r['exception']!r}" for r in records if r["status"] == "failed"]
    assert failed == []
    assert sum(r["status"] == "passed" for r in records) >= CHECKS_AT_LEAST


@pytest.mark.parametrize("labels", [None, ["none", "mild", "moderate", "severe", "proliferative"]])
def test_a_nested_search_keeps_the_scale_and_loads_the_same(photographs, tmp_path, labels):
    kept = photographs.grades != 3
    X, y = photographs.frame[kept], photographs.grades[kept]
    grades = 5
    if labels is not None:
        y, grades = np.array(labels)[y], labels
    search = GridSearchCV(tiny(RidgeHead(), grades=grades), {"head__alpha": [10.0, 100.0]}, cv=2)
    model = FoldEnsemble(search, cv=2, random_state=0).fit(X, y)
    assert model.ballot().scale.tolist() == list(labels or range(5))
    assert model.voting_ == "severity"
    for k, found in enumerate(model.estimators_):
        rows = model.oof_fold_ == k
        own = found.best_estimator_.predict_severity(X[rows])
        assert model.oof_severity_[rows] == pytest.approx(own)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert np.array_equal(again.predict(X), model.predict(X))
    assert np.array_equal(again.predict_severity(X), model.predict_severity(X))


@pytest.mark.parametrize("as_frame", [True, False])
@pytest.mark.parametrize("inner", [2, StratifiedGroupKFold(2)])
def test_a_nested_search_splits_by_patient(photographs, as_frame, inner):
    search = GridSearchCV(tiny(LogisticHead()), {"head__C": [1e-3]}, cv=inner)
    model = FoldEnsemble(search, cv=StratifiedGroupKFold(2))
    if as_frame:
        model.fit(photographs.frame, photographs.grades)
    else:
        model.fit(photographs.paths, photographs.grades, groups=photographs.patients)
    for k, found in enumerate(model.estimators_):
        assert isinstance(found.cv, StratifiedGroupKFold)
        train = model.oof_fold_ != k
        patients = photographs.patients[train]
        for a, b in found.cv.split(photographs.paths[train], photographs.grades[train], patients):
            assert not set(patients[a]) & set(patients[b])
    assert search.cv is inner, "the search that was given stays as it was"


def test_cv_results_that_leak_are_refused(photographs):
    X, y = photographs.frame, photographs.grades
    leaky = KFold(2, shuffle=True, random_state=0)
    results = cross_validate(tiny(), X, y, cv=leaky, return_estimator=True, return_indices=True)
    with pytest.raises(SplitError, match="patient"):
        FoldEnsemble.from_cv_results(results, X, y)
    with pytest.raises(SplitError, match="patient"):
        FoldEnsemble.from_cv_results(results, X["path"], y, groups=photographs.patients)
    with pytest.raises(ValueError, match="inconsistent"):
        FoldEnsemble.from_cv_results(results, X, y[:-1])


def test_an_ensemble_of_pipelines_loads(photographs, tmp_path):
    pipeline = make_pipeline(FeatureExtractor("tiny", weights="fixed"), LogisticRegression())
    model = FoldEnsemble(pipeline, cv=2, random_state=0)
    model.fit(photographs.paths, photographs.grades).save(tmp_path / "model")
    again = load(tmp_path / "model").predict_proba(photographs.paths)
    assert np.array_equal(again, model.predict_proba(photographs.paths))


@pytest.mark.slow
@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("freeze", ["all", 5])
def test_frozen_work_is_shared_by_the_models(photographs, tmp_path, cache, freeze):
    from fundus.frozen.work import work_done

    head = SoftmaxHead(units=4, layers=1)
    options = {"epochs": 1, "freeze": freeze, "cache": tmp_path if cache else False}
    X, y = photographs.paths[:30], photographs.grades[:30] >= 2
    model = FoldEnsemble(tiny(head, **options), cv=3, random_state=0).fit(X, y)
    new = photographs.paths[30:]
    expected = np.mean([m.predict_proba(new) for m in model.estimators_], axis=0)
    if cache:
        for info in open_store(tmp_path).infos():
            open_store(tmp_path).remove(info.name)
    before = work_done.copy()
    proba = model.predict_proba(new)
    done = work_done - before
    assert np.allclose(proba, expected, atol=1e-6)
    if freeze == "all" or cache:
        assert done["forward_passes"] == len(new)
        assert done["decodes"] == len(new)
