"""Result files that are there whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a file beside `path` to write to, which takes its place when all has gone well.

    Parameters
    ----------
    path : path
        Replaced where it exists; its folder is made.

    Yields
    ------
    Path
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def write_csv(frame: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table as CSV in UTF-8, fractions to six places.

    Parameters
    ----------
    frame : DataFrame
    path : path
    """
    text = frame.to_csv(index=False, lineterminator="\n", float_format="%.6f")
    with whole_file(path) as part:
        # file names that are no UTF-8 are written as the bytes they are
        part.write_bytes(text.encode("utf-8", "surrogateescape"))


def write_json(document: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a JSON document.

    Parameters
    ----------
    document : dict
        JSON values, without ``nan``.
    path : path
    """
    with whole_file(path) as part:
        part.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
