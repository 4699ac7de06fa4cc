"""DICOM reports of grades: what they say, whose they are, and what they leave out."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import highdicom
import numpy as np
import pytest
from dicom_samples import SECRET, native, photograph
from pydicom import dcmread
from pydicom.uid import generate_uid

from fundus.data.patient_key import VARIABLE
from fundus.documents.structured_report import (
    REPORT_CLASS,
    examined,
    structured_reports,
    write_report,
)
from fundus.exceptions import DataError, ImageReadError, MissingDependencyError
from fundus.reporting.predictions import Predictions

NAMES = ["class0", "class1", "class2", "class3", "class4"]
PIXELS = photograph()
FOUND = Predictions(
    grades=np.array([2, 0]),
    severity=np.array([1.83211, 0.1]),
    proba=np.array([[0.1, 0.2, 0.5, 0.15, 0.05], [0.9, 0.1, 0, 0, 0]]),
    referable=np.array([True, False]),
    sets=(np.array([1, 0]), np.array([2, 0])),
)


def saved(path: Path, **values) -> str:
    """A file of a photograph with the UIDs that archives need."""
    told = {"StudyInstanceUID": "2.25.7", "SeriesInstanceUID": "2.25.8", "PatientSex": "F"}
    told |= {"SOPInstanceUID": str(generate_uid(None)), "AccessionNumber": "A77"}
    path.write_bytes(native(PIXELS, **told | values))
    return str(path)


def reported(paths, found=FOUND, model="idrid"):
    return list(structured_reports(examined(paths), found, NAMES, model))


def content_of(report) -> dict[str, object]:
    """Every value of a report by its name."""
    found: dict[str, object] = {}

    def walk(items):
        for item in items:
            name = (
                item.ConceptNameCodeSequence[0].CodeMeaning
                if "ConceptNameCodeSequence" in item
                else ""
            )
            if item.ValueType == "NUM":
                found[name] = float(item.MeasuredValueSequence[0].NumericValue)
            elif item.ValueType == "CODE":
                found[name] = item.ConceptCodeSequence[0].CodeMeaning
            elif item.ValueType in ("TEXT", "UIDREF"):
                found[name] = item.get("TextValue") or item.get("UID")
            elif item.ValueType == "IMAGE":
                found["image"] = item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
            walk(item.get("ContentSequence", []))

    walk(report.ContentSequence)
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examined")
    return [
        saved(folder / "left.dcm", ImageLaterality="L"),
        saved(folder / "right.dcm", ImageLaterality="R"),
    ]


@pytest.fixture(scope="module")
def reports(files, tmp_path_factory):
    """As they are read from their files."""
    folder = tmp_path_factory.mktemp("reports")
    for k, report in enumerate(reported(files)):
        write_report(report, folder / f"{k}.dcm")
    return [highdicom.sr.srread(folder / f"{k}.dcm") for k in range(2)]


def test_a_report_says_what_was_predicted(files, reports):
    first, second = map(content_of, reports)
    assert first["Grade of diabetic retinopathy"] == "2 moderate NPDR"
    assert second["Grade of diabetic retinopathy"] == "0 no apparent DR"
    assert (first["Severity, on the scale of grades"], first["Finding Site"]) == (1.8321, "Retina")
    expected = dict(enumerate(FOUND.proba[0]))
    labels = ["0 no apparent DR", "1 mild NPDR", "2 moderate NPDR", "3 severe NPDR", "4 PDR"]
    assert {k: first[f"Probability of {label}"] for k, label in enumerate(labels)} == expected
    referable = "Referable at the operating point"
    assert (first[referable], second[referable]) == ("Yes", "No")
    assert (first["Lowest grade of the set"], first["Highest grade of the set"]) == tuple(
        labels[1:3]
    )
    assert (first["Laterality"], second["Laterality"]) == ("Left", "Right")
    assert [found["image"] for found in (first, second)] == [
        dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in files
    ]
    assert first["Device Observer Model Name"] == "idrid"
    assert first["Device Observer UID"] == second["Device Observer UID"]


def test_a_report_is_the_patients_and_of_no_clinician(reports):
    first, second = reports
    assert first.SOPClassUID == REPORT_CLASS
    assert (first.PatientName, first.PatientID, first.PatientSex) == (SECRET, "0042", "F")
    assert (first.StudyInstanceUID, first.AccessionNumber) == ("2.25.7", "A77")
    assert "InstitutionName" not in first
    assert first.ContentQualification == "RESEARCH"
    assert (first.VerificationFlag, first.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    assert "not a medical device" in first.SeriesDescription
    assert first.SeriesInstanceUID == second.SeriesInstanceUID != "2.25.8"
    assert (first.InstanceNumber, second.InstanceNumber) == (1, 2)
    assert first.SOPInstanceUID != second.SOPInstanceUID


def test_studies_are_series_of_their_own(files, tmp_path):
    other = saved(tmp_path / "other.dcm", StudyInstanceUID="2.25.9", PatientID="0043")
    first, second = reported([files[0], other])
    assert first.SeriesInstanceUID != second.SeriesInstanceUID
    assert (second.StudyInstanceUID, second.PatientID, second.InstanceNumber) == (
        "2.25.9",
        "0043",
        1,
    )


def test_grades_alone_are_reported(files):
    told = content_of(reported(files, Predictions(FOUND.grades))[0])
    assert told["Grade of diabetic retinopathy"] == "2 moderate NPDR"
    assert not any("robability" in name or "everity" in name for name in told)


@pytest.mark.parametrize(
    ("charset", "name"),
    [("ISO_IR 100", "Müller^Jörg"), ("ISO_IR 192", "山田^太郎"), ("ISO_IR 144", "Люкceмбypг")],
)
def test_names_in_any_alphabet(charset, name, tmp_path):
    path = saved(tmp_path / "a.dcm", SpecificCharacterSet=charset, PatientName=name)
    (report,) = reported([path], Predictions(FOUND.grades[:1]))
    write_report(report, tmp_path / "report.dcm")
    assert dcmread(tmp_path / "report.dcm").PatientName == name


def test_an_eye_that_nobody_told_and_a_long_name(tmp_path):
    path = saved(tmp_path / "a.dcm", ImageLaterality="")
    (report,) = reported([path], Predictions(FOUND.grades[:1]), model="m" * 200)
    told = content_of(report)
    assert "Laterality" not in told
    assert told["Device Observer Model Name"] == "m" * 64


def test_other_photographs_are_refused(files, photographs):
    with pytest.raises(DataError, match=r"^1 of 3 photographs are no DICOM files") as caught:
        examined([*files, photographs.paths[0]])
    assert repr(str(photographs.paths[0])) in str(caught.value)


def test_hidden_ids_are_not_told_after_all(files, monkeypatch):
    monkeypatch.setenv(VARIABLE, "key")
    with pytest.raises(DataError, match=VARIABLE):
        examined(files)


@pytest.mark.parametrize("lacking", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_a_header_without_what_reports_refer_to(lacking, tmp_path):
    path = saved(tmp_path / "a.dcm", **{lacking: ""})
    with pytest.raises(ImageReadError, match=f"found no {lacking}; export it") as caught:
        examined([path])
    assert path in str(caught.value)


@pytest.mark.parametrize(
    "values", [{"PatientSex": "ZZYZX"}, {"PatientBirthDate": "ZZYZX"}, {"StudyTime": "ZZYZX"}]
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")  # as the test writes it
def test_values_that_may_not_stand_in_a_report(values, tmp_path, caplog):
    path = saved(tmp_path / "a.dcm", **values)
    caplog.clear()
    with caplog.at_level(logging.DEBUG), pytest.raises(ImageReadError) as caught:
        examined([path])
    assert path in str(caught.value)
    assert "ZZYZX" not in str(caught.value) + caplog.text
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_highdicom_is_asked_for_by_name(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(
        MissingDependencyError, match=r"highdicom.*pip install 'fundus-zoo\[dicom\]'"
    ):
        examined(files)
