"""``fundus weights``."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from fundus.plugins import get_registry
from fundus.runtime.reach import SECONDS

VGG = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"


BAD = """
from fundus.builtin.tiny import build
from fundus.hookspecs import BackboneSpec, WeightsFile, hookimpl

@hookimpl
def fundus_backbones():
    file = WeightsFile(weights="imagenet", file="bad.h5", place=lambda: 1 / 0)
    return [BackboneSpec(name="bad", build=build, image_size=32, parameters=2072, licence="MIT",
                         weights_files=(file,))]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FUNDUS_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "weights"


@pytest.fixture
def lite(folder):
    """The installed file of EfficientNet-Lite0, which is the only one of the zoo that is small."""
    place = get_registry().find("backbone", "efficientnet_lite0").spec.weights_files[0].place()
    if place is None or not place.is_file():
        pytest.skip("the package with these weights is not installed")
    return place


def test_the_list_names_file_size_digest_address_and_place(run, document, folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "240")  # in a narrow terminal names go over several lines
    found = document("weights", "list")
    assert found["folder"] == str(folder)
    records = {record["backbone"]: record for record in found["weights"]}
    vgg = records["vgg16"]
    assert (vgg["file"], vgg["size"], vgg["path"]) == (VGG, "about 59 MB", None)
    assert vgg["md5"] == "6d6bbae143d832006294945121d1f1fc"
    assert vgg["url"].endswith(f"/vgg16/{VGG}")
    shown = run("weights", "list").stdout
    here, absent = shown.split("Not on this machine")
    assert "tiny" in here
    assert VGG in absent
    assert str(folder) in "".join(absent.split())  # long paths go over several lines
    full = run("weights", "list", "vgg16").stdout
    for part in (VGG, "about 59 MB", "MD5        6d6bbae1", vgg["url"], ".keras", "here       no"):
        assert part in full
    assert "resnet50" not in full
    assert "'vgg61'. Did you mean 'vgg19' or" in run("weights", "list", "vgg61", code=2).stderr


def test_a_file_is_added_listed_checked_and_used(run, document, folder, lite, tmp_path):
    copy = tmp_path / "downloaded.pth"
    copy.write_bytes(lite.read_bytes())
    added = document("weights", "add", copy)
    assert added["path"] == str(folder / lite.name)
    assert (added["backbone"], added["was_there"]) == ("efficientnet_lite0", False)
    assert "was there already" in run("weights", "add", copy).stdout
    records = {r["backbone"]: r for r in document("weights", "list")["weights"]}
    assert records["efficientnet_lite0"]["path"] == str(folder / lite.name)
    backbones = {r["name"]: r for r in document("backbones")["backbones"]}
    assert backbones["efficientnet_lite0"]["weights"] == {"imagenet": str(folder / lite.name)}
    states = {f["path"]: f["state"] for f in document("weights", "verify")["files"]}
    assert states[str(folder / lite.name)] == "right"
    (folder / lite.name).write_bytes(copy.read_bytes()[:-1])
    result = run("weights", "verify", code=1)
    assert "wrong" in result.stdout
    assert hashlib.sha256(copy.read_bytes()[:-1]).hexdigest()[:20] in result.stdout.replace(
        "\n", ""
    )
    assert "get it again and run fundus weights add" in result.stderr
    found = {r["name"]: r for r in document("backbones")["backbones"]}["efficientnet_lite0"]
    assert "expected the SHA-256" in found["error"]


def test_a_wrong_file_ends_with_1_and_writes_nothing(run, folder, tmp_path):
    wrong = tmp_path / VGG
    wrong.write_bytes(b"an answer of a proxy")
    told = run("weights", "add", wrong, code=1).stderr
    assert "expected the MD5 6d6bbae143d832006294945121d1f1fc" in told
    assert hashlib.md5(b"an answer of a proxy").hexdigest() in told
    wrong.rename(tmp_path / "x.h5")
    told = run("weights", "add", tmp_path / "x.h5", code=2).stderr
    assert "The option --backbone must be given" in told
    told = run("weights", "add", tmp_path / "x.h5", "--sha256", "1", code=2).stderr
    assert "The option --sha256 must be" in told
    assert not folder.exists()


def test_other_files_in_the_folder_are_listed(run, document, folder):
    folder.mkdir()
    (folder / "retina.h5").write_bytes(b"x")
    assert document("weights", "list")["others"] == [str(folder / "retina.h5")]
    assert "retina.h5" in run("weights", "list").stdout
    assert "no digest known" in run("weights", "verify").stdout


def test_a_plugin_that_cannot_be_asked_is_wrong(run, document, folder, install):
    install("bad", BAD)
    result = run("weights", "verify", "--json", code=1)
    found = {file["backbone"]: file for file in json.loads(result.stdout)["files"]}["bad"]
    assert (found["path"], found["state"]) == (None, "wrong")
    assert "place of the backbone 'bad' must return a path or None" in found["problem"]
    shown = run("weights", "verify", code=1).stdout
    assert "None:" not in shown


def test_a_changed_file_of_the_folder_is_not_trained_on(run, folder, tmp_path):
    """What ``fundus weights verify`` calls wrong."""
    folder.mkdir()
    (folder / "mine.h5").write_bytes(b"changed")
    (folder / "mine.h5.sha256").write_text(hashlib.sha256(b"as it was").hexdigest())
    (tmp_path / "photographs" / "a").mkdir(parents=True)
    command = ("train", tmp_path / "photographs", "--backbone", "tiny", "--weights", "mine.h5")
    told = run(*command, "--out", tmp_path / "run", code=1).stderr
    assert "is not the one that was added" in told


def test_training_without_weights_ends_at_once(run, folder, tmp_path, monkeypatch):
    """Before an image is read: there is none."""
    released = threading.Event()
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr("socket.getaddrinfo", lambda *a, **k: released.wait(60) and [])
    data, out = tmp_path / "photographs", tmp_path / "run"
    (data / "a").mkdir(parents=True)
    command = ("train", data, "--backbone", "vgg16", "--out", out)
    run(*command, code=1)  # loads what the command needs
    wall, cpu = time.perf_counter(), time.process_time()
    told = run(*command, code=1).stderr
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    released.set()
    # what else runs makes the wall clock longer, and a name server would be waited for
    assert cpu + SECONDS < 1
    assert wall < 5
    assert f"fundus weights add {VGG}" in told
    assert not out.exists()


@pytest.mark.slow
def test_listing_and_checking_load_neither_keras_nor_tensorflow(folder):
    script = (
        "import json, sys\n"
        "from fundus.cli import app\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    app(words, standalone_mode=False)\n"
        "heavy = {'keras', 'tensorflow', 'h5py'} & set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr)\n"
    )
    words = [["weights", "list"], ["weights", "list", "vgg16"], ["weights", "verify"]]
    result = subprocess.run(
        [sys.executable, "-c", script, json.dumps(words)],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ),
    )
    assert result.stderr.splitlines()[-1] == "[]"


def test_the_help_names_the_commands(run):
    shown = run("weights", "--help").stdout
    for name in ("list", "add", "verify"):
        assert name in shown
    assert "weights" in run("--help").stdout
