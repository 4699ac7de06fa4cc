"""``fundus verify``."""

from __future__ import annotations

import json
import shutil

from attacks.bundles import sign

from fundus.saving.bundle import read_record


def checks(document):
    return {check["check"]: (check["sound"], check["found"]) for check in document["checks"]}


def test_a_run_is_checked_and_told(trained, run, document):
    trained, _ = trained
    found = document("verify", trained)
    assert found["kind"] == "fundus verification"
    assert found["sound"]
    told = checks(found)
    assert all(sound for sound, _ in told.values())
    assert "with a SHA-256 in the manifest" in told["training images"][1]
    assert (
        "training_images.csv" in json.loads((trained / "model/manifest.json").read_text())["files"]
    )
    assert read_record(trained / "model")["format"] == 3
    assert "All that was checked is sound." in run("verify", trained).stdout
    assert "results" not in checks(document("verify", trained / "model"))


def test_each_fault_is_told(trained, run, tmp_path):
    trained, _ = trained
    bad = shutil.copytree(trained, tmp_path / "bad")
    (bad / "scores.csv").unlink()
    (bad / "model" / "training_images.csv").write_text("pixels_sha256,fold\n")
    result = run("verify", bad, "--json", code=1)
    told = checks(json.loads(result.stdout))
    assert told["format"][0]
    assert "training_images.csv' is damaged" in told["files"][1]
    assert not told["record and model"][0]
    assert "lists scores.csv" in told["results"][1]
    assert "is not sound: files" in result.stderr
    sign(bad / "model")  # whoever changes a file can write its digest too
    told = checks(json.loads(run("verify", bad, "--json", code=1).stdout))
    assert told["files"][0]
    assert told["record and model"][0]
    assert "must have the 40 images" in told["training images"][1]


def test_the_pooling_of_a_changed_model_is_found(trained, run, tmp_path):
    trained, _ = trained
    bad = shutil.copytree(trained / "model", tmp_path / "bad")
    text = (bad / "model.json").read_text().replace('"pooling": "avg"', '"pooling": "avg+max"')
    (bad / "model.json").write_text(text)
    sign(bad)
    told = checks(json.loads(run("verify", bad, "--json", code=1).stdout))
    assert told["record and model"][0]
    assert "frozen layers give 32" in told["prediction"][1]


def test_no_run_is_told(run, tmp_path):
    assert "There is no run" in run("verify", tmp_path / "none", code=1).stderr
    assert "not a complete run" in run("verify", tmp_path, code=1).stderr
