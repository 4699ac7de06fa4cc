"""The audit that ``fundus train`` makes of its photographs, and what the report says of it."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copy, copytree

import cv2
import numpy as np
import pandas as pd
import pytest

from fundus.exceptions import ImageReadError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dirty(folder, tmp_path_factory) -> Path:
    """Photographs with unknown patients: a darkened one, and a mirrored and a brighter version."""
    base = tmp_path_factory.mktemp("dirty")
    copytree(folder, base / "eyes")
    first, second, *_ = sorted((base / "eyes" / "class0").iterdir())
    picture = cv2.imread(str(first))
    cv2.imwrite(str(base / "eyes" / "class3" / "mirrored$x$.png"), picture[:, ::-1])
    brighter = np.clip(picture.astype(float) * 1.15, 0, 255).astype(np.uint8)
    cv2.imwrite(str(base / "eyes" / "class0" / "brighter.png"), brighter)
    dark = (cv2.imread(str(second)) * 0.08).astype(np.uint8)
    cv2.imwrite(str(base / "eyes" / "class0" / "dark.png"), dark)
    return base / "eyes"


@pytest.fixture(scope="module")
def audited(dirty, document, logistic, tmp_path_factory):
    base = tmp_path_factory.mktemp("audited")
    options = ["--patients-unknown", "ok", "--cache-dir", base / "cache", "--dpi", "40"]
    return base / "run", document(
        "train", dirty, *logistic, "--audit", "--out", base / "run", *options
    )


def test_a_training_finds_what_is_odd(audited, dirty):
    out, printed = audited
    found = printed["audit"]
    table = pd.read_csv(out / "audit.csv", keep_default_na=False).set_index("file")
    oof = pd.read_csv(out / "oof.csv").set_index("file")
    assert set(table.index) == set(oof.index)
    issues = table["issues"].str.split(";").map(set)
    assert {"near_duplicate", "conflicting_labels"} <= issues["class3/mirrored$x$.png"]
    assert "near_duplicate" in issues["class0/brighter.png"]
    assert "dark" in issues["class0/dark.png"]
    for issue, n in found["issues"].items():
        assert n == issues.map(lambda known, issue=issue: issue in known).sum()
    pairs = pd.read_csv(out / "pairs.csv")
    assert len(pairs) == found["n_pairs"] > 0
    for side in ("", "other_"):
        assert pairs[f"{side}fold"].tolist() == oof["fold"][pairs[f"{side}file"]].tolist()
    apart = (pairs["fold"] != pairs["other_fold"]).sum()
    assert found["n_pairs_apart"] == apart
    suspects = pd.read_csv(out / "suspects.csv")
    assert suspects["fold"].tolist() == oof["fold"][suspects["file"]].tolist()
    proba = oof[[f"probability_{k}" for k in range(5)]].to_numpy()
    own = pd.Series(proba[np.arange(len(oof)), oof["target"]], oof.index)
    known = table["self_confidence"].astype(float)
    np.testing.assert_allclose(known, own[table.index], atol=2e-6)
    assert {"suspects.png", "pairs.png", "audit.csv"} <= set(printed["files"])
    assert {p.name for p in out.iterdir()} == {name.rstrip("/") for name in printed["files"]}


def test_the_report_holds_it_when_photographs_are_gone(audited, run, tmp_path, dirty):
    out, printed = audited
    moved = dirty.with_name("elsewhere")
    dirty.rename(moved)
    try:
        run("report", out, "-o", tmp_path / "report.html")
    finally:
        moved.rename(dirty)
    document = json.loads((tmp_path / "report.json").read_text())["report"]
    (data,) = [one for one in document["sections"] if one["name"] == "data"]
    tables = {b["caption"]: b for b in data["blocks"] if b["kind"] == "table"}
    counts = {row[0]: int(row[1]) for row in tables["What the audit found"]["rows"]}
    known = {name.replace("_", " "): n for name, n in printed["audit"]["issues"].items()}
    assert counts == {name: known[name] for name in counts}
    files = {row[0] for row in tables["Copies and near duplicates"]["rows"]}
    assert files <= set(pd.read_csv(out / "pairs.csv")["file"])
    page, text = ((tmp_path / f"report.{kind}").read_text() for kind in ("html", "md"))
    assert "mirrored$x$.png" in page
    assert "mirrored$x$.png" in text
    assert "suspects.png" in text
    assert "is not found from here" in page


def test_an_audit_that_fails_loses_no_training(run, folder, logistic, tmp_path, monkeypatch):
    def fails(*args, **kwargs):
        raise ImageReadError("'7.jpeg' is gone")

    monkeypatch.setattr("fundus.cli.audited._looked_at", fails)
    told = run("train", folder, *logistic, "--audit", "--out", tmp_path / "run").stderr
    assert "were not audited: '7.jpeg' is gone" in " ".join(told.split())
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert found["audit"] == {"why": "'7.jpeg' is gone"}


def test_whatever_fails_after_a_training_the_run_is_complete(
    run, folder, logistic, tmp_path, monkeypatch
):
    def fails(*args, **kwargs):
        raise RuntimeError("out of memory")

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("fundus.cli.audited.write_csv", fails)
        patch.setattr("fundus.reporting.displays.sheet_contents.overlays_of", fails)
        options = [*logistic, "--audit", "--maps"]
        told = " ".join(run("train", folder, *options, "--out", out).stderr.split())
    assert "were not audited: RuntimeError: out of memory" in told
    assert "The sheets of photographs have no maps: RuntimeError: out of memory" in told
    found = json.loads((out / "metrics.json").read_text())
    assert found["audit"] == {"why": "RuntimeError: out of memory"}
    assert (out / "errors.png").is_file()
    # what is drawn and listed may differ; the models are the same
    for more in (["--no-audit"], ["--no-maps"]):
        result = run("train", folder, *options, *more, "--out", out, "--resume")
        assert "complete" in result.stdout + result.stderr


def test_without_an_audit_and_with_sheets_of_validation(
    document, folder, others, tiny, tmp_path, monkeypatch
):
    monkeypatch.setattr("fundus.cli.audited._looked_at", None)  # must not be called
    out = tmp_path / "run"
    options = ["--head", "ridge", "--validation", others, "--no-audit", "--no-maps"]
    printed = document("train", folder, *tiny, *options, "--out", out)
    assert printed["audit"] is None
    assert not (out / "audit.csv").exists()
    known = pd.read_csv(out / "validation.csv").set_index("file")
    errors = pd.read_csv(out / "validation-errors.csv")
    wrong = known[known["target"] != known["prediction"]]
    assert set(errors["file"]) == set(wrong.index)
    assert errors["target"].tolist() == known["target"][errors["file"]].tolist()
    assert errors["error"].is_monotonic_decreasing
    assert len(pd.read_csv(out / "validation-uncertain.csv")) == len(known)
    for name in ("validation-errors.png", "validation-uncertain.png"):
        assert "--validation" in printed["files"][name]
        assert (out / name).is_file()


def test_copies_of_one_patient_are_pairs(document, folder, logistic, tmp_path):
    copytree(folder, tmp_path / "eyes")
    first = next(p for p in sorted((tmp_path / "eyes" / "class0").iterdir()) if "left" in p.name)
    copy(first, first.with_name(first.name.replace("left", "left_2")))
    printed = document("train", tmp_path / "eyes", *logistic, "--audit", "--out", tmp_path / "run")
    assert printed["audit"]["issues"]["duplicate"] == 2
    pairs = pd.read_csv(tmp_path / "run" / "pairs.csv")
    (row,) = pairs[pairs["what"] == "copy"].to_dict("records")
    assert row["fold"] == row["other_fold"]
    assert not row["across_patients"]
    apart = (pairs["fold"] != pairs["other_fold"]).sum()
    assert printed["audit"]["n_pairs_apart"] == apart
    assert 2 * apart != len(pairs)  # or the pairs that are not apart would be as many
