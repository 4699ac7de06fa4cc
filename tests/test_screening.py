"""Screening: what is referable, operating points, ungradable images, figures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import roc_auc_score

from fundus import (
    ReliabilityDisplay,
    RocDisplay,
    is_referable,
    is_sight_threatening,
    operating_point,
    screening_report,
)
from fundus.exceptions import (
    DataError,
    DataWarning,
    InvalidGradeError,
    InvalidParameterError,
    OperatingPointError,
)
from fundus.reporting.tables import CONTEXT


@pytest.fixture
def graded():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 5, 200)
    return true, true + rng.normal(0, 1, 200), rng.integers(0, 3, 200)


def rendered(table) -> str:
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(table)
    return " ".join(console.export_text().split())


def test_macular_oedema_refers_and_threatens():
    grades, dme = [0, 1, 2, 2, 3, 4], [2, 1, 1, 2, 0, 0]
    assert is_referable(grades).tolist() == [False, False, True, True, True, True]
    assert is_referable(grades, dme).tolist() == [True, False, True, True, True, True]
    assert is_sight_threatening(grades).tolist() == [False] * 4 + [True] * 2
    assert is_sight_threatening(grades, dme).tolist() == [True, False, False, True, True, True]
    with pytest.warns(DataWarning, match="not graded in 1 of 2 images"):
        assert is_sight_threatening([2, 3], [np.nan, 0]).tolist() == [False, True]
    with pytest.raises(DataError, match=r"0, 1 or 2.* Got 3.0 in row 1"):
        is_referable([0, 1], [0, 3])
    with pytest.raises(DataError, match="for every grade"):
        is_referable([0, 1], [0])


def test_idrid_counts(shared_data):
    import pandas as pd

    table = pd.read_csv(shared_data / "idrid_train" / "labels.csv")
    two = table["grade"] == 2
    assert is_sight_threatening(table["grade"], table["dme"])[two].sum() == 86
    assert is_referable(table["grade"], table["dme"]).sum() == (table["grade"] >= 2).sum()


@pytest.mark.parametrize(
    ("severity", "positive", "goal", "error", "message"),
    [
        ([1, 2], [0, 1], {}, InvalidParameterError, "either a sensitivity or a specificity"),
        ([1, 2], [0, 1], {"sensitivity": 90}, InvalidParameterError, r"in \(0, 1\]"),
        (
            [1, 2],
            [0, 1],
            {"sensitivity": 0.5, "specificity": 0.5},
            InvalidParameterError,
            "sensitivity=0.5 and specificity=0.5",
        ),
        ([1], [0, 1], {"sensitivity": 0.9}, DataError, r"Got shapes \(1,\) and \(2,\)"),
        ([1, np.nan], [0, 1], {"sensitivity": 0.9}, DataError, "Got nan in row 1"),
        ([1, 2], [1, 1], {"sensitivity": 0.9}, DataError, "Got 2 of 2 that are"),
        ([1, 1], [0, 1], {"sensitivity": 0.9}, OperatingPointError, "all images have one severity"),
        (
            [0, 1, 2, 3],
            [1, 0, 0, 1],
            {"sensitivity": 0.9},
            OperatingPointError,
            "only by referring every image. The best that can be is 0.5000, with a specificity of "
            "0.0000",
        ),
        (
            [0, 1, 2, 3],
            [0, 1, 1, 0],
            {"specificity": 0.9},
            OperatingPointError,
            "only by referring no image. The best that can be is 0.5000, with a sensitivity of 0.0",
        ),
    ],
)
def test_operating_points_refuse(severity, positive, goal, error, message):
    with pytest.raises(error, match=message):
        operating_point(severity, positive, **goal)


def test_report_is_scikit_learns_auc_and_counts(graded):
    true, severity, dme = graded
    report = screening_report(true, severity, dme=dme)
    for condition, rule in zip(
        report.conditions, (is_referable, is_sight_threatening), strict=True
    ):
        positive = rule(true, dme)
        assert condition.auc.value == pytest.approx(roc_auc_score(positive, severity))
        assert condition.n_positive == positive.sum()
        for scored in condition.points:
            flagged = severity >= scored.point.threshold
            assert scored.sensitivity.value == flagged[positive].mean()
            assert scored.specificity.value == 1 - flagged[~positive].mean()
            for name in ("sensitivity", "specificity"):
                interval = getattr(scored, name).interval
                assert interval.low < getattr(scored, name).value < interval.high
            assert getattr(scored, scored.point.wanted).value >= 0.9
    json.dumps(report.to_dict(), allow_nan=False)


def test_the_choice_of_a_threshold_widens_its_interval(graded):
    true, severity, _ = graded
    chosen = screening_report(true, severity)
    points = {c.name: [p.point for p in c.points] for c in chosen.conditions}
    fixed = screening_report(true, severity, operating_points=points)
    for a, b in zip(chosen.conditions, fixed.conditions, strict=True):
        assert a.points[0].chosen_here
        assert not b.points[0].chosen_here
        wide, narrow = a.points[0].specificity.interval, b.points[0].specificity.interval
        assert wide.high - wide.low > narrow.high - narrow.low


def test_saved_points_are_applied_as_they_are(graded):
    true, severity, _ = graded
    first = screening_report(true[:100], severity[:100])
    chosen = first.operating_points()
    assert chosen["referable"] == [scored.point for scored in first.conditions[0].points]
    report = screening_report(true[100:], severity[100:], operating_points=chosen)
    scored = report.conditions[0].points[0]
    assert scored.point == first.conditions[0].points[0].point
    flagged = severity[100:] >= scored.point.threshold
    assert scored.sensitivity.value == flagged[true[100:] >= 2].mean()
    without = screening_report(true, severity, operating_points={})
    assert without.conditions[0].points == ()
    assert "no operating point was chosen" in without.conditions[0].notes[0]


def test_ungradable_images_count_as_referred(graded):
    true, severity, _ = graded
    failed = np.zeros(200, bool)
    failed[:20] = True
    blind = np.where(failed, np.nan, severity)
    points = {"referable": [operating_point(severity, true >= 2, sensitivity=0.9)]}
    report = screening_report(true, blind, ungradable=failed, operating_points=points)
    scored = report.conditions[0].points[0]
    flagged = (severity >= scored.point.threshold) | failed
    assert scored.sensitivity.value == flagged[true >= 2].mean()
    assert scored.specificity.value == 1 - flagged[true < 2].mean()
    assert report.conditions[0].auc.value == pytest.approx(
        roc_auc_score(true >= 2, np.where(failed, 99, severity))
    )
    assert report.n_ungradable == 20
    assert "20 ungradable count as referred" in rendered(report.to_table())
    with pytest.raises(DataError, match="Got nan in row 0"):
        screening_report(true, blind)


def test_images_called_ungradable_are_referable_and_the_model_is_asked(graded):
    true, severity, dme = graded
    called = np.zeros(200, bool)
    called[:20] = True
    positive = called | (true >= 2)
    report = screening_report(true, severity, called_ungradable=called)
    referable, threatening = report.conditions
    assert (referable.n_positive, referable.n_negative) == (positive.sum(), (~positive).sum())
    assert referable.auc.value == pytest.approx(roc_auc_score(positive, severity))
    for scored in referable.points:
        flagged = severity >= scored.point.threshold
        assert scored.sensitivity.value == flagged[positive].mean()
        assert scored.specificity.value == (~flagged)[~positive].mean()
    # whether they threaten sight is not known
    alone = screening_report(true[20:], severity[20:]).conditions[1]
    assert (threatening.n_positive, threatening.n_negative) == (alone.n_positive, alone.n_negative)
    assert threatening.auc.value == pytest.approx(alone.auc.value)
    assert threatening.auc.interval.low == pytest.approx(alone.auc.interval.low, abs=0.02)
    assert [p.point for p in threatening.points] == [p.point for p in alone.points]
    for one, other in zip(threatening.points, alone.points, strict=True):
        assert one.sensitivity.value == other.sensitivity.value
        assert one.specificity.value == other.specificity.value
    assert report.n_called_ungradable == report.to_dict()["n_called_ungradable"] == 20
    assert "20 called ungradable by graders are referable" in rendered(report.to_table())
    # what a table says of their grade and of oedema does not matter
    other = np.where(called, 4 - true, true)
    again = screening_report(other, severity, called_ungradable=called)
    assert again.to_dict() == report.to_dict()
    known = np.where(called, np.nan, dme)
    assert screening_report(true, severity, dme=known, called_ungradable=called).with_dme


def test_one_class_is_told_and_does_not_stop_the_rest():
    report = screening_report([0, 1, 2, 2], [0.1, 0.5, 2.2, 2.3])
    referable, threatening = report.conditions
    assert referable.auc.value == 1
    assert referable.auc.interval.method == "wilson"
    assert referable.auc.interval.low < 0.6
    assert np.isnan(threatening.auc.value)
    assert threatening.notes == (
        "no operating point: 0 of 4 images have it",
        "no AUC: 0 of 4 images have it",
    )
    assert "0 of 4 images have it" in rendered(report.to_table())
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["sight-threatening"]["auc"][
        "value"
    ] is None  # fmt: skip


@pytest.mark.parametrize(
    ("true", "severity", "options", "error"),
    [
        ([], [], {}, DataError),
        ([0, 2], [0.1], {}, DataError),
        ([0, 2], [0.1, 2], {"ungradable": [True]}, DataError),
        ([0, 2], [0.1, 2], {"called_ungradable": [True]}, DataError),
        ([0, 2], [0.1, 2], {"dme": [0]}, DataError),
        ([0, 2], [0.1, 2], {"groups": ["a"]}, DataError),
        ([0, 7], [0.1, 2], {}, InvalidGradeError),
    ],
)
def test_bad_input_is_refused(true, severity, options, error):
    with pytest.raises(error):
        screening_report(true, severity, **options)


def test_table_gives_context_and_how_intervals_came(graded):
    true, severity, dme = graded
    shown = rendered(screening_report(true, severity, dme=dme).to_table())
    assert " ".join(CONTEXT.split()) in shown
    assert "image-level, likely too narrow" in shown
    assert "by grade, or macular oedema" in shown
    patients = np.repeat(np.arange(100), 2)
    known = rendered(screening_report(true, severity, groups=patients).to_table())
    assert "Intervals are by patient." in known
    assert "Screening by grade: 200 images of 100 patients" in known


def test_roc_goes_through_its_operating_points(graded, tmp_path):
    true, severity, _ = graded
    report = screening_report(true, severity)
    display = RocDisplay(report).plot()
    display.figure_.savefig(tmp_path / "roc.png")
    x, y = report.conditions[0].curve
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(y, x) == pytest.approx(report.conditions[0].auc.value)
    for scored in report.conditions[0].points:
        gap = np.abs(x - (1 - scored.specificity.value)) + np.abs(y - scored.sensitivity.value)
        assert gap.min() < 1e-9
    assert len(display.ax_.containers) == 4
    named = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    for condition in report.conditions:
        for scored in condition.points:
            found = f"specificity {scored.specificity.value:.2f}"
            wanted = f"for {scored.point.wanted} {scored.point.goal:g}: sensitivity "
            assert any(wanted in text and found in text for text in named)
    assert [text.get_text() for text in display.ax_.texts][:4] == ["a", "b", "c", "d"]


def test_reliability_bins_hold_all_images(tmp_path):
    rng = np.random.default_rng(0)
    proba = rng.dirichlet(np.ones(5), 400)
    true = np.array([rng.choice(5, p=row) for row in proba])
    display = ReliabilityDisplay.from_predictions(true, proba)
    display.figure_.savefig(tmp_path / "reliability.png")
    assert [c.get_label() for c in display.ax_.containers] == [
        f"grade {k} or worse (n={(true >= k).sum()})" for k in (2, 3)
    ]
    counts = [patch.get_data().values.sum() for patch in display.counts_ax_.patches]
    assert counts == [400, 400]
    predicted, share = display.ax_.containers[0].lines[0].get_data()
    assert np.mean(share) == pytest.approx((true >= 2).mean())
    assert np.abs(predicted - share).max() < 0.2
    with pytest.raises(DataError, match="at_least must hold grades in"):
        ReliabilityDisplay.from_predictions(true, proba, at_least=[0])


def test_resamples_without_the_images_of_a_goal_have_no_score():
    """Three healthy patients of 30: a resample has none of them in 4 of 100 cases."""
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(30), 40)
    grades = np.where(patients < 3, 0, 2)
    severity = np.where(patients < 3, 0.5, 2.5) + rng.normal(0, 0.8, len(patients))
    found = screening_report(
        grades, severity, groups=patients, sensitivity=None, specificity=0.9, n_resamples=1000
    )
    (point,) = found.conditions[0].points
    assert point.specificity.interval.method == "bootstrap"
    assert point.specificity.interval.low > 0.5
