"""The commands on DICOM files: results as of the same JPEG files, and no name of a patient."""

from __future__ import annotations

from pathlib import Path

import cv2
import pandas as pd
import pytest
from dicom_samples import SECRET, packed
from pydicom import dcmread
from pydicom.uid import JPEGBaseline8Bit

from fundus.cli.predict import _below
from fundus.data.file_names import from_name
from fundus.data.patient_key import VARIABLE
from fundus.documents.structured_report import REPORT_CLASS

pytestmark = pytest.mark.slow


def as_dicom(folder: Path, out: Path, **values: str) -> Path:
    """Put the JPEG files of a folder into DICOM files, without names that tell patients."""
    for k, path in enumerate(sorted(folder.rglob("*.jpeg"))):
        patient, eye = from_name(path.name)
        data = path.read_bytes()
        told = {"PatientID": f"PID-{patient}-77", "ImageLaterality": eye[0].upper()}
        told |= {"PhotometricInterpretation": "YBR_FULL_422", **values}
        target = out / path.parent.name / f"IM{k:04}.dcm"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(packed([data], cv2.imread(str(path)), JPEGBaseline8Bit, **told))
    return out


def test_predict_writes_reports_of_what_it_grades(run, trained, others, tmp_path):
    new = as_dicom(
        others, tmp_path / "dicom", StudyInstanceUID="2.25.7", SeriesInstanceUID="2.25.8"
    )
    out, reports = tmp_path / "grades.csv", tmp_path / "reports"
    command = ("predict", trained[0], new, "-o", out, "--dicom-sr", reports)
    printed = run(*command)
    table = pd.read_csv(out)
    assert sorted(path.name for path in reports.iterdir()) == sorted(
        f"{name}.sr.dcm" for name in table["id"]
    )
    for row in table.itertuples():
        report = dcmread(reports / f"{row.id}.sr.dcm")
        assert report.PatientName == SECRET
        assert f"GRADE{row.grade}'" in str(report)
    assert not holding(out.parent / "dicom", REPORT_CLASS)
    assert not any(part in printed.output for part in SECRET.split("^"))
    assert "Replacing" in run(*command).output
    taken = next(reports.iterdir())
    taken.write_bytes(b"something else")
    assert "was not written by this command" in run(*command, code=2).output
    assert taken.read_bytes() == b"something else"


@pytest.mark.parametrize(
    ("name", "inside"),
    [("a", "a"), ("a/b.x", "a/b.x"), ("/clinic/a", "clinic/a"), ("../../a", "a")],
)
def test_reports_are_within_their_folder(name, inside):
    assert _below(name) == Path(inside)


def test_reports_of_other_photographs_are_refused_before_work(run, trained, others, tmp_path):
    out = tmp_path / "grades.csv"
    found = run("predict", trained[0], others, "-o", out, "--dicom-sr", tmp_path / "r", code=1)
    assert "are no DICOM files" in " ".join(found.output.split())
    assert not out.exists()
    assert not (tmp_path / "r").exists()


def holding(folder: Path, secret: str) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [path for path in files if secret.encode() in path.read_bytes()]


def test_predict_grades_dicom_as_it_grades_jpeg(run, trained, others, tmp_path):
    new = as_dicom(others, tmp_path / "dicom")
    run("predict", trained[0], others, "-o", tmp_path / "of_jpeg.csv")
    run("predict", trained[0], new, "-o", tmp_path / "of_dicom.csv")
    of_jpeg, of_dicom = (pd.read_csv(tmp_path / f"of_{kind}.csv") for kind in ("jpeg", "dicom"))
    assert of_dicom["id"].tolist() == [path.stem for path in sorted(new.rglob("*.dcm"))]
    same = of_jpeg.sort_values("file").drop(columns=["id", "file"]).reset_index(drop=True)
    assert of_dicom.drop(columns=["id", "file"]).equals(same)
    text = (tmp_path / "of_dicom.csv").read_text()
    assert not any(part in text for part in SECRET.split("^"))


def test_train_and_audit_keep_patients_together_and_names_inside(
    run, folder, logistic, tmp_path, monkeypatch
):
    data, out, cache = as_dicom(folder, tmp_path / "data"), tmp_path / "out", tmp_path / "cache"
    monkeypatch.setenv(VARIABLE, "a secret")
    printed = [
        run("train", data, *logistic, "--out", out / "run", "--cache-dir", cache),
        run(
            "audit",
            data,
            *logistic[2:8],
            "--folds",
            "2",
            "-o",
            out / "audit.csv",
            "--cache-dir",
            cache,
        ),
    ]
    table = pd.read_csv(out / "audit.csv")
    expected = [from_name(path.name)[0] for path in sorted(folder.rglob("*.jpeg"))]
    order = sorted(range(len(table)), key=lambda row: table["file"][row])
    groups = table["patient"][order].tolist()
    assert len(set(groups)) == len(set(expected)) == len(set(zip(groups, expected, strict=True)))
    for secret in (*SECRET.split("^"), "PID-", "clinic", "19500102"):
        assert not holding(out, secret)
        assert not holding(cache, secret)
        assert not any(secret in each.output for each in printed)
    assert "unknown" not in printed[0].output
