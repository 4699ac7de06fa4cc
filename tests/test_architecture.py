"""The structure: imports go one way, Keras is loaded late, files stay small."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "fundus"
FILES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 400

#: Imported themselves only when a network trains.
TRAINING = {
    "fundus.training.adam",
    "fundus.training.batches",
    "fundus.training.callbacks",
    "fundus.heads.ordinal_layers",
    "fundus.training.trainer",
}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_at_load(path: Path) -> set[str]:
    """Modules a file imports when it is imported, type-checking imports left out."""
    found: set[str] = set()

    def visit(nodes):
        for node in nodes:
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module or "")
                found.update(f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.If):
                if "TYPE_CHECKING" not in ast.unparse(node.test):
                    visit(node.body)
                visit(node.orelse)
            elif isinstance(node, (ast.Try, ast.ClassDef, ast.With)):
                visit(node.body)

    visit(ast.parse(path.read_text(encoding="utf-8")).body)
    return found


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_files_stay_small(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_no_import_cycles():
    """Nothing imports upwards: the modules can be put in one order."""
    names = {module_name(path): path for path in FILES}
    graph = {
        name: {n for n in imports_at_load(path) if n in names and n != name}
        for name, path in names.items()
    }
    settled: set[str] = set()
    while len(settled) < len(graph):
        ready = {n for n, needs in graph.items() if n not in settled and needs <= settled}
        assert ready, f"cycle among {sorted(set(graph) - settled)}"
        settled |= ready


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


@pytest.mark.parametrize(
    "code",
    [
        "import fundus",
        "import fundus; fundus.TransferClassifier, fundus.FoldEnsemble, fundus.load",
        "from fundus import list_backbones, list_heads; list_backbones(); list_heads()",
        "from fundus.cli import main",
    ],
)
def test_no_keras_at_import(code):
    check = "import sys; print(sorted({'keras', 'tensorflow', 'scikeras'} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", f"{code}\n{check}"], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_importing_the_package_is_light():
    check = "import sys, fundus; print({'numpy', 'sklearn', 'pandas', 'cv2'} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "set()"
