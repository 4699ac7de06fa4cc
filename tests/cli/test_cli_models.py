"""``fundus models``, and ready graders in place of a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ready import code_of

import fundus
from fundus.cli.data import digests_of
from fundus.cli.runs import TRAINING_IMAGES, digests_table
from fundus.plugins import registry
from fundus.reporting.screening import screening_report
from fundus.saving.bundle import save


@pytest.fixture(scope="module")
def saved(evenly_graded, tmp_path_factory) -> Path:
    """A grader as those in plugins are: cutpoints, operating points, digests of photographs."""
    data = evenly_graded
    inner = fundus.TransferClassifier(
        "tiny", "ridge", weights="fixed", image_size=32, grades=5, random_state=0
    )
    model = fundus.TunedCutpointClassifierCV(inner, cv=2, random_state=0)
    model.fit(data.paths, data.grades)
    model.operating_points_ = screening_report(
        data.grades, model.oof_severity_, n_resamples=50
    ).operating_points()
    digests = digests_of(data.paths, None)
    folder = tmp_path_factory.mktemp("ready") / "model"
    table = digests_table(digests, np.full(len(digests), -1))
    save(model, folder, more={TRAINING_IMAGES: table})
    return folder


@pytest.fixture
def plugin(install, saved, monkeypatch, tmp_path):
    """The plugin 'clinic' with the model 'toy', installed."""
    place = install("clinic", code_of(saved))
    registry._loaded.cache_clear()
    monkeypatch.chdir(tmp_path)
    return place


def told(result) -> str:
    return " ".join(result.stderr.replace("│", " ").split())


def test_the_list_and_the_card(plugin, run, document, saved):
    (toy,) = [m for m in document("models")["models"] if m["name"] == "toy"]
    assert (toy["plugin"], toy["distribution"], toy["here"]) == ("clinic", "dist-clinic", True)
    assert toy["n_bytes"] == sum(path.stat().st_size for path in saved.iterdir())
    assert toy["scores"][0]["chose"] == "nothing"
    assert "A toy." in run("models").stdout
    card = run("models", "clinic/toy").stdout
    assert "For nothing else." in card
    assert "0.500 (0.400 to 0.600)" in card
    assert document("models", "toy") == {**toy, "name": "toy"}
    assert "There is no model called 'tou'. Did you mean 'toy'" in told(
        run("models", "tou", code=2)
    )
    assert "model toy" in run("plugins").stdout


def test_a_folder_that_is_missing_is_in_the_list(install, run, document, tmp_path):
    install("clinic", code_of(tmp_path / "gone"))
    registry._loaded.cache_clear()
    (toy,) = [m for m in document("models")["models"] if m["name"] == "toy"]
    assert not toy["here"]
    assert "NOT HERE" in run("models").stdout


def test_without_a_model_the_list_says_so(install, monkeypatch, run, document):
    monkeypatch.setenv("FUNDUS_DISABLE_PLUGINS", "1")
    registry._loaded.cache_clear()
    assert document("models") == {"models": []}
    assert "No plugin here offers a model." in run("models").stdout


def test_the_list_loads_neither_keras_nor_scikit_learn(plugin):
    slow = "{'keras', 'tensorflow', 'sklearn', 'skops', 'pandas', 'numpy.testing'}"
    script = (
        "import sys\nfrom fundus.cli import app\n"
        "for words in (['models'], ['models', 'toy'], ['models', '--json']):\n"
        "    try:\n        app(words)\n    except SystemExit as end:\n        assert not end.code\n"
        f"print(sorted({slow} & set(sys.modules)))"
    )
    path = os.pathsep.join([str(plugin), *filter(None, sys.path)])
    printed = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path},
    ).stdout  # fmt: skip
    assert "For nothing else." in printed
    assert printed.splitlines()[-1] == "[]"


def test_predict_by_name_without_a_training(plugin, run, saved, others, tmp_path):
    run("predict", "toy", others, "-o", "by-name.csv")
    run("predict", saved, others, "-o", "by-folder.csv")
    table = pd.read_csv("by-name.csv")
    assert table.equals(pd.read_csv("by-folder.csv"))
    assert set(table["class"]) <= {f"class{grade}" for grade in range(5)}
    assert "referable" in table


def test_a_folder_of_the_name_comes_first(plugin, run, others, tmp_path):
    (tmp_path / "toy").mkdir()
    assert "'toy' is not a complete run" in told(run("predict", "toy", others, code=1))
    run("predict", "clinic/toy", others, "-o", "r.csv")


def test_what_is_written_as_a_path_is_no_name(plugin, run, others):
    for path in ("./toy", "toy/"):
        assert "There is no run" in told(run("predict", path, others, "-o", "r.csv", code=1))


def test_what_is_neither_is_told_with_the_names(plugin, run, others):
    for command in ("predict", "evaluate", "stress", "explain", "adapt"):
        said = told(run(command, "tou", others, code=1))
        assert "There is no run 'tou', and no ready grader of that name" in said
        assert "'toy'" in said
    assert "There is no run 'tou'" in told(run("verify", "tou", code=1))


def test_the_files_of_a_model_are_not_written_over(plugin, run, saved, others):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    run("predict", "toy", others, "-o", saved / "model.json", "--force", code=2)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


@pytest.mark.slow
def test_the_other_commands_take_the_name(plugin, run, document, saved, others, evenly_graded):
    found = document("evaluate", "toy", others, "-o", "e.csv")
    assert found["training_images"] == 0
    assert found["scores"]["screening"]["referable"]["operating_points"]
    own = Path(evenly_graded.paths[0]).parents[1]
    result = run("evaluate", "toy", own, "-o", "own.csv")
    assert "80 of 80 images ARE AMONG THE TRAINING IMAGES" in told(result)
    assert "Scores of the model" in result.stdout
    quick = ["--kinds", "tone", "--strengths", "1"]
    assert document("stress", "toy", others, "-o", "s.csv", *quick)["scores"]["changed"]
    photograph = next(others.glob("class2/*.jpeg"))
    assert document("explain", "toy", photograph, "--out", "maps")["methods"] == {"exact": 1}
    assert document("verify", "toy")["sound"]
    options = ["--out", "mine", "--n-bootstraps", "0"]
    adapted = document("adapt", "toy", own / "labels.csv", *options)
    assert adapted["adapted"]["from"]["run"] == "toy"
    assert str(saved) not in json.dumps(adapted)
    assert document("verify", "mine")["sound"]
    run("predict", "mine", photograph, "-o", "r.csv")


@pytest.mark.slow
def test_an_export_takes_the_card_along(plugin, run, tmp_path):
    run("export", "toy", "--to", "keras", "--out", tmp_path / "out")
    card = (tmp_path / "out" / "model_card.md").read_text()
    assert "## The grader: toy" in card
    assert card.count("\n# ") == 0
    for part in ("MIT", "40 synthetic photographs.", "For nothing else.", "Referable: severity of"):
        assert part in card, part
    about = json.loads((tmp_path / "out" / "model.json").read_text())
    assert about["operating_points"]["referable"]
