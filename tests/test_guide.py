"""The guide to plugins, from an empty folder to a grid search, beside a broken plugin."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from installing import install, write_info

from fundus.plugins import HOOKS

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "write-a-plugin.md"
TEXT = GUIDE.read_text(encoding="utf-8")

#: ``name`` and text of each file, and each command, in the order of the page.
FILES = dict(re.findall(r"`([\w.]+)`:\n\n```(?:python|toml)\n(.*?)```", TEXT, re.DOTALL))
COMMANDS = [
    line[2:]
    for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
]


#: Runs modules or files with their arguments in one process, since TensorFlow starts in seconds;
#: what the first of them prints, up to the mark, is its own.
MARK = "--- next ---"
PROGRAMS = f"""
import json, runpy, sys
sys.path.insert(0, "")
for kind, name, *arguments in json.loads(sys.argv[1]):
    sys.argv = [name, *arguments]
    try:
        (runpy.run_module if kind == "-m" else runpy.run_path)(name, run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    print({MARK!r}, flush=True)
"""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Follow the page; return what its commands printed."""
    folder, site = tmp_path_factory.mktemp("plugin"), tmp_path_factory.mktemp("site")
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    write_info(site, "fundus-broken", "1.0", {"broken": "fundus_broken"})
    (site / "fundus_broken.py").write_text("print('{noise')\nraise SystemExit(3)\n")
    path = [str(site), str(Path(__file__).resolve().parents[1]), *filter(None, sys.path)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        "FUNDUS_CACHE_DIR": str(folder / "cache"),
        "COLUMNS": "200",
    }

    def run(*arguments: str) -> str:
        result = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True, text=True, cwd=folder, env=environment,
        )  # fmt: skip
        assert result.returncode == 0, f"{arguments}: {result.stdout}\n{result.stderr}"
        return result.stdout

    found, programs = {}, {}
    for command in COMMANDS:
        program, *arguments = shlex.split(command)
        if program == "pip":
            install(site, folder / arguments[-1])
        elif program == "fundus":
            found[command] = run("-m", "fundus.cli", *arguments)
        elif arguments[:2] == ["-m", "pytest"]:
            # found by itself only where fundus-zoo is installed
            programs[command] = [*arguments, "-v", "-p", "fundus.pytest_plugin"]
        else:
            programs[command] = ["file", *arguments]
    printed = run("-c", PROGRAMS, json.dumps([*programs.values()])).split(f"{MARK}\n")
    found |= dict(zip(programs, printed[:-1], strict=True))
    found["json"] = run("-m", "fundus.cli", "plugins", "--json", "--verbose")
    found["help"] = run("-m", "fundus.cli", "--help")
    record = json.loads((folder / "model" / "model.json").read_text())
    return found | {"model": record["model"]}


def test_the_page_has_what_it_takes():
    assert list(FILES) == ["fundus_green.py", "pyproject.toml", "grid.py"]
    assert COMMANDS == [
        "fundus plugins new fundus-iris --kind head",
        "pip install ./fundus-iris",
        "python -m pytest fundus-iris",
        "pip install .",
        "fundus plugins",
        "python -m pytest --fundus-plugin fundus-green",
        "python grid.py",
    ]


@pytest.mark.slow
def test_the_plugin_is_found_and_the_broken_one_disturbs_nothing(outputs):
    plugins = {p["name"]: p for p in json.loads(outputs["json"])["plugins"]}
    assert plugins["green"]["state"] == "loaded"
    assert plugins["green"]["offers"] == ["backbone:green_net", "head:bayes", "preprocessor:green"]
    assert (plugins["broken"]["state"], plugins["broken"]["error"]) == ("failed", "SystemExit: 3")
    assert "Traceback" in plugins["broken"]["details"]
    assert "fundus-green" in outputs["fundus plugins"]
    assert "noise" not in outputs["fundus plugins"]
    assert "plugins" in outputs["help"]


@pytest.mark.slow
def test_the_new_plugin_passes_its_own_tests(outputs):
    printed = outputs["python -m pytest fundus-iris"]
    assert "test_fundus_iris.py::test_it_grades_photographs PASSED" in printed
    assert not re.search(r"\d+ (failed|skipped|warning)", printed)
    plugins = {p["name"]: p for p in json.loads(outputs["json"])["plugins"]}
    assert plugins["iris"]["offers"] == ["head:iris"]


@pytest.mark.slow
def test_it_passes_the_checks(outputs):
    printed = outputs["python -m pytest --fundus-plugin fundus-green"]
    assert re.search(r"\d+ passed", printed)
    assert not re.search(r"\d+ (failed|skipped|warning)", printed)
    for kind, name in (("backbone", "green_net"), ("head", "bayes"), ("preprocessor", "green")):
        assert re.search(rf"fundus-green::{kind}:{name}::\w.* PASSED", printed)


@pytest.mark.slow
def test_the_search_works_and_its_model_records_the_plugin(outputs):
    assert "'normalise':" in outputs["python grid.py"]
    frozen = outputs["model"]["frozen"]
    assert frozen["backbone"] == "green/green_net"
    assert (frozen["distribution"], frozen["version"]) == ("fundus-green", "0.1.0")
    assert len(frozen["weights_sha256"]) == 64


def test_every_hook_and_field_is_on_the_page():
    for hook, (_, record) in HOOKS.items():
        (row,) = re.findall(rf"^\| `{hook}` \| (.*) \|$", TEXT, re.MULTILINE)
        assert sorted(re.findall(r"`(\w+)`", row)) == sorted(f.name for f in fields(record))
