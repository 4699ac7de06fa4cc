"""Commands over a folder in which files of every bad kind stand among photographs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from attacks.bombs import add_bad_files

import fundus


@pytest.fixture(scope="module")
def nasty(tmp_path_factory):
    """Class folders of 20 photographs; the bad files are in that of grade 1."""
    folder = tmp_path_factory.mktemp("nasty")
    fundus.make_fundus(20, 32, 0, out_dir=folder, grade_weights=[0.2] * 5)
    bad = {path.name for path in folder.rglob("*.*")}
    add_bad_files(folder / "class1")
    return folder, {path.name for path in folder.rglob("*.*")} - bad


def names(table):
    return {Path(path).name for path in pd.read_csv(table)["path"]}


@pytest.mark.slow
@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_bad_images_never_end_a_command(command, nasty, trained, run, tmp_path):
    folder, bad = nasty
    words = [command, trained[0], folder, "-o", tmp_path / "out.csv", "--cache-dir", tmp_path]
    result = run(*words, code=1)
    assert result.stderr.startswith("Error: ")
    assert not (tmp_path / "out.csv").exists()
    run(*words, "--on-error", "skip")
    assert names(tmp_path / "skipped.csv") == bad
    assert len(pd.read_csv(tmp_path / "out.csv")) == 20


@pytest.mark.slow
def test_bad_images_never_end_a_training(nasty, logistic, run, tmp_path):
    folder, bad = nasty
    words = ["train", folder, *logistic, "--out", tmp_path / "run", "--cache-dir", tmp_path / "c"]
    assert run(*words, code=1).stderr.splitlines()[-1].startswith("Error: ")
    assert not (tmp_path / "run").exists()
    run(*words, "--on-error", "skip")
    assert names(tmp_path / "run" / "skipped.csv") == bad
    assert len(pd.read_csv(tmp_path / "run" / "oof.csv")) == 20
