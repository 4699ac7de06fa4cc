"""What the tests of the command line share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import fundus
from fundus.cli import app

TINY = ["--recipe", "fast", "--backbone", "tiny", "--weights", "fixed", "--image-size", "32"]
TINY += ["--folds", "3"]


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """Options of a backbone that takes no time, for ``train``."""
    return TINY


@pytest.fixture(scope="session")
def logistic() -> list[str]:
    """Options of a model that takes no time, for ``train``."""
    return [*TINY, "--head", "logistic"]


@pytest.fixture(scope="session")
def run():
    """Run a command in this process and check its exit code."""

    def invoke(*arguments, code=0):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    return invoke


@pytest.fixture(scope="session")
def document(run):
    """Run a command with --json; all of stdout must be one document."""

    def invoke(*arguments):
        return json.loads(run(*arguments, "--json").stdout)

    return invoke


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
def trained(folder, document, logistic, tmp_path_factory):
    """A finished run and the document that it printed."""
    base = tmp_path_factory.mktemp("trained")
    out = base / "run"
    cache = ["--cache-dir", base / "cache"]
    return out, document("train", folder, *logistic, "--out", out, *cache)
