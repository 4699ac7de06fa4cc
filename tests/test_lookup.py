"""Names in tables that are not those on disc, and the patients that names tell."""

import os
import unicodedata
import warnings
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from fundus.data.loaders import load_image_folder, load_image_table, load_images
from fundus.data.lookup import ImageFinder
from fundus.exceptions import DataError, DataWarning, ImageReadError, InvalidParameterError

JPEG = cv2.imencode(".jpg", np.full((8, 8, 3), 90, np.uint8))[1].tobytes()


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(JPEG)
    return path


def load(folder: Path, names: list[str], **options):
    """Load a table of these names, whose patients are known."""
    frame = pd.DataFrame({"path": names, "grade": range(len(names))})
    frame["patient"] = [f"p{k}" for k in range(len(names))]
    return load_image_table(frame, image_dir=folder, grades=max(2, len(names)), **options)


def relative(folder: Path, paths) -> list[str]:
    return [os.path.relpath(path, folder).replace(os.sep, "/") for path in paths]


# Found without a word: nothing in the name is contradicted


@pytest.mark.parametrize(
    ("name", "on_disc"),
    [
        ("IM1.jpg", "IM1.JPG"),
        ("im1.JPG", "IM1.jpg"),
        ("Im1", "IM1.JPG"),
        ("IM1.jpg", "clinic/2019/IM1.jpg"),
        ("IM1", "clinic/2019/im1.JPG"),
        ("2019/IM1.jpg", "clinic/2019/IM1.jpg"),
        ("Clinic\\IM1.jpg", "clinic/IM1.JPG"),
        ("\\train\\1\\IM1.jpg", "train/1/IM1.jpg"),
        ("/train/1/IM1.jpg", "train/1/IM1.jpg"),
        ("\\1\\IM1.jpg", "images/1/IM1.jpg"),
        ("C:\\data\\train\\IM1.jpg", "train/IM1.jpg"),
        ("/home/else/where/train/IM1.jpg", "train/IM1.jpg"),
        ("scan.v1.final.jpg", "deep/Scan.v1.final.JPG"),
        ("scan.v1", "deep/scan.v1.png"),
        (unicodedata.normalize("NFC", "Größe/é.jpg"), unicodedata.normalize("NFD", "Größe/É.JPG")),
        (unicodedata.normalize("NFD", "é.jpg"), unicodedata.normalize("NFC", "x/É.jpg")),
    ],
)
def test_one_file_has_the_name(tmp_path, name, on_disc):
    image(tmp_path / on_disc)
    image(tmp_path / "other.jpg")
    data = load(tmp_path, ["other.jpg", name])
    assert relative(tmp_path, data.paths) == ["other.jpg", on_disc]


def test_the_image_folder_itself_may_stand_in_the_names(tmp_path):
    image(tmp_path / "photos" / "a.JPG")
    image(tmp_path / "photos" / "b.JPG")
    data = load(tmp_path / "photos", ["photos/a.jpg", "/mnt/photos/b.jpg"])
    assert relative(tmp_path, data.paths) == ["photos/a.JPG", "photos/b.JPG"]


def test_an_absolute_path_that_exists_is_taken_as_it_is(tmp_path):
    outside = image(tmp_path / "outside" / "a.jpg")
    image(tmp_path / "data" / "a.jpg")
    image(tmp_path / "data" / "b.jpg")
    assert load(tmp_path / "data", [str(outside), "b.jpg"]).paths[0] == str(outside)


# Found with a warning: another extension, or another folder, than the name says


@pytest.mark.parametrize(
    ("name", "on_disc"),
    [
        ("a.tif", "a.png"),
        ("a.jpeg", "a.jpg"),
        ("a.ppm", "deep/a.png"),
        ("left/a.jpg", "right/a.jpg"),
        ("/mnt/train/a.png", "a.png"),
    ],
)
def test_another_extension_or_folder_warns(tmp_path, name, on_disc):
    image(tmp_path / on_disc)
    image(tmp_path / "other.jpg")
    with pytest.warns(DataWarning) as caught:
        data = load(tmp_path, ["other.jpg", name])
    assert len(caught) == 1
    assert caught[0].filename == __file__
    said = str(caught[0].message)
    assert said.startswith("1 of 2 images")
    assert f"{name!r} -> {on_disc!r}" in said
    assert relative(tmp_path, data.paths) == ["other.jpg", on_disc]


def test_one_warning_counts_all(tmp_path):
    for k in range(5):
        image(tmp_path / f"{k}.png")
    with pytest.warns(DataWarning, match=r"4 of 5 images.*'0\.tif' -> '0\.png'") as caught:
        load(tmp_path, ["0.tif", "1.tif", "2.tif", "3.tif", "4.png"])
    assert len(caught) == 1


# Not found


def test_several_files_have_the_name(tmp_path):
    for folder in ("a", "b", "c"):
        image(tmp_path / folder / "1.JPG")
    image(tmp_path / "2.jpg")
    with pytest.raises(
        ImageReadError, match=r"row 2.*'1\.jpg' stands for 3 files.*'a/1\.JPG'.*'b/"
    ):
        load(tmp_path, ["2.jpg", "1.jpg"])
    # what the error advises works, with the case of either
    data = load(tmp_path, ["2.jpg", "B/1.jpg"])
    assert relative(tmp_path, data.paths) == ["2.jpg", "b/1.JPG"]
    # a folder that none of them lies in does not choose
    with pytest.raises(ImageReadError, match="stands for 3 files"):
        load(tmp_path, ["2.jpg", "d/1.JPG"])


def test_folders_of_a_name_must_agree_to_their_end(tmp_path):
    for path in ("test/0/1.jpg", "test/1/1.jpg", "deep/x/0/2.jpg", "deep/y/0/2.jpg"):
        image(tmp_path / path)
    image(tmp_path / "3.jpg")
    with pytest.raises(ImageReadError, match="stands for 2 files"):
        load(tmp_path, ["3.jpg", "train/0/1.jpg"])
    with pytest.raises(ImageReadError, match="stands for 2 files"):
        load(tmp_path, ["3.jpg", "0/2.jpg"])
    found = load(tmp_path, ["3.jpg", "y/0/2.jpg"]).paths[1]
    assert relative(tmp_path, [found]) == ["deep/y/0/2.jpg"]


def test_the_extension_chooses_among_files_of_one_stem(tmp_path):
    for name in ("x/1.JPG", "x/1.png", "2.jpg"):
        image(tmp_path / name)
    assert relative(tmp_path, load(tmp_path, ["2.jpg", "1.jpg"]).paths)[1] == "x/1.JPG"
    with pytest.raises(ImageReadError, match="stands for 2 files"):
        load(tmp_path, ["2.jpg", "1"])
    with pytest.raises(ImageReadError, match="stands for 2 files"):
        load(tmp_path, ["2.jpg", "1.tif"])


@pytest.mark.parametrize("name", ["a.v1", "absent.jpg", "..", "/", "\\", "/../outside.jpg", ".jpg"])
def test_names_that_no_file_has(tmp_path, name):
    image(tmp_path / "data" / "a.jpg")
    image(tmp_path / "data" / "b.jpg")
    image(tmp_path / "outside.jpg")
    with pytest.raises(ImageReadError, match="row 2"):
        load(tmp_path / "data", ["a.jpg", name])
    path, problem = ImageFinder(tmp_path / "data").find(name)
    assert problem is not None
    assert not os.path.isfile(path)


def test_the_look_up_stays_in_the_image_folder(tmp_path):
    image(tmp_path / "out" / "1.jpg")
    for name in (".hidden", "__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found"):
        image(tmp_path / "data" / name / "2.jpg")
    image(tmp_path / "data" / "System Volume Information" / "2.jpg")
    image(tmp_path / "data" / "deep" / "._2.jpg")
    try:
        (tmp_path / "data" / "link").symlink_to(tmp_path / "out", target_is_directory=True)
    except OSError:
        pytest.skip("this file system makes no symbolic links")
    finder = ImageFinder(tmp_path / "data")
    for name in ("1", "2", "/elsewhere/1.jpg"):
        assert finder.find(name)[1] is not None
    image(tmp_path / "data" / "deep" / "2.jpg")
    path, problem = ImageFinder(tmp_path / "data").find("2")
    assert (relative(tmp_path, [path]), problem) == (["data/deep/2.jpg"], None)


def test_nothing_is_looked_up_below_the_working_directory(tmp_path, monkeypatch):
    image(tmp_path / "deep" / "a.jpg")
    image(tmp_path / "b.jpg")
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame({"path": ["b.jpg", "a.jpg"], "grade": [0, 1], "patient": ["x", "y"]})
    with pytest.raises(ImageReadError, match=r"no image 'a\.jpg'.*pass image_dir="):
        load_image_table(frame)


def test_folders_are_walked_once_and_only_if_need_be(tmp_path, monkeypatch):
    for k in range(6):
        image(tmp_path / "deep" / f"{k}.JPG")
        image(tmp_path / f"x{k}.jpg")
    walked = []
    real = os.walk
    monkeypatch.setattr(os, "walk", lambda top, **k: walked.append(top) or real(top, **k))
    load(tmp_path, [f"x{k}.jpg" for k in range(6)])
    assert walked == []
    load(tmp_path, [f"{k}.jpg" for k in range(6)])
    assert walked == [str(tmp_path)]


def test_unlabelled_tables_find_names_too(tmp_path):
    image(tmp_path / "deep" / "A.JPG")
    (tmp_path / "new.csv").write_text("path,patient\na.jpg,1\n", encoding="utf-8")
    data = load_image_table(tmp_path / "new.csv", labelled=False)
    assert relative(tmp_path, data.paths) == ["deep/A.JPG"]


def test_a_table_of_the_working_directory_is_one_of_a_folder(tmp_path, monkeypatch):
    image(tmp_path / "deep" / "A.JPG")
    (tmp_path / "new.csv").write_text("path,patient\na.jpg,1\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    data = load_image_table("new.csv", labelled=False)
    assert data.paths.tolist() == [os.path.join("deep", "A.JPG")]
    # nobody chose the working directory for a frame
    with pytest.raises(ImageReadError, match="image_dir="):
        load_image_table(pd.read_csv("new.csv"), labelled=False)
    (tmp_path / "new.csv").write_text("path,patient\nb.jpg,1\n", encoding="utf-8")
    with pytest.raises(ImageReadError, match=r"no image 'b.jpg' in or below '\.'"):
        load_image_table("new.csv", labelled=False)


# Patients that names tell


def folders(top: Path, names: list[str]) -> Path:
    for k, name in enumerate(names):
        image(top / f"class{k % 5}" / name)
    return top


def test_one_patient_for_everybody_is_an_error(tmp_path):
    top = folders(tmp_path, [f"scan_left_{k:02d}.jpg" for k in range(10)])
    with pytest.raises(
        DataError,
        match=r"names of 10 of 10 images.*'scan'.*'scan_left_00\.jpg'.*patients_unknown='ok'",
    ):
        load_image_folder(top)
    # with a few others beside them, which have names that tell nothing
    image(top / "class0" / "IDRiD_001.jpg")
    with pytest.raises(DataError, match=r"names of 10 of 11 images.*'scan'"):
        load_image_folder(top)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = load_image_folder(top, patients_unknown="ok")
    assert data.patients.tolist() == data.paths.tolist()
    assert not data.patients_known
    assert data.eyes.tolist().count("left") == 10
    # nothing is split where nothing is graded
    assert len(load_images(top).paths) == 11


def test_two_eyes_of_one_patient_are_no_error(tmp_path):
    top = folders(tmp_path, ["7_left.jpg", "7_right.jpg"])
    assert load_image_folder(top, grades=5).patients.tolist() == ["7", "7"]


def test_one_patient_in_a_column_stands(tmp_path):
    for k in range(4):
        image(tmp_path / f"scan_left_{k}.jpg")
    frame = pd.DataFrame({"path": [f"scan_left_{k}.jpg" for k in range(4)], "grade": range(4)})
    with pytest.raises(DataError, match="one and the same patient"):
        load_image_table(frame, image_dir=tmp_path)
    data = load_image_table(frame.assign(patient="anna"), image_dir=tmp_path)
    assert data.patients.tolist() == ["anna"] * 4
    assert not data.patients_guessed.any()


def test_what_is_guessed_is_told(tmp_path):
    names = ["1_left.jpg", "1_right.jpg", "2_left.jpg", "IDRiD_001.jpg", "IDRiD_002.jpg"]
    top = folders(tmp_path, names)
    with pytest.warns(
        DataWarning,
        match=r"patients of 2 of 5 images are unknown.*2 patients guessed from 3 file names, such "
        r"as '1_left\.jpg' -> '1'",
    ):
        data = load_image_folder(top)
    assert dict(zip(map(os.path.basename, data.paths), data.patients_guessed, strict=True)) == {
        name: "IDRiD" not in name for name in names
    }


def test_unknown_patients_can_be_said_to_be_ok(tmp_path):
    names = ["1_left.jpg", "1_right.jpg", "2_left.jpg", "IDRiD_001.jpg"]
    for name in names:
        image(tmp_path / name)
    frame = pd.DataFrame({"path": names, "grade": range(4), "patient": ["a", "a", None, None]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        some = load_image_table(frame, image_dir=tmp_path, patients_unknown="ok")
        none = load_image_table(
            frame.drop(columns="patient"), image_dir=tmp_path, patients_unknown="ok"
        )
    assert some.patients.tolist() == ["a", "a", *some.paths[2:]]
    assert none.patients.tolist() == none.paths.tolist()
    assert not none.patients_guessed.any()
    for load_ in (load_image_folder, load_image_table):
        with pytest.raises(InvalidParameterError, match=r"'patients_unknown'.*'warn' or 'ok'"):
            load_(tmp_path, patients_unknown="maybe")
