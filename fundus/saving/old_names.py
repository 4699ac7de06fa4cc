"""Former modules of classes in bundles, since skops names classes by their module."""

from __future__ import annotations

import io
import json
from typing import Any
from zipfile import ZipFile

from fundus.saving.archives import SCHEMA

#: Former names of classes that bundles hold, and their present names.
RENAMED = {
    ("fundus.features", "FeatureExtractor"): ("fundus.transfer.features", "FeatureExtractor"),
    ("fundus.networks.network", "Frozen"): ("fundus.frozen.function", "Frozen"),
    ("fundus.networks.network", "Network"): ("fundus.backbones.network", "Network"),
    ("fundus.preprocessing.fitted", "Normaliser"): ("fundus.frozen.normaliser", "Normaliser"),
    ("fundus.preprocessing.fitted", "Photometric"): ("fundus.frozen.normaliser", "Photometric"),
}


def with_todays_names(content: bytes) -> bytes:
    """Give the classes in a file of skops that have moved since their present names.

    Returns
    -------
    bytes
        The unchanged file where no class in it has moved.
    """
    with ZipFile(io.BytesIO(content)) as archive:
        schema = json.loads(archive.read(SCHEMA))
        if not _rename(schema):
            return content
        renamed = io.BytesIO()
        with ZipFile(renamed, "w") as copy:
            for entry in archive.infolist():
                data = archive.read(entry)
                copy.writestr(entry, json.dumps(schema) if entry.filename == SCHEMA else data)
    return renamed.getvalue()


def _rename(node: Any) -> bool:
    """Put the present names into a part of a schema; return whether any name changed."""
    parts = node if isinstance(node, list) else node.values() if isinstance(node, dict) else ()
    found = False
    for part in parts:
        found = _rename(part) or found
    if isinstance(node, dict):
        name = node.get("__module__", ""), node.get("__class__", "")
        if name in RENAMED:
            node["__module__"], node["__class__"] = RENAMED[name]
            return True
    return found
