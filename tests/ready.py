"""A toy grader in a plugin, for tests of ready graders."""

from __future__ import annotations

import hashlib
from pathlib import Path

#: Fields of a record, as code; `FOLDER` and `DIGEST` are replaced.
FIELDS = {
    "name": "'toy'",
    "description": "'A toy.'",
    "folder": "FOLDER",
    "licence": "'MIT'",
    "training_data": "'40 synthetic photographs.'",
    "intended_use": "'Tests.'",
    "limits": "('For nothing else.',)",
    "scores": "(ModelScore(score='kappa', value=0.5, low=0.4, high=0.6, "
    "photographs='20 synthetic ones', chose='nothing', source='a guess'),)",
    "digest": "DIGEST",
}


def digest_of(folder: Path) -> str:
    return hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()


def code_of(folder: Path, **changes: str) -> str:
    """The module of a plugin whose grader is in a folder."""
    given = ", ".join(f"{name}={value}" for name, value in (FIELDS | changes).items())
    digest = digest_of(folder) if (folder / "manifest.json").is_file() else ""
    return (
        "from fundus.hookspecs import ModelScore, ModelSpec, hookimpl\n"
        f"FOLDER, DIGEST = {str(folder)!r}, {digest!r}\n"
        f"@hookimpl\ndef fundus_models():\n    return [ModelSpec({given})]\n"
    )
