"""Every example runs, in its fast mode."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
#: Run by a new Python, as a user would; the others in this one, where TensorFlow is loaded once.
PROGRAM = "predict_folder.py"
SCRIPTS = sorted(p.name for p in EXAMPLES.glob("*.py") if p.name != "common.py")

#: Packages of extras that examples need.
NEEDS = {"extract_on_dask.py": "distributed", "extract_on_ray.py": "ray"}

#: What each prints when it has done its work.
ENDS = {
    "extract_on_dask.py": "kappa of each fold:",
    "extract_on_ray.py": "kappa of each fold:",
    "frozen_grid.py": "nested, by fold:",
    "predict_folder.py": "results.csv",
    "second_stage.py": "second stage, nearest grade",
    "softmax_on_folders.py": "saved to",
    "streaming_regression.py": "severities of the first images:",
    "write_a_plugin.py": "trained from scratch, out of fold, 30 images: kappa",
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # a program shows them and goes on
@pytest.mark.parametrize("script", [script for script in SCRIPTS if script != PROGRAM])
def test_example(script, tmp_path, monkeypatch, capsys):
    if script in NEEDS:
        pytest.importorskip(NEEDS[script], reason=f"{NEEDS[script]} is not installed")
    path = str(EXAMPLES / script)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", [path, "--fast", "--out", str(tmp_path)])
    monkeypatch.syspath_prepend(EXAMPLES)  # as Python does with the folder of a program
    # what the program imports from its folder is gone afterwards
    monkeypatch.setitem(sys.modules, "common", None)
    del sys.modules["common"]
    runpy.run_path(path, run_name="__main__")
    assert ENDS[script] in capsys.readouterr().out


@pytest.mark.slow
def test_an_example_is_a_program(tmp_path):
    command = [sys.executable, str(EXAMPLES / PROGRAM), "--fast", "--out", str(tmp_path)]
    result = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"}
    )
    assert result.returncode == 0, result.stderr
    assert ENDS[PROGRAM] in result.stdout
    assert (tmp_path / "results.csv").is_file()
