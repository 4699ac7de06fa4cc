"""`make audit` fails for a known advisory, and says what it could not check."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[1] / "tools" / "audit.py"


@pytest.fixture(scope="module")
def audit():
    spec = importlib.util.spec_from_file_location("audit_tool", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


#: What pip-audit prints for a package with an advisory, one without, and one it does not know.
HOLED = {
    "name": "keras", "version": "3.13.1",
    "vulns": [{"id": "GHSA-1", "fix_versions": ["3.13.2"], "aliases": ["CVE-2026-1669"]}],
}  # fmt: skip
SOUND = {"name": "lmdb", "version": "1.7", "vulns": []}
UNKNOWN = {"name": "fundus-zoo", "skip_reason": "not on PyPI"}


@pytest.mark.parametrize(
    ("packages", "error", "code", "said"),
    [
        ([HOLED, SOUND], "", 1, "keras 3.13.1: GHSA-1 CVE-2026-1669, fixed in 3.13.2"),
        ([SOUND], "", 0, "1 packages checked, 0 advisories"),
        ([SOUND, UNKNOWN], "", 0, "not checked: fundus-zoo"),
        ([UNKNOWN], "", 0, "not checked: the advisory database knows none"),
        (None, "requests.exceptions.ConnectionError: no", 0, "not checked: no network"),
        (None, "No such file", 2, "No such file"),
    ],
)
def test_what_pip_audit_finds_is_the_exit_status(
    audit, packages, error, code, said, monkeypatch, capsys
):
    out = "" if packages is None else json.dumps({"dependencies": packages})
    asked = []

    def run(command, **options):
        asked.append(command)
        return subprocess.CompletedProcess(command, 1, out, error)

    monkeypatch.setattr(audit.subprocess, "run", run)
    assert audit.main("installed.txt") == code
    assert said in "".join(capsys.readouterr())
    assert asked[0][-2:] == ["--requirement", "installed.txt"]
