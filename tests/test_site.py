"""The pages of the documentation site: every page and every public name has its place."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

import fundus
import fundus.distributed

DOCS = Path(__file__).resolve().parents[1] / "docs"
SCRIPTS = sorted([*DOCS.glob("*.py"), *DOCS.glob("studies/*.py")])


def listed(page: str) -> list[str]:
    """The entries of the toctrees of a page."""
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    found = re.findall(r"```\{toctree\}\n(.*?)```", text, flags=re.DOTALL)
    return [line for part in found for line in part.splitlines() if line and line[0] != ":"]


def test_every_page_is_reached_once():
    pages = [name for page in ("index", "guide", "inside") for name in listed(page)]
    assert len(pages) == len(set(pages))
    there = {path.stem for path in DOCS.glob("*.md")} - {"index"}
    assert there == {page for page in pages if "/" not in page}


def test_every_public_name_is_on_the_api_page_once():
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    found = re.findall(r"^   (\w+)$", text, flags=re.MULTILINE)
    assert len(found) == len(set(found))
    public = {*fundus.__all__, *fundus.distributed.__all__}
    assert set(found) == {name for name in public if not name.startswith("__")}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_of_the_pages_find_what_they_import(path):
    if path.name != "conf.py":  # whose libraries only `make docs` installs
        runpy.run_path(str(path), run_name="imported")


def test_examples_have_a_title_for_the_gallery():
    for path in (DOCS.parent / "examples").glob("*.py"):
        if path.stem != "common":
            first, line, empty = path.read_text(encoding="utf-8").splitlines()[:3]
            title = first.removeprefix('"""')
            assert line == "=" * len(title), path.name
            assert not empty
