"""``fundus train --resume``."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from fundus.cli import app
from fundus.meta.resume import KeptFold
from fundus.runtime.locks import held


def words(result):
    return " ".join(result.stderr.replace("│", " ").split())


@pytest.fixture
def interrupted(folder, logistic, tmp_path, monkeypatch):
    """A run whose process ended in its second fold, and its options."""
    options = [str(folder), *logistic, "--out", str(tmp_path / "run")]
    options += ["--cache-dir", str(tmp_path / "cache")]
    fit = KeptFold.fit

    def stopped(self, *data, **more):
        if self.number == 1:
            raise KeyboardInterrupt
        return fit(self, *data, **more)

    with monkeypatch.context() as patch:
        patch.setattr(KeptFold, "fit", stopped)
        result = CliRunner().invoke(app, ["train", *options])
    assert result.exit_code == 130
    assert f"with --out {tmp_path / 'run'} --resume to go on" in words(result)
    return options


@pytest.mark.slow
@pytest.mark.usefixtures("whole_intervals")
def test_an_interrupted_run_goes_on(interrupted, run, document, trained, tmp_path, monkeypatch):
    out, whole = trained
    fitted, fit = [], KeptFold.fit

    def counted(self, model, *data, **more):
        fitted.append(self.model.exists())
        return fit(self, model, *data, **more)

    result = run("train", *interrupted, code=2)
    assert "pass --resume to go on" in words(result)
    monkeypatch.setattr(KeptFold, "fit", counted)
    found = document("train", *interrupted, "--resume")
    assert fitted == [True, False, False]
    assert (tmp_path / "run" / "oof.csv").read_bytes() == (out / "oof.csv").read_bytes()
    assert found["out_of_fold"] == whole["out_of_fold"]
    assert found["settings"].keys() == whole["settings"].keys()
    assert not (tmp_path / "run" / "resume").exists()
    # once more: nothing to do
    assert document("train", *interrupted, "--resume") == found
    result = run("train", *interrupted, "--resume")
    assert "is complete" in words(result)
    result = run("train", *interrupted, "--resume", "--alpha", "0.2", code=2)
    assert "--alpha was 0.1, is 0.2" in words(result)


def test_other_options_are_refused(interrupted, run, tmp_path):
    result = run("train", *interrupted, "--resume", "--head", "ridge", "--seed", "1", code=2)
    assert "--head was 'logistic', is 'ridge'; --seed was 0, is 1" in words(result)
    damaged = tmp_path / "run" / "resume" / "settings.json"
    damaged.write_text("[]")
    result = run("train", *interrupted, "--resume", code=1)
    assert "settings.json' is damaged" in words(result)


def test_a_second_process_is_told(interrupted, run, tmp_path):
    with held(tmp_path / "run" / "resume" / "train.lock"):
        result = run("train", *interrupted, "--resume", code=1)
    assert "is at work in" in words(result)


@pytest.mark.slow
def test_a_run_killed_while_it_wrote_is_written_again(run, logistic, folder, tmp_path, monkeypatch):
    def killed(*_):
        raise SystemExit(137)

    options = [folder, *logistic, "--out", tmp_path / "run", "--resume"]
    with monkeypatch.context() as patch:
        patch.setattr("fundus.cli.results.write_json", killed)
        CliRunner().invoke(app, ["train", *map(str, options)])
    assert (tmp_path / "run" / "model").is_dir()
    run("train", *options)
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["settings"]["out"]


def test_resume_needs_a_folder(run, logistic, folder):
    assert "it needs --out" in words(run("train", folder, *logistic, "--resume", code=2))
