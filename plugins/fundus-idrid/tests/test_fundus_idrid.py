"""The plugin as its users meet it: installed, found by name, and what is in its folder."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fundus_idrid import SPEC

import fundus
from fundus.cli.runs import read_digests
from fundus.documents.ready import ready_card
from fundus.images.formats import image_kind
from fundus.plugins import get_registry
from fundus.testing import check_model, check_plugin

PLUGIN = Path(__file__).resolve().parents[1]
PACKAGE = PLUGIN / "fundus_idrid"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FUNDUS_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def script():
    """The script that makes the model, as a module."""
    spec = importlib.util.spec_from_file_location("make_model", PLUGIN / "make_model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_keeps_the_contract():
    if any(status.distribution == "fundus-idrid" for status in get_registry().statuses):
        check_plugin("fundus-idrid")
    else:
        check_model(SPEC)


def test_it_grades_synthetic_photographs_by_their_lesions(tmp_path):
    """It has seen no drawing, and yet ranks them: what it reads is lesions."""
    data = fundus.make_fundus(20, 256, 0, out_dir=tmp_path, grade_weights=[0.5, 0, 0, 0, 0.5])
    model = fundus.load(SPEC.folder)
    severity = model.predict_severity(data.paths)
    assert severity[data.grades == 4].mean() > severity[data.grades == 0].mean()
    assert set(model.operating_points_) == {"referable", "sight-threatening"}


def test_cutpoints_and_thresholds_are_of_held_out_severities():
    model = fundus.load(SPEC.folder)
    cuts, _ = fundus.optimal_cutpoints(model.oof_severity_, _grades(), distribution="normal")
    np.testing.assert_allclose(model.cutpoints_, cuts, rtol=1e-6)
    referable = np.array(_grades()) >= 2
    point = model.operating_points_["referable"][0]
    called = model.oof_severity_ >= point.threshold
    assert np.mean(called[referable]) == pytest.approx(point.sensitivity)
    assert np.mean(~called[~referable]) == pytest.approx(point.specificity)
    assert point.wanted == "sensitivity"


def _grades() -> list[int]:
    """Grades of the photographs; the plugin keeps none, so they are in the shared data."""
    import os

    import pandas as pd

    place = os.environ.get("FUNDUS_TEST_DATA") or PLUGIN.parents[2] / "shared" / "data"
    table = Path(place) / "idrid_train" / "labels.csv"
    if not table.is_file():
        pytest.skip(f"no table {table}; set FUNDUS_TEST_DATA to the folder of IDRiD")
    return pd.read_csv(table)["grade"].tolist()


def test_it_is_small_and_holds_no_photograph_and_no_path(tmp_path):
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=PLUGIN, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < 300_000
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    for path in PACKAGE.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert f"fundus_idrid/{path.relative_to(PACKAGE).as_posix()}" in held
    for name, data in held.items():
        assert image_kind(data) is None, name
        assert not re.search(rb"/(home|root|tmp|work|Users)/", data), name


def test_the_card_is_that_of_the_record():
    assert (PACKAGE / "MODEL_CARD.md").read_text(encoding="utf-8") == ready_card(SPEC)


def test_every_photograph_of_the_list_is_in_the_bundle_as_a_digest_of_pixels(script):
    listed = script.read_list(PACKAGE / "photographs.sha256")
    assert len(listed) == 370
    assert len(read_digests(Path(SPEC.folder))) == 369
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in listed.values())


def test_the_script_says_which_photograph_differs(script, tmp_path, capsys, monkeypatch):
    wanted = {"labels.csv": "a" * 64, "images/1.jpg": "b" * 64}
    assert script.told_differences(wanted, wanted) == []
    assert script.read_list(_written(tmp_path, script.written(wanted))) == wanted
    other = {"labels.csv": "a" * 64, "images/2.jpg": "b" * 64}
    said = script.told_differences(other, wanted)
    assert said == ["images/2.jpg: not in the list", "images/1.jpg: missing"]
    (tmp_path / "labels.csv").write_text("file,grade\nlabels.csv,0\n")
    monkeypatch.setattr(script, "ONE_THREAD", {})
    monkeypatch.setattr(sys, "argv", ["make_model.py", str(tmp_path / "labels.csv")])
    assert script.main() == 1
    assert "labels.csv: another SHA-256 than in the list" in capsys.readouterr().out


def _written(folder: Path, text: str) -> Path:
    path = folder / "list"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_script_says_which_file_differs(script, tmp_path):
    folder = Path(SPEC.folder)
    assert script.compare(folder, folder) == []
    model = fundus.load(folder)
    model.cutpoints_ = model.cutpoints_ + 0.25
    fundus.saving.bundle.save(
        model, tmp_path / "made", about=json.loads((folder / "model.json").read_text())["about"]
    )
    said = script.compare(tmp_path / "made", folder)
    assert said[:3] == [
        "manifest.json: differs",
        "part-02.npz: differs",
        "training_images.csv: only in the plugin",
    ]
    assert "(largest difference of cutpoints_: 0.25)" in said
    assert "(largest difference of oof_severity_: 0)" in said
