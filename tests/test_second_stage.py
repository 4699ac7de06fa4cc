"""SecondStageClassifier: what the second model sees, and that nothing of a test fold reaches it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold, StratifiedGroupKFold, cross_val_predict
from sklearn.utils import get_tags

from fundus import (
    FoldEnsemble,
    LogisticHead,
    RidgeHead,
    SecondStageClassifier,
    TransferClassifier,
    TunedCutpointClassifierCV,
    kappa_scorer,
    load,
    quadratic_weighted_kappa,
)
from fundus.data.columns import fellow_severity
from fundus.exceptions import BundleError, DataError, InvalidParameterError, SplitError

RIDGE = TransferClassifier("precomputed", RidgeHead(alpha=1.0), grades=5)


def make_pairs(n_patients=60, seed=0):
    """Two eyes a patient, alike in grade; the features of each show its own grade, with noise."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(rng.permutation(n_patients), 2)
    true = np.clip(np.repeat(rng.normal(2, 1.4, n_patients), 2) + rng.normal(0, 0.3, len(patient)),
                   0, 4)  # fmt: skip
    y = np.rint(true).astype(int)
    X = pd.DataFrame({f"f{k}": true + rng.normal(0, 1.5, len(y)) for k in range(3)})
    X["patient"] = patient.astype(str)
    X["eye"] = ["left", "right"] * n_patients
    X["noise"] = rng.normal(size=len(y))
    order = rng.permutation(len(y))
    return X.iloc[order].reset_index(drop=True), y[order]


@pytest.fixture(scope="module")
def pairs():
    return make_pairs()


def two_stages(estimator=RIDGE, *args, **options):
    return SecondStageClassifier(estimator, *args, **({"cv": 3, "random_state": 0} | options))


def test_the_second_model_is_fitted_on_out_of_fold_scores(pairs):
    X, y = pairs
    cv = StratifiedGroupKFold(3, shuffle=True, random_state=0)
    features, patients = X[["f0", "f1", "f2"]], X["patient"]
    model = two_stages(columns=["noise"], cv=cv).fit(X, y)
    oof = cross_val_predict(Ridge(), features, y, cv=cv, groups=patients)
    first = two_stages(Ridge(), columns=["noise"], cv=cv).fit(X, y)
    assert first.oof_severity_ == pytest.approx(oof)
    assert first.second_features_ == ["severity", "eye_right", "fellow_severity", "noise"]
    fellow = [
        oof[(patients == patients[i]) & (X["eye"] != X["eye"][i])].mean() for i in range(len(y))
    ]
    table = np.column_stack([oof, X["eye"] == "right", fellow, X["noise"]]).astype(float)
    second = TransferClassifier("precomputed", LogisticHead(C=1.0), grades=5, random_state=0)
    second.fit(table, y)
    assert first.final_estimator_.predict_proba(table) == pytest.approx(second.predict_proba(table))
    assert model.second_features_[:6] == ["severity", *(f"probability_{k}" for k in range(5))]
    whole = Ridge().fit(features, y)
    assert first.estimator_.predict(features) == pytest.approx(whole.predict(features))


@pytest.mark.slow
def test_the_fellow_eye_helps_where_eyes_are_alike():
    gains = []
    for seed in range(2):
        X, y = make_pairs(120, seed)
        kappas = [
            quadratic_weighted_kappa(
                y,
                FoldEnsemble(
                    two_stages(RIDGE, RidgeHead(alpha=1.0), fellow=f), cv=3, random_state=0
                )
                .fit(X, y)
                .oof_prediction_,
            )
            for f in (True, False)
        ]
        gains.append(kappas[0] - kappas[1])
    assert min(gains) > 0.02


def test_a_fellow_that_is_not_there():
    X = pd.DataFrame(
        {
            "patient": ["a", "a", "a", "b", "c", "c", "d", "d"],
            "eye": ["left", "right", "right", "left", "left", None, "right", "right"],
        }
    )
    found = fellow_severity(X, np.arange(8.0))
    expected = [1.5, 0.0, 0.0, np.nan, np.nan, np.nan, np.nan, np.nan]
    assert np.array_equal(found, expected, equal_nan=True)


def test_one_image_alone_and_missing_values(pairs):
    X, y = pairs
    X = X.assign(noise=X["noise"].where(X.index % 5 > 0), eye=X["eye"].where(X.index % 7 > 0, None))
    model = two_stages(columns=["noise"]).fit(X, y)
    assert model.predict(X[:1]).shape == (1,)
    assert np.isfinite(model.predict_severity(X)).all()
    assert model.predict_proba(X).sum(axis=1) == pytest.approx(1.0)
    # missing in new images only
    model = two_stages(columns=["noise"]).fit(*pairs)
    assert np.isfinite(model.predict_proba(X)).all()


@pytest.mark.slow
def test_permuted_grades_score_as_chance():
    for final in (None, RidgeHead(alpha=1.0)):
        kappas = []
        for seed in range(8):
            rng = np.random.default_rng(seed)
            y = rng.integers(0, 5, 80)
            y[:10] = np.arange(10) % 5
            X = pd.DataFrame(rng.normal(size=(80, 6))).rename(columns=str)
            X = X.assign(patient=np.arange(80) // 2, eye=["left", "right"] * 40)
            model = two_stages(RIDGE, final, columns=["5"], random_state=seed)
            model = FoldEnsemble(model, cv=3, random_state=seed).fit(X, y)
            kappas.append(quadratic_weighted_kappa(y, model.oof_prediction_))
        error = np.std(kappas) / np.sqrt(len(kappas))
        assert abs(np.mean(kappas)) < 4 * error + 0.02
        assert abs(np.mean(kappas)) < 0.12


def test_columns_that_cannot_be_used(pairs):
    X, y = pairs
    with pytest.raises(DataError, match="'grade' of X is the grade in other numbers"):
        two_stages(columns=["grade"]).fit(X.assign(grade=10 - 2 * y), y)
    with pytest.raises(DataError, match="column 'sharp'"):
        two_stages(columns=["sharp"]).fit(X, y)
    with pytest.raises(DataError, match="'noise' of X must hold numbers"):
        two_stages(columns=["noise"]).fit(X.assign(noise="much"), y)
    with pytest.raises(DataError, match="must be finite. Got inf in row 3"):
        two_stages(columns=["noise"]).fit(X.assign(noise=X["noise"].where(X.index != 3, np.inf)), y)
    for columns in ("noise", [3], ["eye"]):
        with pytest.raises(InvalidParameterError, match="'columns' parameter"):
            two_stages(columns=columns).fit(X, y)
    with pytest.raises(DataError, match="'left', 'right' or nothing. Got 'both' in row 0"):
        two_stages().fit(X.assign(eye="both"), y)
    with pytest.raises(DataError, match="fellow=True needs a frame .* patient, eye"):
        two_stages(fellow=True).fit(X.drop(columns="eye"), y)
    with pytest.raises(DataError, match="columns it had in fit"):
        two_stages().fit(X, y).predict(X.drop(columns="eye"))


def test_folds_that_leak_or_cannot_teach(pairs):
    X, y = pairs
    with pytest.raises(SplitError, match="patient .* on both sides"):
        two_stages(cv=KFold(3)).fit(X, y)
    with pytest.raises(SplitError, match="is in several groups"):
        two_stages().fit(X, y, groups=np.arange(len(y)))
    with pytest.raises(DataError, match="one patient a row"):
        two_stages().fit(X, y, groups=["a"])
    with pytest.raises(SplitError, match="at least 3 patients. Got 2"):
        two_stages().fit(X.assign(patient=np.arange(len(y)) % 2, eye=None), y)
    holder = X["patient"].where(y != 4, "one")
    with pytest.raises(SplitError, match="no image of grade 4 .* only patient 'one' has it"):
        two_stages().fit(X.assign(patient=holder), y)
    train, test = np.arange(60), np.arange(60, 120)
    numbered = X.assign(patient=np.arange(120))
    with pytest.raises(SplitError, match="Got 60 rows in none"):
        two_stages(cv=[(train, test)]).fit(numbered, y)


@pytest.mark.slow
def test_nests_saves_and_clones(tmp_path):
    X, y = make_pairs(120)  # four splits, one in another, leave little of every grade
    model = two_stages(LogisticRegression(), RidgeHead(alpha=1.0), columns=("noise",), cv=2)
    search = GridSearchCV(
        TunedCutpointClassifierCV(model, cv=2, random_state=0),
        {"estimator__final_estimator__alpha": [1.0, 10.0]},
        scoring=kappa_scorer,
        cv=2,
    )
    both = FoldEnsemble(search, cv=2, random_state=0).fit(X, y)
    assert both.voting_ == "cutpoints"
    plain = FoldEnsemble(model, cv=2, random_state=0).fit(X, y)
    assert plain.voting_ == "severity"
    for k, fitted in enumerate((clone(model).fit(X, y), both, plain)):
        fitted.save(tmp_path / str(k))
        again = load(tmp_path / str(k))
        assert np.array_equal(again.predict(X), fitted.predict(X))
        assert np.array_equal(again.predict_severity(X), fitted.predict_severity(X))
    assert load(tmp_path / "0").second_features_ == clone(model).fit(X, y).second_features_
    with pytest.raises(BundleError, match="call fit first"):
        model.save(tmp_path / "none")
    parallel = two_stages(n_jobs=2).fit(X, y)
    assert np.array_equal(parallel.oof_severity_, two_stages().fit(X, y).oof_severity_)


def test_a_second_model_that_assumes_an_order_says_so():
    first = TransferClassifier("precomputed", LogisticHead(C=1.0))
    for final, expected in ((None, False), ("ridge", True), ("ordinal_ridge", True)):
        tags = get_tags(two_stages(first, final))
        assert tags.classifier_tags.poor_score is expected


def test_on_photographs(photographs):
    X = photographs.frame.assign(width=np.arange(40.0))
    first = TransferClassifier("tiny", "ridge", weights="fixed", grades=5, random_state=0)
    model = two_stages(first, columns=["width"], cv=2).fit(X, photographs.grades)
    assert {"eye_right", "fellow_severity", "width"} <= set(model.second_features_)
    assert model.predict_proba(X[:4]).shape == (4, 5)
