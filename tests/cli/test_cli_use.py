"""``fundus predict`` and ``fundus evaluate``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import fundus
from fundus.cli.data import ids_of, names_of


def test_predict_grades_a_folder(document, trained, others, tmp_path):
    output = tmp_path / "deep" / "results.csv"
    printed = document("predict", trained[0], others, "-o", output)
    table = pd.read_csv(output)
    assert list(table)[:5] == ["id", "class", "file", "grade", "severity"]
    assert set(table["id"]) == {p.stem for p in others.glob("*/*.jpeg")}
    paths = {p.stem: str(p) for p in others.glob("*/*.jpeg")}
    model = fundus.load(trained[0] / "model")
    expected = model.predict([paths[name] for name in table["id"]])
    assert table["class"].tolist() == [f"class{grade}" for grade in expected]
    assert sum(printed["n_predicted"].values()) == printed["n_images"] == 20
    assert [p.name for p in output.parent.iterdir()] == ["results.csv"]


def test_predict_takes_a_bare_model_one_image_and_a_table(run, trained, others, tmp_path):
    image = next(others.glob("class2/*.jpeg"))
    output = tmp_path / "one.csv"
    run("predict", trained[0] / "model", image, "-o", output)
    assert pd.read_csv(output)["id"].tolist() == [image.stem]
    names = [str(p.relative_to(others)) for p in sorted(others.glob("*/*.jpeg"))][:3]
    pd.DataFrame({"file": names}).to_csv(tmp_path / "new.csv", index=False)
    result = run("predict", trained[0], tmp_path / "new.csv", "--image-dir", others, "-o", output)
    assert pd.read_csv(output)["id"].tolist() == [Path(name).stem for name in names]
    assert "Warning" not in result.stderr


def test_predict_takes_several_images_and_one_twice(run, trained, others, tmp_path):
    first, second = sorted(others.glob("class2/*.jpeg"))[:2]
    output = tmp_path / "some.csv"
    run("predict", trained[0], first, second, first, "-o", output)
    table = pd.read_csv(output)
    assert table["id"].tolist() == [first.stem, second.stem, first.stem]
    expected = fundus.load(trained[0] / "model").predict([str(first), str(second)])
    assert table["class"].tolist() == [f"class{expected[k]}" for k in (0, 1, 0)]
    run("predict", trained[0], others / "class1", first, "-o", output)
    assert len(pd.read_csv(output)) == len([*(others / "class1").glob("*.jpeg")]) + 1
    pd.DataFrame({"file": [str(first)]}).to_csv(tmp_path / "new.csv", index=False)
    result = run("predict", trained[0], first, tmp_path / "new.csv", "-o", output, code=2)
    assert "give a table alone" in " ".join(result.stderr.replace("│", " ").split())


def test_predict_writes_nothing_or_sets_aside(run, trained, others, tmp_path):
    new = tmp_path / "new"
    new.mkdir()
    good = next(others.glob("class1/*.jpeg"))
    (new / "good.jpeg").write_bytes(good.read_bytes())
    (new / "empty.jpeg").touch()
    output = tmp_path / "results.csv"
    output.write_text("of an earlier day")
    result = run("predict", trained[0], new, "-o", output, code=1)
    assert "empty.jpeg" in result.stderr
    assert output.read_text() == "of an earlier day"
    run("predict", trained[0], new, "-o", output, "--on-error", "skip", code=2)
    assert output.read_text() == "of an earlier day"
    result = run("predict", trained[0], new, "-o", output, "--on-error", "skip", "--force")
    assert "Replacing" in result.stderr
    assert pd.read_csv(output)["id"].tolist() == ["good"]
    skipped = pd.read_csv(tmp_path / "skipped.csv")
    assert [Path(path).name for path in skipped["path"]] == ["empty.jpeg"]


def test_ids_keep_files_apart():
    assert ids_of(["d/a/1.png", "d/b/2.png"], Path("d")) == ["1", "2"]
    assert ids_of(["d/a/1.png", "d/b/1.png"], Path("d")) == ["a/1", "b/1"]
    assert ids_of(["d/a/1.png", "d/a/1.jpg"], Path("d")) == ["a/1.png", "a/1.jpg"]
    assert names_of(["d/a/1.png", "e/1.png"], Path("d/")) == ["a/1.png", "e/1.png"]
    assert names_of(["/r/a.png"], Path("/")) == ["r/a.png"]


def test_evaluate_scores_other_images(run, trained, others, tmp_path):
    output = tmp_path / "results.csv"
    result = run("evaluate", trained[0], others, "-o", output, "--json")
    printed = json.loads(result.stdout)
    table = pd.read_csv(output)
    assert list(table)[:6] == [
        *("file_name", "target", "prediction"),
        *("file", "grade", "severity"),
    ]
    accuracy = (table["target"] == table["prediction"]).mean()
    assert printed["scores"]["accuracy"] == pytest.approx(accuracy)
    assert printed["training_images"] == 0
    assert "Warning" not in result.stderr


def test_evaluate_applies_the_points_of_the_training(document, trained, others, tmp_path):
    output = tmp_path / "results.csv"
    printed = document("evaluate", trained[0], others, "-o", output)
    assert json.loads((tmp_path / "results.json").read_text()) == printed
    table = pd.read_csv(output)
    chosen = trained[1]["out_of_fold"]["screening"]["referable"]["operating_points"]
    points = printed["scores"]["screening"]["referable"]["operating_points"]
    assert [p["threshold"] for p in points] == [p["threshold"] for p in chosen]
    positive = table["target"] >= 2
    for point in points:
        assert not point["chosen_here"]
        flagged = table["severity"] >= point["threshold"]
        assert point["sensitivity"]["value"] == pytest.approx(flagged[positive].mean())
        assert point["specificity"]["value"] == pytest.approx(1 - flagged[~positive].mean())
    assert printed["scores"]["coverage"]["n_images"] == 20
    names = {p.name for p in tmp_path.iterdir()}
    figures = {"confusion.png", "severity.png", "reliability.png", "roc.png", "shortcuts.png"}
    figures |= {"scores.csv", "errors.png", "errors.csv", "uncertain.png", "uncertain.csv"}
    assert names == {"results.csv", "results.json"} | {f"results-{f}" for f in figures}


def test_evaluate_refers_what_cannot_be_read(document, run, trained, others, tmp_path):
    data = tmp_path / "data"
    for grade in range(5):
        (data / f"class{grade}").mkdir(parents=True)
        for file in (others / f"class{grade}").iterdir():
            (data / f"class{grade}" / file.name).write_bytes(file.read_bytes())
    broken = sorted((data / "class0").iterdir())[0]
    broken.write_bytes(broken.read_bytes()[:300])
    output = tmp_path / "results.csv"
    run("evaluate", trained[0], data, "-o", output, code=1)
    scores = document("evaluate", trained[0], data, "-o", output, "--on-error", "skip")["scores"]
    screening = scores["screening"]
    assert (scores["n_images"], screening["n_images"], screening["n_ungradable"]) == (19, 20, 1)
    table = pd.read_csv(output)
    negative = table["target"] < 2
    for point in screening["referable"]["operating_points"]:
        cleared = (table["severity"] < point["threshold"])[negative].sum()
        assert point["specificity"]["value"] == pytest.approx(cleared / (negative.sum() + 1))


def test_evaluate_warns_of_training_images(run, trained, folder, tmp_path):
    result = run("evaluate", trained[0], folder / "labels.csv", "-o", tmp_path / "results.csv")
    assert "40 of 40 images ARE AMONG THE TRAINING IMAGES" in result.stderr
    assert "quadratic weighted kappa" in result.stdout


def test_evaluate_takes_any_numbered_folders(document, trained, others, tmp_path):
    for grade in range(3):
        (tmp_path / "data").mkdir(exist_ok=True)
        os.symlink(others / f"class{grade}", tmp_path / "data" / str(grade))
    printed = document("evaluate", trained[0], tmp_path / "data", "-o", tmp_path / "r.csv")
    assert printed["scores"]["n_true"][3:] == [0, 0]


def test_evaluate_takes_a_model_saved_in_python(run, others, photographs, tmp_path):
    model = fundus.TransferClassifier("tiny", "ridge", weights="fixed")
    model.fit(photographs.paths, photographs.grades).save(tmp_path / "model")
    result = run("evaluate", tmp_path / "model", others, "-o", tmp_path / "r.csv", "--json")
    assert json.loads(result.stdout)["training_images"] is None
    table = pd.read_csv(tmp_path / "r.csv")
    data = fundus.load_image_folder(others)
    np.testing.assert_array_equal(table["prediction"], model.predict(data.paths))
    np.testing.assert_allclose(table["severity"], model.predict_severity(data.paths), atol=1e-5)
