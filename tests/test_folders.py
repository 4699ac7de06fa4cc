import os
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest

from fundus.data.loaders import load_image_folder, load_images
from fundus.exceptions import DataError, DataWarning, ImageReadError, InvalidParameterError

JPEG = cv2.imencode(".jpg", np.full((8, 8, 3), 90, np.uint8))[1].tobytes()


def image(path: Path, content: bytes = JPEG) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("prefix", ["class", "Class", ""])
def test_class_folders_in_natural_order(tmp_path, prefix):
    for grade, names in enumerate((["10_left", "9_right", "9_left"], ["3_left"], ["sub/1_left"])):
        for name in names:
            image(tmp_path / f"{prefix}{grade}" / f"{name}.JPG")
    data = load_image_folder(tmp_path)
    relative = [os.path.relpath(p, tmp_path).replace(os.sep, "/") for p in data.paths]
    assert relative == [
        f"{prefix}0/9_left.JPG",
        f"{prefix}0/9_right.JPG",
        f"{prefix}0/10_left.JPG",
        f"{prefix}1/3_left.JPG",
        f"{prefix}2/sub/1_left.JPG",
    ]
    assert data.grades.tolist() == [0, 0, 0, 1, 2]
    assert data.grades.dtype == np.int64
    assert data.patients.tolist() == ["9", "9", "10", "3", "1"]
    assert data.eyes.tolist() == ["left", "right", "left", "left", "left"]
    assert data.class_names == [f"{prefix}0", f"{prefix}1", f"{prefix}2", "class3", "class4"]
    assert data.patients_known
    assert data.n_grades == 5
    assert data.frame["path"].tolist() == data.paths.tolist()
    assert "grade" not in data.frame


def test_other_folder_names_need_their_order(tmp_path):
    for number, name in enumerate(("schwer", "keine", "mäßig")):
        image(tmp_path / unicodedata.normalize("NFD", name) / f"{number}_left.png")
    with pytest.raises(DataError, match=r"'keine'.*'schwer'.*class_names=") as caught:
        load_image_folder(tmp_path)
    assert "class0" in str(caught.value)
    data = load_image_folder(tmp_path, class_names=["keine", "mäßig", "schwer"])
    assert data.class_names == ["keine", "mäßig", "schwer"]
    assert [Path(p).name[0] for p in data.paths] == ["1", "2", "0"]
    assert data.n_grades == 3
    with pytest.raises(DataError, match=r"'schwer'.* are not in class_names"):
        load_image_folder(tmp_path, class_names=["keine", "mäßig"])
    with pytest.raises(InvalidParameterError, match="'class_names'"):
        load_image_folder(tmp_path, class_names=["keine", "keine"])


def test_scale_of_folders(tmp_path):
    for grade in (0, 5):
        image(tmp_path / f"class{grade}" / f"{grade}_left.jpg")
    with pytest.raises(DataError, match=r"'class5'.*outside the scale"):
        load_image_folder(tmp_path)
    assert load_image_folder(tmp_path, grades=6).grades.tolist() == [0, 5]
    image(tmp_path / "0" / "x_left.jpg")
    with pytest.raises(DataError, match=r"'class0'.*'0'|'0'.*'class0'"):
        load_image_folder(tmp_path, grades=6)


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(DataError, match="no folder"):
        load_image_folder(tmp_path / "nowhere")
    with pytest.raises(DataError, match="has no folders in it"):
        load_image_folder(tmp_path)
    (tmp_path / "class0").mkdir()
    with pytest.raises(DataError, match="no images"):
        load_image_folder(tmp_path)


def test_images_outside_class_folders_and_odd_files(tmp_path):
    image(tmp_path / "class0" / "1_left.jpg")
    image(tmp_path / "class1" / "1_right.jpg")
    for name in ("notes.txt", ".hidden.jpg", "Thumbs.db"):
        image(tmp_path / "class1" / name, b"x")
    assert len(load_image_folder(tmp_path, grades=5).paths) == 2
    image(tmp_path / "class1" / "scan.heic", b"x")
    with pytest.warns(DataWarning, match=r"Left out 1 file.*scan\.heic"):
        data = load_image_folder(tmp_path, grades=5)
    assert [Path(p).name for p in data.skipped["path"]] == ["scan.heic"]
    (tmp_path / "class1" / "scan.heic").unlink()
    image(tmp_path / "lost.jpg")
    with pytest.raises(DataError, match=r"lost\.jpg.*outside the class folders"):
        load_image_folder(tmp_path, grades=5)
    with pytest.warns(DataWarning, match="Set aside 1 of 3 files"):
        data = load_image_folder(tmp_path, grades=5, on_error="skip")
    assert data.grades.tolist() == [0, 1]


def test_bad_files_in_folders(tmp_path):
    image(tmp_path / "class0" / "1_left.jpg")
    image(tmp_path / "class1" / "1_right.jpg")
    image(tmp_path / "class1" / "2_left.jpg", b"")
    image(tmp_path / "class1" / "2_right.jpg", JPEG[: len(JPEG) // 2])
    image(tmp_path / "class1" / "3_left.jpg", b"this is no image")
    with pytest.raises(ImageReadError, match=r"2_left\.jpg.*\(and 2 more\).*on_error='skip'"):
        load_image_folder(tmp_path, grades=5)
    with pytest.warns(DataWarning, match=r"Set aside 3 of 5 files \(3 unreadable images\)"):
        data = load_image_folder(tmp_path, grades=5, on_error="skip")
    assert len(data.paths) == 2
    assert data.skipped["row"].isna().all()
    assert len(set(data.skipped["reason"])) == 3


def test_links_that_loop(tmp_path):
    image(tmp_path / "class0" / "1_left.jpg")
    image(tmp_path / "class1" / "1_right.jpg")
    try:
        (tmp_path / "class1" / "again").symlink_to(tmp_path / "class1", target_is_directory=True)
    except OSError:
        pytest.skip("this file system makes no symbolic links")
    assert len(load_image_folder(tmp_path, grades=5).paths) == 2


def test_folders_of_the_system_are_passed_over(tmp_path):
    image(tmp_path / "class0" / "1_left.jpg")
    image(tmp_path / "class2" / "1_right.jpg")
    system = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found")
    for name in (*system, "__macosx", ".thumbnails"):
        image(tmp_path / name / "class0" / "2_left.jpg")
        image(tmp_path / "class0" / name / "2_left.jpg")
    for folder in ("class0", "__MACOSX/class0"):
        image(tmp_path / folder / "._1_left.jpg", b"\0\5\x16\7")
    names = ["1_left.jpg", "1_right.jpg"]
    assert [Path(p).name for p in load_image_folder(tmp_path).paths] == names
    assert [Path(p).name for p in load_images(tmp_path).paths] == names
    (tmp_path / "class0").rename(tmp_path / "none")
    (tmp_path / "class2").rename(tmp_path / "some")
    data = load_image_folder(tmp_path, class_names=["none", "some"])
    assert data.grades.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("parts", "advice"),
    [
        (
            ("train", "val", "test"),
            "`fundus train {}/train --validation {}/val`, or later `fundus evaluate RUN {}/test`",
        ),
        (("Training", "TESTING"), "`fundus evaluate RUN {}/TESTING`"),
        (("train", "valid"), "`fundus train {}/train --validation {}/valid`"),
        (("train",), "`fundus train {}/train`"),
        (("test", "class0", "class1"), "score a part with `fundus evaluate RUN {}/test`"),
    ],
)
def test_parts_of_a_split_are_no_grades(tmp_path, parts, advice):
    for part in parts:
        for grade in range(3):
            image(tmp_path / part / str(grade) / f"{part}_{grade}_left.jpg")
    for options in ({}, {"class_names": ["none", "some"]}):
        with pytest.raises(DataError, match="parts of a split") as caught:
            load_image_folder(tmp_path, **options)
        assert advice.replace("{}", str(tmp_path)) in str(caught.value)
    # what it says works
    assert load_image_folder(tmp_path / parts[0]).grades.tolist() == [0, 1, 2]


def test_parts_of_a_split_may_be_classes_by_name(tmp_path):
    image(tmp_path / "test" / "1_left.jpg")
    image(tmp_path / "train" / "2_left.jpg")
    assert load_image_folder(tmp_path, class_names=["train", "test"]).grades.tolist() == [0, 1]


@pytest.mark.parametrize("prefix", ["", "class"])
def test_folders_0_and_1_alone(tmp_path, prefix):
    image(tmp_path / f"{prefix}0" / "1_left.jpg")
    image(tmp_path / f"{prefix}1" / "2_left.jpg")
    with pytest.warns(DataWarning, match=r"upper grades have no image.*pass grades=2") as caught:
        data = load_image_folder(tmp_path)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert data.n_grades == 5
    for n in (2, 5):  # without a warning
        assert load_image_folder(tmp_path, grades=n).n_grades == n
    image(tmp_path / f"{prefix}2" / "3_left.jpg")
    assert load_image_folder(tmp_path).n_grades == 5


# Unlabelled images


def test_load_images(tmp_path):
    for name in ("10.png", "9.png", "deep/1.tif"):
        image(tmp_path / name)
    image(tmp_path / "labels.csv", b"a,b\n")
    data = load_images(tmp_path)
    assert [Path(p).name for p in data.paths] == ["9.png", "10.png", "1.tif"]
    assert data.grades is None
    assert data.frame.columns.tolist() == ["path", "patient", "eye"]
    single = [tmp_path / "10.png", tmp_path / "deep"]
    assert [Path(p).name for p in load_images(single).paths] == ["10.png", "1.tif"]
    assert load_images(tmp_path / "9.png").paths.tolist() == [str(tmp_path / "9.png")]


def test_load_images_bad_input(tmp_path):
    with pytest.raises(DataError, match="no images"):
        load_images(tmp_path)
    with pytest.raises(ImageReadError, match=r"gone\.jpg"):
        load_images([tmp_path / "gone.jpg"])
    good = image(tmp_path / "a.jpg")
    with pytest.warns(DataWarning, match="Set aside 1 of 2 files"):
        data = load_images([good, tmp_path / "gone.jpg"], on_error="skip")
    assert data.paths.tolist() == [str(good)]
    with pytest.raises(ImageReadError, match="no file is left"):
        load_images([tmp_path / "gone.jpg"], on_error="skip")
