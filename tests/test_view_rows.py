"""Heads on several rows of every image: unchanged copies change nothing."""

from __future__ import annotations

import pickle
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import ElasticNetCV, LogisticRegression, Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

import fundus
from fundus import (
    Augmentation,
    FoldEnsemble,
    LogisticHead,
    OrdinalLogisticHead,
    OrdinalRidgeHead,
    RidgeHead,
    SVMHead,
    TransferClassifier,
    ViewStandardScaler,
)
from fundus.exceptions import DataError, InvalidParameterError
from fundus.frozen.work import work_done
from fundus.heads import sklearn_heads
from fundus.heads.base import EstimatorHead
from fundus.heads.sklearn_heads import EstimatorAsHead
from fundus.heads.view_folds import ViewFolds
from fundus.metrics.kappa import class_sample_weight
from fundus.plugins.registry import get_registry
from fundus.transfer import feature_heads
from fundus.transfer.feature_heads import estimator_std, fit_estimator
from fundus.transfer.view_rows import with_their_views

#: Warps of nothing.
STILL = Augmentation(0, 0, (1, 1), flip_horizontal=False, flip_vertical=False)

REGISTERED = [
    entry.spec.name
    for entry in get_registry().entries["head"]
    if entry.plugin == "builtin" and issubclass(entry.spec.maker, EstimatorHead)
]


def made(name):
    """A registered head; the penalty is one where it and the weights both matter.

    With the default one and balanced weights, all of a machine's vectors are at their bounds, and
    the last digits decide its intercept, with views or without.
    """
    head = get_registry().find("head", name).spec.maker()
    penalty = {"ordinal_ridge": {}, "ridge": {"alpha": 30.0}}.get(name, {"C": 0.1})
    return head.set_params(**penalty)


@pytest.fixture(scope="module")
def graded():
    """60 rows of 8 features, five grades, and weights of which some are 0."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 5
    weights = rng.uniform(0.5, 2.0, 60)
    weights[[3, 20, 41]] = 0.0
    return rng.normal(size=(60, 8)) + y[:, np.newaxis] * [1, 0.5, 0, 0, 0, 0, 0, 0], y, weights


@pytest.fixture
def exact(monkeypatch):
    """Solvers that go on to the last digits, which in single precision they cannot."""
    fit = feature_heads.fit_estimator
    monkeypatch.setattr(
        feature_heads, "fit_estimator", lambda head, X, *rest: fit(head, X.astype(float), *rest)
    )
    monkeypatch.setattr(sklearn_heads, "SVC", partial(SVC, tol=1e-10))
    monkeypatch.setattr(sklearn_heads, "LogisticRegression", partial(LogisticRegression, tol=1e-9))


def said(estimator, X):
    ask = getattr(estimator, "predict_proba", estimator.predict)
    return ask(X)


def fitted(head, X, y, n_views, sample_weight=None, fit_weight=None):
    rows = np.repeat(X, n_views + 1, axis=0)
    return fit_estimator(head, rows, y, sample_weight, fit_weight, 0, n_views)


def weights_of(kind, y, weights):
    """The caller's weights, and those times the class weights."""
    given = weights if "sample" in kind else None
    balanced = "balanced" if "class" in kind else None
    return given, class_sample_weight(balanced, y, given, scale=np.arange(5))


def test_all_heads_of_scikit_learn_are_tried():
    assert set(REGISTERED) == {"svm", "logistic", "ridge", "ordinal_logistic", "ordinal_ridge"}


@pytest.mark.parametrize("kind", ["none", "class", "sample", "sample and class"])
@pytest.mark.parametrize("n_views", [1, 4])
@pytest.mark.parametrize("name", REGISTERED)
def test_unchanged_copies_give_the_fit_without_them(graded, exact, name, n_views, kind):
    X, y, weights = graded
    both = weights_of(kind, y, weights)
    head = made(name)
    plain, views = (fitted(head, X, y, k, *both) for k in (0, n_views))
    assert_allclose(said(views, X), said(plain, X), atol=1e-6)
    if name == "ordinal_ridge":
        assert views[-1].alpha_ == plain[-1].alpha_
    # the test can fail: full rows are another fit
    full = fit_estimator(
        head, np.repeat(X, n_views + 1, 0), np.repeat(y, n_views + 1),
        *(None if w is None else np.repeat(w, n_views + 1) for w in both), 0, 0,
    )  # fmt: skip
    assert np.abs(said(full, X) - said(plain, X)).max() > 1e-4


@pytest.mark.parametrize("strength", [1.0, 1e6])
@pytest.mark.parametrize("head", [LogisticHead, RidgeHead, OrdinalLogisticHead, OrdinalRidgeHead])
def test_copies_are_no_noise(graded, exact, head, strength):
    X, y, weights = graded
    both = weights_of("sample and class", y, weights)
    plain = fitted(head(), X, y, 0, *both)
    views = fitted(head(view_strength=strength), X, y, 2, *both)
    assert_allclose(said(views, X), said(plain, X), atol=1e-6)


@pytest.mark.parametrize(
    "estimator",
    [
        CalibratedClassifierCV(GaussianNB(), cv=3),
        CalibratedClassifierCV(make_pipeline(StandardScaler(), GaussianNB())),
        RidgeCV([1.0, 100.0], cv=3),
        ElasticNetCV(alphas=[0.01, 0.5], cv=3, tol=1e-9, max_iter=10_000),
        make_pipeline("passthrough", StandardScaler(), GaussianNB()),
        DecisionTreeClassifier(max_depth=3, random_state=0),
    ],
    ids=lambda e: type(e).__name__,
)
@pytest.mark.filterwarnings("ignore:Since Pipeline does not appear to accept sample_weight")
def test_foreign_estimators_have_inner_folds_of_images(graded, estimator):
    X, y, _ = graded
    head = EstimatorAsHead(estimator)
    plain, views = (fitted(head, X, y, k) for k in (0, 3))
    assert_allclose(said(views, X), said(plain, X), atol=1e-5)


class Seen(TransformerMixin, BaseEstimator):
    """Keeps what reached its fit."""

    def fit(self, X, y=None, sample_weight=None, groups=None):
        self.sample_weight_, self.groups_ = sample_weight, groups
        return self

    def transform(self, X):
        return X


def test_steps_get_weights_and_the_image_of_each_row(graded):
    X, y, weights = graded
    head = EstimatorAsHead(make_pipeline(Seen(), Ridge()))
    step = fitted(head, X, y, 2, weights, weights * 3)[0]
    used = np.flatnonzero(weights)
    assert_array_equal(step.groups_, np.repeat(used, 3))
    assert_allclose(step.sample_weight_, np.repeat(weights[used], 3) / 3)
    step = fitted(head, X, y, 2)[0]
    assert_allclose(step.sample_weight_, 1 / 3)
    step = fitted(head, X, y, 0)[0]
    assert step.sample_weight_ is step.groups_ is None
    step = fitted(head, X, y, 0, weights, weights * 3)[0]
    assert step.groups_ is None
    assert_array_equal(step.sample_weight_, weights[used])


def test_the_machine_is_calibrated_on_images_it_has_not_seen(graded, monkeypatch):
    X, y, _ = graded
    splits = []
    split = ViewFolds.split

    def kept(self, *rows, **groups):
        splits.extend(split(self, *rows, **groups))
        return splits

    monkeypatch.setattr(ViewFolds, "split", kept)
    fitted(SVMHead(), X, y, 2)
    want = list(StratifiedKFold(5).split(X, y))
    assert [len(rows) for rows, _ in splits] == [3 * len(images) for images, _ in want]
    for (train, test), (_, images) in zip(splits, want, strict=True):
        assert not set(train // 3) & set(test // 3)
        assert set(test // 3) == set(images)


@pytest.mark.parametrize("rarest", [1, 2, 3])
def test_the_rarest_grade_is_counted_in_images(graded, exact, rarest):
    X, y, _ = graded
    kept = (y != 4) | (np.cumsum(y == 4) <= rarest)
    X, y = X[kept], y[kept]
    if rarest == 1:
        with pytest.raises(DataError, match="Got a grade with 1"):
            fitted(SVMHead(), X, y, 4)
        return
    plain, views = (fitted(SVMHead(), X, y, k) for k in (0, 4))
    assert views[-1].cv.cv.n_splits == plain[-1].cv.n_splits == rarest
    assert_allclose(said(views, X), said(plain, X), atol=1e-6)


@pytest.mark.parametrize("name", [name for name in REGISTERED if name != "svm"])
def test_one_image_a_grade_and_missing_grades(graded, exact, name):
    X, y, _ = graded
    for rows in (np.arange(5), np.flatnonzero(np.isin(y, [0, 3])), np.array([0, 4])):
        plain, views = (fitted(made(name), X[rows], y[rows], k) for k in (0, 1))
        assert_allclose(said(views, X), said(plain, X), atol=1e-6)


def test_weights_of_a_bootstrap_may_leave_one_image_or_grade(exact):
    X = np.random.default_rng(0).normal(size=(12, 3))
    y = np.arange(12) % 3
    for weights in (np.where(y == 1, 0.0, 2.0), np.eye(12)[4] * 3):
        for name in REGISTERED:
            if name in ("svm", "logistic") and (weights > 0).sum() == 1:
                continue  # these refuse it without views too
            plain, views = (fitted(made(name), X, y, k, weights, weights) for k in (0, 2))
            assert_allclose(said(views, X), said(plain, X), atol=1e-6)


@pytest.mark.parametrize("strength", [0.0, 5.0])
@pytest.mark.parametrize("n_features", [4, 300])
@pytest.mark.parametrize("weighted", [False, True])
def test_residuals_of_a_ridge_are_those_of_fits_without_the_image(n_features, weighted, strength):
    rng = np.random.default_rng(1)
    y, n_views = rng.integers(0, 5, 30), 2
    X = rng.normal(size=(30, n_features)) + y[:, np.newaxis] * 0.3
    X = np.repeat(X, 3, axis=0) + rng.normal(size=(90, n_features)) * rng.uniform(0, 2, n_features)
    patients = np.arange(30) // 2
    weights, fit_weight = (rng.uniform(0.2, 2, 30) if weighted else None for _ in range(2))
    head = RidgeHead(alpha=7.0, view_strength=strength)
    model = fit_estimator(head, X, y, weights, fit_weight, 0, n_views)
    got = estimator_std(head, model, X, y, weights, fit_weight, patients, 0, n_views)
    Z, of_row = model[0].transform(X), np.repeat(np.arange(30), 3)
    w = np.ones(30) if fit_weight is None else fit_weight
    residuals = np.empty(30)
    for k in range(30):
        kept = np.repeat(patients != patients[k], 3)
        rows = of_row[kept]
        ridge = Ridge(7.0).fit(Z[kept], y[rows], sample_weight=w[rows] / 3)
        residuals[k] = y[k] - ridge.predict(Z[[3 * k]])[0]
    want = np.sqrt(np.average(residuals**2, weights=weights))
    assert got == pytest.approx(want, rel=1e-9)
    assert (type(model[0]) is ViewStandardScaler) == (strength > 0)


def test_inner_folds_of_residuals_leave_out_whole_images(graded):
    """Also of estimators without a closed form: copies give the error without them."""
    X, y, _ = graded
    head = EstimatorAsHead(make_pipeline(StandardScaler(), ElasticNetCV(cv=3)))
    errors = [
        estimator_std(
            head, fitted(head, X, y, k), np.repeat(X, k + 1, 0), y, None, None, None, 0, k
        )
        for k in (0, 2)
    ]
    assert errors[1] == pytest.approx(errors[0], rel=1e-4)


class Neighbours(EstimatorHead):
    """A head of a plugin, whose estimator is known when it is fitted."""

    def make_estimator(self, *, grade_counts, random_state):
        return KNeighborsClassifier(1)


def viewed(head, **options):
    options = {"augment": True, "augment_views": 2, "class_weight": None} | options
    return TransferClassifier("tiny", head, weights="fixed", random_state=0, **options)


REFUSED = {
    "neighbours": (
        KNeighborsRegressor(3),
        r"KNeighborsRegressor\(n_neighbors=3\), whose fit takes",
    ),
    "last step": (make_pipeline(StandardScaler(), KNeighborsClassifier()), r"KNeighborsClassifier"),
    "search": (GridSearchCV(Ridge(), {"alpha": [1.0]}), "GridSearchCV.*sample_weight"),
    "plugin": (Neighbours(), "KNeighborsClassifier.*choose a head that takes it"),
    "single rows": (RidgeCV(), r"RidgeCV\(\), which leaves out single rows.*RidgeCV\(cv=5\)"),
    "no views": (RidgeHead(view_strength=1.0), "'view_strength' parameter of RidgeHead"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_use_views_is_refused_by_name(photographs, tmp_path, name):
    head, message = REFUSED[name]
    options = {"augment": None, "augment_views": None} if name == "no views" else {}
    before = work_done.copy()
    with pytest.raises(InvalidParameterError, match=message):
        viewed(head, cache=tmp_path, **options).fit(photographs.paths, photographs.grades)
    if name != "plugin":
        assert work_done == before, "it is known before any work"


class Drawing(ClassifierMixin, BaseEstimator):
    """Fits another on rows that it draws."""

    def __init__(self, estimator):
        self.estimator = estimator

    def fit(self, X, y, sample_weight=None):
        rows = np.random.default_rng(0).integers(0, len(X), len(X))
        self.estimator.fit(X[rows], y[rows], sample_weight[rows])
        return self


def test_rows_that_are_drawn_before_inner_folds_are_told(graded):
    X, y, _ = graded
    head = EstimatorAsHead(Drawing(CalibratedClassifierCV(GaussianNB(), cv=2)))
    with pytest.raises(DataError, match="draws rows"):
        fitted(head, X, y, 2)


@pytest.mark.parametrize("sampling", [None, "over"])
@pytest.mark.parametrize("name", REGISTERED)
def test_warps_of_nothing_through_the_store(photographs, tmp_path, exact, name, sampling):
    if sampling == "over":
        pytest.importorskip("imblearn")
    X, y = photographs.paths, photographs.grades
    options = {"class_weight": "balanced", "cache": tmp_path, "sampling": sampling}
    weight = np.where(np.arange(len(y)) % 7 == 3, 0.0, 1.5)
    plain = viewed(made(name), augment=None, augment_views=None, **options)
    still = viewed(made(name), augment=STILL, **options)
    plain, still = (m.fit(X, y, sample_weight=weight) for m in (plain, still))
    assert_allclose(still.predict_severity(X), plain.predict_severity(X), atol=1e-4)
    if plain.head_.residual_std is not None:
        assert still.head_.residual_std == pytest.approx(plain.head_.residual_std, rel=1e-4)


@pytest.mark.parametrize(
    "head", [RidgeHead(30.0, 2.0), SVMHead(0.1), OrdinalRidgeHead((1.0, 10.0), 0.5)]
)
def test_it_is_saved_copied_and_loaded(photographs, tmp_path, head):
    X, y = photographs.paths, photographs.grades
    model = viewed(head, cache=tmp_path / "cache").fit(X, y)
    model.save(tmp_path / "model")
    want = model.predict_proba(X)
    assert_array_equal(fundus.load(tmp_path / "model").predict_proba(X), want)
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(X), want)
    assert_array_equal(clone(model).fit(X, y).predict_proba(X), want)


@pytest.mark.slow
def test_a_search_in_two_processes(photographs, tmp_path):
    X, y = photographs.frame, photographs.grades
    model = viewed(RidgeHead(), cache=tmp_path, grades=5)
    grid = {"head__view_strength": [0.0, 2.0]}
    one, two = (GridSearchCV(model, grid, cv=2, n_jobs=n).fit(X, y) for n in (1, 2))
    assert_array_equal(one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"])
    assert_array_equal(one.predict_proba(X), two.predict_proba(X))


def test_a_fold_without_a_grade(photographs, tmp_path):
    X, y = photographs.paths, photographs.grades
    out = np.flatnonzero(y == 4)
    folds = [(np.setdiff1d(np.arange(len(y)), out), out), (np.arange(10, len(y)), np.arange(2))]
    model = viewed(RidgeHead(view_strength=1.0), cache=tmp_path, grades=5)
    ensemble = FoldEnsemble(model, cv=folds).fit(X, y)
    assert ensemble.estimators_[0].classes_.tolist() == [0, 1, 2, 3]
    assert y[:2].max() < 4
    assert np.isfinite(ensemble.oof_severity_[out]).all()


def test_rows_of_images():
    assert with_their_views(np.array([2, 0]), 2).tolist() == [6, 7, 8, 0, 1, 2]
