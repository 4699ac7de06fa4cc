"""The lists of an audit and its contact sheets: what stands on them, in which order, with why."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest

from fundus import ContactSheetDisplay
from fundus.audit.report import Audit
from fundus.exceptions import DataError, InvalidParameterError
from fundus.images import ImageRecipe, load_image
from fundus.reporting.displays.thumbnails import EDGE


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Eight photographs with names of all kinds."""
    folder, rng = tmp_path_factory.mktemp("audited"), np.random.default_rng(0)
    names = ["0.png", "1.png", "глаз.png", "n" * 80 + ".png", "4.png", "5.png", "6.png", "7.png"]
    for name in names:
        eye = np.zeros((40, 48, 3), np.uint8)
        eye[4:36, 6:42] = rng.integers(60, 250, (32, 36, 3))
        cv2.imencode(".png", eye)[1].tofile(folder / name)
    return [str(folder / name) for name in names]


def audit_of(files, *, known=True):
    """0 is a copy of 5, 1 mirrors 2, 3 resembles 4; 6 and 3 are doubted, 7 and 4 are odd."""
    table = pd.DataFrame(
        {
            "path": files,
            "grade": pd.array([0, 1, 1, 2, 2, 3, 4, None], dtype="Int64"),
            "patient": ["a", "b", "b", "c", "d", "e", "f", "g"],
            "issues": ["", "", "", "label_suspect;dark", "blurred", "duplicate", "label_suspect",
                       "no_field_of_view;dark"],
            "fov_share": 0.6, "brightness": [60, 60, 60, 9, 50, 60, 60, 3.0], "sharpness": 2.0,
            "reason": None,
            "duplicate_of": [None] * 5 + [files[0], None, None],
            "near_duplicate_of": None, "correlation": np.nan,
            "self_confidence": [0.9, 0.8, 0.7, 0.2, 0.5, 0.4, 0.1, np.nan],
            "likely_grade": pd.array([0, 1, 1, 0, 2, 3, 1, None], dtype="Int64"),
            "severity": 1.0,
        }
    )  # fmt: skip
    pairs = pd.DataFrame(
        {"first": [1, 3], "second": [2, 4], "correlation": [0.95, 0.7], "mirrored": [True, False]}
    )
    return Audit(table, pairs, known)


def test_suspects_are_labels_by_confidence_then_odd_pictures_by_light(files):
    table = audit_of(files).suspects()
    assert table["row"].tolist() == [6, 3, 7, 4]
    assert table["kind"].tolist() == ["label", "label", "picture", "picture"]


def test_pairs_across_patients_and_grades_come_first(files):
    table = audit_of(files).alike()
    assert table[["row", "other_row"]].to_numpy().tolist() == [[0, 5], [3, 4], [1, 2]]
    assert table["across_patients"].tolist() == [True, True, False]
    assert table["grades_differ"].tolist() == [True, False, False]
    assert table["what"].tolist() == ["copy", "near duplicate", "near duplicate, mirrored"]
    unknown = audit_of(files, known=False).alike()
    assert unknown["across_patients"].isna().all()
    assert unknown[["row", "other_row"]].to_numpy().tolist() == [[0, 5], [1, 2], [3, 4]]


def test_a_sheet_shows_the_top_of_the_suspects_with_why(files):
    audit = audit_of(files)
    display = ContactSheetDisplay.from_audit(audit, files)
    assert display.table_["row"].tolist() == audit.suspects()["row"].tolist()
    for row, (image,) in zip(display.table_["row"], display.pictures_, strict=True):
        expected = load_image(files[row], ImageRecipe(EDGE))
        np.testing.assert_array_equal(image.get_array(), expected)
    first, both, odd, blurred = display.captions_
    assert first.startswith("label 4, likely 1\nconfidence 0.10\n")
    assert "confidence 0.20, dark" in both
    assert odd.startswith("no field of view, dark\nlight 3, sharpness 2.0\n")
    assert blurred.startswith("blurred\n")
    assert display.title == "2 doubtful labels, 2 odd pictures"
    one_each = ContactSheetDisplay.from_audit(audit, files, n=1)
    assert one_each.table_["row"].tolist() == [6, 7]
    assert one_each.title == "The first 1 of 2 doubtful labels, the first 1 of 2 odd pictures"


def test_pairs_stand_side_by_side(files):
    display = ContactSheetDisplay.from_audit(audit_of(files), files, which="pairs")
    for known, pictures in zip(display.table_.itertuples(), display.pictures_, strict=True):
        for row, image in zip((known.row, known.other_row), pictures, strict=True):
            expected = load_image(files[row], ImageRecipe(EDGE))
            np.testing.assert_array_equal(image.get_array(), expected)
    copies, near, mirrored = display.captions_
    assert copies.startswith("copy, grades 0 and 3\npatients a and e\n")
    assert near.startswith("near duplicate, grade 2\npatients c and d, correlation 0.70\n")
    assert mirrored.split("\n")[:2] == [
        "near duplicate, mirrored, grade 1",
        "patient b, correlation 0.95",
    ]
    assert mirrored.endswith("/глаз.png")
    assert display.colours == ["#D55E00", "#D55E00", "black"]
    unknown = ContactSheetDisplay.from_audit(audit_of(files, known=False), files, which="pairs")
    assert "patients unknown" in unknown.captions_[1]
    assert unknown.colours == ["#D55E00", "black", "black"]


def test_nothing_to_see_is_said(files):
    audit = audit_of(files)
    clean = Audit(audit.images.assign(issues="", duplicate_of=None), audit.pairs.iloc[:0])
    for which, title in (
        ("suspects", "No doubtful label, no odd picture"),
        ("pairs", "No pair of copies or near duplicates"),
    ):
        display = ContactSheetDisplay.from_audit(clean, files, which=which)
        assert (display.pictures_, display.title) == ([], title)
        display.figure_.canvas.draw()


def test_what_does_not_match_is_refused(files):
    audit = audit_of(files)
    with pytest.raises(InvalidParameterError, match="'which' parameter"):
        ContactSheetDisplay.from_audit(audit, files, which="all")
    with pytest.raises(InvalidParameterError, match="'n' parameter"):
        ContactSheetDisplay.from_audit(audit, files, n=0)
    with pytest.raises(DataError, match="one of 8 images, and 16 are given"):
        ContactSheetDisplay.from_audit(audit, files * 2)
