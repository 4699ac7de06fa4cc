"""The command line, from arguments to files, exit codes and what is printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score
from typer.testing import CliRunner

import fundus
from fundus.cli import app
from fundus.cli.data import ids_of, names_of
from fundus.cli.options import as_freeze
from fundus.cli.tensorflow_noise import held_back

TINY = ["--backbone", "tiny", "--weights", "fixed", "--image-size", "32", "--folds", "3"]
LOGISTIC = [*TINY, "--head", "logistic"]


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def document(*arguments):
    """Run with --json; all of stdout must be one document."""
    return json.loads(run(*arguments, "--json").stdout)


@pytest.fixture(scope="session")
def folder(photographs) -> Path:
    """Class folders of 40 photographs, two eyes a patient."""
    return Path(photographs.paths[0]).parents[1]


@pytest.fixture(scope="session")
def others(tmp_path_factory) -> Path:
    """Class folders of 20 other photographs."""
    out = tmp_path_factory.mktemp("others")
    fundus.make_fundus(20, 64, 1, out_dir=out)
    return out


@pytest.fixture(scope="session")
def trained(folder, tmp_path_factory):
    """A finished run and the document that it printed."""
    base = tmp_path_factory.mktemp("trained")
    out = base / "run"
    cache = ["--cache-dir", base / "cache"]
    return out, document("train", folder, *LOGISTIC, "--out", out, *cache)


# --- train ---------------------------------------------------------------------------------------


def test_train_writes_a_run(trained, folder):
    out, printed = trained
    assert printed == json.loads((out / "metrics.json").read_text())
    assert {p.name for p in out.iterdir()} == {name.rstrip("/") for name in printed["files"]}
    assert {"model", "oof.csv", "metrics.json", "confusion.png", "severity.png"} <= {
        p.name for p in out.iterdir()
    }
    oof = pd.read_csv(out / "oof.csv")
    proba = [f"probability_{k}" for k in range(5)]
    assert list(oof) == ["file_name", "target", "prediction", "fold", "severity", *proba]
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


def test_train_keeps_patients_together(trained):
    oof = pd.read_csv(trained[0] / "oof.csv")
    patient = oof["file_name"].str.extract(r"/(\d+)_")[0]
    assert (oof.groupby(patient)["fold"].nunique() == 1).all()


def test_train_is_the_library_s_cross_validation(trained, photographs):
    classifier = fundus.TransferClassifier(
        "tiny", "logistic", weights="fixed", image_size=32, grades=5, random_state=0
    )
    data = fundus.load_image_folder(Path(photographs.paths[0]).parents[1])
    ensemble = fundus.FoldEnsemble(classifier, cv=3, random_state=0).fit(data.frame, data.grades)
    oof = pd.read_csv(trained[0] / "oof.csv")
    np.testing.assert_array_equal(oof["fold"], ensemble.oof_fold_)
    np.testing.assert_allclose(oof["severity"], ensemble.oof_severity_, atol=1e-5)


def test_train_shows_tables(folder, tmp_path):
    result = run("train", folder, *LOGISTIC, "--out", tmp_path / "run")
    for text in ("Folds", "quadratic weighted kappa", "Confusion matrix", "Took", "oof.csv"):
        assert text in result.stdout
    assert "40 images, 20 patients" in result.stderr
    assert "unknown" not in result.output


def test_train_says_once_that_patients_are_unknown(folder, tmp_path):
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
    result = run("train", tmp_path / "t.csv", *columns, *LOGISTIC, "--out", tmp_path / "run")
    warning = [line for line in result.stderr.splitlines() if line.startswith("Warning: ")]
    assert [line for line in warning if "patients of 40 of 40 images are unknown" in line]
    assert result.stderr.count("are unknown, so") == 1
    assert "image-level, likely too narrow" in result.stdout
    assert pd.read_csv(tmp_path / "run" / "oof.csv")["file_name"][0] == "0.jpeg"


def test_train_scores_images_held_back(folder, others, tmp_path):
    out = tmp_path / "run"
    printed = document("train", folder, *LOGISTIC, "--validation", others, "--out", out)
    table = pd.read_csv(out / "validation.csv")
    assert list(table)[:4] == ["file_name", "target", "prediction", "severity"]
    model = fundus.load(out / "model")
    held_back = fundus.load_image_folder(others)
    np.testing.assert_array_equal(table["prediction"], model.predict(held_back.paths))
    accuracy = (table["target"] == table["prediction"]).mean()
    assert printed["validation"]["accuracy"] == pytest.approx(accuracy)
    assert printed["validation"]["training_images"] == 0


def test_train_warns_of_training_images_held_back(folder, tmp_path):
    out = tmp_path / "run"
    result = run("train", folder, *LOGISTIC, "--validation", folder, "--out", out)
    assert "40 of 40 images ARE AMONG THE TRAINING IMAGES" in result.stderr
    assert "20 patients, such as '1', are both among the training images" in result.stderr


def test_train_logs_neural_folds(folder, tmp_path):
    out = tmp_path / "run"
    options = ["--head", "relu", "--epochs", "2", "--freeze", "4", "--folds", "2", "--augment"]
    run("train", folder, *TINY[:-2], *options, "--out", out, "--quiet")
    for fold in range(2):
        log = pd.read_csv(out / "logs" / f"fold-{fold}" / "fit-001" / "log.csv")
        assert len(log) == 2
    settings = json.loads((out / "metrics.json").read_text())["settings"]
    assert settings["freeze"] == "4"
    assert fundus.load(out / "model").estimators_[0].freeze == 4


def test_train_is_silent_when_told(folder, tmp_path):
    result = run("train", folder, *LOGISTIC, "--out", tmp_path / "run", "--quiet")
    assert result.stdout == ""
    assert "images" not in result.stderr.replace("The least populated", "")


def test_train_names_folders_in_their_order(folder, tmp_path):
    data = tmp_path / "data"
    for grade, name in ((0, "sound"), (2, "mild"), (4, "bad")):
        (data / name).mkdir(parents=True)
        for file in (folder / f"class{grade}").iterdir():
            (data / name / file.name).write_bytes(file.read_bytes())
    out = tmp_path / "run"
    printed = document("train", data, *LOGISTIC, "--class-folders", "sound, mild,bad", "--out", out)
    assert printed["out_of_fold"]["class_names"] == ["sound", "mild", "bad"]
    oof = pd.read_csv(out / "oof.csv")
    order = {"sound": 0, "mild": 1, "bad": 2}
    assert (oof["file_name"].str.split("/").str[0].map(order) == oof["target"]).all()
    run("predict", out, data / "bad", "-o", tmp_path / "new.csv")
    assert set(pd.read_csv(tmp_path / "new.csv")["class"]) <= set(order)
    scores = document("evaluate", out, data, "-o", tmp_path / "graded.csv")["scores"]
    assert scores["n_true"] == np.bincount(oof["target"]).tolist()


def test_default_folder_is_named_by_the_time(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed = document("train", folder, *LOGISTIC)
    assert Path(printed["run"]).parent == Path("runs")
    assert (tmp_path / printed["run"] / "metrics.json").is_file()


def test_nothing_is_overwritten(folder, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    result = run("train", folder, *LOGISTIC, "--out", tmp_path, code=2)
    assert "is no empty" in " ".join(result.stderr.replace("│", " ").split())
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_killed_run_is_not_taken_for_a_run(folder, tmp_path, monkeypatch):
    def killed(*_):
        raise SystemExit(137)

    monkeypatch.setattr("fundus.cli.results.write_json", killed)
    out = tmp_path / "run"
    CliRunner().invoke(app, ["train", str(folder), *LOGISTIC, "--out", str(out)])
    assert (out / "model").is_dir()
    result = run("predict", out, folder, "-o", tmp_path / "new.csv", code=1)
    assert "is no complete run, since it lacks metrics.json" in result.stderr
    assert not (tmp_path / "new.csv").exists()


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backbone", "resnet5"], "Did you mean 'resnet50'"),
        (["--backbone", "precomputed"], "There is no backbone called 'precomputed'"),
        (["--head", "sofmax"], "Did you mean 'softmax'"),
        (["--head", "svm", "--freeze", "10"], "'freeze' parameter of TransferClassifier"),
        (["--weights", "no/such/file"], "'weights' parameter of TransferClassifier"),
        (["--learning-rate", "fast"], "must be a number or 'auto'"),
        (["--learning-rate", "-1"], "'learning_rate' parameter of TransferClassifier"),
        (["--folds", "1"], "Invalid value for '--folds'"),
        (["--crop", "round"], "'round' is not one of"),
        (["--class-folders", "a,,b"], "names parted by commas"),
        (["--path-column", "file"], "are for tables"),
        (["--no-such-option"], "No such option"),
    ],
)
def test_bad_usage_is_code_2(folder, tmp_path, options, message):
    result = run("train", folder, *options, "--out", tmp_path / "run", code=2)
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.output
    assert not (tmp_path / "run").exists()


def test_bad_data_is_code_1_in_one_line(folder, tmp_path):
    data = tmp_path / "data"
    for grade in range(2):
        (data / f"class{grade}").mkdir(parents=True)
        for file in (folder / f"class{grade}").iterdir():
            (data / f"class{grade}" / file.name).write_bytes(file.read_bytes())
    broken = next((data / "class1").iterdir())
    broken.write_bytes(broken.read_bytes()[:400])
    result = run("train", data, *LOGISTIC, "--out", tmp_path / "run", code=1)
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert broken.name in line
    assert "pass --on-error skip" in line
    assert result.stdout == ""
    assert not (tmp_path / "run").exists()

    out = tmp_path / "skipped"
    run("train", data, *LOGISTIC, "--out", out, "--on-error", "skip")
    skipped = pd.read_csv(out / "skipped.csv")
    assert [Path(path).name for path in skipped["path"]] == [broken.name]
    assert broken.name not in pd.read_csv(out / "oof.csv")["file_name"].str.cat()


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_what_is_no_run_is_code_1(folder, tmp_path, command):
    assert "There is no run" in run(command, tmp_path / "none", folder, code=1).stderr
    assert "is no complete run" in run(command, tmp_path, folder, code=1).stderr


def test_missing_data_is_code_1(tmp_path):
    result = run("train", tmp_path / "none.csv", *LOGISTIC, "--out", tmp_path / "run", code=1)
    assert "There is no table" in result.stderr
    assert not (tmp_path / "run").exists()


# --- predict -------------------------------------------------------------------------------------


def test_predict_grades_a_folder(trained, others, tmp_path):
    output = tmp_path / "deep" / "results.csv"
    printed = document("predict", trained[0], others, "-o", output)
    table = pd.read_csv(output)
    assert list(table)[:3] == ["id", "class", "severity"]
    assert set(table["id"]) == {p.stem for p in others.glob("*/*.jpeg")}
    paths = {p.stem: str(p) for p in others.glob("*/*.jpeg")}
    model = fundus.load(trained[0] / "model")
    expected = model.predict([paths[name] for name in table["id"]])
    assert table["class"].tolist() == [f"class{grade}" for grade in expected]
    assert sum(printed["n_predicted"].values()) == printed["n_images"] == 20
    assert [p.name for p in output.parent.iterdir()] == ["results.csv"]


def test_predict_takes_a_bare_model_one_image_and_a_table(trained, others, tmp_path):
    image = next(others.glob("class2/*.jpeg"))
    output = tmp_path / "one.csv"
    run("predict", trained[0] / "model", image, "-o", output)
    assert pd.read_csv(output)["id"].tolist() == [image.stem]
    names = [str(p.relative_to(others)) for p in sorted(others.glob("*/*.jpeg"))][:3]
    pd.DataFrame({"file": names}).to_csv(tmp_path / "new.csv", index=False)
    result = run("predict", trained[0], tmp_path / "new.csv", "--image-dir", others, "-o", output)
    assert pd.read_csv(output)["id"].tolist() == [Path(name).stem for name in names]
    assert "Warning" not in result.stderr


def test_predict_writes_nothing_or_sets_aside(trained, others, tmp_path):
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
    run("predict", trained[0], new, "-o", output, "--on-error", "skip")
    assert pd.read_csv(output)["id"].tolist() == ["good"]
    skipped = pd.read_csv(tmp_path / "skipped.csv")
    assert [Path(path).name for path in skipped["path"]] == ["empty.jpeg"]


def test_ids_keep_files_apart():
    assert ids_of(["d/a/1.png", "d/b/2.png"], Path("d")) == ["1", "2"]
    assert ids_of(["d/a/1.png", "d/b/1.png"], Path("d")) == ["a/1", "b/1"]
    assert ids_of(["d/a/1.png", "d/a/1.jpg"], Path("d")) == ["a/1.png", "a/1.jpg"]
    assert names_of(["d/a/1.png", "e/1.png"], Path("d/")) == ["a/1.png", "e/1.png"]
    assert names_of(["/r/a.png"], Path("/")) == ["r/a.png"]


# --- evaluate ------------------------------------------------------------------------------------


def test_evaluate_scores_other_images(trained, others, tmp_path):
    output = tmp_path / "results.csv"
    result = run("evaluate", trained[0], others, "-o", output, "--json")
    printed = json.loads(result.stdout)
    table = pd.read_csv(output)
    assert list(table)[:4] == ["file_name", "target", "prediction", "severity"]
    accuracy = (table["target"] == table["prediction"]).mean()
    assert printed["scores"]["accuracy"] == pytest.approx(accuracy)
    assert printed["training_images"] == 0
    assert "Warning" not in result.stderr


def test_evaluate_warns_of_training_images(trained, folder, tmp_path):
    result = run("evaluate", trained[0], folder / "labels.csv", "-o", tmp_path / "results.csv")
    assert "40 of 40 images ARE AMONG THE TRAINING IMAGES" in result.stderr
    assert "quadratic weighted kappa" in result.stdout


def test_evaluate_takes_any_numbered_folders(trained, others, tmp_path):
    for grade in range(3):
        (tmp_path / "data").mkdir(exist_ok=True)
        os.symlink(others / f"class{grade}", tmp_path / "data" / str(grade))
    printed = document("evaluate", trained[0], tmp_path / "data", "-o", tmp_path / "r.csv")
    assert printed["scores"]["n_true"][3:] == [0, 0]


def test_evaluate_takes_a_model_saved_in_python(others, photographs, tmp_path):
    model = fundus.TransferClassifier("tiny", "ridge", weights="fixed")
    model.fit(photographs.paths, photographs.grades).save(tmp_path / "model")
    result = run("evaluate", tmp_path / "model", others, "-o", tmp_path / "r.csv", "--json")
    assert json.loads(result.stdout)["training_images"] is None
    table = pd.read_csv(tmp_path / "r.csv")
    data = fundus.load_image_folder(others)
    np.testing.assert_array_equal(table["prediction"], model.predict(data.paths))
    np.testing.assert_allclose(table["severity"], model.predict_severity(data.paths), atol=1e-5)


# --- lists, demo, process ------------------------------------------------------------------------


def test_lists():
    names = {record["name"]: record for record in document("backbones")["backbones"]}
    assert set(names) == set(fundus.list_backbones())
    assert names["tiny"]["weights_here"] is True
    assert names["vgg16"]["parameters"] == 14_714_688
    assert {r["name"] for r in document("heads")["heads"]} == set(fundus.list_heads())
    assert document("plugins")["plugins"][0]["state"] == "loaded"
    assert "efficientnet_lite0" in run("backbones").stdout
    assert "inception_resnet_v2" in run("backbones").stdout
    assert "softmax" in run("heads").stdout
    assert run("--version").stdout == f"fundus-zoo {fundus.__version__}\n"


def test_lists_survive_a_bad_plugin(monkeypatch):
    from fundus.hookspecs import BackboneSpec
    from fundus.plugins import Entry, PluginStatus, Registry

    def weights_path(name):
        raise KeyError("[bold]boom")

    spec = BackboneSpec(
        name="odd", build=print, image_size=8, parameters=1, licence="MIT",
        weights_path=weights_path,
    )  # fmt: skip
    registry = Registry(
        statuses=[PluginStatus("bad", "bad-dist", "1", "failed", "ValueError: [x]", "Trace [y]")]
    )
    registry.entries["backbone"].append(Entry("odd", "odd-dist", spec))
    monkeypatch.setattr("fundus.plugins.get_registry", lambda: registry)
    (record,) = document("backbones")["backbones"]
    assert record["weights_here"] is None
    assert "boom" in record["error"]
    assert "[bold]boom" in run("backbones").stderr
    assert "ValueError: [x]" in run("plugins").stdout
    assert "Trace [y]" in run("plugins", "--verbose").stdout
    assert document("plugins", "--verbose")["plugins"][0]["details"] == "Trace [y]"


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_demo_runs_the_main_job(tmp_path, monkeypatch):
    from functools import partial

    from fundus.cli import demo

    small = partial(demo.train, backbone="tiny", weights="fixed", image_size=32, head="logistic")
    monkeypatch.setattr(demo, "train", small)
    monkeypatch.setattr(demo, "EDGE", 64)
    result = run("demo", "--out", tmp_path / "demo", "--images", "40")
    assert len(pd.read_csv(tmp_path / "demo" / "run" / "oof.csv")) == 40
    assert len(pd.read_csv(tmp_path / "demo" / "results.csv")) == 20
    assert str(tmp_path / "demo") in result.stdout


def in_a_process(*command: str, cache: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "FUNDUS_CACHE_DIR": str(cache)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env=environment, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["--help"], "keras tensorflow sklearn pandas matplotlib cv2 numpy"),
        (["train", "--help"], "keras tensorflow sklearn pandas matplotlib cv2 numpy"),
        (["plugins"], "keras tensorflow matplotlib"),
        (["backbones"], "keras tensorflow matplotlib"),
        (["heads"], "keras tensorflow matplotlib"),
    ],
)
def test_imports_are_put_off(tmp_path, arguments, heavy):
    script = (
        "import sys, fundus.cli\n"
        f"sys.argv = ['fundus', *{arguments!r}]\n"
        "try:\n    fundus.cli.main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        f"print([m for m in {heavy.split()!r} if m in sys.modules])"
    )
    result = in_a_process("-c", script, cache=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "[]"


def test_tensorflow_s_start_is_not_seen(folder, tmp_path):
    command = ["-m", "fundus.cli", "predict", str(tmp_path / "model"), str(folder / "class4")]
    model = fundus.TransferClassifier("tiny", "logistic", weights="fixed", cache=False)
    data = fundus.load_image_folder(folder)
    model.fit(data.paths, data.grades).save(tmp_path / "model")
    result = in_a_process(*command, "-o", str(tmp_path / "r.csv"), "--quiet", cache=tmp_path / "c")
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    noise = ("absl", "oneDNN", "cuda", "cpu_feature_guard", "WARNING")
    assert not [line for line in result.stderr.splitlines() if any(n in line for n in noise)]


def test_what_was_held_back_is_shown_on_an_error(capfd):
    with held_back():
        os.write(2, b"chatter")
    assert capfd.readouterr().err == ""

    def fail():
        os.write(2, b"a library is missing")
        raise ImportError

    with pytest.raises(ImportError), held_back():
        fail()
    assert capfd.readouterr().err == "a library is missing"


def test_freeze_is_read():
    assert as_freeze("10") == 10
    assert isinstance(as_freeze("0"), int)
    assert as_freeze("0.75") == 0.75
    assert as_freeze("all") == "all"
    assert as_freeze("conv4_block1_out") == "conv4_block1_out"
