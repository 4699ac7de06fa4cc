"""`check_plugin` and `pytest --fundus-plugin`, on fake distributions."""

import json
import os
import re
import subprocess
import sys

import pytest

from fundus.exceptions import InvalidParameterError, UnknownNameError
from fundus.plugins import get_registry
from fundus.testing import check_plugin
from fundus.testing.plugin import plan_checks

SOUND = """
import numpy as np
from fundus.heads.base import EstimatorHead
from sklearn.neighbors import KNeighborsClassifier
from fundus.hookspecs import HeadSpec, PreprocessorSpec, hookimpl

fundus_api = 1
fundus_checks = {"head:neighbours": {"takes_weights": False}}

class Neighbours(EstimatorHead):
    def make_estimator(self, *, grade_counts, random_state):
        return KNeighborsClassifier(algorithm="brute")

def scaled(images):
    return images.astype(np.float32) / 255

@hookimpl
def fundus_heads():
    return [HeadSpec(name="neighbours", make=Neighbours, description="Neighbours.")]

@hookimpl
def fundus_preprocessors():
    return [PreprocessorSpec(name="scaled", apply=scaled, description="0 to 1.")]
"""

FAULTY = SOUND.replace(
    "images.astype(np.float32) / 255", "images / 255.0"
).replace('{"takes_weights": False}', "{}")  # fmt: skip

BROKEN = "import not_there_at_all"


@pytest.mark.slow
def test_a_sound_plugin_passes_beside_a_broken_one(install):
    install("good", SOUND, distribution="Good.Dist")
    install("bad", BROKEN)
    check_plugin("good-dist")  # as pip compares names
    titles = [check.title for check in plan_checks("good-dist")]
    assert titles[:3] == ["plugin:good, loads", "plugin:good, imports", "plugin:good, options"]
    assert "head:neighbours, missing grade" in titles
    assert "preprocessor:scaled, apply" in titles
    with pytest.raises(AssertionError) as caught:
        check_plugin("dist-bad")
    message = str(caught.value)
    assert "1 of 1 checks of dist-bad failed:\n- plugin:bad, loads: The plugin 'bad'" in message
    assert "No module named 'not_there_at_all': fix that error" in message
    assert "Traceback" in message


@pytest.mark.slow
def test_every_fault_is_listed_once_with_what_to_change(install):
    install("faulty", FAULTY)
    with pytest.raises(AssertionError) as caught:
        check_plugin("dist-faulty")
    first, *faults = str(caught.value).splitlines()
    assert first == "2 of 12 checks of dist-faulty failed:"
    assert len(faults) == 2
    assert faults[0].startswith("- head:neighbours, five grades: The head 'neighbours' takes no ")
    assert "takes_weights=False" in faults[0]
    assert faults[1].startswith("- preprocessor:scaled, apply: The preprocessor 'scaled' must")
    assert "start with images.astype(np.float32)" in faults[1]
    with pytest.raises(AssertionError, match="1 of 12 checks"):
        check_plugin("dist-faulty", options={"head:neighbours": {"takes_weights": False}})


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ('{"head:neighbors": {}}', "must go by what the plugin offers, head:neighbours, pre"),
        ('{"head:neighbours": {"weights": 1}}', r"arguments of its check, params, takes_weights.*"
         r"Got \['weights'\]"),
        ("3", "must be a dict of dicts"),
    ],
)  # fmt: skip
def test_options_that_mean_nothing_are_told(install, stated, message):
    install("odd", SOUND.replace('{"head:neighbours": {"takes_weights": False}}', stated))
    (check,) = [check for check in plan_checks("dist-odd") if check.title == "plugin:odd, options"]
    with pytest.raises(AssertionError, match=f"(?s){message}"):
        check.run()


@pytest.mark.slow
def test_keras_and_its_kin_wait_until_something_is_built(install):
    place = install("heavy", f"import keras\n{SOUND}")
    (place / "keras.py").write_text("")  # a stand-in, since the real one takes long
    (check,) = [check for check in plan_checks("dist-heavy") if check.name == "imports"]
    with pytest.raises(AssertionError, match="must load without keras, so that 'fundus plugins'"):
        check.run()


def test_a_plugin_that_is_left_out_or_not_there(install, monkeypatch):
    install("good", SOUND)
    with pytest.raises(UnknownNameError, match="'dist-god' offers.* Did you mean 'dist-good'"):
        check_plugin("dist-god")
    with pytest.raises(UnknownNameError, match=r"Those that do: .*fundus-zoo.* group 'fundus'"):
        check_plugin("zzz")


def test_a_disabled_plugin_does_not_pass(install, monkeypatch):
    install("good", SOUND)
    monkeypatch.setenv("FUNDUS_DISABLE_PLUGINS", "dist-good")
    with pytest.raises(AssertionError, match="left out by FUNDUS_DISABLE_PLUGINS: unset it"):
        check_plugin("dist-good")


def test_the_core_is_planned_entry_by_entry():
    subjects = {check.subject for check in plan_checks("fundus-zoo")}
    entries = get_registry().entries
    assert {f"{k}:{e.spec.name}" for k in entries for e in entries[k] if e.plugin == "builtin"} == (
        subjects - {"plugin:builtin"}
    )


@pytest.mark.slow
def test_only_some_entries_are_checked(install):
    install("faulty", FAULTY)
    with pytest.raises(AssertionError, match="1 of 8 checks of dist-faulty failed"):
        check_plugin("dist-faulty", only=["head:neighbours"])
    subjects = [check.subject for check in plan_checks("dist-faulty", only=["head:neighbours"])]
    assert list(dict.fromkeys(subjects)) == ["plugin:faulty", "head:neighbours"]
    check_plugin("dist-faulty", only=[])  # the plugin itself keeps the contract
    # options may be for more than is checked
    odd = {"head:neighbours": {"takes_weights": False}, "preprocessor:scaled": {"golden": None}}
    check_plugin("dist-faulty", only=("head:neighbours",), options=odd)


@pytest.mark.parametrize(
    ("only", "message"),
    [
        (["neighbours"], "'neighbours'.*'kind:name'. Did you mean 'head:neighbours'?"),
        (["head:neighbours", "head:neighbor"], "'head:neighbor'.*Did you mean 'head:neighbours'"),
        (["backbone:x"], "'backbone:x'.* It offers: head:neighbours, pre"),
        (["plugin:good"], "'plugin:good'"),
        ([3], "3;"),
    ],
)
def test_entries_that_are_not_offered_are_refused(install, only, message):
    install("good", SOUND)
    with pytest.raises(UnknownNameError, match=f"'dist-good' offers no entry {message}"):
        check_plugin("dist-good", only=only)


def test_one_string_is_no_list_of_entries(install):
    install("good", SOUND)
    with pytest.raises(InvalidParameterError, match=r"\['head:forest'\]. Got 'head:neighbours'"):
        check_plugin("dist-good", only="head:neighbours")


def test_why_a_plugin_offers_nothing_is_told_first(install):
    install("bad", BROKEN)
    with pytest.raises(AssertionError, match="plugin:bad, loads: .* must load, but failed"):
        check_plugin("dist-bad", only=["head:neighbours"])


#: Runs pytest in one process as often as it is told, since each start takes seconds.
RUNS = """
import json, os, sys
import pytest
for number, arguments in enumerate(json.loads(sys.argv[1])):
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{number}.{name}", os.O_WRONLY | os.O_CREAT), stream)
    code = pytest.main(["-p", "fundus.pytest_plugin", *arguments])
    with open(f"{number}.code", "w") as file:
        file.write(str(int(code)))
"""


def run_pytest(folder, *places, runs):
    """Return exit code, output and errors of each run."""
    path = os.pathsep.join([*map(str, places), *filter(None, sys.path)])
    command = [sys.executable, "-c", RUNS, json.dumps(runs)]
    subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, check=True)
    return [
        (
            int((folder / f"{number}.code").read_text()),
            (folder / f"{number}.out").read_text(),
            (folder / f"{number}.err").read_text(),
        )
        for number in range(len(runs))
    ]


@pytest.mark.slow
def test_the_pytest_plugin_makes_a_test_of_every_check_or_of_some(install, tmp_path):
    places = install("faulty", FAULTY), install("bad", BROKEN)
    folder = tmp_path / "empty"
    folder.mkdir()
    faulty = "--fundus-plugin=dist-faulty"
    options = ["-rA", faulty, "--fundus-plugin=dist-bad", "--fundus-plugin=not-there"]
    only = ["--fundus-only=preprocessor:scaled", "--fundus-only", "head:other"]
    whole, some, unknown, unnamed = run_pytest(
        folder,
        *places,
        runs=[
            [*options, "--continue-on-collection-errors"],
            ["-rA", faulty, only[0]],
            [faulty, *only],
            only,
        ],
    )
    code, out, err = whole
    assert code == 1, err
    # older releases of pytest count warnings before the errors
    assert re.search(r"3 failed, 8 passed, 2 skipped, (\d+ warnings, )?1 error", out)
    assert "PASSED dist-faulty::preprocessor:scaled::fit" in out
    assert "FAILED dist-faulty::head:neighbours::five grades" in out
    assert "start with images.astype(np.float32)" in out
    assert "FAILED dist-bad::plugin:bad::loads" in out
    assert "No installed package 'not-there' offers a plugin" in out

    code, out, err = some
    assert code == 1, err
    assert "FAILED dist-faulty::preprocessor:scaled::apply" in out
    assert "PASSED dist-faulty::plugin:faulty::imports" in out
    assert "head:neighbours" not in out
    assert "'dist-faulty' offers no entry 'head:other'" in unknown[1]
    code, _, err = unnamed
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "among the entries of --fundus-plugin NAME" in err


def test_the_pytest_plugin_costs_nothing_where_it_is_not_asked(tmp_path):
    (tmp_path / "test_nothing.py").write_text(
        "import sys\n\n\ndef test_nothing():\n"
        "    heavy = {'numpy', 'sklearn', 'keras'} & set(sys.modules)\n"
        "    assert not heavy\n    assert 'fundus.plugins' not in sys.modules\n"
    )
    [(code, out, _)] = run_pytest(tmp_path, runs=[["-q"]])
    assert code == 0, out


def test_pytest_finds_the_option_by_itself():
    import tomllib
    from importlib import metadata
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    (point,) = project["entry-points"]["pytest11"].items()
    loaded = metadata.EntryPoint(point[0], point[1], "pytest11").load()
    assert hasattr(loaded, "pytest_addoption")
    assert loaded.__name__ == point[0]  # else -p would load it a second time
