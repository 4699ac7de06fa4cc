"""The scores of a grading, against scikit-learn and against a loop over resampled patients."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import (
    accuracy_score,
    cohen_kappa_score,
    confusion_matrix,
    recall_score,
    roc_auc_score,
)

import fundus
from fundus.exceptions import DataError, InvalidGradeError, InvalidParameterError
from fundus.grades.icdr import grade_labels
from fundus.metrics.resampled import kappa_of
from fundus.reporting.bootstrap import wilson
from fundus.reporting.report import make_report
from fundus.reporting.tables import TOO_NARROW


@pytest.fixture
def grading():
    """120 images of 60 patients whose predictions err in the same direction in both eyes."""
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(60), 2)
    true = np.repeat(rng.integers(0, 5, 60), 2)
    slip = np.repeat(rng.integers(-1, 2, 60), 2)
    return true, np.clip(true + slip, 0, 4), patients


def rendered(report) -> str:
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(report.to_table("Title"))
    return console.export_text()


def test_scores_are_scikit_learns(grading):
    true, pred, _ = grading
    report = make_report(true, pred)
    assert report.n_images == 120
    assert report.accuracy == accuracy_score(true, pred)
    assert report.qwk == pytest.approx(cohen_kappa_score(true, pred, weights="quadratic"))
    np.testing.assert_array_equal(report.confusion, confusion_matrix(true, pred))


def test_kappa_of_many_matrices_at_once():
    rng = np.random.default_rng(1)
    matrices = rng.integers(0, 9, (50, 4, 4))
    for matrix, kappa in zip(matrices, kappa_of(matrices), strict=True):
        pairs = np.repeat([(i, j) for i in range(4) for j in range(4)], matrix.ravel(), axis=0)
        expected = cohen_kappa_score(*pairs.T, labels=range(4), weights="quadratic")
        assert kappa == pytest.approx(expected)


def test_a_grade_nobody_has_does_not_change_the_scale():
    report = make_report([0, 1, 2], [0, 2, 2], n_grades=5)
    expected = cohen_kappa_score([0, 1, 2], [0, 2, 2], labels=range(5), weights="quadratic")
    assert report.qwk == pytest.approx(expected)
    assert report.confusion.shape == (5, 5)


@pytest.mark.slow
def test_intervals_are_those_of_a_loop_over_patients(grading):
    true, pred, patients = grading
    report = make_report(true, pred, groups=patients, n_resamples=4000)
    rows = [np.flatnonzero(patients == who) for who in range(60)]
    rng = np.random.default_rng(7)
    kappas, hits = [], []
    for _ in range(1500):
        drawn = np.concatenate([rows[who] for who in rng.integers(0, 60, 60)])
        kappas.append(cohen_kappa_score(true[drawn], pred[drawn], weights="quadratic"))
        hits.append(accuracy_score(true[drawn], pred[drawn]))
    for name, values in (("qwk", kappas), ("accuracy", hits)):
        interval = report.intervals[name]
        expected = np.percentile(values, [2.5, 97.5])
        np.testing.assert_allclose([interval.low, interval.high], expected, atol=0.025)
        assert interval.by_patient
    assert report.n_patients == 60


def test_two_alike_eyes_are_worth_one(grading):
    true, pred, patients = grading
    of_patients = make_report(true, pred, groups=patients)
    of_one_eye = make_report(true[::2], pred[::2])
    of_images = make_report(true, pred)
    for name in ("qwk", "accuracy", "mean_absolute_error"):
        two, one = of_patients.intervals[name], of_one_eye.intervals[name]
        assert (two.low, two.high) == (one.low, one.high)
        narrow = of_images.intervals[name]
        assert narrow.high - narrow.low < 0.85 * (two.high - two.low)


def test_intervals_do_not_hang_on_the_order_of_rows(grading):
    true, pred, patients = grading
    order = np.random.default_rng(2).permutation(120)
    report = make_report(true, pred, groups=patients)
    again = make_report(true[order], pred[order], groups=patients[order])
    assert again.intervals == report.intervals
    other = make_report(true, pred, groups=patients, random_state=1)
    assert other.intervals != report.intervals


def test_patients_may_be_names_and_have_any_number_of_images():
    report = make_report([0, 1, 2, 3, 4], [0, 1, 2, 3, 3], groups=["b", "a", "a", "a", "c"])
    assert report.n_patients == 3
    interval = report.intervals["accuracy"]
    assert interval.method == "wilson"
    # four of five images right, of three patients: as of 2.4 of 3 trials
    assert (interval.low, interval.high) == pytest.approx(wilson(2.4, 3))


def test_what_is_undefined_is_none_in_json():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = make_report([2, 2, 2], [2, 2, 2])
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert document["qwk"] is None
    assert document["intervals"]["qwk"] == {
        "low": None, "high": None, "confidence": 0.95, "by_patient": False, "method": "bootstrap"
    }  # fmt: skip
    assert document["intervals"]["accuracy"]["method"] == "wilson"
    assert document["intervals"]["accuracy"]["low"] < 0.5
    assert document["sensitivity_by_grade"][0]["value"] is None
    assert document["accuracy"] == 1.0
    assert document["n_true"] == [0, 0, 3, 0, 0]


def test_severity_error_is_in_grades():
    report = make_report([0, 4], [0, 4], severity=[0.5, 3.0])
    assert report.measures["severity_error"].value == 0.75
    assert "severity_error" not in make_report([0, 4], [0, 4]).measures


def test_table_says_how_the_intervals_came_about(grading):
    true, pred, patients = grading
    unknown = rendered(make_report(true, pred))
    assert TOO_NARROW in " ".join(unknown.split())
    known = rendered(make_report(true, pred, groups=patients))
    assert TOO_NARROW not in " ".join(known.split())
    assert "120 images of 60 patients" in known
    assert "Intervals are by patient." in known
    report = make_report(true, pred, groups=patients)
    interval = report.intervals["qwk"]
    assert f"{report.qwk:.3f}   {interval.low:.3f} to {interval.high:.3f}" in known


def test_table_shows_names_as_they_are():
    shown = rendered(make_report([0, 1], [0, 1], n_grades=2, class_names=["[none]", "[red]dr"]))
    assert "[none]" in shown
    assert "[red]dr" in shown


def test_labels_take_icdr_names_for_five_numbered_grades_only():
    assert grade_labels(["0", "1", "2", "3", "4"])[4] == "4 PDR"
    assert grade_labels(["class0", "class1", "class2"]) == ["class0", "class1", "class2"]
    assert grade_labels(["a", "b", "c", "d", "e"]) == ["a", "b", "c", "d", "e"]
    assert grade_labels(["class1", "class2", "class3", "class4", "class5"])[0] == "class1"


@pytest.mark.parametrize(
    ("true", "pred", "options", "message"),
    [
        ([], [], {}, "one true grade and one prediction"),
        ([0, 1], [0], {}, "one true grade and one prediction"),
        ([0, 1], [0, 1], {"groups": ["a"]}, "one patient a row. Got 1 for 2 rows"),
        ([0, 1], [0, 1], {"groups": ["a", None]}, "every row. Got None in row 1"),
        ([0, 1], [0, 1], {"severity": [0.0, np.nan]}, "one finite number .* 1 that are not"),
        (
            [0, 1],
            [0, 1],
            {"proba": np.full((2, 5), 0.3)},
            r"must sum to 1. .* to 1.5, in row 0",
        ),
        ([0, 1], [0, 1], {"proba": np.full((2, 4), 0.25)}, r"shape \(2, 5\). Got shape \(2, 4\)"),
    ],
)
def test_bad_input_is_told(true, pred, options, message):
    with pytest.raises(DataError, match=message):
        make_report(true, pred, **options)


def test_confidence_and_resamples_are_checked():
    for options in ({"confidence": 95}, {"n_resamples": 0}):
        with pytest.raises(InvalidParameterError):
            make_report([0, 1], [0, 1], **options)


def test_grades_must_lie_on_the_scale():
    with pytest.raises(InvalidGradeError, match="row 1"):
        make_report([0, 3], [0, 1], n_grades=3)


def test_measures_of_probabilities_are_scikit_learns(grading):
    true, _, patients = grading
    rng = np.random.default_rng(3)
    proba = rng.dirichlet(np.ones(5), 120) * 0.7 + 0.3 * np.eye(5)[true]
    measures = make_report(true, proba.argmax(axis=1), proba=proba, groups=patients).measures
    auc = roc_auc_score(true, proba, multi_class="ovr", average="macro")
    assert measures["macro_auc"].value == pytest.approx(auc)
    for name, function in (
        ("brier_score", fundus.brier_score),
        ("ranked_probability_score", fundus.ranked_probability_score),
        ("expected_calibration_error", fundus.expected_calibration_error),
    ):
        assert measures[name].value == pytest.approx(function(true, proba))
    for measure in measures.values():
        assert measure.interval.low < measure.value < measure.interval.high


def test_sensitivities_are_recalls(grading):
    true, pred, _ = grading
    report = make_report(true, pred)
    expected = recall_score(true, pred, labels=range(5), average=None)
    assert [measure.value for measure in report.sensitivities] == pytest.approx(expected.tolist())
    assert report.measures["mean_absolute_error"].value == pytest.approx(np.abs(true - pred).mean())
    assert report.measures["adjacent_accuracy"].value == 1.0
    assert report.measures["adjacent_accuracy"].interval.method == "wilson"
