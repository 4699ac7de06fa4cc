"""Cutpoints for a known prevalence of the grades."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict

import fundus
from fundus import (
    FoldEnsemble,
    OrdinalConformalClassifier,
    PrevalenceCutpointClassifier,
    RidgeHead,
    TransferClassifier,
)
from fundus.exceptions import (
    BundleError,
    DataError,
    DataWarning,
    InvalidGradeError,
    InvalidParameterError,
)
from fundus.meta.prevalence import quantile_cutpoints

SHARES = [0.6, 0.2, 0.1, 0.05, 0.05]


@pytest.fixture(scope="module")
def graded():
    """100 rows of 4 features; the grade follows the first, unevenly."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 4))
    return X, np.digitize(X[:, 0] + 0.4 * rng.normal(size=100), [0.0, 0.4, 0.9, 1.3])


def ridge(**options):
    return TransferClassifier("precomputed", RidgeHead(alpha=1.0), **({"grades": 5} | options))


def shares_of(model, X):
    return np.bincount(model.predict(X), minlength=5) / len(X)


def test_quantiles_lie_between_severities():
    values = np.arange(10.0)
    even = np.ones(10)
    cut = quantile_cutpoints
    assert cut(values, np.array([0.5, 0.5]), even).tolist() == [4.5]
    assert cut(values, np.array([0.0, 1.0, 0.0]), even).tolist() == [-np.inf, np.inf]
    assert cut(values, np.array([0.3, 0.0, 0.7]), even).tolist() == [2.5, 2.5]
    tenths = np.full(10, 0.1)  # sums of 0.1 are not exact
    assert cut(values, tenths, even).tolist() == [k + 0.5 for k in range(9)]
    # 0.25 is as far from 0.2 as from 0.3: the lower, which errs towards the higher grade
    assert cut(values, np.array([0.25, 0.75]), even).tolist() == [1.5]
    heavy = np.array([0.0, 0, 0, 0, 0, 1, 1, 1, 1, 4])
    assert cut(values, np.array([0.5, 0.5]), heavy).tolist() == [8.5]
    assert cut(np.array([1.0, 1, 1, 2]), np.array([0.5, 0.5]), np.ones(4)).tolist() == [1.5]
    near = np.array([1.0, np.nextafter(1, 2)])
    assert cut(near, np.array([0.5, 0.5]), np.ones(2)).tolist() == [near[1]]


def test_training_images_are_cut_by_out_of_fold_severities(graded):
    X, y = graded
    cv = StratifiedKFold(3, shuffle=True, random_state=0)
    model = PrevalenceCutpointClassifier(Ridge(), prevalence=SHARES, cv=cv).fit(X, y)
    severity = cross_val_predict(Ridge(), X, y, cv=cv)
    assert model.oof_severity_ == pytest.approx(severity)
    ranked = np.sort(severity)
    n_below = np.array([60, 80, 90, 95])
    assert model.cutpoints_ == pytest.approx((ranked[n_below - 1] + ranked[n_below]) / 2)
    assert model.predict_severity(X) == pytest.approx(Ridge().fit(X, y).predict(X))
    named = PrevalenceCutpointClassifier(
        Ridge(), prevalence={4: 0.05, 0: 0.6, 1: 0.2, 3: 0.05, 2: 0.1}, cv=cv
    ).fit(X, y)
    assert np.array_equal(named.cutpoints_, model.cutpoints_)
    assert named.prevalence_.tolist() == SHARES
    own = PrevalenceCutpointClassifier(ridge(), cv=cv).fit(X, y)
    assert own.prevalence_.tolist() == (np.bincount(y) / 100).tolist()
    cut = np.digitize(own.oof_severity_, own.cutpoints_)
    assert np.bincount(cut).tolist() == np.bincount(y).tolist()


def test_a_site_without_grades(graded):
    X, y = graded
    fitted = ridge().fit(X, y)
    site = np.random.default_rng(1).normal(size=(200, 4)) + 2
    model = PrevalenceCutpointClassifier(FrozenEstimator(fitted), prevalence=SHARES)
    assert model.fit(site) is model
    assert model.estimator_ is fitted
    assert shares_of(model, site).tolist() == SHARES
    assert shares_of(fitted, site)[0] < 0.1, "another camera shifts severities"
    assert model.predict_proba(site) == pytest.approx(fitted.predict_proba(site))
    with_grades = clone(model).fit(site, np.arange(200) % 5)
    assert np.array_equal(with_grades.cutpoints_, model.cutpoints_)
    half = np.where(np.arange(200) < 100, 1.0, 0.0)
    weighted = clone(model).fit(site, sample_weight=half)
    assert shares_of(weighted, site[:100]).tolist() == SHARES
    with pytest.raises(DataError, match="requires y to be passed"):
        PrevalenceCutpointClassifier(ridge(), prevalence=SHARES).fit(site)
    with pytest.raises(InvalidParameterError, match="'prevalence' .* where no labels are given"):
        PrevalenceCutpointClassifier(FrozenEstimator(fitted)).fit(site)


def test_a_regressor_that_knows_no_grades(graded):
    X, y = graded
    fitted = FrozenEstimator(Ridge().fit(X, y))
    model = PrevalenceCutpointClassifier(fitted, prevalence=SHARES).fit(X)
    assert model.grades_.tolist() == [0, 1, 2, 3, 4]
    assert shares_of(model, X).tolist() == SHARES
    names = PrevalenceCutpointClassifier(fitted, prevalence={"well": 0.9, "ill": 0.1}).fit(X)
    assert names.grades_.tolist() == ["well", "ill"]
    assert (names.predict(X) == "ill").sum() == 10
    numbers = PrevalenceCutpointClassifier(fitted, prevalence={1: 0.1, 0: 0.9}).fit(X)
    assert numbers.grades_.tolist() == [0, 1]


def test_names_of_grades(graded):
    X, y = graded
    order = ["none", "mild", "moderate", "severe", "worst"]
    labels = pd.Categorical.from_codes(y, order, ordered=True)
    shares = dict(zip(order, SHARES, strict=True))
    model = PrevalenceCutpointClassifier(Ridge(), prevalence=shares, cv=3, random_state=0)
    model.fit(X, labels)
    plain = clone(model).set_params(prevalence=SHARES).fit(X, y)
    assert np.array_equal(model.predict(X), np.array(order)[plain.predict(X)])
    with pytest.raises(InvalidParameterError, match="out of .*'none'.* Got .*'nonee'"):
        clone(model).set_params(prevalence={"nonee": 1.0}).fit(X, labels)


@pytest.mark.parametrize(
    ("prevalence", "told"),
    [
        ([0.5, 0.2, 0.2, 0.05, 0.06], "of sum 1"),
        ({0: 0.5, 1: 0.4}, "of sum 1"),
        ([1.2, -0.2, 0, 0, 0], "at least 0"),
        ([0.5, np.nan, 0.5, 0, 0], "at least 0"),
        ("often", "a share of at least 0"),
        (0.5, "a share of at least 0"),
        ([], "of sum 1"),
        ([0.5, 0.5], "5 shares, one for each"),
        ({0: 0.5, 5: 0.5}, r"grades out of \[0, 1, 2, 3, 4\]"),
        ({"mild": 1.0}, r"grades out of \[0, 1, 2, 3, 4\]"),
    ],
)
def test_shares_that_cannot_be(graded, prevalence, told):
    X, y = graded
    for estimator in (ridge(), FrozenEstimator(ridge().fit(X, y))):
        model = PrevalenceCutpointClassifier(estimator, prevalence=prevalence, cv=2)
        with pytest.raises(InvalidParameterError, match=told):
            model.fit(X, y)
    with pytest.raises(InvalidParameterError, match=told):
        model.fit(X)


def test_warnings(graded):
    X, y = graded
    fitted = FrozenEstimator(ridge().fit(X, y))
    rare = PrevalenceCutpointClassifier(fitted, prevalence=[0.8, 0.1, 0.05, 0.04, 0.01])
    rare.fit(X)
    with pytest.warns(DataWarning, match=r"99 images are too few .* 0.01, of which .* one in 100"):
        rare.fit(X[:99])
    lacking = FrozenEstimator(ridge().fit(X[y != 3], y[y != 3]))
    model = PrevalenceCutpointClassifier(lacking, prevalence=SHARES)
    with pytest.warns(DataWarning, match=r"a share of \[3\], and the estimator was trained on"):
        model.fit(X)
    assert 3 not in model.predict(X)
    assert shares_of(clone(model).set_params(prevalence={0: 0.7, 4: 0.3}).fit(X), X)[4] == 0.3


def test_data_that_cannot_be(graded):
    X, y = graded
    model = PrevalenceCutpointClassifier(Ridge(), prevalence=SHARES)
    with pytest.raises(InvalidGradeError, match="a grade in every row"):
        model.fit(X, np.where(np.arange(100) == 5, np.nan, y))
    with pytest.raises(InvalidParameterError, match=r"FrozenEstimator\(model\). Got 'prefit'"):
        model.set_params(cv="prefit").fit(X, y)
    with pytest.raises(InvalidParameterError, match="a regressor, or a classifier with predict_"):
        PrevalenceCutpointClassifier(RidgeClassifier()).fit(X, y)
    for severity, weight in (([1.0, 2.0], [0.0, 0.0]), ([1.0, np.inf], [1.0, 1.0])):
        with pytest.raises(DataError, match="rows with weight and a finite severity. Got"):
            quantile_cutpoints(np.array(severity), np.array([0.5, 0.5]), np.array(weight))


def test_nested_saved_and_loaded(graded, tmp_path):
    X, y = graded
    inner = PrevalenceCutpointClassifier(ridge(), prevalence={0: 0.5, 2: 0.3, 4: 0.2}, cv=2,
                                         random_state=0)  # fmt: skip
    often = y % 2 == 0
    frozen = PrevalenceCutpointClassifier(FrozenEstimator(ridge().fit(X, y)), prevalence=SHARES)
    for k, model in enumerate((
        clone(inner).fit(X, y),
        FoldEnsemble(inner, cv=2, random_state=0).fit(X[often], y[often]),
        OrdinalConformalClassifier(inner, cv=2, random_state=0).fit(X[often], y[often]),
        frozen.fit(X),
        PrevalenceCutpointClassifier(FrozenEstimator(LogisticRegression().fit(X, y)),
                                     prevalence=np.array(SHARES)).fit(X),
    )):  # fmt: skip
        model.save(tmp_path / str(k))
        again = fundus.load(tmp_path / str(k))
        assert np.array_equal(again.predict(X), model.predict(X))
        assert np.array_equal(again.predict_severity(X), model.predict_severity(X))
        assert set(model.predict(X)) <= ({0, 2, 4} if k < 3 else set(range(5)))
    again = fundus.load(tmp_path / "0")
    assert again.prevalence == {0: 0.5, 2: 0.3, 4: 0.2}
    assert np.array_equal(again.prevalence_, [0.5, 0, 0.3, 0, 0.2])
    assert np.array_equal(clone(again).fit(X, y).cutpoints_, again.cutpoints_)
    frozen.prevalence_ = np.array([0.5, 0.5])
    frozen.save(tmp_path / "bad")
    with pytest.raises(BundleError, match="'prevalence_' .* of 5 grades"):
        fundus.load(tmp_path / "bad")


def test_on_photographs(photographs):
    """A frame brings its patients, and none of the site's photographs needs a grade."""
    fitted = TransferClassifier("tiny", "ridge", weights="fixed", grades=5, random_state=0)
    fitted.fit(photographs.frame, photographs.grades)
    site = PrevalenceCutpointClassifier(
        FrozenEstimator(fitted), prevalence=[0.5, 0.2, 0.1, 0.1, 0.1]
    )
    found = site.fit(photographs.frame).predict(photographs.frame)
    assert np.bincount(found).tolist() == [20, 8, 4, 4, 4]
    with pytest.raises(DataError, match="single path"):
        site.fit(photographs.paths[0])
