"""`compare`: two models on the same images; and `fundus compare` on the records of runs."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from fundus import compare, evaluate, paired_difference
from fundus.cli import app
from fundus.exceptions import BundleError, DataError
from fundus.reporting.compared import compare_predictions
from fundus.reporting.record import read_record


@pytest.fixture(scope="module")
def two():
    """Evaluations of a good and of a poor model on the same 120 images of 60 patients."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 5, 120)
    X = np.column_stack([y + rng.normal(0, 0.7, 120), rng.normal(size=120)])
    good = LogisticRegression().fit(X, y)
    poor = LogisticRegression().fit(X[:, 1:], y)
    return evaluate(good, (X, y)), evaluate(poor, (X[:, 1:], y)), np.repeat(np.arange(60), 2)


def test_scores_and_intervals_are_those_of_paired_differences(two):
    good, poor, patients = two
    found = compare(good, poor, names=("good", "poor"), groups=patients, n_resamples=200)
    assert (found.n_images, found.n_patients) == (120, 60)
    expected = paired_difference(
        "qwk", good.y_true, good.predictions.grades, poor.predictions.grades, groups=patients,
        n_resamples=200,
    )  # fmt: skip
    assert found.differences["qwk"] == expected
    assert found.differences["macro_auc"].a == pytest.approx(
        good.report.measures["macro_auc"].value
    )
    assert expected.difference.interval.low > 0
    assert found.to_frame().set_index("score").loc["qwk", "difference"] == expected.difference.value
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["names"] == ["good", "poor"]
    assert "good and poor: the same 120 images of 60 patients" in str(found)


def test_a_model_and_itself_differ_by_nothing(two):
    good = two[0]
    found = compare(good, good)
    for pair in found.differences.values():
        ends = pair.difference.interval
        assert (pair.difference.value, ends.low, ends.high) == (0, 0, 0)
    assert "+0.000 to +0.000" in str(found)


def test_other_images_are_refused(two):
    good = two[0]
    X, y = np.arange(10.0).reshape(-1, 1), np.arange(10) % 5
    few = evaluate(LogisticRegression().fit(X, y), (X, y))
    with pytest.raises(DataError, match="Got 120 and 10 images"):
        compare(good, few)
    other = evaluate(LogisticRegression().fit(X, y), (X, y[::-1].copy()))
    with pytest.raises(DataError, match="grades 0 and 4 of '0'"):
        compare(few, other)
    with pytest.raises(DataError, match=r"'0' and 'a\.jpg' in row 0"):
        compare(few, replace(few, names=("a.jpg", *few.names[1:])))


def test_one_grade_has_no_auc():
    y = np.zeros(12, int)
    proba = np.tile([0.7, 0.3], (12, 1))
    found = compare_predictions(y, (y, y), (proba, proba), n_grades=2, n_resamples=20)
    assert "macro_auc" not in found.differences
    assert found.differences["accuracy"].difference.value == 0


# --- runs -----------------------------------------------------------------------------------------


def written(folder, severity, *, digests=None, target=None, metrics=None, patient=True):
    """A run's documents, as ``fundus train`` writes them."""
    n = len(severity)
    target = np.arange(n) % 3 if target is None else target
    grade = np.clip(np.rint(severity), 0, 2).astype(int)
    proba = np.full((n, 3), 0.1)
    proba[np.arange(n), grade] = 0.8
    names = [f"{k}.jpg" for k in range(n)]
    table = pd.DataFrame(
        {"file_name": names, "target": target, "prediction": grade, "fold": 0, "file": names}
    )
    if patient:
        table["patient"] = [f"p{k // 2}" for k in range(n)]
    table = table.assign(grade=grade, severity=severity)
    for k in range(3):
        table[f"probability_{k}"] = proba[:, k]
    folder.mkdir()
    table.to_csv(folder / "oof.csv", index=False)
    (folder / "model").mkdir()
    digests = [f"{k:064x}" for k in range(n)] if digests is None else digests
    pd.DataFrame({"pixels_sha256": digests, "fold": 0}).to_csv(
        folder / "model" / "training_images.csv", index=False
    )
    document = {
        "settings": {}, "data": {"class_names": ["a", "b", "c"]}, "folds": [], "out_of_fold": {},
        "files": {"oof.csv": ""},
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(document | (metrics or {})))
    return folder


@pytest.fixture
def runs(tmp_path):
    rng = np.random.default_rng(0)
    severity = np.arange(60) % 3 + rng.normal(0, 0.5, 60)
    return written(tmp_path / "one", severity), tmp_path, severity


def run(*arguments):
    from typer.testing import CliRunner

    return CliRunner().invoke(app, ["compare", *map(str, arguments)], obj="fundus")


def test_runs_are_compared_image_by_image_whatever_their_order(runs):
    one, folder, severity = runs
    rows = np.random.default_rng(1).permutation(60)
    written(
        folder / "two", severity[rows], target=(np.arange(60) % 3)[rows],
        digests=[f"{k:064x}" for k in rows],
    )  # fmt: skip
    done = run(one, folder / "two", "-o", folder / "found.csv")
    assert done.exit_code == 0, done.output
    found = pd.read_csv(folder / "found.csv")
    assert (found["difference"] == 0).all()
    assert (found["low"] == 0).all()
    document = json.loads((folder / "found.json").read_text())
    assert document["comparisons"][0]["n_patients"] == 30
    assert (folder / "found-1.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_several_runs_are_compared_with_the_first(runs):
    one, folder, severity = runs
    for name, noise in (("two", 0.6), ("three", 2.0)):
        other = severity + np.random.default_rng(2).normal(0, noise, 60)
        written(folder / name, other)
    done = run(one, folder / "two", folder / "three", "-o", folder / "found.csv")
    assert done.exit_code == 0, done.output
    found = pd.read_csv(folder / "found.csv").set_index(["against", "score"])
    assert set(found.index.get_level_values("against")) == {"two", "three"}
    assert found.loc[("three", "qwk"), "difference"] > found.loc[("two", "qwk"), "difference"]
    assert (folder / "found-2.png").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"digests": [f"{k + 1:064x}" for k in range(60)]}, "'0.jpg' of the first is not in the"),
        ({"target": np.zeros(60, int)}, "other true grades of 40 of 60 images, such as 1 and 0"),
        ({"metrics": {"data": {"class_names": ["a", "b"]}}}, "on scales of 3 and 2 grades"),
    ],
)
def test_runs_on_other_images_are_refused(runs, changes, message):
    one, folder, severity = runs
    written(folder / "two", severity, **changes)
    done = run(one, folder / "two", "-o", folder / "found.csv")
    assert done.exit_code == 1
    assert message in done.output
    assert not (folder / "found.csv").exists()


def test_what_is_no_complete_run_is_told(runs):
    one, folder, _ = runs
    (folder / "none").mkdir()
    with pytest.raises(BundleError, match="not a complete run, since it lacks metrics.json"):
        read_record(folder / "none")
    (folder / "none" / "metrics.json").write_text('{"settings": {}}')
    with pytest.raises(BundleError, match="lacks data, folds, out_of_fold, files"):
        read_record(folder / "none")
    (one / "oof.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BundleError, match=r"oof\.csv' cannot be read"):
        read_record(one).predictions  # noqa: B018
    assert run(one).exit_code == 2
