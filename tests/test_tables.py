"""Files of tables as they are shared: without a header, from Excel, with names for grades."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from fundus.data.loaders import load_image_folder, load_image_table, load_images
from fundus.exceptions import (
    DataError,
    DataWarning,
    ImageReadError,
    InvalidGradeError,
    InvalidParameterError,
)

JPEG = cv2.imencode(".jpg", np.full((8, 8, 3), 90, np.uint8))[1].tobytes()
ORDER = ["No_DR", "Mild", "Moderate", "Severe", "Proliferate_DR"]


@pytest.fixture
def eyes(tmp_path) -> Path:
    """Six images of three patients."""
    for name in ("1_left", "1_right", "2_left", "2_right", "3_left", "3_right"):
        (tmp_path / f"{name}.jpg").write_bytes(JPEG)
    return tmp_path


def write(folder: Path, text: str, name: str = "train.txt", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def read(path: Path, **options) -> dict[str, int]:
    data = load_image_table(path, **options)
    return dict(zip((Path(p).name for p in data.paths), data.grades.tolist(), strict=True))


# Without a header


@pytest.mark.parametrize("separator", [" ", "   ", "\t", ",", ", ", ";"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_no_header(eyes, separator, end):
    rows = [("1_left.jpg", 0), ("1_right.jpg", 3), ("2_left.jpg", 4)]
    text = end.join(f"{name}{separator}{grade}" for name, grade in rows) + end
    assert read(write(eyes, text)) == dict(rows)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3 1_left.jpg\n0 2_left.jpg\n", {"1_left.jpg": 3, "2_left.jpg": 0}),  # the grade first
        ("1_left 3\n2_left 0\n", {"1_left.jpg": 3, "2_left.jpg": 0}),  # ids of files that are there
        # patients in a column whose later rows are no grades
        ("1,1_left.jpg,3\n77,2_left.jpg,0\n", {"1_left.jpg": 3, "2_left.jpg": 0}),
        ("my eye.jpg 2\n1_left.jpg  0\n", {"my eye.jpg": 2, "1_left.jpg": 0}),
        ('"my eye.jpg" 2\n"1_left.jpg" 0\n', {"my eye.jpg": 2, "1_left.jpg": 0}),
    ],
)
@pytest.mark.filterwarnings("ignore:The patients of")
def test_no_header_in_other_shapes(eyes, text, expected):
    (eyes / "my eye.jpg").write_bytes(JPEG)
    assert read(write(eyes, text)) == expected


def test_no_header_and_two_columns_that_may_be_the_grade(eyes):
    path = write(eyes, "1_left.jpg 0 1\n2_left.jpg 3 0\n")
    with pytest.raises(DataError, match=r"no header.*columns 2 and 3 could each be the grade"):
        load_image_table(path)


def test_no_header_and_ragged_rows(eyes):
    with pytest.raises(DataError, match=r"Row 2 .*2 cells.*Got '2_left.jpg'"):
        load_image_table(write(eyes, "1_left.jpg 0\n2_left.jpg\n"))
    with pytest.raises(DataError, match="line 2"):
        load_image_table(write(eyes, "1_left.jpg,0\n2_left.jpg,1,7\n"))


def test_no_header_and_a_bad_grade_in_a_later_row(eyes):
    with pytest.raises(InvalidGradeError, match=r"row 2 .*2_left.*the grade is '?9"):
        load_image_table(write(eyes, "1_left.jpg 0\n2_left.jpg 9\n"))


def test_no_header_and_names(eyes):
    path = write(eyes, "1_left.jpg Mild\n1_right.jpg No_DR\n2_left.jpg ungradable\n")
    with pytest.warns(DataWarning, match="1 of 3 rows .*ungradable") as told:
        assert read(path, grades=ORDER) == {"1_left.jpg": 1, "1_right.jpg": 0}
    assert "grades=6" not in str(told[0].message)  # a word is no number of a longer scale


@pytest.mark.parametrize("text", ["1_left.jpg Mild\n", "1_left.jpg,Mild\n", '"1_left.jpg";Mild\n'])
def test_no_header_and_names_that_nobody_gave(eyes, text):
    with pytest.raises(DataError, match=r"first line.*1_left.*no header.*grades=\[…\]"):
        load_image_table(write(eyes, text))


def test_list_of_names_to_be_graded(eyes):
    text = "1_left.jpg\n2_left.jpg\n1_left.jpg\n"
    data = load_image_table(write(eyes, text), labelled=False)
    # to grade one twice does no harm; a graded one twice is an error
    assert [Path(path).name for path in data.paths] == ["1_left.jpg", "2_left.jpg", "1_left.jpg"]
    with pytest.raises(DataError, match="row 3: it is the same file as row 1"):
        load_image_table(write(eyes, text.replace("\n", " 2\n")))


def test_white_space_below_a_header(eyes):
    assert read(write(eyes, "image level\n1_left 0\n2_left 4\n")) == {
        "1_left.jpg": 0,
        "2_left.jpg": 4,
    }


def test_a_header_stays_one(eyes):
    """Also where it holds numbers, and where an image is called like a column."""
    (eyes / "image.jpg").write_bytes(JPEG)
    text = "image,0,1\n1_left,3,2\n2_left,4,0\n"
    data = load_image_table(write(eyes, text), grade="1")
    assert data.grades.tolist() == [2, 0]
    assert data.frame["0"].tolist() == [3, 4]
    unlabelled = load_image_table(write(eyes, "image,0\n1_left,3\n"), labelled=False)
    assert len(unlabelled.paths) == 1
    assert load_image_table(
        write(eyes, "Image name\n1_left\n2_left\n"), labelled=False
    ).eyes.tolist() == ["left", "left"]


# From Excel and other systems


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("first", ["sep=;\r\n", '"sep=;"\n', ""])
def test_excels_first_line_and_encodings(eyes, encoding, first):
    (eyes / "größe_left.jpg").write_bytes(JPEG)
    text = first + "file;grade;note\r\n1_left.jpg;0;a,b,c\r\ngröße_left.jpg;4;d,e,f\r\n"
    data = load_image_table(write(eyes, text, "labels.csv", encoding))
    assert data.grades.tolist() == [0, 4]
    assert data.frame["note"].tolist() == ["a,b,c", "d,e,f"]
    assert Path(data.paths[1]).name == "größe_left.jpg"


@pytest.mark.filterwarnings("ignore:The patients of")
def test_columns_of_brset_and_mbrset(eyes):
    for name in ("img00001", "img00002"):
        (eyes / f"{name}.jpg").write_bytes(JPEG)
    text = (
        "image_id,patient_id,exam_eye,diabetic_retinopathy,DR_SDRG,DR_ICDR\n"
        "img00001,01,1,0,3,0\nimg00002,01,2,1,0,4\n"
    )
    data = load_image_table(write(eyes, text, "labels.csv"))
    assert data.grades.tolist() == [0, 4]
    assert data.eyes.tolist() == ["right", "left"]
    assert data.patients.tolist() == ["01", "01"]
    text = "file,patient,laterality,final_icdr\nimg00001.jpg,1,left,2\nimg00002.jpg,1,right,3\n"
    assert load_image_table(write(eyes, text, "labels.csv")).grades.tolist() == [2, 3]
    text = "file,grade,DR_ICDR\n1_left.jpg,0,4\n1_right.jpg,1,4\n"  # as it was read before
    assert load_image_table(write(eyes, text, "labels.csv")).grades.tolist() == [0, 1]


# Grades by name


def test_names_of_grades(eyes):
    text = "file,label\n1_left.jpg,Severe\n1_right.jpg, No_DR \n2_left.jpg,Proliferate_DR\n"
    path = write(eyes, text, "labels.csv")
    assert read(path, grades=ORDER) == {"1_left.jpg": 3, "1_right.jpg": 0, "2_left.jpg": 4}
    assert load_image_table(path, grades=ORDER).class_names == ORDER
    with pytest.raises(
        InvalidGradeError, match=r"row 1 .*'Severe'.*lowest to the highest.*grades="
    ):
        load_image_table(path)
    with pytest.raises(InvalidGradeError, match=r"row 1 .*'Severe', expected one of 'No_DR', 'Mi"):
        load_image_table(path, grades=["No_DR", "Mild"])
    for bad in (["a"], ["a", "a"], ["a", ""], "No_DR", {"a": 1}):
        with pytest.raises(InvalidParameterError, match="'grades'"):
            load_image_table(path, grades=bad)


def test_names_that_are_numbers_and_numbers_below_names(eyes):
    path = write(eyes, "file,label\n1_left.jpg,1\n1_right.jpg,5\n2_left.jpg,2\n", "labels.csv")
    counted = read(path, grades=["1", "2", "3", "4", "5"])
    assert counted == {"1_left.jpg": 0, "1_right.jpg": 4, "2_left.jpg": 1}
    path = write(eyes, "file,label\n1_left.jpg,2\n1_right.jpg,0\n", "labels.csv")
    assert read(path, grades=ORDER) == {"1_left.jpg": 2, "1_right.jpg": 0}


def test_names_of_grades_for_folders(tmp_path):
    for name, file in (("Severe", "1_left.jpg"), ("No_DR", "1_right.jpg")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_bytes(JPEG)
    data = load_image_folder(tmp_path, grades=ORDER)
    same = load_image_folder(tmp_path, class_names=ORDER)
    assert data.grades.tolist() == same.grades.tolist() == [0, 3]
    assert data.class_names == ORDER
    with pytest.raises(InvalidParameterError, match="must not differ"):
        load_image_folder(tmp_path, grades=ORDER, class_names=ORDER[:4])


# Ungradable photographs


@pytest.mark.parametrize("word", ["5", "ungradable", "Ungradeable", " UNGRADABLE "])
def test_graded_as_ungradable(eyes, word):
    text = f"file,grade,site\n1_left.jpg,0,a\n1_right.jpg,{word},b\n2_left.jpg,2,c\n"
    path = write(eyes, text, "labels.csv")
    with pytest.warns(DataWarning, match=r"1 of 3 rows .*ungradable .*row 2 .*1_right") as caught:
        data = load_image_table(path)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert data.grades.tolist() == [0, 2]
    assert data.frame["site"].tolist() == ["a", "c"]
    assert [Path(p).name for p in data.ungradable["path"]] == ["1_right.jpg"]
    assert data.ungradable["patient"].tolist() == ["1"]
    assert data.ungradable["grade"].isna().all()
    assert data.skipped["row"].tolist() == [2]
    assert "ungradable" in data.skipped["reason"][0]


@pytest.mark.parametrize("names", [("0", "3"), ("No_DR", "Severe")])
def test_folder_of_ungradable_photographs(tmp_path, names):
    files = {names[0]: "1_left.jpg", names[1]: "1_right.jpg", "Ungradable": "2_left.jpg"}
    for name, file in files.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_bytes(JPEG)
    options = {} if names[0] == "0" else {"grades": ORDER}
    with pytest.warns(DataWarning, match="1 of 3 files whose photograph is graded as ungradable"):
        data = load_image_folder(tmp_path, **options)
    assert data.grades.tolist() == [0, 3]
    assert [Path(p).name for p in data.ungradable["path"]] == ["2_left.jpg"]
    with pytest.raises(DataError, match="'Ungradable'"):
        load_image_folder(tmp_path, grades=4 if not options else ORDER[:4])
    if options:
        named = load_image_folder(tmp_path, grades=["No_DR", "Severe", "Ungradable"])
        assert named.grades.tolist() == [0, 1, 2]


def test_five_is_a_grade_on_another_scale(eyes):
    path = write(eyes, "file,grade\n1_left.jpg,0\n1_right.jpg,5\n2_left.jpg,2\n", "labels.csv")
    assert read(path, grades=6)["1_right.jpg"] == 5
    with pytest.raises(InvalidGradeError, match="the grade is 5"):
        load_image_table(path, grades=4)


def test_a_scale_that_is_counted_from_one_is_refused(eyes):
    rows = "".join(f"{k}_left.jpg,{g}\n" for k, g in ((1, 1), (2, 5), (3, 3)))
    path = write(eyes, "file,grade\n" + rows, "labels.csv")
    with pytest.raises(InvalidGradeError, match=r"row 2 .*grade is 5.*subtract 1"):
        load_image_table(path)


def test_ungradable_and_unreadable(eyes):
    (eyes / "1_left.jpg").write_bytes(b"")
    path = write(eyes, "file,grade\n1_left.jpg,5\n1_right.jpg,0\n2_left.jpg,1\n", "labels.csv")
    with pytest.raises(ImageReadError, match="row 1"):
        load_image_table(path)
    with pytest.warns(DataWarning, match="1 unreadable image"):
        data = load_image_table(path, on_error="skip")
    assert data.ungradable.empty
    assert len(data.skipped) == 1


def test_only_ungradable_photographs(eyes):
    text = "file,grade\n1_left.jpg,ungradable\n1_right.jpg,ungradable\n"
    with pytest.raises(InvalidGradeError, match="All 2 rows left are graded as ungradable"):
        load_image_table(write(eyes, text, "labels.csv"))


# Files that are no tables and no images


def zipped(*names: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in names:
            archive.writestr(name, b"x" * 50)
    return made.getvalue()


def arrays() -> bytes:
    made = io.BytesIO()
    np.savez(made, images=np.zeros((2, 8, 8, 3), np.uint8))
    return made.getvalue()


FOREIGN = [
    ("t.xlsx", zipped("[Content_Types].xml", "xl/workbook.xml"), r"Excel.*CSV.*read_excel"),
    ("t.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, r"Excel.*CSV.*read_excel"),
    ("t.zip", zipped("class0/1_left.jpg"), "zip archive; unpack"),
    ("t.npz", arrays(), r"NumPy arrays.*numpy\.load"),
    ("t.dcm", b"\0" * 128 + b"DICM" + b"\x02\0", "DICOM"),
    ("t.mp4", b"\0\0\0\x20ftypisom" + b"\0" * 20, "video; export its frames"),
    ("t.mov", b"\0\0\0\x14ftypqt  " + b"\0" * 20, "video; export its frames"),
    ("t.avi", b"RIFF\x24\0\0\0AVI LIST" + b"\0" * 20, "video; export its frames"),
    ("t.heic", b"\0\0\0\x18ftypheic" + b"\0" * 20, "HEIC.*convert"),
]


@pytest.mark.parametrize(("name", "content", "said"), FOREIGN, ids=[f[0] for f in FOREIGN])
def test_foreign_files_are_called_by_their_names(tmp_path, name, content, said):
    """By what they hold, whatever they are called."""
    for other in (name, "eye.jpg", "labels.csv"):
        path = tmp_path / other
        path.write_bytes(content)
        with pytest.raises(DataError, match=said):
            load_image_table(path)
        with pytest.raises(ImageReadError, match=said):
            load_images(path)


@pytest.mark.parametrize(("name", "said"), [("t.dcm", "DICOM"), ("t.avi", "video")])
def test_foreign_files_that_only_their_name_tells(tmp_path, name, said):
    path = tmp_path / name
    path.write_bytes(b"\x08\0\x05\0" * 40)
    with pytest.raises(ImageReadError, match=said):
        load_images(path)


@pytest.mark.filterwarnings("ignore:The patients of")
def test_what_the_content_tells_stands_above_the_name(eyes):
    """Texts and photographs are read whatever they are called, as before."""
    text = "file\tgrade\n1_left.jpg\t0\n1_right.jpg\t1\n"
    assert read(write(eyes, text, "labels.xls"))["1_right.jpg"] == 1
    (eyes / "9_left.dcm").write_bytes(JPEG)
    assert len(load_images(eyes / "9_left.dcm").paths) == 1
    (eyes / "eye_wide.jpg").write_bytes(JPEG)  # its letters stand where a film's would
    assert read(write(eyes, "eye_wide.jpg 0\n1_left.jpg 1\n"))["eye_wide.jpg"] == 0
    assert read(write(eyes, "PAR1,file,grade\nx,1_left.jpg,0\nx,2_left.jpg,1\n"))["2_left.jpg"] == 1
    with pytest.raises(DataError, match="found a JPEG image; give the folder"):
        load_image_table(eyes / "1_left.jpg")


def test_parquet_by_its_content(eyes):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"file": ["1_left.jpg", "1_right.jpg"], "grade": [0, 1]})
    frame.to_parquet(eyes / "labels.table")
    assert read(eyes / "labels.table") == {"1_left.jpg": 0, "1_right.jpg": 1}


def test_folder_of_foreign_files(tmp_path):
    for k in range(2):
        (tmp_path / f"class{k}").mkdir()
        (tmp_path / f"class{k}" / "1_left.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 20)
    with pytest.raises(
        DataError, match=r"no images.*1_left\.heic'?, a HEIC or AVIF photograph: convert"
    ):
        load_image_folder(tmp_path, grades=5)
    for k in range(2):
        (tmp_path / f"class{k}" / f"{k}_left.jpg").write_bytes(JPEG)
    with pytest.warns(DataWarning, match=r"Left out 2 file.*a HEIC or AVIF photograph: convert"):
        data = load_image_folder(tmp_path, grades=5)
    assert data.skipped["reason"].str.contains("HEIC").all()
