"""Contact sheets and kinds of figures of ``train``, ``evaluate``, ``stress`` and ``audit``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from shutil import copy

import cv2
import numpy as np
import pandas as pd
import pytest

from fundus.cli.files import write_figure
from fundus.cli.outputs import figure
from fundus.reporting.displays.contact_sheet import ContactSheetDisplay
from fundus.runtime.figures import new_figure

pytestmark = pytest.mark.usefixtures("whole_reports")


@pytest.fixture
def sheets(monkeypatch):
    """The sheets that commands draw from now on."""
    drawn = []
    plot = ContactSheetDisplay.plot
    monkeypatch.setattr(
        ContactSheetDisplay, "plot", lambda self, ax=None: drawn.append(plot(self, ax)) or drawn[-1]
    )
    return drawn


@pytest.mark.slow
def test_train_writes_sheets_of_the_top_of_its_tables(document, tiny, folder, tmp_path, sheets):
    out = tmp_path / "run"
    options = [*tiny, "--maps", "--head", "ridge", "--out", out, "--figure-format", "svg"]
    printed = document("train", folder, *options)
    assert {p.name for p in out.iterdir()} == {name.rstrip("/") for name in printed["files"]}
    assert "graded worst" in printed["files"]["errors.svg"]
    assert not list(out.glob("*.png"))
    known = pd.read_csv(out / "oof.csv").set_index("file")
    for by, sheet in zip(("errors", "uncertain"), sheets, strict=True):
        table = pd.read_csv(out / f"{by}.csv")
        assert sheet.table_["file"].tolist() == table["file"][:16].tolist()
        assert [text.split("\n")[-1] for text in sheet.captions_] == table["file"][:16].tolist()
        assert len(sheet.captions_) == min(16, len(table))
        assert all(len(cell) == 2 for cell in sheet.pictures_)  # with its map
        same = known.loc[table["file"]]
        assert table["fold"].tolist() == same["fold"].tolist()
        assert table["target"].tolist() == same["target"].tolist()
        assert table["prediction"].tolist() == same["prediction"].tolist()
    errors = pd.read_csv(out / "errors.csv")
    wrong = known[known["target"] != known["prediction"]]
    assert set(errors["file"]) == set(wrong.index)
    assert errors["error"].is_monotonic_decreasing
    assert len(pd.read_csv(out / "uncertain.csv")) == len(known)


@pytest.mark.slow
def test_evaluate_writes_sheets_with_sets(document, run, trained, others, tmp_path, sheets):
    output = tmp_path / "found.csv"
    printed = document("evaluate", trained[0], others, "-o", output, "--dpi", "60")
    assert set(printed["sheets"]) == {
        f"found-{by}.{kind}" for by in ("errors", "uncertain") for kind in ("png", "csv")
    }
    for by, sheet in zip(("errors", "uncertain"), sheets, strict=True):
        table = pd.read_csv(tmp_path / f"found-{by}.csv")
        assert sheet.table_["file"].tolist() == table["file"][:16].tolist()
        assert all("set " in text for text in sheet.captions_)
        height, width = cv2.imread(str(tmp_path / f"found-{by}.png")).shape[:2]
        assert (width, height) == tuple(int(60 * s) for s in sheet.figure_.get_size_inches())
    # our own files are replaced, those of others are not
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    run("evaluate", trained[0], others, "-o", output, "--dpi", "60")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    for name in ("found-errors.png", "found-uncertain.csv"):
        (tmp_path / name).write_bytes(b"mine")
        result = run("evaluate", trained[0], others, "-o", output, code=2)
        assert name in re.sub(r"[\s│]", "", result.output)
        (tmp_path / name).write_bytes(before[tmp_path / name])


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_figures_are_recognised_and_the_same_each_time(tmp_path, suffix):
    paths = [tmp_path / f"{k}.{suffix}" for k in range(2)]
    for path in paths:
        drawn = new_figure()
        drawn.subplots().imshow(np.arange(6).reshape(2, 3))
        write_figure(drawn, path)
        assert figure(path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    foreign = tmp_path / f"foreign.{suffix}"
    drawn.savefig(foreign, format=suffix)
    assert not figure(foreign)
    assert not figure(copy(__file__, tmp_path / f"text.{suffix}"))


def test_a_figure_of_another_program_that_speaks_of_us_is_not_ours(tmp_path):
    drawn = new_figure()
    drawn.subplots().set_title("fundus")
    for suffix in ("pdf", "svg"):
        path = tmp_path / f"a.{suffix}"
        drawn.savefig(path, format=suffix, metadata={"Creator": "another"})
        assert not figure(path)


@pytest.mark.parametrize("dpi", ["29", "1201", "many"])
def test_dpi_is_checked(run, folder, dpi):
    result = run("train", folder, "--dpi", dpi, code=2)
    assert "--dpi" in result.output


def test_stress_writes_the_kind_that_is_asked_for(document, trained, others, tmp_path):
    output = tmp_path / "stress.csv"
    options = ["--kinds", "tone", "--strengths", "1", "--figure-format", "pdf"]
    printed = document("stress", trained[0], others, "-o", output, *options)
    assert printed["figures"] == ["stress.pdf"]
    assert (tmp_path / "stress.pdf").read_bytes().startswith(b"%PDF")
    assert json.loads(Path(output).with_suffix(".json").read_text()) == printed


@pytest.mark.slow
def test_audit_writes_suspects_and_pairs(document, run, tmp_path, sheets):
    import fundus

    data = fundus.make_fundus(20, 96, 3, out_dir=tmp_path / "data")
    copy(data.paths[3], tmp_path / "data" / "class0" / "99_left.jpeg")
    out, options = tmp_path / "found.csv", ["--backbone", "tiny", "--weights", "fixed"]
    options += ["--image-size", "32", "--folds", "2", "--cache-dir", tmp_path / "cache"]
    printed = document("audit", tmp_path / "data", "-o", out, *options)
    kinds = [(which, kind) for which in ("suspects", "pairs") for kind in ("png", "csv")]
    assert set(printed["sheets"]) == {f"found-{which}.{kind}" for which, kind in kinds}
    suspects, pairs = (pd.read_csv(tmp_path / f"found-{w}.csv") for w in ("suspects", "pairs"))
    whole = pd.read_csv(out, keep_default_na=False)
    wanted = {"label_suspect", "dark", "blurred", "no_field_of_view"}
    issues = whole["issues"].str.split(";").map(set)
    assert set(suspects["file"]) == set(whole["file"][issues.map(lambda i: bool(i & wanted))])
    drawn = sheets[0].table_["path"].tolist()
    labels = suspects["file"][suspects["kind"] == "label"][:12].tolist()
    assert drawn == labels + suspects["file"][suspects["kind"] == "picture"][:12].tolist()
    assert "copy" in set(pairs["what"])
    assert sheets[1].table_["path"].tolist() == pairs["file"][:12].tolist()
    assert "class0/99_left.jpeg" in {*pairs["file"], *pairs["other_file"]}
    run("audit", tmp_path / "data", "-o", out, *options)  # its own files are replaced
    told = run("audit", tmp_path / "data", "-o", "/dev/null", *options)
    assert "No contact sheets" in told.stderr
    (tmp_path / "found-pairs.png").write_bytes(b"mine")
    run("audit", tmp_path / "data", "-o", out, *options, code=2)
