"""`fundus report`: the files that it writes of a real run, and what it refuses."""

from __future__ import annotations

import json
import shlex

import typer

from fundus.cli import app
from fundus.documents.sections import command_of


def test_a_run_becomes_a_page_a_text_data_and_a_card(trained, run, tmp_path):
    folder, _ = trained
    out = tmp_path / "for you" / "report.html"
    out.parent.mkdir()
    shown = run("report", folder, "-o", out).output
    assert "Report: " in shown
    kappa = json.loads((folder / "metrics.json").read_text())["out_of_fold"]["qwk"]
    page = out.read_text(encoding="utf-8")
    assert f'<span class="value">{kappa:.2f}</span>' in page
    assert page.count("<img src=") >= 4
    document = json.loads(out.with_suffix(".json").read_text())
    assert document["kind"] == "fundus report"
    assert document["versions"]["fundus-zoo"]
    assert "Grading report" in out.with_suffix(".md").read_text()
    assert "## Intended use" in (out.parent / "model_card.md").read_text()
    assert "Replacing" in run("report", folder, "-o", out).output


def test_the_command_that_repeats_the_run_has_options_of_train(trained):
    _, printed = trained
    command = typer.main.get_command(app)
    train = command.commands["train"]
    known = {option for p in train.params for option in (*p.opts, *p.secondary_opts)}
    words = shlex.split(command_of(printed["settings"]))
    given = {word for word in words if word.startswith("--")}
    assert len(given) > 20
    assert given <= known
    assert "--out" not in given


def test_what_it_refuses(trained, run, tmp_path):
    folder, _ = trained
    shown = run("report", folder, "-o", tmp_path / "report.pdf", code=2).output
    assert "ends with .html" in " ".join(shown.split())
    (tmp_path / "report.html").write_text("mine")
    shown = run("report", folder, "-o", tmp_path / "report.html", code=2).output
    assert "was not written by this command" in " ".join(shown.split())
    assert (tmp_path / "report.html").read_text() == "mine"
    shown = run("report", tmp_path, code=1).output
    assert "not a complete run" in shown
