"""The audit of a training: the same findings as an audit, from what is there already."""

from __future__ import annotations

from pathlib import Path
from shutil import copy

import cv2
import numpy as np
import pandas as pd
import pytest

from fundus import FeatureExtractor, audit_images, find_near_duplicates, make_fundus
from fundus.audit.trained import audit_of_training
from fundus.data.inputs import Images, as_images
from fundus.frozen.photographs import MEASURES, PADDED_SHARE, measure_photographs
from fundus.frozen.pixel_digests import pixel_digests
from fundus.images import load_image
from fundus.images.quality import MEASURED_AT, measure_quality


@pytest.fixture(scope="module")
def dirty(tmp_path_factory):
    """12 photographs, a copy, a near duplicate, and three poor ones."""
    folder = tmp_path_factory.mktemp("dirty")
    data = make_fundus(12, 192, 3, out_dir=folder)
    first = load_image(data.paths[0], MEASURED_AT)
    copy(data.paths[3], folder / "copy.jpeg")
    small = np.zeros_like(first)
    cv2.circle(small, (256, 256), 60, (200, 140, 90), -1)  # an eighth of the square's edge
    made = {
        "mirrored.png": load_image(data.paths[6], MEASURED_AT)[:, ::-1],
        "black.png": np.zeros_like(first),
        "dark.png": (first * 0.1).astype(np.uint8),
        "small.png": small,
    }
    for name, picture in made.items():
        cv2.imwrite(str(folder / name), np.ascontiguousarray(picture[:, :, ::-1]))
    paths = [*data.paths, *(str(folder / name) for name in ("copy.jpeg", *made))]
    grades = [*data.grades, (data.grades[3] + 1) % 5, data.grades[6], 0, 0, 0]
    return paths, np.array(grades)


def given(paths, y, **more):
    images = as_images(paths)
    measures = measure_photographs(images, None)
    measures = measures.assign(fov_share=measures[PADDED_SHARE])
    digests, fold = pixel_digests(images, None), np.arange(len(y)) % 2
    return audit_of_training(paths, y, None, digests, fold, measures=measures, **more)


def test_it_finds_what_an_audit_finds(dirty):
    paths, y = dirty
    extractor = FeatureExtractor("tiny", weights="fixed", image_size=64, cache=False)
    whole = audit_images(paths, y, extractor=extractor, cv=None, cache=False)
    found = given(paths, y, pairs=find_near_duplicates(paths, extractor, cache=False))
    assert found.images["issues"].tolist() == whole.images["issues"].tolist()
    issues = dict(zip((Path(p).name for p in paths), found.images["issues"], strict=True))
    assert issues["copy.jpeg"] == "duplicate;conflicting_labels"
    assert issues["mirrored.png"] == "near_duplicate"
    assert "no_field_of_view" in issues["small.png"]
    for column in ("duplicate_of", "near_duplicate_of"):
        assert found.images[column].tolist() == whole.images[column].tolist()
    for column in ("fov_share", "brightness", "sharpness", "correlation"):
        np.testing.assert_allclose(found.images[column], whole.images[column], rtol=1e-12)
    shared = ["what", "row", "other_row"]
    pd.testing.assert_frame_equal(found.alike()[shared], whole.alike()[shared])


def test_the_field_of_view_is_that_of_the_quality_measures(dirty):
    paths, _ = dirty
    table = measure_photographs(as_images(paths), None)
    expected = [measure_quality(load_image(path, MEASURED_AT)).fov_share for path in paths]
    assert table[PADDED_SHARE].tolist() == expected
    assert list(table) == [*MEASURES, PADDED_SHARE]


def test_labels_are_judged_by_the_rule_of_confident_learning():
    rng = np.random.default_rng(1)
    y, fold = rng.integers(0, 3, 80), np.arange(80) % 4
    proba = rng.dirichlet(np.ones(4), 80)
    names, digests = [f"{k}.png" for k in range(80)], [str(k) for k in range(80)]
    found = audit_of_training(names, y, None, digests, fold, proba=proba).images
    own = np.array([proba[k, y[k]] for k in range(80)])
    assert found["self_confidence"].tolist() == own.tolist()
    usual = [own[y == g].mean() for g in range(3)]
    for k in range(80):
        above = [g for g in range(3) if proba[k, g] >= usual[g]]
        likely = max(above, key=lambda g: proba[k, g]) if above else None
        assert (found["likely_grade"][k] is pd.NA) if likely is None else (
            found["likely_grade"][k] == likely)  # fmt: skip
        least = own[k] <= np.sort(own)[7]
        suspect = least and likely is not None and likely != y[k]
        assert (found["issues"][k] == "label_suspect") is bool(suspect)
    assert 0 < (found["issues"] == "label_suspect").sum() <= 8


def test_a_label_that_is_the_likely_grade_is_not_suspect():
    """All of grade 1 has little probability, and no other grade has what is usual for it."""
    y, fold = np.repeat([0, 1], 10), np.arange(20) % 2
    proba = np.where(y[:, None] == 0, [0.9, 0.1], [0.8, 0.2])
    names = [f"{k}.png" for k in range(20)]
    found = audit_of_training(names, y, None, names, fold, proba=proba).images
    assert found["likely_grade"].tolist() == y.tolist()
    assert found["issues"].tolist() == [""] * 20


def test_a_grade_that_a_fold_was_not_shown_is_not_judged():
    y, fold = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 0])
    proba = np.full((5, 3), 1 / 3)
    found = audit_of_training(list("abcde"), y, None, list("abcde"), fold, proba=proba).images
    assert found["self_confidence"].isna().tolist() == [False] * 4 + [True]


def test_what_is_not_given_is_not_looked_at():
    found = audit_of_training(["a", "b"], np.array([0, 1]), None, ["1", "2"], np.array([0, 1]))
    assert found.images["issues"].tolist() == ["", ""]
    assert found.images[["fov_share", "brightness", "self_confidence"]].isna().all(axis=None)
    assert len(found.alike()) == len(found.suspects()) == 0


def test_a_training_has_all_but_the_thumbnails(photographs, tmp_path, monkeypatch):
    """The audit of a run decodes candidates at the size in which they are compared, no more."""
    import fundus.cli.audited as audited
    from fundus import FoldEnsemble, TransferClassifier, evaluate_out_of_fold
    from fundus.model_selection.near_duplicates import COMPARED_AT
    from fundus.store import open_store

    data, cache = photographs, tmp_path / "cache"
    model = TransferClassifier("tiny", "logistic", weights="fixed", cache=cache)
    model = FoldEnsemble(model, cv=2, random_state=0).fit(data.frame, data.grades)
    evaluate_out_of_fold(model, data, shortcuts=True)
    pixel_digests(as_images(data.paths), open_store(cache))
    recipes, read = set(), Images.picture
    monkeypatch.setattr(
        Images, "picture", lambda self, row, recipe: recipes.add(recipe) or read(self, row, recipe)
    )
    decoded = []
    monkeypatch.setattr(
        "fundus.frozen.photographs._measured", lambda *of: decoded.append(of) or np.zeros(6)
    )
    measures, pairs = audited._looked_at(model, data)
    assert recipes == {COMPARED_AT}
    assert decoded == []
    assert len(measures) == 40
    assert list(pairs) == ["first", "second", "correlation", "mirrored"]
