"""``fundus push``, and commands that take names of models on the Hub."""

from __future__ import annotations

import json

import pytest
from hub_standin import TOKEN, Repo, pushed_card

from fundus.saving.bundle import read_record

NAME = "hf://clinic/grader"


def flat(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


@pytest.fixture
def writer(hub, monkeypatch):
    """The Hub, of which this machine has a token that may write."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return hub


@pytest.mark.slow
def test_commands_take_names_of_the_hub(writer, trained, folder, photographs, run, tmp_path):
    (trained, _), image = trained, photographs.paths[0]
    name = json.loads(run("push", trained, NAME, "--json").stdout)["name"]
    writer.asked.clear()
    found, same = tmp_path / "hub.csv", tmp_path / "here.csv"
    said = run("predict", NAME, image, "-o", found)
    assert f"It is '{name}' now" in flat(said.stderr)
    assert writer.asked.count("GET /api/models/clinic/grader") == 1
    run("predict", trained, image, "-o", same)
    assert found.read_bytes() == same.read_bytes()
    assert "sound" in run("verify", name).stdout
    run("explain", name, image, "-o", tmp_path / "maps")
    run("export", name, "--to", "keras", "--out", tmp_path / "export")
    run("adapt", name, folder, "--out", tmp_path / "adapted")
    adapted = read_record(tmp_path / "adapted" / "model")["about"]["adapted"]
    assert adapted["from"]["run"] == name
    said = run("evaluate", name, folder, "-o", tmp_path / "scores.csv", "--json").stderr
    assert "ARE AMONG THE TRAINING IMAGES" in flat(said)
    from fundus.cli.serve import model_of

    assert len(model_of(name).class_names) == 5


def test_the_card_of_a_run_has_its_scores(writer, trained, run):
    trained, _ = trained
    run("push", trained, NAME, "--licence", "cc-by-4.0")
    data, text = pushed_card(writer)
    metrics = json.loads((trained / "metrics.json").read_text())["out_of_fold"]
    (shown,) = data["model-index"][0]["results"]
    values = {one["type"]: one["value"] for one in shown["metrics"]}
    assert values == {name: metrics[name] for name in metrics["intervals"]}
    assert shown["dataset"]["name"] == "40 photographs of the training, out of fold"
    assert set(data["metrics"]) == set(values)
    assert data["license"] == "cc-by-4.0"
    assert "## Training data" in text


def test_errors_name_options_and_the_run(writer, trained, run, tmp_path):
    trained, _ = trained
    writer.repos["clinic/grader"] = Repo()
    writer.repos["clinic/grader"].commit({})
    said = run("push", trained, NAME, code=1)
    assert "If that is meant, pass --public; or" in flat(said.stderr)
    said = run("push", trained, NAME, "--public", code=2)
    assert "option --licence must be given for a public model" in flat(said.stderr)
    said = run("push", tmp_path / "none", NAME, code=1)
    assert "There is no run" in flat(said.stderr)
    said = run("predict", f"{NAME}@v9", "x.png", code=1)
    assert "has no revision 'v9'" in flat(said.stderr)
