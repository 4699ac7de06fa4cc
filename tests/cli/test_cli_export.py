"""``fundus export``."""

from __future__ import annotations

import json
import shutil

import pytest
from attacks.bundles import sign

from fundus.export.folder import is_export


@pytest.mark.slow
def test_a_run_leaves_as_a_folder_with_its_card(trained, run, tmp_path):
    trained, _ = trained
    out = tmp_path / "grader"
    result = run("export", trained, "--to", "keras", "--out", out)
    assert f"Exported: {out}" in result.stdout
    assert "no grade differs" in result.stdout
    assert is_export(out)
    card = (out / "model_card.md").read_text()
    assert "## The training: " in card
    assert card.count("\n# ") == 0
    again = run("export", trained, "--to", "keras", "--out", out, code=1)
    assert "holds an earlier export: pass --force to replace it" in " ".join(again.stderr.split())
    told = run("export", trained / "model", "--to", "keras", "--out", out, "--force", "--json")
    assert json.loads(told.stdout)["differences"]["grade"] == 0
    assert "## The training" not in (out / "model_card.md").read_text()


def test_an_export_into_what_is_read_is_refused(trained, run):
    trained, _ = trained
    result = run("export", trained, "--to", "keras", "--out", trained / "model", code=2)
    assert "choose another folder" in " ".join(result.stderr.replace("│", " ").split())
    assert not is_export(trained / "model")


def test_a_bundle_that_cannot_be_read_here_is_told(trained, run, tmp_path):
    trained, _ = trained
    bad = shutil.copytree(trained / "model", tmp_path / "bad")
    text = (bad / "model.json").read_text()
    changed = text.replace('"distribution": "fundus-zoo"', '"distribution": "green-eyes"')
    changed = changed.replace('"backbone": "tiny"', '"backbone": "green/net"')
    assert changed != text
    (bad / "model.json").write_text(changed)
    sign(bad)
    out = tmp_path / "out"
    result = run("export", bad, "--to", "keras", "--out", out, code=2)
    assert "pip install green-eyes" in " ".join(result.stderr.split())
    manifest = bad / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 3', '"format": 99'))
    result = run("export", bad, "--to", "keras", "--out", out, code=1)
    assert "has format 99" in " ".join(result.stderr.split())
    assert not out.exists()
