"""Every example runs, in its fast mode, as a user would run it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SCRIPTS = sorted(p.name for p in EXAMPLES.glob("*.py") if p.name != "common.py")

#: What each prints when it has done its work.
ENDS = {
    "frozen_grid.py": "nested, by fold:",
    "predict_folder.py": "results.csv",
    "second_stage.py": "second stage, nearest grade",
    "softmax_on_folders.py": "saved to",
    "streaming_regression.py": "severities of the first images:",
    "write_a_plugin.py": "trained from scratch, out of fold, 30 images: kappa",
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_example(script, tmp_path):
    command = [sys.executable, str(EXAMPLES / script), "--fast", "--out", str(tmp_path)]
    result = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"}
    )
    assert result.returncode == 0, result.stderr
    assert ENDS[script] in result.stdout
