"""``fundus train``: the run's folder, its scores, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score
from sklearn.utils import Bunch
from typer.testing import CliRunner

import fundus
from fundus.cli import app
from fundus.cli.choosing import choose
from fundus.cli.options import Sampling
from fundus.cli.settings import Settings
from fundus.cli.training import make_classifier, make_model


@pytest.mark.slow
def test_train_writes_a_run(trained, folder):
    out, printed = trained
    assert printed == json.loads((out / "metrics.json").read_text())
    assert {p.name for p in out.iterdir()} == {name.rstrip("/") for name in printed["files"]}
    assert {"model", "oof.csv", "metrics.json", "confusion.png", "severity.png"} <= {
        p.name for p in out.iterdir()
    }
    oof = pd.read_csv(out / "oof.csv")
    proba = [f"probability_{k}" for k in range(5)]
    assert list(oof) == [
        *("file_name", "target", "prediction", "fold"),
        *("file", "patient", "grade", "severity"),
        *proba,
    ]
    for name, target in zip(oof["file_name"], oof["target"], strict=True):
        assert (folder / name).is_file()
        assert name.startswith(f"class{target}/")
    np.testing.assert_allclose(oof[proba].sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(oof[proba] @ np.arange(5), oof["severity"], atol=1e-4)
    assert printed["settings"]["backbone"] == "tiny"
    assert printed["seconds"] > 0


def test_train_scores_what_it_wrote(trained):
    out, printed = trained
    oof = pd.read_csv(out / "oof.csv")
    kappa = cohen_kappa_score(
        oof["target"], oof["prediction"], labels=range(5), weights="quadratic"
    )
    scores = printed["out_of_fold"]
    assert scores["qwk"] == pytest.approx(kappa)
    assert scores["accuracy"] == pytest.approx((oof["target"] == oof["prediction"]).mean())
    assert scores["n_images"] == 40
    assert scores["n_patients"] == 20
    assert scores["intervals"]["qwk"]["by_patient"] is True
    assert np.sum(scores["confusion"]) == 40
    assert [fold["n_images"] for fold in printed["folds"]] == oof["fold"].value_counts(
        sort=False
    ).sort_index().tolist()


def test_train_screens_and_saves_every_score_with_an_interval(trained):
    out, printed = trained
    oof = pd.read_csv(out / "oof.csv")
    screening = printed["out_of_fold"]["screening"]
    for name, lowest in (("referable", 2), ("sight-threatening", 3)):
        positive = oof["target"] >= lowest
        found = screening[name]
        auc = roc_auc_score(positive, oof["severity"])
        assert found["auc"]["value"] == pytest.approx(auc, abs=1e-3)
        for point in found["operating_points"]:
            assert point["chosen_here"]
            assert point[point["wanted"]]["value"] >= 0.9
            flagged = oof["severity"] >= point["threshold"]
            assert point["sensitivity"]["value"] == pytest.approx(flagged[positive].mean())
    assert not screening["with_dme"]
    rows = pd.read_csv(out / "scores.csv")
    assert {"qwk", "brier_score", "sensitivity_of_grade_4", "referable auc"} <= set(rows["score"])
    assert rows["by_patient"].all()
    assert (rows["low"].fillna(-1) <= rows["value"].fillna(1) + 1e-6).all()
    assert printed["out_of_fold"]["coverage"] is None
    assert {"roc.png", "reliability.png"} <= set(printed["files"])


@pytest.mark.slow
def test_train_uses_macular_oedema_and_options(run, logistic, folder, tmp_path):
    table = pd.read_csv(folder / "labels.csv")
    table["dme"] = np.where(table["grade"] == 2, 2, 0)
    table.to_csv(tmp_path / "labels.csv", index=False)
    options = ["--image-dir", folder, "--sensitivity", "0.8", "--specificity", "0.7"]
    out = tmp_path / "run"
    options += ["--validation", folder / "labels.csv"]  # which does not grade oedema
    result = run("train", tmp_path / "labels.csv", *logistic, *options, "--out", out, "--json")
    assert "chosen with macular oedema, and these images are scored without" in result.stderr
    printed = json.loads(result.stdout)
    screening = printed["out_of_fold"]["screening"]
    assert screening["with_dme"]
    assert screening["sight-threatening"]["n_positive"] == (table["grade"] >= 2).sum()
    goals = [point["goal"] for point in screening["referable"]["operating_points"]]
    assert set(goals) <= {0.8, 0.7}
    assert printed["settings"]["sensitivity"] == 0.8


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The least populated class")  # the inner folds are that small
def test_train_calibrates_inside_every_fold(document, run, tiny, evenly_graded, others, tmp_path):
    folder = Path(evenly_graded.paths[0]).parents[1]
    out = tmp_path / "run"
    options = ["--head", "ridge", "--folds", "2", "--calibrate", "sigmoid", "--alpha", "0.3"]
    printed = document("train", folder, *tiny[:-2], *options, "--validation", others, "--out", out)
    model = fundus.load(out / "model")
    assert isinstance(model.ensemble_.estimators_[0], fundus.CumulativeCalibratedClassifierCV)
    coverage = printed["validation"]["coverage"]
    assert coverage["n_images"] == 20
    assert len(coverage["coverage_by_grade"]) == 5
    output = tmp_path / "new.csv"
    scores = document("evaluate", out, others, "-o", output)["scores"]
    assert scores["coverage"] == coverage
    np.testing.assert_array_equal(
        pd.read_csv(output)["prediction"], pd.read_csv(out / "validation.csv")["prediction"]
    )
    run("predict", out, others, "-o", tmp_path / "grades.csv")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The least populated class")  # the inner folds are that small
def test_train_cuts_severities_inside_every_fold(
    document, run, tiny, evenly_graded, others, tmp_path
):
    folder = Path(evenly_graded.paths[0]).parents[1]
    out = tmp_path / "run"
    options = ["--head", "ridge", "--class-weight", "none", "--folds", "2", "--cutpoints"]
    printed = document("train", folder, *tiny[:-2], *options, "--validation", others, "--out", out)
    assert printed["settings"]["cutpoints"] is True
    model = fundus.load(out / "model")
    oof = pd.read_csv(out / "oof.csv")
    for k, own in enumerate(model.ensemble_.estimators_):
        assert isinstance(own, fundus.TunedCutpointClassifierCV)
        part = oof[oof["fold"] == k]
        expected = np.searchsorted(own.cutpoints_, part["severity"], side="right")
        np.testing.assert_array_equal(part["prediction"], expected)
    assert printed["validation"]["coverage"]["n_images"] == 20
    output = tmp_path / "new.csv"
    scores = document("evaluate", out, others, "-o", output)["scores"]
    assert scores["coverage"] == printed["validation"]["coverage"]
    held = pd.read_csv(output)
    cutpoints = np.median([own.cutpoints_ for own in model.ensemble_.estimators_], axis=0)
    expected = np.searchsorted(cutpoints, held["severity"], side="right")
    np.testing.assert_array_equal(held["prediction"], expected)
    run("predict", out, others, "-o", tmp_path / "grades.csv")
    grades = pd.read_csv(tmp_path / "grades.csv")["class"]
    np.testing.assert_array_equal(grades, [f"class{k}" for k in expected])


@pytest.mark.slow
def test_train_pools_every_stage(document, run, logistic, folder, others, tmp_path):
    out = tmp_path / "run"
    options = [*logistic[:-4], "--head", "ridge", "--pooling", "multilevel_max", "--folds", "2"]
    document("train", folder, *options, "--out", out)
    model = fundus.load(out / "model").ensemble_.estimators_[0]
    assert (model.pooling, model.power) == ("multilevel_max", None)
    last = fundus.TransferClassifier("tiny", "ridge", weights="fixed", image_size=32)
    data = fundus.load_image_folder(folder)
    last.fit(data.frame, data.grades)
    assert model.model_.n_features_in_ > last.model_.n_features_in_
    run("predict", out, others, "-o", tmp_path / "grades.csv")


@pytest.mark.slow
def test_train_makes_features_as_it_is_told(document, run, logistic, folder, others, tmp_path):
    out = tmp_path / "run"
    options = ["--pooling", "multilevel_std", "--stages", ":-1", "--pool-over", "all"]
    options += ["--power", "0.5", "--photometric", "ben_graham"]
    printed = document("train", folder, *logistic, *options, "--out", out)
    model = fundus.load(out / "model").ensemble_.estimators_[0]
    assert (model.pooling, model.stages, model.power) == ("multilevel_std", slice(None, -1), 0.5)
    network, normaliser = model.frozen_.network, model.frozen_.normaliser
    assert (network.pool_over, network.stages) == ("all", ":-1")
    assert model.model_.n_features_in_ == 8  # channels of the first of two stages
    assert printed["settings"]["photometric"] == "ben_graham"
    assert (normaliser.photometric.function, normaliser.function) == ("ben_graham", "tf")
    run("evaluate", out, others, "-o", tmp_path / "new.csv")


def test_train_keeps_patients_together(trained):
    oof = pd.read_csv(trained[0] / "oof.csv")
    patient = oof["file_name"].str.extract(r"/(\d+)_")[0]
    assert (oof.groupby(patient)["fold"].nunique() == 1).all()


def test_train_is_the_library_s_cross_validation(trained, photographs):
    classifier = fundus.TransferClassifier(
        "tiny",
        "logistic",
        weights="fixed",
        image_size=32,
        pool_over="all",
        grades=5,
        random_state=0,
    )
    data = fundus.load_image_folder(Path(photographs.paths[0]).parents[1])
    ensemble = fundus.FoldEnsemble(classifier, cv=3, random_state=0).fit(data.frame, data.grades)
    oof = pd.read_csv(trained[0] / "oof.csv")
    np.testing.assert_array_equal(oof["fold"], ensemble.oof_fold_)
    np.testing.assert_allclose(oof["severity"], ensemble.oof_severity_, atol=1e-5)


@pytest.mark.slow
def test_train_shows_tables_and_names_its_folder_by_the_time(
    run, logistic, folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    result = run("train", folder, *logistic)
    for text in ("Folds", "quadratic weighted kappa", "Confusion matrix", "Took", "oof.csv"):
        assert text in result.stdout
    assert "40 images, 20 patients" in result.stderr
    assert "unknown" not in result.output
    [metrics] = Path("runs").glob("*/metrics.json")
    assert Path(json.loads(metrics.read_text())["run"]) == metrics.parent


def test_train_says_once_that_patients_are_unknown(run, logistic, folder, tmp_path):
    table = pd.read_csv(folder / "labels.csv")[["path", "grade"]]
    table["photo"] = [f"{k}.jpeg" for k in range(40)]
    images = tmp_path / "photos"
    images.mkdir()
    for path, name in zip(table["path"], table["photo"], strict=True):
        (images / name).write_bytes((folder / path).read_bytes())
    table[["photo", "grade"]].rename(columns={"grade": "severity"}).to_csv(
        tmp_path / "t.csv", index=False
    )
    columns = ["--path-column", "photo", "--grade-column", "severity", "--image-dir", images]
    result = run("train", tmp_path / "t.csv", *columns, *logistic, "--out", tmp_path / "run")
    warning = [line for line in result.stderr.splitlines() if line.startswith("Warning: ")]
    assert [line for line in warning if "patients of 40 of 40 images are unknown" in line]
    assert result.stderr.count("are unknown, so") == 1
    assert "image-level, likely too narrow" in result.stdout
    assert pd.read_csv(tmp_path / "run" / "oof.csv")["file_name"][0] == "0.jpeg"


@pytest.mark.slow
def test_train_scores_images_held_back(document, logistic, folder, others, tmp_path):
    out = tmp_path / "run"
    printed = document("train", folder, *logistic, "--validation", others, "--out", out)
    table = pd.read_csv(out / "validation.csv")
    assert list(table)[:6] == [
        *("file_name", "target", "prediction"),
        *("file", "grade", "severity"),
    ]
    model = fundus.load(out / "model")
    held_back = fundus.load_image_folder(others)
    np.testing.assert_array_equal(table["prediction"], model.predict(held_back.paths))
    accuracy = (table["target"] == table["prediction"]).mean()
    assert printed["validation"]["accuracy"] == pytest.approx(accuracy)
    assert printed["validation"]["training_images"] == 0


@pytest.mark.slow
def test_train_warns_of_training_images_held_back(run, logistic, folder, tmp_path):
    out = tmp_path / "run"
    result = run("train", folder, *logistic, "--validation", folder, "--out", out)
    assert "40 of 40 images ARE AMONG THE TRAINING IMAGES" in result.stderr
    assert "20 patients, such as '1', are both among the training images" in result.stderr


@pytest.mark.slow
def test_train_logs_neural_folds_and_is_silent_when_told(run, tiny, folder, tmp_path):
    out = tmp_path / "run"
    options = ["--head", "softmax", "--epochs", "2", "--freeze", "4", "--folds", "2", "--augment"]
    result = run("train", folder, *tiny[:-2], *options, "--out", out, "--quiet")
    assert result.stdout == ""
    assert "images" not in result.stderr.replace("The least populated", "")
    for fold in range(2):
        log = pd.read_csv(out / "logs" / f"fold-{fold}" / "fit-001" / "log.csv")
        assert len(log) == 2
    settings = json.loads((out / "metrics.json").read_text())["settings"]
    assert settings["freeze"] == "4"
    assert fundus.load(out / "model").ensemble_.estimators_[0].freeze == 4


def test_only_neural_heads_are_told_to_log(tmp_path, recwarn):
    made = {}
    for head in ("ridge", "softmax"):
        settings = Settings(
            data=tmp_path, recipe="fast", backbone="tiny", weights="fixed", head=head
        )
        chosen = choose(settings)
        classifier = make_classifier(chosen, verbose=False)
        made[head] = make_model(classifier, Bunch(n_grades=5), chosen.settings, tmp_path).log_dir
        assert classifier.log_dir is None
    assert made == {"ridge": None, "softmax": tmp_path}
    assert not [told for told in recwarn if "log_dir" in str(told.message)]


@pytest.mark.slow
def test_train_names_folders_in_their_order(run, document, logistic, folder, tmp_path):
    data = tmp_path / "data"
    for grade, name in ((0, "sound"), (2, "mild"), (4, "bad")):
        (data / name).mkdir(parents=True)
        for file in (folder / f"class{grade}").iterdir():
            (data / name / file.name).write_bytes(file.read_bytes())
    out = tmp_path / "run"
    printed = document("train", data, *logistic, "--class-folders", "sound, mild,bad", "--out", out)
    assert printed["out_of_fold"]["class_names"] == ["sound", "mild", "bad"]
    oof = pd.read_csv(out / "oof.csv")
    order = {"sound": 0, "mild": 1, "bad": 2}
    assert (oof["file_name"].str.split("/").str[0].map(order) == oof["target"]).all()
    run("predict", out, data / "bad", "-o", tmp_path / "new.csv")
    assert set(pd.read_csv(tmp_path / "new.csv")["class"]) <= set(order)
    scores = document("evaluate", out, data, "-o", tmp_path / "graded.csv")["scores"]
    assert scores["n_true"] == np.bincount(oof["target"]).tolist()


def test_nothing_is_overwritten(run, logistic, folder, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    result = run("train", folder, *logistic, "--out", tmp_path, code=2)
    assert "is not an empty" in " ".join(result.stderr.replace("│", " ").split())
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_killed_run_is_not_taken_for_a_run(run, logistic, folder, tmp_path, monkeypatch):
    def killed(*_):
        raise SystemExit(137)

    monkeypatch.setattr("fundus.cli.results.write_json", killed)
    out = tmp_path / "run"
    CliRunner().invoke(app, ["train", str(folder), *logistic, "--out", str(out)])
    assert (out / "model").is_dir()
    result = run("predict", out, folder, "-o", tmp_path / "new.csv", code=1)
    assert "is not a complete run, since it lacks metrics.json" in result.stderr
    assert not (tmp_path / "new.csv").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backbone", "resnet5"], "Did you mean 'resnet50'"),
        (["--backbone", "precomputed"], "There is no backbone called 'precomputed'"),
        (["--head", "sofmax"], "Did you mean 'softmax'"),
        (["--head", "svm", "--freeze", "10"], "option --freeze must be"),
        (["--weights", "no/such/file"], "option --weights must be"),
        (["--learning-rate", "fast"], "must be a number or 'auto'"),
        (["--learning-rate", "-1"], "option --learning-rate must be"),
        (["--pooling", "mean"], "option --pooling must be"),
        (["--pool-over", "disc"], "option --pool-over must be one of 'auto', 'fov', 'all'"),
        (["--stages", "0"], "option --stages must be None unless"),
        (["--power", "1.5"], "option --power must be"),
        (["--cutpoints", "--calibrate", "sigmoid"], "cannot go with --calibrate"),
        (["--folds", "1"], "Invalid value for '--folds'"),
        (["--crop", "round"], "'round' is not one of"),
        (["--class-folders", "a,,b"], "names separated by commas"),
        (["--path-column", "file"], "are for tables"),
        (["--no-such-option"], "No such option"),
    ],
)
def test_bad_usage_is_code_2(run, folder, tmp_path, options, message):
    fast = ["--recipe", "fast"]
    result = run("train", folder, *fast, *options, "--out", tmp_path / "run", code=2)
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_bad_data_is_code_1_in_one_line(run, logistic, folder, tmp_path):
    data = tmp_path / "data"
    for grade in range(2):
        (data / f"class{grade}").mkdir(parents=True)
        for file in (folder / f"class{grade}").iterdir():
            (data / f"class{grade}" / file.name).write_bytes(file.read_bytes())
    broken = next((data / "class1").iterdir())
    broken.write_bytes(broken.read_bytes()[:400])
    result = run("train", data, *logistic, "--grades", "5", "--out", tmp_path / "run", code=1)
    recipe, line = result.stderr.splitlines()
    assert recipe.startswith("Recipe fast: ")
    assert line.startswith("Error: ")
    assert broken.name in line
    assert "pass --on-error skip" in line
    assert result.stdout == ""
    assert not (tmp_path / "run").exists()

    out = tmp_path / "skipped"
    run("train", data, *logistic, "--grades", "5", "--out", out, "--on-error", "skip")
    skipped = pd.read_csv(out / "skipped.csv")
    assert [Path(path).name for path in skipped["path"]] == [broken.name]
    kept = pd.read_csv(out / "oof.csv")["file_name"]
    assert len(kept) == sum(1 for _ in data.glob("*/*.jpeg")) - 1
    assert f"class1/{broken.name}" not in set(kept)


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_what_is_no_run_is_code_1(run, folder, tmp_path, command):
    assert "There is no run" in run(command, tmp_path / "none", folder, code=1).stderr
    assert "is not a complete run" in run(command, tmp_path, folder, code=1).stderr


def test_missing_data_is_code_1(run, logistic, tmp_path):
    result = run("train", tmp_path / "none.csv", *logistic, "--out", tmp_path / "run", code=1)
    assert "There is no table" in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The least populated class")
def test_train_draws_its_images(document, run, logistic, folder, others, tmp_path):
    where = ["--out", tmp_path / "run", "--cache-dir", tmp_path / "cache"]
    document("train", folder, *logistic, *where, "--sampling", "over")
    ensemble = fundus.load(tmp_path / "run" / "model")
    assert [model.sampling for model in ensemble.ensemble_.estimators_] == ["over"] * 3
    written = tmp_path / "results.csv"
    run("predict", tmp_path / "run", others, "-o", written, "--cache-dir", tmp_path / "cache")
    assert len(pd.read_csv(written)) == 20
    assert "--sampling" in run("train", "--help").stdout


def test_it_may_draw_fewer_images(tmp_path):
    settings = Settings(tmp_path, "fast", weights="fixed", backbone="tiny", sampling=Sampling.UNDER)
    assert make_classifier(choose(settings), verbose=False).sampling == "under"


def test_train_says_what_sampling_needs(run, logistic, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imblearn.over_sampling", None)
    out = ["--out", tmp_path / "run"]
    result = run("train", folder, *logistic, *out, "--sampling", "over", code=1)
    assert "fundus-zoo[imbalance]" in result.stderr
    assert not (tmp_path / "run").exists()


def test_photometric_steps_that_are_none_are_told(run, folder, logistic):
    told = run("train", folder, *logistic, "--photometric", "ben_gram", code=2).stderr
    assert "Did you mean 'ben_graham'" in " ".join(told.split())
    options = ["--backbone", "tiny", "--weights", "fixed", "--photometric", "tf"]
    told = run("plan", folder, *options, code=2).stderr
    assert "'tf' is a scale" in " ".join(told.split())
