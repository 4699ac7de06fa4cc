"""Ordinal heads: formulas, order of the cumulative probabilities, estimators against known ones."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import approx_fprime
from scipy.special import expit
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV

from fundus import (
    CoralHead,
    CornHead,
    OrdinalLogisticHead,
    OrdinalLogisticRegression,
    OrdinalRidge,
    OrdinalRidgeHead,
    SoftLabelHead,
    TransferClassifier,
)
from fundus.exceptions import DataWarning, InvalidGradeError, InvalidParameterError
from fundus.grades.severity import conditional_logit_proba, ordered_logit_proba
from fundus.heads.ordinal import levels
from fundus.heads.ordinal_estimators import penalised_loss
from fundus.heads.ordinal_ridge import ridge_fits

LOGITS = [
    [0.5, -1.0, 0.25, 2.0],
    [-0.3, 0.8, 1.2, -0.7],
    [1.5, 0.2, -0.4, 0.9],
    [3.0, -2.0, 0.1, 0.6],
    [-1.1, 0.4, 2.2, -0.2],
    [0.0, 1.0, -1.0, 0.5],
]


@pytest.fixture(scope="module")
def ordered():
    """120 rows of 6 features, grades 0 to 4 along one direction, and weights."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 6))
    severity = X @ [1.5, -1.0, 0.5, 0, 0, 0] + rng.logistic(size=120)
    return X, np.digitize(severity, [-2.0, -0.5, 0.5, 2.0]), rng.uniform(0.5, 2.0, 120)


# -- losses


def test_coral_loss_is_that_of_coral_pytorch():
    """The example in the docstring of coral_pytorch 1.4.0, which gives 0.6920."""
    logits = np.float32([[2.1, 1.8, -2.1, -1.8], [1.9, -1, -1.5, -1.3], [1.9, 1.8, 1.7, 1.6]])
    truth = CoralHead().encode(np.array([2, 1, 4]), 5)
    assert truth.tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]]
    loss = CoralHead().loss(5)
    assert float(loss(truth, logits)) == pytest.approx(0.6920385, abs=1e-6)
    assert_allclose(loss.call(truth, logits), [0.53699427, 0.89507018, 0.64405114], rtol=1e-5)


def test_corn_loss_is_that_of_coral_pytorch():
    """Recorded from corn_loss of coral_pytorch 1.4.0, run with numpy in place of torch."""
    y = np.array([0, 1, 2, 2, 3, 4])
    loss = CornHead().loss(5)(CornHead().encode(y, 5), np.float32(LOGITS))
    assert float(loss) == pytest.approx(0.7429019190290096, abs=1e-6)


def test_corn_loss_is_the_papers_formula():
    y, z = np.array([0, 1, 2, 2, 3, 4]), np.array(LOGITS)
    total, n = 0.0, 0
    for step in range(4):
        for row in range(6):
            if y[row] >= step:
                p = expit(z[row, step])
                total -= np.log(p if y[row] > step else 1 - p)
                n += 1
    loss = CornHead().loss(5)(levels(y, 5), z.astype(np.float32))
    assert float(loss) == pytest.approx(total / n, abs=1e-6)


@pytest.mark.parametrize("head", [CornHead(), CoralHead()])
def test_losses_weight_rows(head):
    truth, z = head.encode(np.array([0, 1]), 2), np.float32([[0.3], [-0.8]])
    rows = np.log1p(np.exp([0.3, 0.8]))
    loss = head.loss(2)(truth, z, sample_weight=np.float32([2.0, 0.5]))
    assert float(loss) == pytest.approx((2 * rows[0] + 0.5 * rows[1]) / 2, abs=1e-6)


def test_soft_labels_are_gaussian():
    labels = SoftLabelHead(sigma=0.8).encode(np.array([0, 3]), 5)
    expected = np.exp(-((np.array([[0], [3]]) - np.arange(5)) ** 2) / (2 * 0.8**2))
    assert_allclose(labels, expected / expected.sum(axis=1, keepdims=True), rtol=1e-5)
    assert_array_equal(SoftLabelHead(sigma=0.05).encode(np.arange(5), 5), np.eye(5))
    with pytest.raises(InvalidParameterError, match="'sigma' parameter of SoftLabelHead"):
        SoftLabelHead(sigma=0.0).encode(np.arange(5), 5)


# -- probabilities


def test_conditional_probabilities_are_those_of_coral_pytorch():
    """The example in the docstring of its corn_label_from_logits."""
    z = np.array([[14.152, -6.1942, 0.47710, 0.96850], [65.667, 0.303, 11.5, -4.524]])
    proba = CornHead().decode(z.astype(np.float32), 5)
    above = np.cumprod(expit(z), axis=1)
    assert_allclose(1 - np.cumsum(proba, axis=1)[:, :-1], above, atol=1e-6)
    assert (above > 0.5).sum(axis=1).tolist() == [1, 3]


def test_ordered_probabilities_are_differences():
    z = -np.sort(-np.array(LOGITS), axis=1)
    above = np.column_stack([np.ones(6), expit(z), np.zeros(6)])
    assert_allclose(ordered_logit_proba(z), above[:, :-1] - above[:, 1:], atol=1e-12)


@pytest.mark.parametrize("n_grades", [2, 5])
@pytest.mark.parametrize("decode", [conditional_logit_proba, ordered_logit_proba])
def test_probabilities_of_any_logits(decode, n_grades):
    """Also of the largest ones, and on a scale of which some grades were not trained on."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, n_grades - 1)) * 10 ** rng.uniform(-3, 4, (300, 1))
    z[:3] = np.float32([[3e38], [-3e38], [0.0]])
    if decode is ordered_logit_proba:
        z = -np.sort(-z, axis=1)
    proba = decode(z.astype(np.float32))
    assert proba.shape == (300, n_grades)
    assert (proba >= 0).all()
    assert_allclose(proba.sum(axis=1), 1.0, atol=1e-12)
    cumulative = np.cumsum(proba, axis=1)
    assert (np.diff(cumulative, axis=1) >= 0).all()
    assert (proba[:, :-1].sum(axis=1) > 0).all()  # without the highest grade
    assert (np.delete(proba, n_grades // 2, axis=1).sum(axis=1) > 0).all()


def test_biases_of_coral_never_cross():
    from fundus.heads.ordinal_layers import OrderedBias

    layer = OrderedBias(4)
    start = np.asarray(layer(np.zeros((1, 1), np.float32)))
    assert_allclose(ordered_logit_proba(start), np.full((1, 5), 0.2), atol=1e-6)
    rng = np.random.default_rng(0)
    for scale in (1.0, 30.0, 300.0):
        layer.set_weights([rng.normal(size=1) * scale, rng.normal(size=3) * scale])
        logits = np.asarray(layer(np.float32([[-1e4], [0.0], [0.1], [1e4]])))
        assert (np.diff(logits, axis=1) <= 0).all()
    again = OrderedBias.from_config(layer.get_config())
    assert again(np.zeros((2, 1), np.float32)).shape == (2, 4)
    two = OrderedBias(1)
    assert_allclose(two(np.float32([[0.5]])), [[0.5]])


@pytest.mark.slow
@pytest.mark.parametrize("head", [CornHead, CoralHead, SoftLabelHead])
def test_neural_heads_learn_the_order(head, ordered):
    X, y, weights = ordered
    small = head(units=8, layers=1, dropout=0.0)
    model = TransferClassifier(
        "precomputed", small, learning_rate=0.02, epochs=15, validation_fraction=0.0, random_state=0
    )
    model.fit(X.astype(np.float32), y, sample_weight=weights)
    severity = model.predict_severity(X)
    assert np.corrcoef(severity, y)[0, 1] > 0.75
    assert_allclose(severity, model.predict_proba(X) @ np.arange(5))


@pytest.mark.slow
def test_coral_finds_the_middle_grades():
    """Biases that move by no more than the learning rate leave them to their neighbours."""
    rng = np.random.default_rng(0)
    y = np.arange(150) % 5
    X = (y[:, np.newaxis] + rng.normal(scale=0.2, size=(150, 20))).astype(np.float32)
    model = TransferClassifier(
        "precomputed", CoralHead(units=64), epochs=20, validation_fraction=0.0, random_state=0
    ).fit(X, y)
    assert (model.predict(X) == y).mean() > 0.8


# -- proportional odds


def test_gradient_of_the_loss(ordered):
    X, y, weights = ordered
    params = np.random.default_rng(1).normal(size=10)

    def loss(p):
        return penalised_loss(p, X, y, weights, 0.7)[0]

    numeric = approx_fprime(params, loss, 1e-7)
    assert_allclose(penalised_loss(params, X, y, weights, 0.7)[1], numeric, rtol=1e-4, atol=1e-4)


def test_loss_is_the_likelihood(ordered):
    X, y, weights = ordered
    params = np.random.default_rng(1).normal(size=10)
    thresholds = np.concatenate([[-np.inf], np.cumsum([params[6], *np.exp(params[7:])]), [np.inf]])
    at_most = expit(thresholds - (X @ params[:6])[:, np.newaxis])
    proba = at_most[np.arange(120), y + 1] - at_most[np.arange(120), y]
    expected = -weights @ np.log(proba) + 0.35 * (params[:6] ** 2).sum()
    assert penalised_loss(params, X, y, weights, 0.7)[0] == pytest.approx(expected)


def test_without_penalty_it_is_statsmodels():
    """Recorded from OrderedModel(y, X, distr="logit") of statsmodels 0.15.0."""
    k = np.arange(60)
    X = np.column_stack([np.sin(k), np.cos(2.3 * k), (k % 7) / 3 - 1])
    y = np.digitize(X @ [1.5, -1.0, 0.5] + 2 * np.sin(5.1 * k), [-2, -0.5, 0.8, 2.0])
    model = OrdinalLogisticRegression(C=1e9, tol=1e-9).fit(X, y)
    assert_allclose(model.coef_, [1.761917385, -0.951682095, 0.358011929], atol=1e-6)
    thresholds = [-2.040962394, -0.720991365, 0.871541920, 2.248038731]
    assert_allclose(model.thresholds_, thresholds, atol=1e-6)
    likelihood = np.log(model.predict_proba(X)[k, y]).sum()
    assert likelihood == pytest.approx(-80.41206044565405, abs=1e-8)


@pytest.mark.parametrize("C", [0.01, 1.0])
def test_with_two_classes_it_is_logistic_regression(C, ordered):
    X, y, weights = ordered
    y = np.array(["mild", "severe"])[(y > 2).astype(int)]
    ours = OrdinalLogisticRegression(C=C, tol=1e-9).fit(X, y, weights)
    theirs = LogisticRegression(C=C, tol=1e-9).fit(X, y, weights)
    assert_allclose(ours.coef_, theirs.coef_[0], atol=1e-6)
    assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)
    assert_array_equal(ours.predict(X), theirs.predict(X))


def test_weights_are_repeats(ordered):
    X, y, _ = ordered
    repeats = np.random.default_rng(2).integers(0, 4, 120)
    a = OrdinalLogisticRegression(tol=1e-9).fit(X, y, repeats)
    b = OrdinalLogisticRegression(tol=1e-9).fit(np.repeat(X, repeats, 0), np.repeat(y, repeats))
    assert_allclose(a.coef_, b.coef_, atol=1e-6)
    assert_allclose(a.thresholds_, b.thresholds_, atol=1e-6)


@pytest.mark.parametrize("grade", [0, 2, 4])
@pytest.mark.parametrize("estimator", [OrdinalLogisticRegression(), OrdinalRidge()])
def test_a_class_without_weight_gets_no_probability(estimator, grade, ordered):
    X, y, _ = ordered
    proba = clone(estimator).fit(X, y, (y != grade).astype(float)).predict_proba(X)
    assert proba[:, grade].max() < 0.01
    assert_allclose(proba.sum(axis=1), 1.0)


@pytest.mark.parametrize("C", [1e-6, 1e-3, 1.0])
def test_more_features_than_rows(C):
    rng = np.random.default_rng(0)
    y = np.arange(60) % 5
    X = rng.normal(size=(60, 1280)) + y[:, np.newaxis] / 20
    model = OrdinalLogisticRegression(C=C).fit(X, y)  # a warning would fail
    assert (np.diff(model.thresholds_) > 0).all()
    assert np.isfinite(model.coef_).all()
    far = model.predict_proba(1e6 * X)
    assert (far >= 0).all()
    assert_allclose(far.sum(axis=1), 1.0)


def test_it_says_when_it_does_not_converge(ordered):
    X, y, _ = ordered
    with pytest.warns(ConvergenceWarning, match="in 2 iterations"):
        OrdinalLogisticRegression(max_iter=2).fit(X, y)


@pytest.mark.parametrize(
    ("estimator", "name"),
    [
        (OrdinalLogisticRegression(C=0.0), "C"),
        (OrdinalLogisticRegression(tol=-1), "tol"),
        (OrdinalLogisticRegression(max_iter=0), "max_iter"),
        (OrdinalRidge(alphas=[]), "alphas"),
        (OrdinalRidge(alphas=(1.0, 0.0)), "alphas"),
        (OrdinalRidge(alphas="auto"), "alphas"),
        (OrdinalRidge(alphas=np.nan), "alphas"),
    ],
)
def test_parameters_are_checked(estimator, name, ordered):
    with pytest.raises(InvalidParameterError, match=f"The '{name}' parameter of Ordinal"):
        estimator.fit(*ordered[:2])


@pytest.mark.parametrize("estimator", [OrdinalLogisticRegression(), OrdinalRidge()])
def test_data_is_checked(estimator, ordered):
    X, y, _ = ordered
    with pytest.raises(InvalidGradeError, match="at least 2 grades"):
        estimator.fit(X, np.ones(120))
    with pytest.raises(ValueError, match="[Zz]ero"):
        estimator.fit(X, y, np.zeros(120))
    with pytest.raises(ValueError, match="Negative"):
        estimator.fit(X, y, np.full(120, -1.0))


# -- ordinal ridge


def test_leave_one_out_is_leaving_one_out(ordered):
    X, y, weights = ordered[0][:30], ordered[1][:30].astype(float), ordered[2][:30]
    coef, intercept, left_out = ridge_fits(X, y, weights, np.array([3.0]))[0]
    whole = Ridge(3.0).fit(X, y, weights)
    assert_allclose(coef, whole.coef_)
    assert intercept == pytest.approx(whole.intercept_)
    for k in range(30):
        keep = np.arange(30) != k
        without = Ridge(3.0).fit(X[keep], y[keep], weights[keep])
        assert left_out[k] == pytest.approx(without.predict(X[[k]])[0])


@pytest.mark.parametrize("n_features", [6, 60])
def test_groups_are_left_out_together(n_features):
    """Of one to four rows; a row and a group have no weight."""
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat(np.arange(14), [1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4, 2, 2]))
    X, y = rng.normal(size=(34, n_features)), rng.integers(0, 5, 34).astype(float)
    weights = rng.uniform(0.5, 2.0, 34) * (groups != 2)
    weights[np.flatnonzero(groups == 7)[1]] = 0.0
    alphas = np.array([0.5, 30.0])
    fits = ridge_fits(X, y, weights, alphas, groups)
    for alpha, (coef, intercept, left_out), plain in zip(
        alphas, fits, ridge_fits(X, y, weights, alphas), strict=True
    ):
        assert_array_equal(coef, plain[0])
        assert intercept == plain[1]
        for group in range(14):
            out = groups == group
            without = Ridge(alpha).fit(X[~out], y[~out], weights[~out])
            assert_allclose(left_out[out], without.predict(X[out]), atol=1e-9)


def test_a_group_of_each_row_changes_no_bit(ordered):
    X, y, weights = ordered
    plain = OrdinalRidge().fit(X, y, weights)
    rows = OrdinalRidge().fit(X, y, weights, groups=[f"image {k}" for k in range(120)])
    assert_array_equal(rows.loo_severity_, plain.loo_severity_)
    assert_array_equal(rows.thresholds_, plain.thresholds_)


def test_copies_do_not_make_it_too_sure(ordered):
    X, y, weights = ordered[0][:60], ordered[1][:60], ordered[2][:60]
    noise = np.column_stack([X, np.random.default_rng(0).normal(size=(60, 100))])
    rows, images = np.repeat(noise, 3, axis=0), np.repeat(np.arange(60), 3)
    plain = OrdinalRidge().fit(noise, y, weights)
    apart = OrdinalRidge().fit(rows, y[images], weights[images] / 3, groups=images)
    sure = OrdinalRidge().fit(rows, y[images], weights[images] / 3)
    assert apart.alpha_ == plain.alpha_ != sure.alpha_
    assert_allclose(apart.loo_severity_, plain.loo_severity_[images], atol=1e-8)
    assert_allclose(apart.predict_proba(noise), plain.predict_proba(noise), atol=1e-6)
    assert sure.slope_ > 2 * plain.slope_
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        OrdinalRidge().fit(rows, y[images], groups=images[1:])


def test_the_penalty_is_that_of_ridge_cv():
    rng = np.random.default_rng(0)
    y = np.arange(50) % 5
    X, weights = rng.normal(size=(50, 80)) + y[:, np.newaxis] / 4, rng.uniform(0.5, 2.0, 50)
    alphas = (0.1, 1.0, 10.0, 100.0, 1000.0)
    ours = OrdinalRidge(alphas).fit(X, y, weights)
    theirs = RidgeCV(alphas).fit(X, y.astype(float), weights)
    assert ours.alpha_ == theirs.alpha_
    assert_allclose(ours.coef_, theirs.coef_)
    assert ours.slope_ > 0
    assert (np.diff(ours.thresholds_) > 0).all()


def test_probabilities_are_no_surer_than_on_unseen_rows():
    """In the sample, 200 features fit 60 rows of noise exactly; the probabilities do not say so."""
    rng = np.random.default_rng(3)
    y = np.arange(60) % 3
    model = OrdinalRidge(alphas=1e-3).fit(rng.normal(size=(60, 200)), y)
    proba = model.predict_proba(rng.normal(size=(500, 200)))
    seen = -np.log(proba[np.arange(500), rng.integers(0, 3, 500)]).mean()
    assert seen < 1.15  # that of guessing is log 3 = 1.099


def test_without_any_signal_it_gives_the_shares():
    y = np.repeat([0, 1, 2], [10, 20, 30])
    model = OrdinalRidge().fit(np.zeros((60, 2)), y)
    assert model.slope_ == 0.0
    assert_allclose(model.predict_proba(np.ones((1, 2))), [[1 / 6, 1 / 3, 1 / 2]], atol=1e-3)


def test_labels_that_are_numbers_are_the_axis(ordered):
    X, y, _ = ordered
    stretched = OrdinalRidge().fit(X, np.array([0, 1, 2, 3, 10])[y])
    with pytest.warns(DataWarning, match="order is not known"):
        named = OrdinalRidge().fit(X, np.array(list("abcde"))[y])
    plain = OrdinalRidge().fit(X, y)
    assert not np.allclose(stretched.coef_, plain.coef_)
    assert_allclose(named.coef_, plain.coef_)
    assert named.predict(X).tolist() == [list("abcde")[k] for k in plain.predict(X)]


# -- as heads


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "grid"),
    [
        (OrdinalLogisticHead(), {"head__C": [0.01, 1.0]}),
        (OrdinalRidgeHead(), {"head__alphas": [1.0, (1.0, 100.0)]}),
    ],
)
def test_heads_are_searched_in_two_processes(head, grid, ordered):
    X, y, _ = ordered
    search = GridSearchCV(TransferClassifier("precomputed", head, grades=6), grid, cv=2, n_jobs=2)
    search.fit(X, y)
    assert search.best_score_ > 0.3  # guessing gives 0.2
    assert search.predict_proba(X[:1]).shape == (1, 5)  # grade 5 was not trained on


def test_estimators_on_a_scale_that_lacks_grades(ordered):
    """A missing grade stays on the axis of the severity."""
    X, y, _ = ordered
    keep = np.isin(y, [0, 1, 4])
    for head in ("ordinal_logistic", "ordinal_ridge"):
        model = TransferClassifier("precomputed", head, grades=5).fit(X[keep], y[keep])
        assert model.classes_.tolist() == [0, 1, 4]
        expected = model.predict_proba(X) @ [0, 1, 4]
        assert_allclose(model.predict_severity(X), expected)


@pytest.mark.slow
def test_estimators_need_no_tensorflow():
    code = (
        "import sys, numpy as np, fundus\n"
        "X = np.arange(40.0).reshape(20, 2)\n"
        "for head in ('ordinal_logistic', 'ordinal_ridge'):\n"
        "    fundus.TransferClassifier('precomputed', head).fit(X, np.arange(20) // 5).predict(X)\n"
        "print(sorted({'keras', 'tensorflow', 'scikeras'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
