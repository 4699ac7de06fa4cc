"""DICOM files in folders and tables: who and which eye they are of, and what stays in them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dicom_samples import SECRET, jpeg, native, packed, photograph
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    MediaStorageDirectoryStorage,
)

import fundus
from fundus import load_image_folder, load_image_table, load_images
from fundus.data.patient_key import VARIABLE
from fundus.exceptions import (
    DataError,
    ImageReadError,
    InvalidParameterError,
    SetAsideWarning,
    UnknownPatientsWarning,
)

EYE = photograph()


@pytest.fixture(autouse=True)
def _no_key(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


def write(path: Path, data: bytes | None = None, **values) -> str:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(native(EYE, ExplicitVRLittleEndian, **values) if data is None else data)
    return str(path)


def two_patients(folder: Path) -> None:
    """A folder of each of two grades; in each the eyes of one patient, with and without names."""
    for k, patient in enumerate(("0042", "77-X")):
        for side, name in (("L", "IM0001"), ("R", "IM0002.dcm")):
            write(folder / str(k) / name, PatientID=patient, ImageLaterality=side)


def test_patient_and_eye_are_those_of_the_header(tmp_path):
    two_patients(tmp_path)
    found = load_image_folder(tmp_path, grades=2)
    assert [Path(path).name for path in found.paths] == ["IM0001", "IM0002.dcm"] * 2
    assert found.patients.tolist() == ["0042", "0042", "77-X", "77-X"]
    assert found.eyes.tolist() == ["left", "right"] * 2
    assert found.patients_known
    assert not found.patients_guessed.any()
    assert found.frame["patient"].tolist() == found.patients.tolist()


def test_a_header_stands_above_a_name_and_below_a_table(tmp_path):
    write(tmp_path / "9_left.dcm", PatientID="0042", ImageLaterality="R")
    write(tmp_path / "10_right.dcm", PatientID="", ImageLaterality="")
    write(tmp_path / "11_left.dcm", PatientID="7", ImageLaterality="B", Laterality="R")
    write(tmp_path / "12_right.DCM", PatientID="8", ImageLaterality="", Laterality="L")
    write(tmp_path / "13_left.jpg", jpeg(EYE))
    names = pd.DataFrame({"file": sorted(os.listdir(tmp_path)), "grade": [0, 1, 2, 3, 4]})
    by_header = load_image_table(names, image_dir=tmp_path)
    assert by_header.patients.tolist() == ["10", "7", "8", "13", "0042"]
    assert by_header.eyes.tolist() == ["right", "left", "left", "left", "right"]
    assert by_header.patients_guessed.tolist() == [True, False, False, True, False]
    told = names.assign(patient=list("abcde"), eye="left")
    by_table = load_image_table(told, image_dir=tmp_path)
    assert by_table.patients.tolist() == list("abcde")
    assert set(by_table.eyes) == {"left"}
    nobody = load_image_table(names, image_dir=tmp_path, patients_unknown="ok")
    assert nobody.patients.tolist() == nobody.paths.tolist()


def test_names_in_a_table_need_no_extension(tmp_path):
    write(tmp_path / "images" / "10_left.dcm", PatientID="1")
    write(tmp_path / "images" / "1.2.840.5", PatientID="2")
    table = tmp_path / "labels.csv"
    table.write_text("file,grade\n10_left,0\n1.2.840.5,1\n")
    assert load_image_table(table).patients.tolist() == ["1", "2"]
    table.write_text("10_left.jpg 0\n1.2.840.5 1\n")
    with pytest.warns(match=r"10_left\.jpg' -> 'images/10_left\.dcm'"):
        assert load_image_table(table).patients.tolist() == ["1", "2"]


def test_one_id_for_all_is_no_patient(tmp_path):
    two_patients(tmp_path)
    for path in tmp_path.rglob("IM*"):
        write(path, PatientID="ANONYMOUS")
    with pytest.raises(
        DataError, match=r"4 of 4 images .* same patient id .*patients_unknown='ok'"
    ):
        load_image_folder(tmp_path, grades=2)
    found = load_image_folder(tmp_path, grades=2, patients_unknown="ok")
    assert len(set(found.patients)) == 4
    assert set(load_images(tmp_path).patients) == {"ANONYMOUS"}  # nothing is split there


def test_files_without_an_id_are_unknown_patients(tmp_path):
    two_patients(tmp_path)
    write(tmp_path / "0" / "IM0001", PatientID="")
    with pytest.warns(UnknownPatientsWarning, match="1 of 4"):
        load_image_folder(tmp_path, grades=2)


def test_an_empty_key_is_refused_and_hides_nothing_silently(tmp_path, monkeypatch):
    two_patients(tmp_path)
    monkeypatch.setenv(VARIABLE, " ")
    with pytest.raises(InvalidParameterError, match=f"'{VARIABLE}' parameter of the environment"):
        load_image_folder(tmp_path, grades=2)


def test_an_id_of_a_name_is_hidden_as_that_of_a_header_is(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "a secret")
    write(tmp_path / "0" / "10_left.dcm", PatientID="")
    write(tmp_path / "0" / "IM1.dcm", PatientID="10")
    write(tmp_path / "1" / "11_left.dcm", PatientID="")
    of_name, of_header, other = load_image_folder(tmp_path, grades=2).patients
    assert of_name == of_header != other
    assert "10" not in (of_name, other)


def test_ids_are_hidden_by_a_key(tmp_path):
    two_patients(tmp_path)
    plain = load_image_folder(tmp_path, grades=2).patients.tolist()
    fundus.set_patient_key("a secret")
    assert os.environ[VARIABLE] == "a secret"
    hidden = load_image_folder(tmp_path, grades=2).patients.tolist()
    assert hidden[0] == hidden[1] != hidden[2] == hidden[3]
    assert not set(hidden) & set(plain)
    # HMAC-SHA-256 of 0042, by openssl dgst -sha256 -hmac "a secret"
    assert hidden[0] == "04fcc47586b0fb89"
    fundus.set_patient_key("another")
    assert load_image_folder(tmp_path, grades=2).patients[0] not in (hidden[0], "0042")
    fundus.set_patient_key(None)
    assert load_image_folder(tmp_path, grades=2).patients.tolist() == plain
    for wrong in ("", " ", 3, "a\0b"):
        with pytest.raises(InvalidParameterError, match="'key' parameter of set_patient_key must"):
            fundus.set_patient_key(wrong)


def test_nothing_else_of_a_header_leaves(tmp_path, capfd):
    """Not even where it stands in the place of what is asked for."""
    two_patients(tmp_path)
    found = load_image_folder(tmp_path, grades=2)
    table = found.frame.to_csv() + repr(dict(found))
    assert set(found.frame.columns) == {"path", "patient", "eye"}
    damaged = native(EYE).replace(b"MONOCHROME2", b"").replace(b"RGB ", SECRET[:4].encode())
    damaged = damaged.replace(b"1.2.840.10008.1.2.1\0", SECRET.encode().ljust(20, b"\0"), 1)
    write(tmp_path / "0" / "IM0003.dcm", damaged)
    write(tmp_path / "0" / "IM0004.dcm", ImageLaterality="L", NumberOfFrames=3)
    with pytest.warns(SetAsideWarning) as warned:
        found = load_image_folder(tmp_path, grades=2, on_error="skip")
    assert len(found.skipped) == 2
    said = table + found.skipped.to_csv() + "".join(str(one.message) for one in warned)
    said += "".join(capfd.readouterr())
    for secret in (*SECRET.split("^"), "1950", "clinic", "2020"):
        assert secret not in said


def test_bad_files_are_set_aside_or_named(tmp_path):
    two_patients(tmp_path)
    bad = write(tmp_path / "0" / "IM0003.dcm", native(EYE)[:-100])
    with pytest.raises(
        ImageReadError, match=r"IM0003\.dcm.*truncated.*; mend it, or pass on_error"
    ):
        load_image_folder(tmp_path, grades=2)
    with pytest.warns(SetAsideWarning, match=r"Set aside 1 of 5 files"):
        found = load_image_folder(tmp_path, grades=2, on_error="skip")
    assert found.skipped["path"].tolist() == [bad]


def test_lists_of_dicom_folders_and_other_files_are_no_images(tmp_path):
    two_patients(tmp_path)
    listing = native(EYE, SOPClassUID=MediaStorageDirectoryStorage)
    write(tmp_path / "0" / "DICOMDIR", listing)
    write(tmp_path / "0" / "notes", b"no picture")
    with pytest.warns(SetAsideWarning, match=r"Left out 1 file.* such as '.*notes'"):
        assert len(load_image_folder(tmp_path, grades=2).paths) == 4


def test_a_photograph_given_for_a_table(tmp_path):
    path = write(tmp_path / "eye.dcm")
    with pytest.raises(DataError, match="found a DICOM file; give it where photographs"):
        load_image_table(path)


def test_without_the_extra(tmp_path, monkeypatch):
    two_patients(tmp_path)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ImageReadError, match=r"DICOM.*pip install 'fundus-zoo\[dicom\]'"):
        load_image_folder(tmp_path, grades=2)


@pytest.mark.slow
def test_features_and_audit_are_those_of_the_same_jpeg_files(tmp_path):
    made = fundus.make_fundus(12, 64, 0, out_dir=tmp_path / "jpeg")
    by_name = {}
    for path in made.paths:
        data = Path(path).read_bytes()
        stored = packed([data], EYE, JPEGBaseline8Bit, Rows=64, Columns=64, PatientID=path[-9:-5])
        by_name[path] = write(tmp_path / "dicom" / f"{len(by_name)}.dcm", stored)
    of_dicom = list(by_name.values())
    extractor = fundus.FeatureExtractor(backbone="tiny", weights="fixed", cache=False)
    expected = extractor.fit_transform(list(made.paths))
    assert np.array_equal(extractor.transform(of_dicom), expected)
    content = [Path(path).read_bytes() for path in of_dicom]
    assert np.array_equal(extractor.transform(content), expected)
    audits = [
        fundus.audit_images([*paths, paths[0]], cache=False, near_duplicates=False, cv=None).images
        for paths in (list(made.paths), of_dicom)
    ]
    measures = ["fov_share", "brightness", "sharpness"]
    assert audits[0][measures].equals(audits[1][measures])
