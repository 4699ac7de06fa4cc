"""Contact sheets: which photographs they show, in which order, and what stands below them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shutil import copy

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression, RidgeClassifier

from fundus import (
    ContactSheetDisplay,
    Evaluation,
    FixedCutpointClassifier,
    FoldEnsemble,
    TransferClassifier,
    evaluate,
    evaluate_out_of_fold,
    load_image_folder,
)
from fundus.exceptions import DataError, DataWarning, InvalidParameterError
from fundus.images import ImageRecipe, load_image
from fundus.reporting.displays.thumbnails import EDGE
from fundus.reporting.predictions import Predictions
from fundus.reporting.report import make_report
from fundus.reporting.sheets import contact_sheets
from fundus.runtime.figure_text import text_width


@pytest.fixture(scope="module")
def scored(photographs):
    """An ensemble of ridge heads, its photographs, and its out-of-fold evaluation."""
    one = TransferClassifier("tiny", "ridge", weights="fixed", image_size=32, cache=False)
    model = FoldEnsemble(one, cv=3, random_state=0).fit(photographs.frame, photographs.grades)
    return model, photographs, evaluate_out_of_fold(model, photographs)


def predicted(y, grades, severity=None, proba=None, names=None):
    """An evaluation with given predictions."""
    names = tuple(map(str, range(len(y)))) if names is None else tuple(names)
    of = Predictions(np.asarray(grades), severity, proba)
    return Evaluation(of, np.asarray(y), names, make_report(y, grades, n_grades=5), None)


def test_errors_are_ordered_by_grades_then_severity_then_row():
    y = [0, 4, 2, 2, 1, 0, 3]
    grades = [2, 2, 2, 3, 2, 4, 2]
    severity = np.array([1.6, 2.4, 2.0, 2.6, 1.75, 3.6, 2.25])
    table = predicted(y, grades, severity).ranked("errors")
    # the third is right; rows 4 and 6 tie at 0.75, the first of them comes first
    assert table["row"].tolist() == [5, 0, 1, 4, 6, 3]
    assert table["error"].tolist() == [4, 2, 2, 1, 1, 1]
    np.testing.assert_allclose(table["severity_error"], [3.6, 1.6, 1.6, 0.75, 0.75, 0.6])


def test_the_least_certain_have_nearly_two_grades_of_one_probability():
    proba = np.full((5, 5), 0.02)
    for row, (first, second) in enumerate([(0.9, 0.04), (0.5, 0.44), (0.47, 0.47), (0.6, 0.34)]):
        proba[row, row], proba[row, (row + 2) % 5] = first, second
    proba[4] = [0.2, 0.2, 0.2, 0.2, 0.2]
    grades = proba.argmax(axis=1)
    table = predicted([0, 1, 2, 3, 4], grades, proba @ np.arange(5.0), proba).ranked("uncertain")
    assert table["row"].tolist() == [2, 4, 1, 3, 0]
    np.testing.assert_allclose(table["margin"], [0, 0, 0.06, 0.26, 0.86], atol=1e-12)


def test_a_model_with_boundaries_is_least_certain_near_one(scored):
    model, _, found = scored
    table = found.ranked("uncertain")
    away = np.abs(model.oof_severity_[:, None] - [0.5, 1.5, 2.5, 3.5]).min(axis=1)
    np.testing.assert_array_equal(table["row"], np.argsort(away, kind="stable"))
    np.testing.assert_allclose(table["margin"], np.sort(away))
    assert len(table) == len(away)


def test_out_of_fold_the_boundaries_are_those_of_the_fold():
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    X = y[:, np.newaxis] + rng.normal(0, 0.6, (90, 1))
    one = TransferClassifier("precomputed", "ridge", grades=3)
    model = FoldEnsemble(
        FixedCutpointClassifier(one, cutpoints=[0.3, 1.4]), cv=3, random_state=0
    ).fit(X, y)
    found = evaluate_out_of_fold(model, (X, y))
    cuts = np.array([[0.3, 1.4], [0.6, 1.5], [0.9, 1.6]])
    found = replace(found, boundaries=cuts)
    away = np.abs(model.oof_severity_[:, None] - cuts[model.oof_fold_]).min(axis=1)
    table = found.ranked("uncertain")
    np.testing.assert_allclose(table["margin"], np.sort(away))
    averaged = evaluate(model, (X, y))
    away = np.abs(averaged.predictions.severity[:, None] - [[0.3, 1.4]]).min(axis=1)
    np.testing.assert_allclose(averaged.ranked("uncertain")["margin"], np.sort(away))


@pytest.mark.parametrize("by", ["errors", "uncertain"])
def test_the_photographs_drawn_are_the_top_of_the_table(scored, by):
    import matplotlib.pyplot as plt

    _, data, found = scored
    before = plt.get_fignums()
    display = ContactSheetDisplay.from_evaluation(found, data.paths, by=by, n=5)
    table = found.ranked(by).head(5)
    assert display.table_.equals(table)
    for name, text in zip(table["file"], display.captions_, strict=True):
        assert text.endswith(f"/{Path(name).name}")
    for row, (image,) in zip(table["row"], display.pictures_, strict=True):
        expected = load_image(data.paths[row], ImageRecipe(EDGE))
        np.testing.assert_array_equal(image.get_array(), expected)
    for text, known in zip(display.captions_, table.to_dict("records"), strict=True):
        assert text.startswith(f"true {known['target']} → predicted {known['prediction']}\n")
        assert f"fold {known['fold']}" in text
        number = "margin" if by == "uncertain" else "severity"
        assert f"{number} {known[number]:.2f}" in text
    assert display.figure_ is display.ax_.figure
    assert plt.get_fignums() == before


def test_only_the_photographs_that_are_drawn_are_read(scored, monkeypatch):
    import fundus.data.inputs as inputs

    read = []
    original = inputs.read_bytes
    monkeypatch.setattr(inputs, "read_bytes", lambda path: read.append(path) or original(path))
    _, data, found = scored
    display = ContactSheetDisplay.from_evaluation(found, data.paths, n=3)
    assert sorted(read) == sorted(data.paths[row] for row in display.table_["row"])


def test_colours_and_words_tell_on_which_side_a_grade_is(scored):
    _, data, found = scored
    display = ContactSheetDisplay.from_evaluation(found, data.paths, by="uncertain", n=16)
    colours = dict(zip(display.captions_, display.colours, strict=True))
    for caption, colour in colours.items():
        true, grade = (int(word) for word in caption.split("\n")[0].split() if word.isdigit())
        expected = "#D55E00" if grade < true else "#0072B2" if grade > true else "black"
        assert colour == expected


def test_a_photograph_that_moved_or_is_damaged_stays_grey(scored, tmp_path):
    _, data, found = scored
    paths = [copy(path, tmp_path / f"{k}.jpeg") for k, path in enumerate(data.paths)]
    first, second = found.ranked("errors")["row"][:2]
    Path(paths[first]).unlink()
    Path(paths[second]).write_bytes(Path(paths[second]).read_bytes()[:200])
    with pytest.warns(DataWarning, match=r"stays grey: .*1 more cannot be read either"):
        display = ContactSheetDisplay.from_evaluation(found, paths, n=4)
    assert [cell[0] is None for cell in display.pictures_] == [True, True, False, False]
    shown = [text.get_text() for text in display.ax_.texts]
    assert {"not there any more", "cannot be read"} <= set(shown)
    display.figure_.canvas.draw()


def test_maps_are_those_of_the_model_that_did_not_see_a_photograph(scored):
    from fundus.explain.overlay import coloured

    model, data, found = scored
    display = ContactSheetDisplay.from_evaluation(found, data.paths, n=3, model=model)
    assert "orange raises" in display.note
    for row, fold, pictures in zip(
        display.table_["row"], display.table_["fold"], display.pictures_, strict=True
    ):
        photograph = load_image(data.paths[row], ImageRecipe(EDGE))
        size = load_image(data.paths[row], ImageRecipe(32))
        alone = model.estimators_[fold].explain(size[np.newaxis])
        # the same grid, over a larger square
        expected = coloured(cv2.resize(photograph, (32, 32)), alone.map(0)).astype(int)
        drawn = cv2.resize(np.asarray(pictures[1].get_array()), (32, 32)).astype(int)
        assert np.abs(drawn - expected).mean() < 12
        other = model.estimators_[(fold + 1) % 3].explain(size[np.newaxis])
        wrong = coloured(cv2.resize(photograph, (32, 32)), other.map(0)).astype(int)
        assert np.abs(drawn - expected).mean() < np.abs(drawn - wrong).mean()


def test_a_head_that_is_not_linear_has_no_maps_and_that_is_said(photographs):
    head = TransferClassifier("tiny", "svm", weights="fixed", image_size=32, cache=False)
    head = head.set_params(head__kernel="rbf")
    model = head.fit(photographs.frame, photographs.grades)
    found = evaluate(model, photographs)
    display = ContactSheetDisplay.from_evaluation(found, photographs.paths, n=2, model=model)
    assert all(len(cell) == 1 for cell in display.pictures_)
    assert "No maps" in display.note


def test_sets_of_grades_are_written(scored):
    _, data, found = scored
    n = len(found.y_true)
    sets = np.zeros(n, int), np.full(n, 2)
    found = replace(found, predictions=replace(found.predictions, sets=sets))
    display = ContactSheetDisplay.from_evaluation(found, data.paths, n=1)
    assert "set 0-2" in display.captions_[0]
    assert display.table_["grades_set"][0] == "0;1;2"


def test_folds_that_vote_by_majority_have_no_certainty():
    X, y = np.arange(40.0).reshape(-1, 1), np.arange(40) % 2
    model = FoldEnsemble(RidgeClassifier(), cv=2, voting="hard", random_state=0).fit(X, y)
    found = evaluate_out_of_fold(model, (X, y))
    assert set(found.ranked("errors")["error"]) == {1}
    with pytest.raises(DataError, match="neither probabilities nor a severity"):
        found.ranked("uncertain")
    pictures = np.zeros((40, 8, 8, 3), np.uint8)
    with pytest.warns(DataWarning, match="least certain photographs are not drawn"):
        assert list(contact_sheets(found, pictures)) == ["errors"]


def test_numbers_have_no_sheet_and_that_is_told():
    X, y = np.arange(40.0).reshape(-1, 1), np.arange(40) % 2
    found = evaluate(LogisticRegression().fit(X, y), (X, y))
    with pytest.warns(DataWarning, match="numbers, not photographs"):
        assert contact_sheets(found, X) == {}
    with pytest.raises(DataError, match="needs the photographs"):
        ContactSheetDisplay.from_evaluation(found, X)


def test_few_photographs_one_grade_and_no_error():
    eye = np.full((1, 20, 30, 3), 90, np.uint8)
    right = predicted([2], [2], np.array([2.1]))
    display = ContactSheetDisplay.from_evaluation(right, eye)
    assert (display.pictures_, len(display.table_)) == ([], 0)
    assert "no photograph is graded wrong" in display.title
    wrong = predicted([2], [0], np.array([0.1]))
    display = ContactSheetDisplay.from_evaluation(wrong, eye)
    assert display.captions_ == ["true 2 → predicted 0\nseverity 0.10\n0"]
    assert "1 photograph is graded wrong" in display.title
    for shown in (display, ContactSheetDisplay(eye, ["one"]).plot()):
        shown.figure_.canvas.draw()


@pytest.mark.slow
def test_tiny_and_grey_photographs_and_names_of_any_kind(tmp_path):
    names = [
        "глаз_левый.png",
        "左眼$\\frac$\t.png",
        "n" * 300 + ".png",
        "a/long/path/" * 9 + "1.png",
    ]
    y, grades = [0, 0, 0, 0], [1, 1, 1, 1]
    grey = np.full((3, 2), 100, np.uint8)
    paths = [tmp_path / f"{k}.png" for k in range(4)]
    for path in paths:
        cv2.imwrite(str(path), grey)
    found = predicted(y, grades, np.array([1.0, 1.0, 1.0, 1.0]), names=names)
    display = ContactSheetDisplay.from_evaluation(found, paths)
    display.figure_.canvas.draw()
    drawn = [text.split("\n")[-1] for text in display.captions_]
    assert drawn[0] == "глаз_левый.png"
    assert drawn[1] == "□□$\\frac$□.png"
    assert drawn[2].startswith("nnn")
    assert drawn[2].endswith("nn.png")
    assert drawn[3] == "…/1.png"
    assert all(text_width(text, 11) <= 2.35 * 72 for text in drawn)


def test_names_of_grades_fit_beside_each_other():
    from fundus.reporting.displays.sheet_contents import captions_of

    found = predicted([0, 1], [1, 0], np.array([1.0, 0.1]))
    names = ["not gradable by anyone at all", "severe and worse than that"]
    for caption in captions_of(found.ranked(), names, by="errors"):
        first = caption.split("\n")[0]
        assert "…" in first
        assert " → " in first
        assert text_width(first, 12, weight="bold") <= 2.35 * 72


def test_given_axes_are_filled():
    ax = Figure(figsize=(6, 6)).subplots()
    display = ContactSheetDisplay(np.zeros((5, 10, 20, 3), np.uint8), list("abcde"), title="Five")
    assert display.plot(ax).ax_ is ax
    assert display.figure_ is ax.figure
    assert len(ax.images) == 5
    display.figure_.savefig("/dev/null", format="png")
    (low, high), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    for image in ax.images:
        left, right, lower, upper = image.get_extent()
        assert low <= left < right <= high
        assert top <= upper < lower <= bottom
        assert (right - left) == pytest.approx(2 * (lower - upper))  # not squeezed


@pytest.mark.parametrize("n", [0, -1, 2.5, True])
def test_the_number_of_photographs_is_checked(n):
    found = predicted([2], [0], np.array([0.1]))
    with pytest.raises(InvalidParameterError, match="'n' parameter"):
        ContactSheetDisplay.from_evaluation(found, np.zeros((1, 9, 9, 3), np.uint8), n=n)


def test_what_does_not_match_is_refused():
    found = predicted([2], [0], np.array([0.1]))
    pictures = np.zeros((2, 9, 9, 3), np.uint8)
    with pytest.raises(DataError, match="one of 1 images, and 2 are given"):
        ContactSheetDisplay.from_evaluation(found, pictures)
    with pytest.raises(InvalidParameterError, match="'by' parameter"):
        found.ranked("worst")
    with pytest.raises(DataError, match="Got 1 captions"):
        ContactSheetDisplay(pictures, ["one"]).plot()


def test_two_grades(tmp_path):
    rng = np.random.default_rng(0)
    for grade in ("healthy", "ill"):
        (tmp_path / grade).mkdir()
        for k in range(6):
            eye = rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)
            cv2.imwrite(str(tmp_path / grade / f"{k}_{grade}.png"), eye)
    data = load_image_folder(tmp_path, class_names=["healthy", "ill"], patients_unknown="ok")
    one = TransferClassifier("tiny", "logistic", weights="fixed", image_size=32, cache=False)
    found = evaluate(one.set_params(grades=2).fit(data.frame, data.grades), data)
    sheets = contact_sheets(found, data.paths)
    assert list(sheets) == ["errors", "uncertain"]
    assert len(sheets["uncertain"].captions_) == 12
    first = sheets["uncertain"].captions_[0].split("\n")[0]
    assert first in {f"{a} → {b}" for a in ("healthy", "ill") for b in ("healthy", "ill")}
