"""Files of skops that are the same, to the bit, whenever the same estimator is written."""

from __future__ import annotations

import io
import json
from pathlib import PurePosixPath
from typing import Any
from zipfile import ZipFile, ZipInfo

from fundus.saving.archives import SCHEMA


def with_plain_numbers(content: bytes) -> bytes:
    """Number the objects in a file of `skops.io.dumps` as they occur, and give it no date.

    skops numbers them by their place in memory, which names their files too, and writes the time.

    Parameters
    ----------
    content : bytes

    Returns
    -------
    bytes
        A file with the same objects.

    Examples
    --------
    >>> import skops.io
    >>> first, second = (skops.io.dumps({"a": [1.5, 2.5]}) for _ in range(2))
    >>> with_plain_numbers(first) == with_plain_numbers(second)
    True
    """
    numbers: dict[Any, int] = {}
    files: dict[str, str] = {}
    with ZipFile(io.BytesIO(content)) as archive:
        schema = _numbered(json.loads(archive.read(SCHEMA)), numbers, files)
        members = {files.get(name, name): archive.read(name) for name in archive.namelist()}
    members[SCHEMA] = json.dumps(schema, indent=2).encode()
    written = io.BytesIO()
    with ZipFile(written, "w") as copy:
        for name in sorted(members):
            copy.writestr(ZipInfo(name), members[name])  # which is of 1980
    return written.getvalue()


def _numbered(node: Any, numbers: dict[Any, int], files: dict[str, str]) -> Any:
    """Return a part of a schema with new numbers; collect these, and new names of files."""
    if isinstance(node, list):
        return [_numbered(part, numbers, files) for part in node]
    if not isinstance(node, dict):
        return node
    new: dict[str, Any] = {}
    for key, part in node.items():
        if key == "__id__" and isinstance(part, (int, str)):
            new[key] = numbers.setdefault(part, len(numbers) + 1)
        elif key == "file" and isinstance(part, str):
            ending = PurePosixPath(part).suffix
            new[key] = files.setdefault(part, f"{len(files) + 1:04d}{ending}")
        else:
            new[key] = _numbered(part, numbers, files)
    return new
