"""Referral by patient: the worse eye, and an ungradable eye refers."""

from __future__ import annotations

import numpy as np
import pytest

from fundus import screening_report
from fundus.metrics.operating_points import OperatingPoint

POINT = OperatingPoint(1.5, "sensitivity", 0.9, 0.9, 0.9)
AT = {"referable": [POINT]}


def test_points_are_scored_by_the_worse_eye():
    y = [0, 3, 1, 0, 2, 2, 0, 0]
    severity = [0.1, 1.2, 1.6, 0.3, 0.4, 2.0, 0.2, 0.1]
    found = screening_report(y, severity, groups=[*"aabbccdd"], operating_points=AT)
    by_image, by_patient = (f.conditions[0] for f in (found, found.by_patient))
    # a: diseased, not referred; b: healthy, referred; c: diseased, referred; d: neither
    assert by_patient.points[0].sensitivity.value == 0.5
    assert by_patient.points[0].specificity.value == 0.5
    assert by_image.points[0].sensitivity.value == pytest.approx(1 / 3)
    assert by_image.points[0].specificity.value == pytest.approx(4 / 5)
    assert (by_patient.n_positive, by_patient.n_negative) == (2, 2)
    assert "sensitivity by patient" in "".join(found.to_table().columns[0].cells)
    # 0.5 in the table, the JSON document and the rows of scores.csv
    told = found.to_dict()["by_patient"]["referable"]["operating_points"][0]
    assert told["sensitivity"]["value"] == told["specificity"]["value"] == 0.5
    named = found.by_patient.measures(" by patient")
    assert named["referable at sensitivity 0.9: sensitivity by patient"].value == 0.5


def test_rows_of_a_patient_need_not_be_neighbours():
    y, severity = np.array([0, 3, 1, 0, 2, 2, 0, 0]), [0.1, 1.2, 1.6, 0.3, 0.4, 2.0, 0.2, 0.1]
    who = np.array([*"aabbccdd"])
    order = np.random.default_rng(0).permutation(8)
    found = screening_report(
        y[order], np.array(severity)[order], groups=who[order], operating_points=AT
    ).by_patient.conditions[0]
    assert (found.n_positive, found.n_negative) == (2, 2)
    assert found.points[0].sensitivity.value == found.points[0].specificity.value == 0.5


def test_an_ungradable_eye_refers_and_one_called_so_is_referable():
    y, severity = [0, 0, 1, 0, 0, 4], [0.1, np.nan, 0.2, 0.3, 0.1, 3.0]
    found = screening_report(
        y,
        severity,
        groups=[*"aabbcc"],
        ungradable=[0, 1, 0, 0, 0, 0],
        called_ungradable=[0, 0, 0, 1, 1, 0],
        operating_points=AT | {"sight-threatening": [POINT]},
    ).by_patient
    referable, threatening = found.conditions
    # a: healthy, referred as it could not be graded; b: called so, not referred; c: diseased
    assert (referable.n_positive, referable.n_negative) == (2, 1)
    assert referable.points[0].sensitivity.value == 0.5
    assert referable.points[0].specificity.value == 0
    # of b it is not known whether sight is threatened; of c it is
    assert (threatening.n_positive, threatening.n_negative) == (1, 1)
    assert found.n_ungradable == 1


def test_oedema_of_either_eye_counts():
    found = screening_report(
        [0, 1, 0, 0],
        [0.1, 1.7, 0.2, 0.3],
        dme=[0, 2, 1, 0],
        groups=[*"aabb"],
        operating_points=AT,
    ).by_patient.conditions[0]
    assert (found.n_positive, found.points[0].sensitivity.value) == (1, 1)


def test_there_is_nothing_by_patient_where_it_would_be_the_same():
    y, severity = [0, 2, 1, 4], [0.1, 1.7, 0.2, 0.3]
    for groups in (None, [*"abcd"]):
        assert screening_report(y, severity, groups=groups).by_patient is None


def test_points_chosen_on_the_images_are_told_as_chosen_here():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 5, 40)
    found = screening_report(y, y + rng.normal(size=40), groups=np.repeat(np.arange(20), 2))
    pairs = zip(found.conditions, found.by_patient.conditions, strict=True)
    for by_image, by_patient in pairs:
        assert [p.point for p in by_image.points] == [p.point for p in by_patient.points]
        assert by_patient.points[0].chosen_here
        assert by_patient.notes == by_image.notes
