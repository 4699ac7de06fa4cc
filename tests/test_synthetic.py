import hashlib
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from fundus.data.loaders import load_image_folder
from fundus.data.synthetic import draw_fundus, make_fundus
from fundus.exceptions import DataError, InvalidParameterError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    return folder, make_fundus(30, 64, 7, out_dir=folder)


def digests(folder: Path) -> dict[str, str]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_writes_class_folders_a_table_and_nothing_else(made):
    folder, data = made
    labels = pd.read_csv(folder / "labels.csv")
    assert labels.columns.tolist() == ["path", "grade", "patient", "eye"]
    written = {str(p.relative_to(folder).as_posix()) for p in folder.rglob("*") if p.is_file()}
    assert written == {*labels["path"], "labels.csv"}
    assert [f"class{g}" for g in labels["grade"]] == [p.split("/")[0] for p in labels["path"]]
    assert labels["grade"].tolist() == data.grades.tolist()
    for path in data.paths:
        assert cv2.imread(path).shape == (64, 64, 3)


def test_table_and_folders_hold_the_same_data(made):
    folder, data = made
    again = load_image_folder(folder)
    columns = ["path", "patient", "eye"]
    pd.testing.assert_frame_equal(
        data.frame.assign(grade=data.grades).sort_values(columns).reset_index(drop=True),
        again.frame.assign(grade=again.grades).sort_values(columns).reset_index(drop=True),
    )


@pytest.mark.slow
def test_same_seed_same_bytes_other_seed_other_bytes(made, tmp_path):
    folder, _ = made
    make_fundus(30, 64, 7, out_dir=tmp_path / "same")
    make_fundus(30, 64, 8, out_dir=tmp_path / "other")
    assert digests(tmp_path / "same") == digests(folder)
    assert not set(digests(tmp_path / "other").values()) & set(digests(folder).values())


@pytest.mark.slow
def test_photographs_do_not_depend_on_how_many_are_made(made, tmp_path):
    folder, _ = made
    make_fundus(44, 64, 7, out_dir=tmp_path)
    few, many = digests(folder), digests(tmp_path)
    del few["labels.csv"]
    assert few.items() <= many.items()


@pytest.mark.slow
def test_a_second_run_completes_a_set_and_refuses_another(made, tmp_path):
    make_fundus(20, 64, 1, out_dir=tmp_path)
    before = digests(tmp_path)
    victim = next(tmp_path.glob("class*/*.jpeg"))
    victim.unlink()
    make_fundus(20, 64, 1, out_dir=tmp_path)
    assert digests(tmp_path) == before
    with pytest.raises(DataError, match="empty or new out_dir"):
        make_fundus(10, 64, 1, out_dir=tmp_path)


@pytest.mark.parametrize("seed", range(12))
def test_each_grade_twice_from_twenty_on(seed, tmp_path, monkeypatch):
    monkeypatch.setattr("fundus.data.synthetic.draw_fundus", lambda *a, image_size, **k: blank())
    data = make_fundus(20, 64, seed, out_dir=tmp_path)
    assert np.bincount(data.grades, minlength=5).min() >= 2


def blank():
    return np.zeros((64, 64, 3), np.uint8)


@pytest.mark.slow
def test_shares_pairs_and_noise_of_the_labels(tmp_path, monkeypatch):
    drawn = []

    def record(grade, *, image_size, eye, rng):
        drawn.append(grade)
        return blank()

    monkeypatch.setattr("fundus.data.synthetic.draw_fundus", record)
    data = make_fundus(600, 64, 0, out_dir=tmp_path / "a")
    shares = np.bincount(data.grades, minlength=5) / 600
    np.testing.assert_allclose(shares, [0.35, 0.15, 0.25, 0.13, 0.12], atol=0.07)
    left, right = data.grades[data.eyes == "left"], data.grades[data.eyes == "right"]
    assert abs(left - right).max() == 1
    assert 0.65 < (left == right).mean() < 0.85

    noisy = make_fundus(600, 64, 0, out_dir=tmp_path / "b", label_noise=0.3)
    changed = np.abs(noisy.grades - data.grades)
    assert changed.max() == 1
    assert 0.2 < changed.mean() < 0.4
    assert sorted(drawn[:600]) == sorted(drawn[600:])

    two = make_fundus(40, 64, 0, out_dir=tmp_path / "c", grade_weights=[1, 0, 0, 0, 1])
    assert set(two.grades) == {0, 4}


@pytest.mark.parametrize("eye", ["left", "right"])
def test_the_disc_lies_on_the_nasal_side(eye):
    right = 0
    for seed in range(20):
        photo = draw_fundus(0, image_size=96, eye=eye, rng=np.random.default_rng(seed))
        blurred = cv2.GaussianBlur(photo[..., 1], (0, 0), 3)[20:76, 8:-8]
        right += np.unravel_index(blurred.argmax(), blurred.shape)[1] > 40
    assert right >= 17 if eye == "right" else right <= 3


def test_field_of_view_is_round_on_black():
    photo = draw_fundus(2, image_size=128, rng=np.random.default_rng(3))
    corners = photo[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.max() < 20
    red, green, blue = photo[44:84, 44:84].reshape(-1, 3).mean(axis=0)
    assert red > green > blue


@pytest.mark.slow
def test_lesions_grow_with_the_grade():
    """Small dark spots, seen by a black top-hat of the green channel, become more."""

    def spots(grade, seed):
        photo = draw_fundus(grade, image_size=192, rng=np.random.default_rng(seed))
        green = photo[48:144, 40:110, 1]  # around the macula: no disc, few large vessels
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (11, 11))
        return (cv2.morphologyEx(green, cv2.MORPH_BLACKHAT, kernel) > 22).mean()

    means = [np.mean([spots(grade, seed) for seed in range(25)]) for grade in (0, 2, 3)]
    assert means[0] < means[1] < means[2]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"n": 0}, "n"),
        ({"n": 2.5}, "n"),
        ({"image_size": 8}, "image_size"),
        ({"random_state": -1}, "random_state"),
        ({"grade_weights": [1, 1]}, "grade_weights"),
        ({"grade_weights": [-1, 1, 1, 1, 1]}, "grade_weights"),
        ({"label_noise": 2}, "label_noise"),
    ],
)
def test_bad_parameters(change, name, tmp_path):
    with pytest.raises(InvalidParameterError, match=f"The '{name}' parameter of make_fundus"):
        make_fundus(**{"n": 4, "image_size": 64, "out_dir": tmp_path, **change})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", [{"grade": 5}, {"eye": "middle"}, {"image_size": 31}])
def test_bad_parameters_of_one_photograph(change):
    with pytest.raises(InvalidParameterError, match="of draw_fundus must"):
        draw_fundus(**{"grade": 0, "rng": np.random.default_rng(0), **change})
