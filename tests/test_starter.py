"""A new plugin: written, refused, installed, tested by its own tests and used by name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from installing import install

from fundus.exceptions import InvalidParameterError, WriteError
from fundus.testing.starter import KINDS, new_plugin

ROOT = Path(__file__).resolve().parents[1]

#: A name of each kind, with what a package's name may hold.
NAMES = {"backbone": "fundus-my.net", "head": "Trees_2", "preprocessor": "fundus-green-only"}
NAMES["layout"] = "fundus-clinic"
NAMES["metric"] = "fundus-far-off"
NAMES["report-section"] = "fundus-people"
NAMES["model"] = "fundus-toy-grader"


#: A grader of a new plugin is fitted, which takes a while.
EACH_KIND = [pytest.param(kind, marks=[pytest.mark.slow] * (kind == "model")) for kind in KINDS]


def texts(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.parent.name != "model"
    }


@pytest.mark.parametrize("kind", EACH_KIND)
def test_what_is_written(tmp_path, kind):
    made = new_plugin("fundus-my.net", kind=kind, folder=tmp_path / "a" / "b")
    assert made == tmp_path / "a" / "b"
    files = texts(made)
    assert sorted(files) == [
        "LICENSE",
        "README.md",
        "fundus_my_net/__init__.py",
        "pyproject.toml",
        "tests/test_fundus_my_net.py",
    ]
    for path, text in files.items():
        assert not re.search(r"\$[a-z{]", text), path  # every name was put in
    project = tomllib.loads(files["pyproject.toml"])["project"]
    assert project["name"] == "fundus-my.net"
    assert project["entry-points"] == {"fundus": {"my_net": "fundus_my_net"}}
    assert "my_net" in files["fundus_my_net/__init__.py"]
    assert "check_plugin" in files["tests/test_fundus_my_net.py"]
    assert "BSD 3-Clause" in files["LICENSE"]


@pytest.mark.parametrize("kind", EACH_KIND)
@pytest.mark.parametrize("name", ["a", "fundus-iris", "fundus-a-rather-long-name-of-a-plugin"])
def test_ruff_finds_nothing_to_change(tmp_path, kind, name):
    pytest.importorskip("ruff")
    made = new_plugin(name, kind=kind, folder=tmp_path / name)
    for words in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *words, "--no-cache", str(made)]
        result = subprocess.run(command, capture_output=True, text=True)
        if words == ["check"] or len(name) < 20:  # longer names fill lines
            assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "letters, digits"),
        ("my plugin", "letters, digits"),
        ("-net", "a letter or digit at both ends"),
        ("../net", "letters, digits"),
        ("net/work", "letters, digits"),
        ("nét", "ASCII"),
        (None, "letters, digits"),
        ("2fast", "Python cannot import '2fast'"),
        ("class", "Python cannot import 'class'"),
        ("fundus_2fast", "a plugin cannot be called '2fast'"),
        ("fundus", "an installed package has this name|an installed module"),
        ("Fundus.Zoo", "an installed package has this name"),
        ("json", "Python's own module is called 'json'"),
        ("numpy", "an installed module is called 'numpy'"),
        ("fundus-builtin", "a plugin of fundus-zoo is called 'builtin'"),
        ("fundus-softmax", "a head is called 'softmax', which would go on meaning that one"),
    ],
)
def test_names_that_cannot_be_had_are_refused_with_the_reason(tmp_path, monkeypatch, name, why):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidParameterError, match=f"such as 'fundus-iris': .*({why})") as caught:
        new_plugin(name, kind="head")
    assert repr(name) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


#: A plugin that offers nothing.
EMPTY = """
from fundus.hookspecs import hookimpl

@hookimpl
def fundus_heads():
    return []
"""


def test_a_name_that_another_plugin_has_is_refused(tmp_path, install):
    install("iris", EMPTY, distribution="fundus-other")
    with pytest.raises(InvalidParameterError, match="a plugin of fundus-other is called 'iris'"):
        new_plugin("fundus-iris", folder=tmp_path / "x")
    with pytest.raises(InvalidParameterError, match="an installed package has this name"):
        new_plugin("Fundus_Other", folder=tmp_path / "x")


def test_the_kind_must_be_one(tmp_path):
    with pytest.raises(
        InvalidParameterError, match="'head', 'preprocessor'.* Got 'loss'"
    ) as caught:
        new_plugin("fundus-iris", kind="loss", folder=tmp_path / "x")
    assert str(caught.value).startswith("The 'kind' parameter of new_plugin must be one of")


def test_a_folder_of_a_user_who_is_not_known_is_told():
    with pytest.raises(InvalidParameterError, match="'folder' parameter .* Got '~nosuch/x'"):
        new_plugin("fundus-iris", folder="~nosuch/x")


def test_files_of_a_plugin_are_written_in_one_coding_everywhere(tmp_path):
    made = new_plugin("fundus-clinic", kind="layout", folder=tmp_path / "x")
    for text in texts(made).values():
        assert text.count(".write_text(") == text.count('encoding="utf-8")')


def test_commands_that_are_shown_can_be_copied(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from fundus.cli import app

    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(app, ["plugins", "new", "fundus-iris", "--folder", "my plugin"])
    assert "  pip install -e 'my plugin'\n" in shown.output
    assert "  python -m pytest 'my plugin'\n" in shown.output


@pytest.mark.parametrize("there", ["folder", "empty folder", "file", "dangling link"])
def test_nothing_that_exists_is_overwritten(tmp_path, monkeypatch, there):
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "fundus-iris"
    if there == "file":
        place.write_text("mine")
    elif there == "dangling link":
        place.symlink_to(tmp_path / "nowhere")
    else:
        place.mkdir()
    if there == "folder":
        (place / "pyproject.toml").write_text("mine")
    with pytest.raises(WriteError, match="'fundus-iris' exists already"):
        new_plugin("fundus-iris")
    assert [path.name for path in tmp_path.iterdir()] == ["fundus-iris"]
    if there == "folder":
        assert texts(place) == {"pyproject.toml": "mine"}


def test_a_folder_of_the_working_folder_is_no_module(tmp_path, monkeypatch):
    (tmp_path / "fundus_iris").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert new_plugin("fundus-iris").name == "fundus-iris"


def test_an_interrupt_leaves_nothing(tmp_path, monkeypatch):
    written = Path.write_text

    def stopped(self, *args, **kwargs):
        if self.name == "__init__.py":
            raise KeyboardInterrupt
        return written(self, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", stopped)
    with pytest.raises(KeyboardInterrupt):
        new_plugin("fundus-iris", folder=tmp_path / "iris")
    assert list(tmp_path.iterdir()) == []


#: Writes a plugin of each kind, by the words of the command line.
WRITE = """
import json, sys
import fundus.cli
for name, kind in json.loads(sys.argv[1]):
    sys.argv = ["fundus", "plugins", "new", name, "--kind", kind]
    try:
        fundus.cli.main()
    except SystemExit as end:
        assert not end.code, end.code
"""

#: Runs the plugins' own tests, then uses each entry by name, beside the others; in one process,
#: since each starts TensorFlow.
USE = """
import json, sys
import pytest
folder, words, *tests = sys.argv[1:]
code = pytest.main(["-v", "-c", "fundus-my.net/pyproject.toml", *tests])
assert code == 0, code
print("--- used ---")
from fundus import TransferClassifier, make_fundus
data = make_fundus(20, 64, 0, out_dir=folder)
for words in json.loads(words):
    model = TransferClassifier(**words, random_state=0)
    print(len(model.fit(data.paths, data.grades).predict(data.paths)))
"""


@pytest.mark.slow
def test_each_kind_is_installed_passes_its_tests_and_is_used_by_name(tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    path = [str(site), str(ROOT), *filter(None, sys.path)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        "FUNDUS_CACHE_DIR": str(tmp_path / "cache"),
        "COLUMNS": "200",
    }

    def run(*words, folder=tmp_path):
        result = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, cwd=folder, env=environment
        )
        assert result.returncode == 0, f"{words}: {result.stdout}\n{result.stderr}"
        return result.stdout

    run("-c", WRITE, json.dumps([(name, kind) for kind, name in NAMES.items()]))
    install(site, *(tmp_path / name for name in NAMES.values()))
    listed = json.loads(run("-m", "fundus", "plugins", "--json"))["plugins"]
    offers = {plugin["distribution"]: plugin["offers"] for plugin in listed}
    assert offers.pop("fundus-zoo")
    assert {name: offers[name] for name in NAMES.values()} == {
        "fundus-my.net": ["backbone:my_net"],
        "Trees_2": ["head:trees_2"],
        "fundus-green-only": ["preprocessor:green_only"],
        "fundus-clinic": ["layout:clinic"],
        "fundus-far-off": ["metric:far_off"],
        "fundus-people": ["report-section:people"],
        "fundus-toy-grader": ["model:toy_grader"],
    }
    uses = [
        {"backbone": "my_net", "head": "trees_2", "weights": None, "image_size": 32},
        {"backbone": "tiny", "weights": "fixed", "head": "trees_2", "photometric": "green_only"},
    ]
    place = str(tmp_path / "photographs")
    printed, used = run("-c", USE, place, json.dumps(uses), *NAMES.values()).split("--- used ---\n")
    assert len(re.findall(r"PASSED", printed)) == 16
    assert not re.search(r"\d+ (failed|skipped|warning)", printed)
    assert used == "20\n20\n"
