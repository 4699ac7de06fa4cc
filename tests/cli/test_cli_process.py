"""The lists, the demo, and the process: what it imports and what it lets through."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import fundus
from fundus.cli.options import as_freeze
from fundus.runtime.tensorflow_noise import held_back


def test_lists(run, document):
    names = {record["name"]: record for record in document("backbones")["backbones"]}
    assert set(names) == set(fundus.list_backbones())
    assert names["tiny"]["weights_here"] is True
    assert names["vgg16"]["parameters"] == 14_714_688
    assert {r["name"] for r in document("heads")["heads"]} == set(fundus.list_heads())
    builtin = document("plugins")["plugins"][0]
    assert builtin["state"] == "loaded"
    kinds = builtin["preprocessor_kinds"]
    assert (kinds["tf"], kinds["ben_graham"]) == ("scale", "photometric")
    shown = " ".join(run("plugins", "--verbose").stdout.split())
    assert "photometric step ben_graham, clahe" in shown
    assert "efficientnet_lite0" in run("backbones").stdout
    assert "inception_resnet_v2" in run("backbones").stdout
    assert "softmax" in run("heads").stdout
    assert run("--version").stdout == f"fundus-zoo {fundus.__version__}\n"


def _listing(run, monkeypatch, columns):
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", str(columns))
    return run("backbones").stdout.splitlines()


@pytest.mark.parametrize("columns", [80, 120, None])
def test_backbones_take_one_line_each_and_no_name_is_cut(run, monkeypatch, columns):
    lines = _listing(run, monkeypatch, columns)
    assert max(len(line) for line in lines) <= (columns or 160)
    registry = fundus.plugins.get_registry()
    for name in registry.names("backbone"):
        spec = registry.find("backbone", name).spec
        (row,) = [line.split() for line in lines if line.split()[:1] == [name]]
        size = row[3] if row[2] == "M" else row[2]  # "14.7 M", or a small number in full
        assert size == str(spec.image_size)
        if columns is None:  # into a pipe goes everything
            assert any(name in line and spec.licence in line for line in lines)


def test_backbones_that_can_be_used_come_first(run, document, monkeypatch):
    lines = _listing(run, monkeypatch, 80)
    order = [line.split()[0] for line in lines if line.strip()]
    here = {r["name"]: r["weights_here"] for r in document("backbones")["backbones"]}
    places = {name: order.index(name) for name in here}
    last = max(place for name, place in places.items() if here[name])
    assert all(place > last for name, place in places.items() if not here[name])
    assert places["vgg16"] > last
    assert lines[0].startswith("Usable here")
    assert any("precomputed is not a network" in line for line in lines)


def test_lists_survive_a_bad_plugin(run, document, monkeypatch):
    from fundus.hookspecs import BackboneSpec
    from fundus.plugins import Entry, PluginStatus, Registry

    def weights_path(name):
        raise KeyError("[bold]boom")

    spec = BackboneSpec(
        name="odd", build=print, image_size=8, parameters=1, licence="MIT",
        weights_path=weights_path,
    )  # fmt: skip
    registry = Registry(
        statuses=[PluginStatus("bad", "bad-dist", "1", "failed", "ValueError: [x]", "Trace [y]")]
    )
    registry.entries["backbone"].append(Entry("odd", "odd-dist", spec))
    monkeypatch.setattr("fundus.plugins.registry.get_registry", lambda: registry)
    records = {record["name"]: record for record in document("backbones")["backbones"]}
    assert set(records) == {"odd", "precomputed"}
    record = records["odd"]
    assert record["weights_here"] is None
    assert "boom" in record["error"]
    assert "[bold]boom" in run("backbones").stderr
    assert "ValueError: [x]" in run("plugins").stdout
    assert "Trace [y]" in run("plugins", "--verbose").stdout
    assert document("plugins", "--verbose")["plugins"][0]["details"] == "Trace [y]"


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_demo_runs_the_main_job(run, tmp_path, monkeypatch):
    from functools import partial

    from fundus.cli import demo

    small = partial(demo.Settings, backbone="tiny", weights="fixed", image_size=32, head="logistic")
    monkeypatch.setattr(demo, "Settings", small)
    monkeypatch.setattr(demo, "EDGE", 64)
    result = run("demo", "--out", tmp_path / "demo", "--images", "40")
    assert len(pd.read_csv(tmp_path / "demo" / "run" / "oof.csv")) == 40
    assert len(pd.read_csv(tmp_path / "demo" / "results.csv")) == 20
    assert str(tmp_path / "demo") in result.stdout


def in_a_process(*command: str, cache: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "FUNDUS_CACHE_DIR": str(cache)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env=environment, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("commands", "heavy"),
    [
        (
            [["--help"], ["train", "--help"], ["adapt", "--help"]],
            "keras tensorflow sklearn pandas matplotlib cv2 numpy filelock",
        ),
        (
            [["plugins"], ["backbones"], ["heads"]],
            "keras tensorflow sklearn scipy pandas matplotlib",
        ),
    ],
)
def test_imports_are_put_off(tmp_path, commands, heavy):
    script = (
        "import sys, fundus.cli\n"
        f"for command in {commands!r}:\n"
        "    sys.argv = ['fundus', *command]\n"
        "    try:\n        fundus.cli.main()\n"
        "    except SystemExit as end:\n        assert not end.code, end.code\n"
        f"    loaded = [m for m in {heavy.split()!r} if m in sys.modules]\n"
        "    assert not loaded, (command, loaded)\n"
        "print('done')"
    )
    result = in_a_process("-c", script, cache=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "done"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["none.csv"], "There is no table 'none.csv'"),
        ([".", "--head", "none"], "There is no head called 'none'"),
        ([".", "--backbone", "none"], "There is no backbone called 'none'"),
    ],
)
def test_what_is_wrong_is_told_before_slow_imports(tmp_path, wrong, told):
    script = (
        "import sys, fundus.cli\n"
        f"sys.argv = ['fundus', 'train', *{wrong!r}]\n"
        "try:\n    fundus.cli.main()\n"
        "finally:\n"
        "    heavy = 'keras tensorflow sklearn scipy pandas matplotlib'.split()\n"
        "    print([m for m in heavy if m in sys.modules])"
    )
    result = in_a_process("-c", script, cache=tmp_path)
    assert told in " ".join(result.stderr.split())
    assert result.stdout == "[]\n"


@pytest.mark.slow
def test_tensorflow_s_start_is_not_seen(folder, tmp_path):
    command = ["-m", "fundus.cli", "predict", str(tmp_path / "model"), str(folder / "class4")]
    model = fundus.TransferClassifier("tiny", "logistic", weights="fixed", cache=False)
    data = fundus.load_image_folder(folder)
    model.fit(data.paths, data.grades).save(tmp_path / "model")
    result = in_a_process(*command, "-o", str(tmp_path / "r.csv"), "--quiet", cache=tmp_path / "c")
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    noise = ("absl", "oneDNN", "cuda", "cpu_feature_guard", "WARNING")
    assert not [line for line in result.stderr.splitlines() if any(n in line for n in noise)]


def test_what_was_held_back_is_shown_on_an_error(capfd):
    log = b"I0000 00:00:1795609597.311631   22155 cpu_feature_guard.cc:227] This binary ...\n"
    with held_back():
        os.write(2, log)
        os.write(2, b"a line of somebody else\n")
    assert capfd.readouterr().err == "a line of somebody else\n"

    def fail():
        os.write(2, log)
        raise ImportError

    with pytest.raises(ImportError), held_back():
        fail()
    assert capfd.readouterr().err == log.decode()


def test_freeze_is_read():
    assert as_freeze("10") == 10
    assert isinstance(as_freeze("0"), int)
    assert as_freeze("0.75") == 0.75
    assert as_freeze("all") == "all"
    assert as_freeze("conv4_block1_out") == "conv4_block1_out"
