"""`ViewStandardScaler`: features that vary among the views of an image are made small."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fundus import (
    LogisticHead,
    OrdinalLogisticHead,
    OrdinalRidgeHead,
    RidgeHead,
    ViewStandardScaler,
)
from fundus.exceptions import InvalidParameterError


@pytest.fixture(scope="module")
def views():
    """Rows of 20 images, one to four each and in no order, their groups and weights."""
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat(np.arange(20), rng.integers(1, 5, 20)))
    spread = np.array([0.0, 0.1, 1.0, 10.0])
    X = 5 + rng.normal(size=(20, 4))[groups] + spread * rng.normal(size=(len(groups), 4))
    return X, groups, rng.uniform(0.1, 2.0, len(groups))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("strength", [0.3, 20.0])
def test_the_formula(views, strength, weighted):
    X, groups, weights = views
    w = weights if weighted else np.ones(len(X))
    overall = np.average(X, axis=0, weights=w)
    within, between = np.zeros(4), np.zeros(4)
    for group in np.unique(groups):
        own = groups == group
        mean = np.average(X[own], axis=0, weights=w[own])
        within += w[own] @ (X[own] - mean) ** 2 / w.sum()
        between += w[own].sum() * (mean - overall) ** 2 / w.sum()
    scaler = ViewStandardScaler(strength)
    got = scaler.fit_transform(X, groups=groups, sample_weight=weights if weighted else None)
    assert_allclose(scaler.within_var_, within, atol=1e-12)
    assert_allclose(scaler.between_var_, between)
    assert_allclose(within + between, np.average((X - overall) ** 2, axis=0, weights=w))
    factor = 1 / np.sqrt(1 + strength * within / between)
    assert factor[0] == 1.0
    assert (np.diff(factor) < 0).all()
    want = (X - overall) / np.sqrt(within + between) * factor
    assert_allclose(got, want)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "groups", [None, "rows", "strength 0"], ids=["no groups", "one row a group", "no strength"]
)
def test_without_views_it_is_a_standard_scaler_to_the_bit(views, dtype, weighted, groups):
    X, numbers, weights = views
    X, weight = X.astype(dtype), weights if weighted else None
    plain = StandardScaler().fit(X, sample_weight=weight)
    scaler = ViewStandardScaler(0.0 if groups == "strength 0" else 50.0)
    rows = [f"image {k}" for k in range(len(X))]
    named = {None: None, "rows": rows, "strength 0": numbers}[groups]
    scaler.fit(X, groups=named, sample_weight=weight)
    assert_array_equal(scaler.weights_, 1.0)
    got, want = scaler.transform(X), plain.transform(X)
    assert got.dtype == want.dtype == dtype
    assert_array_equal(got, want)


@pytest.mark.parametrize("copies", [2, 3, 7])
def test_unchanged_copies_that_share_a_weight_change_nothing(views, copies):
    X, _, weights = views
    groups = np.repeat(np.arange(len(X)), copies)
    scaler = ViewStandardScaler(1e6)
    scaler.fit(np.repeat(X, copies, 0), groups=groups, sample_weight=weights[groups] / copies)
    assert_array_equal(scaler.within_var_, 0.0)
    assert_array_equal(scaler.weights_, 1.0)
    want = StandardScaler().fit(X, sample_weight=weights).transform(X)
    assert_allclose(scaler.transform(X), want, rtol=1e-12, atol=1e-12)


def test_features_without_variance():
    """One is constant, one by rounding only, one tells views apart and not images."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 3)
    X = np.column_stack([
        np.full(90, 0.1),
        1e8 + rng.integers(0, 3, 90) * 2e-8,
        np.tile([-1.0, 0.0, 1.0], 30),
        rng.normal(size=30)[groups],
    ])  # fmt: skip
    scaler = ViewStandardScaler(3.0).fit(X, groups=groups)
    assert scaler.within_var_[1] > 0
    assert scaler.scale_[:2].tolist() == [1.0, 1.0]
    assert scaler.weights_.tolist() == [1.0, 1.0, 0.0, 1.0]
    got = scaler.transform(X)
    assert np.isfinite(got).all()
    assert (got[:, 2] == 0).all()
    assert_allclose(got[:, 3], StandardScaler().fit_transform(X)[:, 3])


def test_rows_without_weight_do_not_count(views):
    X, groups, weights = views
    weights = np.where(groups < 5, 0.0, weights)
    weights[np.flatnonzero(groups == 7)[0]] = 0.0
    used = weights > 0
    one = ViewStandardScaler(2.0).fit(X, groups=groups, sample_weight=weights)
    two = ViewStandardScaler(2.0).fit(X[used], groups=groups[used], sample_weight=weights[used])
    for name in ("mean_", "scale_", "within_var_", "between_var_", "weights_"):
        assert_allclose(getattr(one, name), getattr(two, name), atol=1e-12)


def test_names_of_groups_and_the_order_of_rows_do_not_matter(views):
    X, groups, _ = views
    one = ViewStandardScaler().fit(X, groups=groups)
    order = np.random.default_rng(1).permutation(len(X))
    named = np.array([f"eye {k}" for k in groups])[order]
    two = ViewStandardScaler().fit(X[order], groups=list(named))
    assert_allclose(one.weights_, two.weights_)


def test_names_of_features_go_through(views):
    X, groups, _ = views
    frame = pd.DataFrame(X, columns=list("abcd"))
    scaler = ViewStandardScaler().set_output(transform="pandas").fit(frame, groups=groups)
    assert scaler.get_feature_names_out().tolist() == list("abcd")
    assert scaler.transform(frame).columns.tolist() == list("abcd")


def test_clone_and_pickle(views):
    X, groups, _ = views
    scaler = ViewStandardScaler(2.5).fit(X, groups=groups)
    assert clone(scaler).get_params() == {"strength": 2.5}
    assert_array_equal(pickle.loads(pickle.dumps(scaler)).transform(X), scaler.transform(X))


def test_groups_reach_it_through_a_pipeline(views):
    X, groups, weights = views
    model = make_pipeline(ViewStandardScaler(), Ridge())
    model.fit(X, groups, viewstandardscaler__groups=groups, ridge__sample_weight=weights)
    assert model[0].weights_[3] < 0.6


@pytest.mark.parametrize("strength", [-1.0, np.nan, np.inf, "1", None, True])
def test_a_strength_that_cannot_be_used(views, strength):
    X, groups, _ = views
    message = "The 'strength' parameter of ViewStandardScaler must be a number"
    with pytest.raises(InvalidParameterError, match=message):
        ViewStandardScaler(strength).fit(X, groups=groups)


@pytest.mark.parametrize("head", [LogisticHead, RidgeHead, OrdinalLogisticHead, OrdinalRidgeHead])
def test_heads_ask_for_it(head):
    counts = np.array([3, 3])
    plain, scaled = (
        head(view_strength=s).make_estimator(grade_counts=counts, random_state=0) for s in (0, 2.0)
    )
    assert type(plain[0]) is StandardScaler
    assert scaled[0].get_params() == {"strength": 2.0}
    assert head().view_strength == 0
    with pytest.raises(
        InvalidParameterError, match=f"'view_strength' parameter of {head.__name__}"
    ):
        head(view_strength=-1).make_estimator(grade_counts=counts, random_state=0)


def test_data_that_cannot_be_used(views):
    X, groups, _ = views
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        ViewStandardScaler().fit(X, groups=groups[:-1])
    with pytest.raises(ValueError, match="[Zz]ero"):  # newer releases of scikit-learn say it too
        ViewStandardScaler().fit(X, groups=groups, sample_weight=np.zeros(len(X)))
    with pytest.raises(ValueError, match="Negative"):
        ViewStandardScaler().fit(X, groups=groups, sample_weight=np.full(len(X), -1.0))
    with pytest.raises(ValueError, match="NaN"):
        ViewStandardScaler().fit(np.where(X[0, 0] == X, np.nan, X), groups=groups)
