"""The structure: rooms on floors, Keras is loaded late, files stay small, tests follow modules."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.make_house import (
    FLOORS,
    PACKAGE,
    PICTURE,
    at_run_time,
    circles,
    climbing,
    drawing,
    drawn,
    modules,
    room,
)

TESTS = Path(__file__).resolve().parent
FILES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 400

#: All that may lie beside the rooms.
AT_THE_ROOT = {
    "__init__.py",
    "__init__.pyi",
    "__main__.py",
    "_version.py",
    "exceptions.py",
    "hookspecs.py",
    "modelspecs.py",
    "parameters.py",
    "py.typed",
    "pytest_plugin.py",
}

#: Imported themselves only when a network trains.
TRAINING = {
    "fundus.training.adam",
    "fundus.training.batches",
    "fundus.training.callbacks",
    "fundus.heads.ordinal_layers",
    "fundus.training.resumed",
    "fundus.training.trainer",
}

#: What files of tests may be about that is no module and no room.
TOPICS = {
    "beside": "docs/beside-others.md, with the extra of that name",
    "architecture": "this file",
    "benchmarks": "the folder benchmarks/",
    "changed_bundles": "what is refused in a saved model that was changed",
    "chance": "every estimator scores as chance does on permuted grades",
    "docs": "docstrings",
    "examples": "the folder examples/",
    "normal_cutpoints": 'optimal_cutpoints(distribution="normal"), and models with it',
    "fresh_fits": "a fit gives the bits of one in a fresh process",
    "guide": "docs/write-a-plugin.md, from an empty folder",
    "notebooks": "examples/*.ipynb",
    "old_bundles": "models of format 1",
    "format2_bundles": "models of format 2",
    "site": "the pages of docs/ as a site",
    "private_names": "names of other libraries that they may change",
    "public_names": "fundus/__init__.pyi, the wheel, and what is imported",
    "reliability": "docs/reliability.md and the script that writes its tables",
    "sklearn_conformance": "scikit-learn's own checks",
    "start": "what a user meets first",
}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def imports_at_load(path: Path) -> set[str]:
    """Modules a file imports when it is imported, type-checking imports left out."""
    found: set[str] = set()

    def visit(nodes):
        for node in nodes:
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module or "")
            elif isinstance(node, ast.If):
                if "TYPE_CHECKING" not in ast.unparse(node.test):
                    visit(node.body)
                visit(node.orelse)
            elif isinstance(node, (ast.Try, ast.ClassDef, ast.With)):
                visit(node.body)

    visit(ast.parse(path.read_text(encoding="utf-8")).body)
    return found


def house(folder: Path, **files: str) -> Path:
    """Write a small package: three rooms on three floors, and what a test puts in by hand."""
    package = folder / "pack"
    texts = {
        "__init__": "",
        "low__init__": "from pack.low.one import a as a",
        "low__one": "a = 1",
        "low__two": "from pack.low import one\nfrom .one import a",
        "middle__init__": "",
        "middle__work": "from pack.low import two, a",
        "high__init__": "import pack.middle.work",
        **files,
    }
    for name, text in texts.items():
        path = package / f"{name.replace('__', '/', 1) if name != '__init__' else name}.py"
        path = path.with_name("__init__.py") if path.name == "init__.py" else path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (package / "__init__.pyi").write_text("from .high.end import late as late\n")
    return package


SMALL = (("low",), ("middle", "beside"), ("high",), ("__init__",))


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_files_stay_small(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_the_root_holds_only_what_is_listed():
    found = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert found == AT_THE_ROOT
    assert len([name for name in found if name.endswith(".py")]) <= 8


def test_every_room_stands_on_one_floor():
    listed = [name for floor in FLOORS for name in floor]
    assert len(listed) == len(set(listed))
    assert set(listed) == {room(name) for name in modules(PACKAGE)}


@pytest.mark.slow
def test_no_import_climbs():
    assert [str(found) for found in climbing(PACKAGE)] == []


@pytest.mark.slow
def test_no_circles():
    assert circles(PACKAGE) == []


def test_a_sound_house_has_neither(tmp_path):
    package = house(tmp_path)
    assert climbing(package, SMALL) == []
    assert circles(package) == []


@pytest.mark.parametrize(
    "line",
    [
        "from pack.middle.work import x",
        "from pack.middle import work",
        "import pack.middle.work",
        "from ..middle import work",
        "from ..middle.work import x as y",
        "def f():\n    from pack.middle import work",
        "class A:\n    def f(self):\n        if self:\n            import pack.middle.work as w",
        "try:\n    import pack.middle\nexcept ImportError:\n    raise",
        "from pack import late",
        "def f():\n    import pack\n    return pack.late",
        "def f():\n    import pack as p\n    return p.middle.work",
        "if not TYPE_CHECKING:\n    pass\nelse:\n    pass\nfrom pack.middle import work",
    ],
)
def test_an_import_that_climbs_is_found(tmp_path, line):
    package = house(tmp_path, low__one=line, high__end="late = 1")
    assert {found.source for found in climbing(package, SMALL)} == {"pack.low.one"}


def test_rooms_of_one_floor_do_not_import_each_other(tmp_path):
    package = house(tmp_path, beside__init__="from pack.middle.work import x")
    [found] = climbing(package, SMALL)
    assert str(found) == "pack.beside imports pack.middle.work in line 1"


def test_imports_for_types_only_do_not_count(tmp_path):
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pack.high import end\n"
    package = house(tmp_path, low__one=text, high__end="")
    assert climbing(package, SMALL) == []


@pytest.mark.parametrize(
    "line",
    [
        "from pack.low.two import x",
        "from pack.low import two",
        "from . import two",
        "from .two import x",
        "def f():\n    from pack.low.two import x",
        "def f():\n    import pack.low.two",
        "from pack.low import a",  # the folder's __init__ imports this file
    ],
)
def test_a_circle_is_found(tmp_path, line):
    [circle] = circles(house(tmp_path, low__one=line))
    assert "pack.low.one" in circle


def test_a_circle_by_way_of_a_lazy_name_is_found(tmp_path):
    package = house(
        tmp_path, low__one="from pack.low import b", low__two="from pack.low.one import a"
    )
    assert circles(package) == [["pack.low", "pack.low.one"]]
    (package / "low" / "__init__.pyi").write_text("from .two import b as b\n")
    (package / "low" / "__init__.py").write_text("")
    assert circles(package) == [["pack.low.one", "pack.low.two"]]


def estimators(package: Path) -> set[str]:
    """Names of the classes with a fit of their own in the rooms above saving."""
    names = [name for floor in FLOORS for name in floor]
    above = set(names[names.index("saving") + 1 :])
    return {
        node.name
        for name, path in modules(package).items()
        if room(name) in above
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
        and {"fit", "_fit"} & {getattr(part, "name", None) for part in node.body}
    }


def estimators_named(package: Path) -> Iterator[str]:
    """Lines of ``saving/`` whose code names an estimator; readers of old formats may."""
    known = estimators(package)
    for name, path in modules(package).items():
        if room(name) != "saving" or name.startswith(f"{package.name}.saving.old_"):
            continue
        for node in at_run_time(ast.parse(path.read_text(encoding="utf-8"))):
            said = [getattr(node, field, None) for field in ("id", "attr", "name", "value")]
            if any(isinstance(text, str) and text in known for text in said):
                yield f"{name} names an estimator in line {getattr(node, 'lineno', 0)}"


def test_saving_knows_no_estimator():
    assert {"FoldEnsemble", "TransferClassifier"} <= estimators(PACKAGE)
    assert list(estimators_named(PACKAGE)) == []


@pytest.mark.parametrize(
    "line",
    [
        "def f(x):\n    return isinstance(x, Grader)",
        "import pack\ndef f(x):\n    return isinstance(x, pack.Grader)",
        "def f(x):\n    return type(x).__name__ == 'Grader'",
        "from pack.meta import Grader as G",
    ],
)
def test_an_estimator_in_saving_is_found(tmp_path, line):
    grader = "class Grader:\n    def fit(self): ...\nclass Other: ...\n"
    package = house(tmp_path, meta__init__=grader, saving__init__=line)
    assert len(list(estimators_named(package))) == 1
    package = house(
        tmp_path, saving__init__="x = 'A Grader'\ndef f(x): return isinstance(x, Other)"
    )
    assert list(estimators_named(package)) == []


def test_files_of_tests_follow_modules():
    known = {part for name in modules(PACKAGE) for part in name.split(".")[1:]}
    for path in TESTS.rglob("test_*.py"):
        about = path.stem.removeprefix("test_")
        attacked = about.startswith("attacked_")  # a topic of docs/reliability.md
        assert (
            attacked
            or about in TOPICS
            or any(about == name or about.startswith(f"{name}_") for name in known)
        ), f"{path.name} names no module, no room and no topic of this file"
    missing = [topic for topic in TOPICS if not (TESTS / f"test_{topic}.py").exists()]
    assert missing == []


def missing_of(text: str, root: Path) -> list[str]:
    """What a page calls a room, a file, or a name in a file, and is not there."""
    missing = []
    for said in re.findall(r"`([\w./-]+?(?:/|\.pyi?)(?::[\w.]+)?)`", text):
        place, _, name = said.partition(":")
        path = next((p for p in (root / "fundus" / place, root / place) if p.exists()), None)
        if path is None or (name and not _defines(path, name.split("."))):
            missing.append(said)
    return missing


def _defines(path: Path, names: list[str]) -> bool:
    body: list[ast.stmt] = ast.parse(path.read_text(encoding="utf-8")).body
    for name in names:
        named = {}
        for node in body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                named[node.name] = node.body
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                named.update({target.id: [] for target in targets if isinstance(target, ast.Name)})
        if name not in named:
            return False
        body = named[name]
    return True


@pytest.mark.parametrize("page", ["design.md", "decisions.md"])
def test_pages_name_what_is_there(page):
    text = (PACKAGE.parent / "docs" / page).read_text(encoding="utf-8")
    assert missing_of(text, PACKAGE.parent) == []


def test_what_a_page_names_wrongly_is_found():
    right = (
        "`cli/`, `grades/labels.py:Labels`, `plugins/discovery.py:BUILTIN_MODULES`, `tests/cli/`"
    )
    assert missing_of(right, PACKAGE.parent) == []
    wrong = "`clip/`, `grades/label.py`, `grades/labels.py:Label`, `grades/labels.py:Labels.no`"
    assert len(missing_of(wrong, PACKAGE.parent)) == 4


@pytest.mark.slow
def test_the_picture_shows_these_rooms():
    assert drawn(PICTURE) == drawing(PACKAGE), "run `python docs/make_house.py`"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_keras_is_imported_inside_functions(path):
    if module_name(path) in TRAINING:
        return
    top = {name.split(".")[0] for name in imports_at_load(path)}
    assert not top & {"keras", "tensorflow", "scikeras"}


def test_one_file_knows_scikeras():
    knowing = [module_name(p) for p in FILES if "import scikeras" in p.read_text()
               or "from scikeras" in p.read_text()]  # fmt: skip
    assert knowing == ["fundus.training.trainer"]


@pytest.mark.slow
def test_no_keras_at_import():
    codes = [
        "import fundus",
        "from fundus.cli import main",
        "from fundus import list_backbones, list_heads; list_backbones(); list_heads()",
        "import fundus; fundus.TransferClassifier, fundus.FoldEnsemble, fundus.load",
    ]
    # in one process, which says after each what it has loaded
    check = "import sys; print(sorted({'keras', 'tensorflow', 'scikeras'} & set(sys.modules)))"
    script = "\n".join(f"{code}\n{check}" for code in codes)
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert dict(zip(codes, result.stdout.splitlines(), strict=True)) == dict.fromkeys(codes, "[]")


def test_importing_the_package_is_light():
    check = "import sys, fundus; print({'numpy', 'sklearn', 'pandas', 'cv2'} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "set()"
