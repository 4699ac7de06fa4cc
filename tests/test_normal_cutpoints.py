"""Cutpoints that are best for normal distributions of severities."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.metrics import cohen_kappa_score

from fundus import TunedCutpointClassifierCV, adapt, optimal_cutpoints
from fundus.exceptions import InvalidParameterError
from fundus.grades.cutpoints import grades_at


def kappa(true, pred, n_grades):
    return cohen_kappa_score(true, pred, labels=np.arange(n_grades), weights="quadratic")


def test_normal_cutpoints_are_those_of_a_large_sample():
    """Two grades of equal weight and spread are parted in the middle, whatever the sample."""
    rng = np.random.default_rng(0)
    true = np.repeat([0, 1], 40)
    severity = true + rng.normal(0, 0.4, 80)
    means = [severity[true == grade].mean() for grade in (0, 1)]
    (cut,), score = optimal_cutpoints(severity, true, n_grades=2, distribution="normal")
    assert cut == pytest.approx(np.mean(means), abs=2e-3)
    assert score == pytest.approx(kappa(true, (severity >= cut).astype(int), 2))


def test_normal_cutpoints_are_best_for_the_distributions():
    """The best of many images that are drawn from the distributions that are fitted."""
    rng = np.random.default_rng(1)
    shares = np.array([0.3, 0.05, 0.35, 0.2, 0.1])
    true = rng.choice(5, 400, p=shares)
    severity = 0.8 * true + 0.3 + rng.normal(0, 0.5, 400)
    found, _ = optimal_cutpoints(severity, true, distribution="normal")
    counts = np.bincount(true)
    means = np.array([severity[true == grade].mean() for grade in range(5)])
    deviation = np.sqrt(np.mean((severity - means[true]) ** 2))
    many = rng.choice(5, 200_000, p=counts / counts.sum())
    drawn = means[many] + rng.normal(0, deviation, len(many))
    best, reached = optimal_cutpoints(drawn, many)
    assert kappa(many, grades_at(drawn, found), 5) == pytest.approx(reached, abs=2e-4)
    assert found == pytest.approx(best, abs=0.12)


def test_normal_cutpoints_take_weights_and_costs():
    severity, true = np.array([0.0, 0.2, 0.7, 1.0, 1.3, 1.9]), np.array([0, 0, 1, 1, 2, 2])
    options = {"n_grades": 3, "distribution": "normal"}
    twice, _ = optimal_cutpoints(np.repeat(severity, 2), np.repeat(true, 2), **options)
    weighted, _ = optimal_cutpoints(severity, true, sample_weight=np.full(6, 2.0), **options)
    plain, _ = optimal_cutpoints(severity, true, **options)
    assert weighted == pytest.approx(plain)
    assert twice == pytest.approx(plain)
    heavy, _ = optimal_cutpoints(severity, true, sample_weight=[9, 9, 1, 1, 1, 1], **options)
    assert heavy[0] > plain[0]  # a frequent grade gets more of the axis
    cost = np.array([[0, 1, 1], [20, 0, 1], [20, 20, 0]])  # to miss a grade is dear
    dear, score = optimal_cutpoints(severity, true, scoring=cost, **options)
    assert (dear < plain).all()
    predicted = grades_at(severity, dear)
    assert score == pytest.approx(-cost[true, predicted].mean())


def test_normal_cutpoints_of_severities_without_spread():
    """The middle, but for what the more frequent grade takes."""
    found, score = optimal_cutpoints(
        [0, 0, 1, 1, 2], [0, 0, 1, 1, 2], n_grades=3, distribution="normal"
    )
    assert found == pytest.approx([0.5, 1.5], abs=0.02)
    assert score == 1.0


@pytest.mark.parametrize("spread", [0.3, 0.1, 0.05, 0.01, 1e-4])
def test_normal_cutpoints_lie_in_the_middle_of_a_wide_gap(spread):
    rng = np.random.default_rng(3)
    true = np.repeat([0, 1, 2], 50)
    found, _ = optimal_cutpoints(
        true + rng.normal(0, spread, 150), true, n_grades=3, distribution="normal"
    )
    assert found == pytest.approx([0.5, 1.5], abs=0.06)


def test_normal_cutpoints_where_nothing_varies_at_all():
    same = [1.0] * 4, [0, 0, 1, 1]
    found, score = optimal_cutpoints(*same, n_grades=2, distribution="normal")
    expected, best = optimal_cutpoints(*same, n_grades=2)
    assert (found.tolist(), score) == (expected.tolist(), best)


def test_a_grade_without_images_and_forbidden_grades_with_normal_cutpoints():
    severity = np.array([0.1, 0.3, 0.2, 2.1, 2.4, 1.8])
    true = np.array([0, 0, 0, 2, 2, 2])
    found, _ = optimal_cutpoints(severity, true, n_grades=3, allowed=[0, 2], distribution="normal")
    assert found[0] == found[1]
    assert grades_at(severity, found).tolist() == true.tolist()


def test_a_classifier_with_normal_cutpoints(blobs):
    X, y = blobs
    model = TunedCutpointClassifierCV(Ridge(), cv=3, distribution="normal", random_state=0)
    model.fit(X, y)
    plain = clone(model).set_params(distribution="empirical").fit(X, y)
    expected, score = optimal_cutpoints(model.oof_severity_, y, n_grades=3, distribution="normal")
    assert model.cutpoints_.tolist() == expected.tolist() != plain.cutpoints_.tolist()
    assert model.best_score_ == score <= plain.best_score_
    with pytest.raises(InvalidParameterError, match="'distribution' .* 'empirical' or 'normal'"):
        clone(model).set_params(distribution="gaussian").fit(X, y)
    with pytest.raises(InvalidParameterError, match="'distribution' .* 'empirical' or 'normal'"):
        optimal_cutpoints([0.0, 1.0], [0, 1], distribution=None)


def test_normal_cutpoints_are_steadier_than_the_best():
    """On other images of the same kind they do better, and move less from sample to sample."""
    rng = np.random.default_rng(2)
    shares = [0.28, 0.05, 0.35, 0.19, 0.13]

    def sample(n):
        true = rng.choice(5, n, p=shares)
        return 0.7 * true + 0.5 + rng.normal(0, 0.6, n), true

    other, truth = sample(20_000)
    found = {"normal": [], "empirical": []}
    for _ in range(15):
        severity, true = sample(250)
        for how, those in found.items():
            those.append(optimal_cutpoints(severity, true, distribution=how)[0])
    mean = {
        how: np.mean([kappa(truth, grades_at(other, cuts), 5) for cuts in those])
        for how, those in found.items()
    }
    assert mean["normal"] > mean["empirical"]
    assert (np.std(found["normal"], axis=0) < np.std(found["empirical"], axis=0)).all()


def test_adapting_keeps_the_way_of_the_model(blobs):
    X, y = blobs
    for how in ("normal", "empirical"):
        model = TunedCutpointClassifierCV(Ridge(), cv=3, distribution=how, random_state=0)
        model.fit(X[:45], y[:45])
        site = adapt(model, (X[45:], y[45:]), n_bootstraps=0)
        severity = model.estimator_.predict(X[45:])
        cuts, _ = optimal_cutpoints(severity, y[45:], n_grades=3, distribution=how)
        assert site.model.cutpoints_ == pytest.approx(cuts)
    other = adapt(model, (X[45:], y[45:]), n_bootstraps=0, distribution="normal")
    assert other.model.cutpoints_.tolist() != site.model.cutpoints_.tolist()
