"""Kappa against scikit-learn and brute force; class weights against the chapter's figures."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score, roc_auc_score
from sklearn.model_selection import cross_val_score
from sklearn.utils.class_weight import compute_sample_weight

from fundus import (
    adjacent_accuracy,
    brier_score,
    expected_calibration_error,
    inverse_frequency_weights,
    kappa_scorer,
    macro_auc,
    make_kappa_scorer,
    quadratic_weighted_kappa,
    ranked_probability_score,
)
from fundus.exceptions import DataError, InvalidGradeError, InvalidParameterError
from fundus.grades.labels import grade_scale
from fundus.metrics import class_sample_weight


def brute_force_kappa(y_true, y_pred, n, weight):
    """Cohen's definition, cell by cell."""
    total = sum(weight)
    observed = expected = 0.0
    for i in range(n):
        for j in range(n):
            penalty = (i - j) ** 2
            both = sum(
                w for t, p, w in zip(y_true, y_pred, weight, strict=True) if (t, p) == (i, j)
            )
            rows = sum(w for t, w in zip(y_true, weight, strict=True) if t == i)
            columns = sum(w for p, w in zip(y_pred, weight, strict=True) if p == j)
            observed += penalty * both / total
            expected += penalty * rows * columns / total**2
    return 1 - observed / expected


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("weighted", [False, True])
def test_kappa_is_cohens(seed, weighted):
    rng = np.random.default_rng(seed)
    y_true, y_pred = rng.integers(0, 5, (2, 40))
    weight = rng.uniform(0.1, 2, 40) if weighted else np.ones(40)
    ours = quadratic_weighted_kappa(y_true, y_pred, sample_weight=weight if weighted else None)
    assert ours == pytest.approx(brute_force_kappa(y_true, y_pred, 5, weight))
    theirs = cohen_kappa_score(
        y_true, y_pred, labels=range(5), weights="quadratic", sample_weight=weight
    )
    assert ours == pytest.approx(theirs)


def test_an_absent_grade_keeps_its_place():
    y_true, y_pred = [0, 1, 2, 4, 4, 0], [0, 2, 2, 2, 4, 1]
    fixed = quadratic_weighted_kappa(y_true, y_pred)
    assert fixed == pytest.approx(brute_force_kappa(y_true, y_pred, 5, [1] * 6))
    # without fixed labels grade 4 moves next to grade 2
    assert fixed != pytest.approx(cohen_kappa_score(y_true, y_pred, weights="quadratic"))


def test_adjacent_accuracy():
    assert adjacent_accuracy([0, 1, 2, 4], [0, 2, 0, 3]) == 0.75
    names = ["none", "mild", "severe"]
    assert adjacent_accuracy(["none", "severe"], ["mild", "none"], n_grades=names) == 0.5
    with pytest.raises(InvalidGradeError, match="Got 1 and 2 rows"):
        adjacent_accuracy([0], [0, 1])
    with pytest.raises(InvalidGradeError, match="Got 0 and 0 rows"):
        adjacent_accuracy([], [])


def test_scores_of_probabilities():
    rng = np.random.default_rng(0)
    proba, true = rng.dirichlet(np.ones(5), 80), rng.integers(0, 5, 80)
    assert macro_auc(true, proba) == pytest.approx(roc_auc_score(true, proba, multi_class="ovr"))
    squares = [sum((p[k] - (k == t)) ** 2 for k in range(5)) for p, t in zip(proba, true)]  # noqa: B905
    assert brier_score(true, proba) == pytest.approx(np.mean(squares))
    ranked = [
        np.mean([(p[k:].sum() - (t >= k)) ** 2 for k in range(1, 5)])
        for p, t in zip(proba, true)  # noqa: B905
    ]
    assert ranked_probability_score(true, proba) == pytest.approx(np.mean(ranked))
    assert ranked_probability_score([0], [[0, 0, 0, 0, 1.0]]) == 1


@pytest.mark.parametrize(
    "score", [macro_auc, brier_score, ranked_probability_score, expected_calibration_error]
)
def test_probabilities_must_be_some(score):
    with pytest.raises(DataError, match=r"sum to 1.1, in row 1 \(1 more such rows\)"):
        score([0, 1, 1], [[0.5, 0.5], [0.6, 0.5], [-0.1, 1.1]], n_grades=2)
    with pytest.raises(DataError, match=r"shape \(2, 5\). Got shape \(2, 2\)"):
        score([0, 1], [[0.5, 0.5], [0.5, 0.5]])
    with pytest.raises(InvalidGradeError, match="row 1"):
        score([0, 2], [[0.5, 0.5], [0.5, 0.5]], n_grades=2)
    with pytest.raises(DataError):
        score([], np.empty((0, 2)), n_grades=2)


def test_an_auc_needs_two_grades_and_an_error_bins():
    with pytest.raises(DataError, match="all of grade 1"):
        macro_auc([1, 1], [[0.5, 0.5], [0.5, 0.5]], n_grades=2)
    with pytest.raises(InvalidParameterError, match="'n_bins'"):
        expected_calibration_error([0], [[1.0, 0.0]], n_grades=2, n_bins=0)


def test_kappa_of_chance_and_of_nothing():
    assert quadratic_weighted_kappa([0, 1, 2, 3], [2, 2, 2, 2]) == 0
    with pytest.warns(UndefinedMetricWarning, match="undefined"):
        assert np.isnan(quadratic_weighted_kappa([3, 3], [3, 3]))


@pytest.mark.parametrize(
    ("y_true", "y_pred", "message"),
    [
        ([0, 5], [0, 1], r"y_true must hold grades out of \[0, 1, 2, 3, 4\]. Got 5 in row 1"),
        ([0, 1], [0, np.nan], "y_pred .* Got nan in row 1"),
        ([0, 1, 2], [0, 1], "of one length. Got 3 and 2"),
        ([[0, 1]], [0], "one grade a row"),
    ],
)
def test_kappa_refuses(y_true, y_pred, message):
    with pytest.raises(InvalidGradeError, match=message):
        quadratic_weighted_kappa(y_true, y_pred)


def test_kappa_of_named_grades():
    names = ["none", "mild", "severe"]
    score = quadratic_weighted_kappa(["none", "severe"], ["mild", "severe"], n_grades=names)
    assert score == pytest.approx(brute_force_kappa([0, 2], [1, 2], 3, [1, 1]))


def test_scorers_in_cross_validation_with_weights_and_processes(blobs):
    X, y = blobs
    scores = cross_val_score(LogisticRegression(), X, y, cv=3, scoring=kappa_scorer, n_jobs=2)
    assert scores.shape == (3,)
    assert scores.min() > 0.8
    dummy = DummyClassifier(strategy="most_frequent").fit(X, y)
    assert make_kappa_scorer(3)(dummy, X, y) == 0
    weight = np.arange(len(y)) % 2
    model = LogisticRegression().fit(X[:30], y[:30])
    assert kappa_scorer(model, X, y, sample_weight=weight) == pytest.approx(
        cohen_kappa_score(y, model.predict(X), weights="quadratic", sample_weight=weight)
    )


def test_a_scorer_of_one_grade_is_nan_with_a_warning():
    model = DummyClassifier(strategy="constant", constant=1).fit([[0], [0]], [1, 2])
    with pytest.warns(UndefinedMetricWarning):
        assert np.isnan(kappa_scorer(model, [[0], [0]], [1, 1]))


def test_the_chapters_class_weights():
    counts = {0: 23_229, 1: 2_199, 2: 4_763, 3: 768, 4: 638}
    y = np.repeat(list(counts), list(counts.values()))
    printed = {0: 0.0120, 1: 0.1271, 2: 0.0587, 3: 0.3640, 4: 0.4382}
    ours = inverse_frequency_weights(y)
    assert list(ours) == list(printed)
    assert list(ours.values()) == pytest.approx(list(printed.values()), abs=1e-4)
    assert sum(ours.values()) == pytest.approx(1)


def test_class_weights_as_sample_weights():
    y = np.array([0, 0, 0, 1, 2, 2])
    balanced = class_sample_weight("balanced", y)
    assert balanced == pytest.approx(compute_sample_weight("balanced", y))
    weight = np.array([1.0, 2, 0, 1, 1, 1])
    kept = weight.copy()
    # repeating a row and weighting it are the same thing
    repeated = class_sample_weight("balanced", np.repeat(y, weight.astype(int)))
    weighted = class_sample_weight("balanced", y, weight)
    assert weighted.sum() == pytest.approx(repeated.sum())
    assert weighted[1] / 2 == pytest.approx(weighted[0])
    assert np.array_equal(weight, kept)
    by_dict = class_sample_weight({0: 2.0, 2: 0.5}, y, weight)
    assert by_dict.tolist() == [2, 4, 0, 1, 0.5, 0.5]
    inverse = class_sample_weight("inverse_frequency", y)
    assert inverse == pytest.approx([inverse_frequency_weights(y)[g] for g in y.tolist()])
    assert class_sample_weight(None, y) is None


@pytest.mark.parametrize("bad", ["even", 3, {0: -1.0}, {0: np.nan}])
def test_class_weights_refuse(bad):
    with pytest.raises(InvalidParameterError, match="'class_weight' parameter must"):
        class_sample_weight(bad, np.array([0, 1]))


@pytest.mark.parametrize("bad", [1, [0], [0, 0], "five", True, 2.5])
def test_a_scale_has_two_different_grades(bad):
    with pytest.raises(InvalidParameterError, match="'grades' parameter must"):
        grade_scale(bad)
