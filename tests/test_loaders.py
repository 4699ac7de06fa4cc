import os
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from fundus.data.loaders import load_image_folder, load_image_table, load_images
from fundus.exceptions import (
    DataError,
    DataWarning,
    FundusError,
    ImageReadError,
    InvalidGradeError,
    InvalidParameterError,
)

IDRID = Path(__file__).parents[2] / "shared" / "data" / "idrid_train"
JPEG = cv2.imencode(".jpg", np.full((8, 8, 3), 90, np.uint8))[1].tobytes()


def image(path: Path, content: bytes = JPEG) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def table(folder: Path, text: str, name: str = "labels.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def eyes(tmp_path):
    """Four images of two patients, in a table."""
    for name in ("2_left", "2_right", "10_left", "10_right"):
        image(tmp_path / f"{name}.jpeg")
    table(tmp_path, "path,grade\n2_left.jpeg,0\n2_right.jpeg,1\n10_left.jpeg,4\n10_right.jpeg,4\n")
    return tmp_path


# Columns of tables


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("id_code,diagnosis", ["a,0", "b,4"]),
        ("image,level", ["a,0", "b,4"]),
        ("Image name,Retinopathy grade,Risk of macular edema ,,,", ["a,0,1,,,", "b,4,2,,,"]),
        (
            "image_id,adjudicated_dr_grade,adjudicated_dme,adjudicated_gradable",
            ["a,0,0,1", "b,4,1,1"],
        ),
        ("file,image,grade,dme,disputed", ["images/a.jpg,x,0,1,0", "images/b.jpg,y,4,2,1"]),
        ("Filename;Label", ["a.jpg;0", "b.jpg;4"]),
        ("path\tgrade", ["images\\a.jpg\t0", "images/b.jpg\t4.0"]),
    ],
)
def test_known_tables(tmp_path, header, rows):
    image(tmp_path / "images" / "a.jpg")
    image(tmp_path / "images" / "b.jpg")
    path = table(tmp_path, "\ufeff" + "\n".join([header, *rows]) + "\n")
    with pytest.warns(DataWarning, match="patients of 2 of 2 images are unknown") as caught:
        data = load_image_table(path)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert data.paths.tolist() == [str(tmp_path / "images" / name) for name in ("a.jpg", "b.jpg")]
    assert data.grades.tolist() == [0, 4]
    assert data.patients.tolist() == data.paths.tolist()
    assert not data.patients_known
    if "dme" in header or "edema" in header:
        expected = [0, 2] if "adjudicated" in header else [1, 2]
        assert data.frame["dme"].tolist() == data.dme.tolist() == expected
    else:
        assert data.dme is None
    assert not {"grade", "level", "diagnosis", "file"} & set(data.frame)


def test_ids_keep_their_zeros_and_unicode(tmp_path):
    image(tmp_path / "fotos größe" / "007.jpg")
    image(tmp_path / "fotos größe" / (unicodedata.normalize("NFD", "é") + ".v1.png"))
    path = table(tmp_path, "image,level,patient\n007,0,01\né.v1,1,02\n")
    data = load_image_table(path, image_dir=tmp_path / "fotos größe")
    assert [Path(p).suffix for p in data.paths] == [".jpg", ".png"]
    assert data.patients.tolist() == ["01", "02"]


def test_columns_not_recognised_or_ambiguous(tmp_path):
    frame = pd.DataFrame({"picture": ["a.jpg"], "dr": [0]})
    with pytest.raises(DataError, match=r"'picture', 'dr'.*APTOS.*path="):
        load_image_table(frame)
    with pytest.raises(DataError, match=r"'picture', 'dr'.*grade="):
        load_image_table(frame, path="picture")
    with pytest.raises(DataError, match="no column 'nope' for grade="):
        load_image_table(frame, path="picture", grade="nope")
    frame = pd.DataFrame({"path": ["a.jpg"], "grade": [0], "diagnosis": [1]})
    with pytest.raises(DataError, match=r"'grade', 'diagnosis'.*grade="):
        load_image_table(frame)
    frame = pd.DataFrame({"image": ["a"], "id": ["b"], "level": [1]})
    with pytest.raises(DataError, match=r"'image', 'id'.*path="):
        load_image_table(frame)


def test_given_columns(eyes):
    frame = pd.DataFrame(
        {
            "picture": ["2_left", "2_right", "10_left", "10_right"],
            "score": ["0", "1", "2", "2"],
            "grade": [9, 9, 9, 9],
            "who": [1.0, 1.0, np.nan, 4.0],
            "side": ["OD", "os", "Left", None],
        }
    )
    with pytest.warns(DataWarning, match="1 of 4 images are unknown"):
        data = load_image_table(
            frame, image_dir=eyes, path="picture", grade="score", patient="who", eye="side"
        )
    assert data.grades.tolist() == [0, 1, 2, 2]
    assert data.patients.tolist() == ["1", "1", str(eyes / "10_left.jpeg"), "4"]
    assert data.eyes.tolist() == ["right", "left", "left", None]
    assert data.frame.columns.tolist() == ["path", "patient", "eye", "grade"]


@pytest.mark.parametrize(
    ("stem", "patient", "eye"),
    [
        ("10_left", "10", "left"),
        ("10_RIGHT", "10", "right"),
        ("A-7 OD", "A-7", "right"),
        ("x_1-os", "x_1", "left"),
        ("1_l2", "1", "left"),
        ("265_r1", "265", "right"),
        ("IDRiD_001", None, None),
        ("copyright", None, None),
        ("20051020_43808_0100_PP", None, None),
        ("0a4e1a29ffff", None, None),
    ],
)
def test_patient_and_eye_from_the_name(tmp_path, stem, patient, eye):
    data = load_images(image(tmp_path / f"{stem}.jpg"))
    assert data.patients.tolist() == [patient or data.paths[0]]
    assert data.eyes.tolist() == [eye]
    assert data.frame["eye"].tolist() == [eye]
    assert data.patients_known == (patient is not None)


def test_parquet_and_frame_give_the_same(eyes, monkeypatch):
    pytest.importorskip("pyarrow")
    frame = pd.read_csv(eyes / "labels.csv").assign(camera="b", patient=[2, 2, 10, 10])
    frame.to_parquet(eyes / "labels.parquet")
    stored = load_image_table(eyes / "labels.parquet")
    monkeypatch.chdir(eyes)
    direct = load_image_table(frame.iloc[::-1])
    assert direct.paths.tolist() == frame["path"].tolist()[::-1]
    assert stored.patients.tolist() == ["2", "2", "10", "10"]
    assert stored.frame["camera"].tolist() == ["b"] * 4
    pd.testing.assert_frame_equal(
        stored.frame.drop(columns="path"), direct.frame[::-1].reset_index(drop=True).iloc[:, 1:]
    )


def test_unlabelled_table(eyes):
    path = table(eyes, "path,site\n2_left.jpeg,x\n", "new.csv")
    data = load_image_table(path, labelled=False)
    assert data.grades is None
    assert data.class_names is None
    assert data.frame["site"].tolist() == ["x"]
    with pytest.raises(DataError, match="grade"):
        load_image_table(path)
    with pytest.raises(InvalidParameterError, match="'grade'"):
        load_image_table(path, labelled=False, grade="site")


# Bad rows


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        ("7", InvalidGradeError, "the grade is 7.*0–4"),
        ("-1", InvalidGradeError, "-1"),
        ("1.5", InvalidGradeError, "1.5"),
        ("", InvalidGradeError, "missing"),
        ("mild", InvalidGradeError, "'mild'"),
        ("inf", InvalidGradeError, "inf"),
    ],
)
def test_bad_grades(eyes, value, error, said):
    path = table(eyes, f"path,grade\n2_left.jpeg,0\n2_right.jpeg,{value}\n10_left.jpeg,1\n")
    with pytest.raises(error, match=rf"row 2 .*2_right\.jpeg.*{said}"):
        load_image_table(path)
    with pytest.warns(DataWarning, match=r"Set aside 1 of 3 rows \(1 invalid grade\)"):
        data = load_image_table(path, on_error="skip")
    assert data.grades.tolist() == [0, 1]
    assert data.skipped["row"].tolist() == [2]


def test_other_scales(eyes):
    path = table(eyes, "path,grade\n2_left.jpeg,0\n2_right.jpeg,6\n")
    data = load_image_table(path, grades=7)
    assert data.grades.tolist() == [0, 6]
    assert data.n_grades == 7
    for bad in (1, 2.0, True, "5"):
        with pytest.raises(InvalidParameterError, match="'grades'"):
            load_image_table(path, grades=bad)


def test_one_error_names_the_first_row_and_counts_the_rest(eyes):
    image(eyes / "empty.jpg", b"")
    image(eyes / "text.jpg", b"no image at all")
    image(eyes / "half.jpg", JPEG[:-20])
    path = table(
        eyes,
        "path,grade,eye\n2_left.jpeg,0,l\nempty.jpg,1,\ntext.jpg,1,\nhalf.jpg,2,\nabsent,3,\n"
        "2_right.jpeg,9,\n./2_left.jpeg,0,\n10_left.jpeg,1,both\n,2,\n10_right.jpeg,1,\n",
    )
    with pytest.raises(ImageReadError, match=r"row 2.*empty\.jpg.*\(and 7 more\)") as caught:
        load_image_table(path)
    assert isinstance(caught.value, FundusError)
    with pytest.warns(DataWarning) as warned:
        data = load_image_table(path, on_error="skip")
    assert len(warned) == 1
    said = str(warned[0].message)
    assert "8 of 10 rows" in said
    assert "5 unreadable images, 1 invalid grade, 1 duplicate, 1 invalid eye" in said
    assert data.skipped["row"].tolist() == [2, 3, 4, 5, 6, 7, 8, 9]
    assert data.grades.tolist() == [0, 1]
    assert data.frame.index.tolist() == [0, 1]
    reasons = data.skipped["reason"].tolist()
    assert "no image 'absent'" in reasons[3]
    assert "same file as row 1" in reasons[5]


def test_duplicates_that_disagree_are_all_set_aside(eyes):
    path = table(eyes, "path,grade\n2_left.jpeg,0\n2_right.jpeg,1\n2_left.jpeg,3\n10_left.jpeg,0\n")
    with pytest.raises(DataError, match=r"row 1 .*row 3 .*\[0, 3\]"):
        load_image_table(path)
    with pytest.warns(DataWarning, match="2 duplicates"):
        data = load_image_table(path, on_error="skip")
    assert [Path(p).name for p in data.paths] == ["2_right.jpeg", "10_left.jpeg"]


def test_ambiguous_id(eyes):
    image(eyes / "2_left.png")
    path = table(eyes, "image,level\n2_left,0\n2_right,1\n")
    with pytest.raises(ImageReadError, match=r"row 1.*'2_left' stands for several files"):
        load_image_table(path)
    image(eyes / "train" / "z_left.png")
    image(eyes / "images" / "z_left.png")
    path = table(eyes, "image,level\n2_right,0\nz_left,1\n")
    with pytest.raises(ImageReadError, match=r"row 2.*several files"):
        load_image_table(path)


def test_one_listing_per_folder(eyes, monkeypatch):
    listed = []
    real = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: listed.append(folder) or real(folder))
    rows = "".join(f"{name},{k % 2}\n" for k, name in enumerate(("2_left", "2_right", "10_left")))
    load_image_table(table(eyes, "image,level\n" + rows))
    assert listed == [str(eyes)]


def test_ungradable_images(eyes):
    path = table(
        eyes,
        "image_id,adjudicated_dr_grade,adjudicated_gradable\n2_left,0,1\n2_right,,0\n10_left,2,1\n",
    )
    with pytest.raises(InvalidGradeError, match=r"row 2.*ungradable.*adjudicated_gradable"):
        load_image_table(path)
    with pytest.warns(DataWarning, match="1 ungradable image"):
        data = load_image_table(path, on_error="skip")
    assert data.grades.tolist() == [0, 2]


def test_one_class_only(eyes):
    path = table(eyes, "path,grade\n2_left.jpeg,3\n2_right.jpeg,3\n")
    with pytest.raises(DataError, match=r"grade 3.*min_classes=1"):
        load_image_table(path)
    assert load_image_table(path, min_classes=1).grades.tolist() == [3, 3]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read"),
        (b"path,grade\n", "no rows"),
        (b"path,grade\na.jpg,1\nb.jpg,1,2,3\n", "line 3"),
        (b"path,grade\na.jpg,1,2\nb.jpg,1,2\n", "more fields"),
        ("path,grade\nä.jpg,1\n".encode("latin-1"), "UTF-8"),
    ],
)
def test_tables_that_are_none(tmp_path, content, said):
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        load_image_table(path)


def test_missing_table_folder_and_bad_parameter(tmp_path, eyes):
    with pytest.raises(DataError, match="no table"):
        load_image_table(tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"no folder.*image_dir"):
        load_image_table(eyes / "labels.csv", image_dir=tmp_path / "none")
    for load in (load_image_table, load_image_folder, load_images):
        with pytest.raises(InvalidParameterError, match=r"'on_error'.*'raise' or 'skip'.*'ignore'"):
            load(eyes / "labels.csv", on_error="ignore")


@pytest.mark.skipif(not IDRID.is_dir(), reason="the IDRiD photographs are not beside the checkout")
def test_real_photographs():
    with pytest.warns(DataWarning, match="369 of 369"):
        data = load_image_table(IDRID / "labels.csv")
    assert np.bincount(data.grades).tolist() == [103, 17, 131, 70, 48]
    assert data.frame.columns.tolist() == ["path", "patient", "eye", "image", "dme", "disputed"]
    assert data.paths[0] == str(IDRID / "images" / "IDRiD_001.jpg")
    assert data.skipped.empty
