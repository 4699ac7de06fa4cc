"""Intervals hold what they promise: coverage by simulation, Wilson's, paired differences."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from fundus import paired_difference, quadratic_weighted_kappa
from fundus.exceptions import DataError, InvalidParameterError
from fundus.metrics.operating_points import operating_point
from fundus.metrics.resampled import Bins, Ranking
from fundus.reporting.bootstrap import bootstrap_of, wilson
from fundus.reporting.report import make_report
from fundus.reporting.screening import screening_report


def clustered(rng, n_patients):
    """Two eyes of each patient, alike in grade and in the model's error."""
    patients = np.repeat(np.arange(n_patients), 2)
    base = rng.choice(5, n_patients, p=[0.4, 0.15, 0.25, 0.12, 0.08])
    true = np.clip(np.repeat(base, 2) + (rng.random(2 * n_patients) < 0.2), 0, 4)
    slip = np.repeat(rng.normal(0, 0.7, n_patients), 2) + rng.normal(0, 0.5, 2 * n_patients)
    return true, true + slip, patients


def truth(seed=99, n_patients=200_000):
    true, severity, _ = clustered(np.random.default_rng(seed), n_patients)
    pred = np.clip(np.rint(severity), 0, 4).astype(int)
    positive = true >= 2
    return {
        "qwk": cohen_kappa_score(true, pred, weights="quadratic"),
        "accuracy": (true == pred).mean(),
        "mean_absolute_error": np.abs(true - pred).mean(),
        "auc": roc_auc_score(positive, severity),
        "sensitivity": lambda t: (severity[positive] >= t).mean(),
        "specificity": lambda t: (severity[~positive] < t).mean(),
    }


def coverage(n_runs, n_patients, n_resamples, by_patient=True):
    """Share of intervals that hold the value of a huge sample, by score."""
    expected, held = truth(), {}
    for run in range(n_runs):
        true, severity, patients = clustered(np.random.default_rng(run), n_patients)
        pred = np.clip(np.rint(severity), 0, 4).astype(int)
        options = {"groups": patients if by_patient else None, "n_resamples": n_resamples}
        report = make_report(true, pred, **options)
        found = {name: report.measures[name] for name in ("qwk", "accuracy", "mean_absolute_error")}
        condition = screening_report(true, severity, **options).conditions[0]
        found["auc"] = condition.auc
        wanted = dict(expected)
        for scored in condition.points:
            for name in ("sensitivity", "specificity"):
                key = f"{name} of a threshold chosen for {scored.point.wanted}"
                found[key] = getattr(scored, name)
                # what this very threshold has in the population
                wanted[key] = expected[name](scored.point.threshold)
        for name, measure in found.items():
            inside = measure.interval.low <= wanted[name] <= measure.interval.high
            held.setdefault(name, []).append(inside)
    return {name: np.mean(inside) for name, inside in held.items()}


@pytest.mark.slow
def test_patient_intervals_cover_and_image_intervals_do_not():
    shares = coverage(60, 100, 200)
    assert len(shares) == 8
    for name, share in shares.items():
        assert share >= 0.84, (name, share)  # 0.95 within three standard errors, and a bit
    narrow = coverage(60, 100, 200, by_patient=False)
    assert narrow["mean_absolute_error"] < shares["mean_absolute_error"]


@pytest.mark.zoo
def test_coverage_at_length():
    for n_patients in (60, 200):
        for name, share in coverage(1000, n_patients, 1000).items():
            # percentiles of an AUC near 1 are too narrow on few patients, as the docs say
            low = 0.86 if name == "auc" and n_patients == 60 else 0.91
            assert low <= share <= 0.999, (n_patients, name, share)


def test_wilson_is_that_of_the_books():
    # Newcombe 1998, doi:10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E, table I
    for successes, trials, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(successes, trials) == pytest.approx((low, high), abs=1e-4)


def test_every_image_is_drawn_as_often_as_its_patient():
    patients = np.array(["b", "a", "a", "c", "b"])
    bootstrap = bootstrap_of(np.arange(5.0)[:, None], patients, n_resamples=50)
    weights = np.concatenate(list(bootstrap.weights()))
    np.testing.assert_array_equal(weights[:, 0], weights[:, 4])
    np.testing.assert_array_equal(weights[:, 1], weights[:, 2])
    np.testing.assert_array_equal(weights[:, [0, 1, 3]].sum(axis=1), 3)
    assert len(np.unique(weights, axis=0)) > 5


def test_chunks_do_not_change_the_resamples(monkeypatch):
    bootstrap = bootstrap_of(np.arange(7.0)[:, None], None, n_resamples=20)
    whole = np.concatenate(list(bootstrap.weights()))
    monkeypatch.setattr("fundus.reporting.bootstrap._CHUNK", 20)
    parts = list(bootstrap.weights())
    assert len(parts) == 10
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_threads_do_not_change_the_scores(monkeypatch):
    monkeypatch.setattr("fundus.reporting.bootstrap._CHUNK", 100)
    rng = np.random.default_rng(0)
    values, patients = rng.random((40, 2)), np.repeat(np.arange(20), 2).astype(str)
    bootstrap, ran = bootstrap_of(values, patients, n_resamples=50), set()

    def mean(weights):
        ran.add(threading.get_ident())
        time.sleep(0.01)
        return {"mean": weights @ values[:, 0] / weights.sum(axis=1)}

    found = [bootstrap.scores(mean, n_jobs=n)["mean"] for n in (1, 3)]
    np.testing.assert_array_equal(*found)
    assert len(np.unique(found[0])) > 40
    assert len(ran) > 2


@pytest.mark.parametrize("seed", range(3))
def test_weighted_auc_and_rates_are_those_of_repeated_rows(seed):
    rng = np.random.default_rng(seed)
    positive = rng.random(60) < 0.4
    score = rng.integers(0, 9, 60) / 4
    weights = rng.multinomial(60, np.full(60, 1 / 60), size=8).astype(float)
    ranking = Ranking(positive, score)
    sens, spec = ranking.rates(weights)
    for row, auc in enumerate(ranking.auc(weights)):
        drawn = np.repeat(np.arange(60), weights[row].astype(int))
        assert auc == pytest.approx(roc_auc_score(positive[drawn], score[drawn]))
        for j, value in enumerate(ranking.values):
            flagged = score[drawn] >= value
            assert sens[row, j] == pytest.approx(flagged[positive[drawn]].mean())
            assert spec[row, j] == pytest.approx(1 - flagged[~positive[drawn]].mean())
        assert (sens[row, -1], spec[row, -1]) == (0, 1)


def test_calibration_error_is_that_of_a_loop_over_bins():
    rng = np.random.default_rng(0)
    confidence, hit = rng.random(200), rng.random(200) < 0.6
    expected = 0.0
    for k in range(10):
        inside = (confidence >= k / 10) & (confidence < (k + 1) / 10)
        expected += inside.mean() * abs(hit[inside].mean() - confidence[inside].mean())
    assert Bins(hit, confidence, 10).error(np.ones((1, 200)))[0] == pytest.approx(expected)
    assert Bins(np.array([True]), np.array([1.0]), 10).error(np.ones((1, 1)))[0] == 0


@pytest.fixture
def two_models():
    rng = np.random.default_rng(5)
    true, severity, patients = clustered(rng, 80)
    better = np.clip(np.rint(severity), 0, 4).astype(int)
    worse = np.clip(np.rint(severity + rng.normal(0, 0.6, 160)), 0, 4).astype(int)
    return true, better, worse, patients


def test_a_paired_difference_is_narrower_than_two_intervals(two_models):
    true, better, worse, patients = two_models
    found = paired_difference("qwk", true, better, worse, groups=patients)
    assert found.a == pytest.approx(quadratic_weighted_kappa(true, better))
    assert found.b == pytest.approx(quadratic_weighted_kappa(true, worse))
    assert found.difference.value == pytest.approx(found.a - found.b)
    interval = found.difference.interval
    assert interval.low < found.difference.value < interval.high
    single = make_report(true, better, groups=patients).intervals["qwk"]
    apart = make_report(true, worse, groups=patients).intervals["qwk"]
    width = np.hypot(single.high - single.low, apart.high - apart.low)
    assert interval.high - interval.low < 0.9 * width
    back = paired_difference("qwk", true, worse, better, groups=patients).difference
    assert back.value == pytest.approx(-found.difference.value)


def test_a_callable_gives_what_its_name_gives(two_models):
    true, better, worse, patients = two_models
    named = paired_difference("qwk", true, better, worse, groups=patients, n_resamples=50)
    called = paired_difference(
        quadratic_weighted_kappa, true, better, worse, groups=patients, n_resamples=50
    )
    assert called.difference.interval.low == pytest.approx(named.difference.interval.low)
    assert called.difference.interval.high == pytest.approx(named.difference.interval.high)


def test_a_model_does_not_differ_from_itself(two_models):
    true, better, _, _ = two_models
    found = paired_difference("accuracy", true, better, better)
    ends = found.difference.interval
    assert (found.difference.value, ends.low, ends.high) == (0, 0, 0)
    undefined = paired_difference("qwk", [1, 1, 1], [1, 1, 1], [1, 1, 1]).difference
    assert np.isnan([undefined.value, undefined.interval.low]).all()


@pytest.mark.parametrize(
    "metric",
    ["macro_auc", "ranked_probability_score", "brier_score", "expected_calibration_error", "auc"],
)
def test_probabilities_and_severities_are_compared(two_models, metric):
    true, better, worse, patients = two_models
    rng = np.random.default_rng(1)
    a, b = (0.6 * np.eye(5)[p] + 0.4 * rng.dirichlet(np.ones(5), 160) for p in (better, worse))
    if metric == "auc":
        true, a, b = true >= 2, a @ np.arange(5), b @ np.arange(5)
    found = paired_difference(metric, true, a, b, groups=patients, n_resamples=200)
    assert found.difference.interval.low < found.difference.value < found.difference.interval.high


@pytest.mark.parametrize(
    ("metric", "y", "a", "error", "message"),
    [
        ("kappa", [0, 1], [0, 1], InvalidParameterError, "'metric' parameter .* 'qwk'"),
        ("qwk", [0, 1, 2], [0, 1], DataError, "on the same images"),
        ("auc", [1, 1], [0.1, 0.2], DataError, "2 of 2 images that are positive"),
        ("macro_auc", [1, 1], [[0, 1.0], [0, 1.0]], DataError, "Got grade 1 only"),
        ("brier_score", [0, 1], [[0.5, 0.4], [0, 1.0]], DataError, "sum to 0.9, in row 0"),
    ],
)
def test_comparisons_refuse(metric, y, a, error, message):
    with pytest.raises(error, match=message):
        paired_difference(metric, y, a, a, n_grades=2)


def test_operating_points_are_those_of_a_loop():
    rng = np.random.default_rng(8)
    for _ in range(20):
        positive = rng.random(50) < 0.5
        severity = np.round(rng.normal(0, 1, 50) + positive, 1)
        point = operating_point(severity, positive, sensitivity=0.8)
        reach = [t for t in severity if (severity[positive] >= t).mean() >= 0.8]
        best = max((severity[~positive] < t).mean() for t in reach)
        assert point.sensitivity == (severity[positive] >= point.threshold).mean() >= 0.8
        assert point.specificity == (severity[~positive] < point.threshold).mean()
        assert point.specificity == pytest.approx(best)
        other = operating_point(severity, positive, specificity=0.8)
        reach = [t for t in severity if (severity[~positive] < t).mean() >= 0.8]
        best = max((severity[positive] >= t).mean() for t in reach)
        assert other.specificity >= 0.8
        assert other.sensitivity == pytest.approx(best)


def test_the_former_name_of_groups_works_for_a_release():
    true, better = np.arange(20) % 5, np.arange(20) % 5
    worse, who = (true + 1) % 5, np.arange(20) // 2
    new = paired_difference("qwk", true, better, worse, groups=who, n_resamples=50)
    with pytest.warns(FutureWarning, match="'patients' parameter .* is called 'groups' now"):
        old = paired_difference("qwk", true, better, worse, patients=who, n_resamples=50)
    assert old == new
    with pytest.raises(InvalidParameterError, match="'patients' .* must be left out"):
        paired_difference("qwk", true, better, worse, patients=who, groups=who)
