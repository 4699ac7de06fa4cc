"""Leaks are refused by name; the inner split is stratified and grouped."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    StratifiedKFold,
    cross_val_score,
)

from fundus import GuardedSplit, TransferClassifier, check_split
from fundus.exceptions import DataError, InvalidGradeError, SplitError
from fundus.transfer.validation_split import inner_split


def test_a_shared_patient_is_named(photographs):
    with pytest.raises(SplitError, match=r"Fold 0 has patient '\w+' on both sides: rows \d+ and"):
        check_split(KFold(2, shuffle=True, random_state=0), photographs.frame, photographs.grades)


def test_identical_pixels_are_named(photographs, tmp_path):
    copy = tmp_path / "copy.jpeg"
    copy.write_bytes(open_bytes(photographs.paths[0]))
    X = [*photographs.paths[1:8], str(copy), *photographs.paths[8:], photographs.paths[0]]
    y = np.arange(len(X)) % 2
    with pytest.raises(SplitError, match=r"the same image on both sides: .*copy\.jpeg"):
        check_split(KFold(2), X, y)
    arrays = np.random.default_rng(0).integers(0, 255, (6, 8, 8, 3), dtype=np.uint8)
    arrays[5] = arrays[0]
    with pytest.raises(SplitError, match="rows 5 and 0"):
        check_split(KFold(2), arrays, [0, 1] * 3)


def test_the_same_pixels_in_another_file_format_are_named(photographs, tmp_path):
    import cv2

    from fundus.images import decode_bytes, read_bytes

    X = list(photographs.paths[:8])
    pixels = decode_bytes(read_bytes(X[0]), name=X[0])
    for name in ("a.png", "b.bmp"):
        cv2.imwrite(str(tmp_path / name), pixels[:, :, ::-1])
    X[3], X[4] = str(tmp_path / "a.png"), str(tmp_path / "b.bmp")
    with pytest.raises(SplitError, match=r"the same image on both sides: .*[ab]\.(png|bmp)"):
        check_split(KFold(2), X, [0, 1] * 4)


def test_too_few_images_of_every_grade(photographs):
    with pytest.raises(SplitError, match="3 folds need at least 3 images of a grade"):
        check_split(3, photographs.paths[:4], [0, 1, 2, 3], groups=[1, 2, 3, 4])


def open_bytes(path):
    with open(path, "rb") as file:
        return file.read()


def test_a_clean_split_comes_back(photographs):
    folds = check_split(4, photographs.frame, photographs.grades, random_state=0)
    assert len(folds) == 4
    tested = np.concatenate([test for _, test in folds])
    assert sorted(tested) == list(range(40))


def test_the_guard_in_a_search(photographs):
    model = TransferClassifier("tiny", "logistic", weights="fixed")
    grid = {"class_weight": [None, "balanced"]}
    leaky = GuardedSplit(StratifiedKFold(2, shuffle=True, random_state=0))
    with pytest.raises(SplitError, match="patient"):
        GridSearchCV(model, grid, cv=leaky).fit(photographs.frame, photographs.grades)
    guarded = GuardedSplit(2)
    search = GridSearchCV(model, grid, cv=guarded)
    search.fit(photographs.paths, photographs.grades, groups=photographs.patients)
    assert search.n_splits_ == guarded.get_n_splits() == 2


def test_tables_of_numbers_are_left_to_groups(blobs):
    X, y = blobs
    X = X.copy()
    X[1] = X[0]
    assert len(check_split(3, X, y)) == 3
    assert GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=GuardedSplit(3)).fit(X, y)


def test_the_inner_split_is_stratified():
    positions = np.repeat([0, 1, 2], [60, 30, 10])
    train, held = inner_split(positions, None, 0.2, seed=0)
    assert np.bincount(positions[held]).tolist() == [12, 6, 2]
    assert sorted([*train, *held]) == list(range(100))
    again = inner_split(positions, None, 0.2, seed=0)[1]
    assert np.array_equal(held, again)
    assert not np.array_equal(held, inner_split(positions, None, 0.2, seed=1)[1])


@pytest.mark.parametrize("seed", range(5))
def test_the_inner_split_keeps_groups_and_every_grade(seed):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(50), 2)
    positions = np.clip(np.repeat(rng.integers(0, 5, 50), 2) + rng.integers(0, 2, 100), 0, 4)
    positions[:2] = 5  # one patient holds the only images of a grade
    train, held = inner_split(positions, groups, 0.2, seed)
    assert not set(groups[train]) & set(groups[held])
    assert set(positions[train]) == set(positions)
    assert 10 <= len(held) <= 32


@pytest.mark.parametrize(
    ("positions", "groups", "fraction"),
    [([0, 1], None, 0.5), ([0, 0, 1, 1], None, 0.0), ([0, 1, 0, 1], [1, 1, 1, 1], 0.5)],
)
def test_nothing_to_hold_out(positions, groups, fraction):
    groups = None if groups is None else np.array(groups)
    train, held = inner_split(np.array(positions), groups, fraction, seed=0)
    assert held is None
    assert len(train) == len(positions)


def test_the_guard_under_metadata_routing(photographs):
    import sklearn

    leaky = GuardedSplit(StratifiedKFold(2, shuffle=True, random_state=0))
    model = TransferClassifier("tiny", "logistic", weights="fixed")
    with (
        sklearn.config_context(enable_metadata_routing=True),
        pytest.raises(SplitError, match="patient"),
    ):
        cross_val_score(
            model,
            photographs.paths,
            photographs.grades,
            cv=leaky,
            params={"groups": photographs.patients},
        )


def test_the_inner_split_of_many_patients():
    rng = np.random.default_rng(0)
    positions = rng.choice(5, 40_000, p=[0.73, 0.07, 0.15, 0.03, 0.02])
    groups = np.arange(40_000) // 2
    train, held = inner_split(positions, groups, 0.1, seed=0)
    assert not set(groups[train]) & set(groups[held])
    assert len(held) == pytest.approx(4_000, rel=0.01)
    shares = np.bincount(positions[held], minlength=5) / np.bincount(positions, minlength=5)
    assert shares == pytest.approx(np.full(5, 0.1), abs=0.03)


def test_a_grade_of_one_patient_is_refused(photographs):
    y = np.where(photographs.grades == 4, 3, photographs.grades)
    holder = photographs.patients[0]
    y[photographs.patients == holder] = 4
    with pytest.raises(SplitError, match=rf"no image of grade 4 .* only patient '{holder}' has it"):
        check_split(KFold(2), photographs.paths, y, photographs.patients)
    y[:] = np.repeat([0, 1], 20)
    with pytest.raises(SplitError, match="all 20 of it are in the test part; shuffle or stratify"):
        check_split(KFold(2), np.zeros((40, 2)), y)
    y[:], y[0] = 0, 1
    with pytest.raises(SplitError, match="only row 0 has it; add images of it, or join"):
        check_split(KFold(2), np.zeros((40, 2)), y)
    given = list(KFold(2).split(y))
    assert len(check_split(given, np.zeros((40, 2)), y)) == 2


def test_what_cannot_be_split_is_told():
    X, y = np.zeros((6, 1)), [0, 1] * 3
    with pytest.raises(SplitError, match="6 rows of 3 patients: Cannot have number of splits"):
        check_split(GroupKFold(5), X, y, groups=list("aabbcc"))
    with pytest.raises(SplitError, match="5 folds need at least 5 patients. Got 3"):
        check_split(5, X, y, groups=list("aabbcc"))
    with pytest.raises(SplitError, match="Fold 1 has no rows to test"):
        check_split([([0, 1], [2]), ([3], np.array([], int))], X, y)
    with pytest.raises(InvalidGradeError, match="Got nan in row 1, and 2 missing in all"):
        check_split(2, X, [0, np.nan, 1, 0, np.nan, 1])
    with pytest.raises(DataError, match="one grade a row. Got 2 for 6 rows"):
        check_split(2, X, [0, 1])
    with pytest.raises(DataError, match="one patient a row. Got 2 for 6 rows"):
        check_split(2, X, y, groups=["a", "b"])
