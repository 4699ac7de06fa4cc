"""Before a fit: files that occur twice, and a folder for its log."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.data.inputs import Images
from fundus.exceptions import DataError


def check_duplicates(images: Images, positions: NDArray[np.intp], duplicates: str) -> None:
    """Refuse rows that name one file twice.

    Parameters
    ----------
    images : Images
    positions : ndarray of int
    duplicates : {"error", "allow"}
        ``"allow"`` accepts copies that have one grade, as an over-sampler makes them.

    Raises
    ------
    DataError
        Names the first file that occurs twice, and counts the rest.
    """
    if images.paths is None:
        return
    first: dict[Any, int] = {}
    again = []
    for row, path in enumerate(images.paths):
        earlier = first.setdefault(_file_identity(path), row)
        if earlier != row and (duplicates == "error" or positions[earlier] != positions[row]):
            again.append((earlier, row))
    if not again:
        return
    a, b = again[0]
    more = f" {len(again) - 1} more rows repeat a file." if len(again) > 1 else ""
    if positions[a] != positions[b]:
        advice = "they have different grades, so one of them is wrong"
    else:
        advice = "remove one, or set duplicates='allow' if an over-sampler made it"
    raise DataError(f"Rows {a} and {b} are one file, {images.paths[a]!r}: {advice}.{more}")


def _file_identity(path: str) -> Any:
    """What two names of one file have in common; links are seen through."""
    try:
        stat = os.stat(path)
    except (OSError, ValueError):  # reading it will say what is wrong
        return os.path.normcase(os.path.abspath(path))
    # not every file system numbers its files
    return (stat.st_dev, stat.st_ino) if stat.st_ino else os.path.normcase(os.path.realpath(path))


def new_log_dir(log_dir: Any) -> str | None:
    """Make a fresh folder ``fit-001``, ``fit-002``, … so that no fit overwrites another's log."""
    if log_dir is None:
        return None
    parent = Path(log_dir)
    parent.mkdir(parents=True, exist_ok=True)
    k = 1
    while True:
        try:
            folder = parent / f"fit-{k:03d}"
            folder.mkdir()
            return str(folder)
        except FileExistsError:
            k += 1
