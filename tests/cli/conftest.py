"""What the tests of the command line share."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from typer.testing import CliRunner

import fundus
from fundus.cli import app
from fundus.reporting.bootstrap import Bootstrap
from fundus.reporting.displays.contact_sheet import ContactSheetDisplay
from fundus.reporting.displays.grading import GradingDisplay
from fundus.reporting.displays.reliability import ReliabilityDisplay
from fundus.reporting.displays.roc import RocDisplay
from fundus.reporting.displays.severity import SeverityDisplay
from fundus.reporting.shortcuts import ShortcutReport

TINY = ["--recipe", "fast", "--backbone", "tiny", "--weights", "fixed", "--image-size", "32"]
TINY += ["--folds", "3"]
#: What most tests are not about.
PLAIN = ["--no-audit", "--no-maps"]


def save_pixel(figure, path, *, metadata, **_) -> None:
    """Save a figure as one pixel, with its text."""
    text = PngInfo()
    for key, value in metadata.items():
        text.add_text(key, value)
    Image.new("L", (1, 1)).save(path, "png", pnginfo=text)


def blank(display, *_, **__):
    """Draw nothing."""
    display.figure_ = Figure()
    return display


def quick_figures(patch: pytest.MonkeyPatch) -> None:
    """Make figures of one pixel, on which nothing is drawn."""
    patch.setattr(Figure, "savefig", save_pixel)
    for kind in (GradingDisplay, SeverityDisplay, ReliabilityDisplay, RocDisplay):
        patch.setattr(kind, "plot", blank)
    patch.setattr(ContactSheetDisplay, "plot", blank)
    patch.setattr(ShortcutReport, "plot", lambda self: Figure())


@pytest.fixture(autouse=True)
def _quick_reports(monkeypatch, request):
    """Make figures of one pixel and intervals of 100 resamples.

    Both have tests of their own, and take most of the time of a small run. Runs that several tests
    share have whole intervals, since their fixtures are set up before this one; so has all of a
    test that compares with such a run, which takes `whole_intervals`.
    """
    if "whole_reports" in request.fixturenames:
        return
    quick_figures(monkeypatch)
    if "whole_intervals" in request.fixturenames:
        return
    weights = Bootstrap.weights
    monkeypatch.setattr(
        Bootstrap,
        "weights",
        lambda self: weights(replace(self, n_resamples=min(self.n_resamples, 100))),
    )


@pytest.fixture
def whole_reports():
    """Reports as users get them."""


@pytest.fixture
def whole_intervals():
    """Intervals as users get them, beside figures of one pixel."""


@pytest.fixture(scope="module")
def no_figures():
    """Figures of one pixel in the runs that the tests of a file share."""
    with pytest.MonkeyPatch.context() as patch:
        quick_figures(patch)
        yield


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """Options of a backbone that takes no time, for ``train``."""
    return [*TINY[:-2], *PLAIN, *TINY[-2:]]


@pytest.fixture(scope="session")
def logistic(tiny) -> list[str]:
    """Options of a model that takes no time, for ``train``."""
    return [*tiny, "--head", "logistic"]


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
    """A finished run, with all that users get by default, and the document that it printed."""
    base = tmp_path_factory.mktemp("trained")
    out = base / "run"
    cache = ["--cache-dir", base / "cache"]
    return out, document("train", folder, *logistic, "--audit", "--maps", "--out", out, *cache)
