"""Copying a file into the folder of weights: whole or not at all, and one process at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from fundus.backbones.weights_digests import NOTE, digest_of, unreadable
from fundus.exceptions import BundleError
from fundus.runtime.locks import alone_in
from fundus.runtime.whole import whole_file


def put_in_place(
    path: Path, target: Path, sha256: str, *, noted: bool, refuse: Callable[[], None]
) -> bool:
    """Copy a file to its place; return whether it was there already.

    Parameters
    ----------
    path, target : Path
    sha256 : str
        Of the file as it was checked.
    noted : bool
        Whether it is written beside the file.
    refuse : callable
        Asked before another file is replaced; it raises an error where that must stay.

    Raises
    ------
    BundleError
        If the file was changed in between, or by `refuse`.
    WeightsNotAvailableError
        If it cannot be read.
    WriteError
        If it cannot be written; what was there is as it was.
    """
    with alone_in(target.parent):
        was_there = target.is_file() and digest_of(target, "sha256") == sha256
        if was_there:
            if noted:
                _note(target, sha256)
            return True
        if target.is_file():
            refuse()
        with whole_file(target) as part:
            if _copied(path, part) != sha256:
                raise BundleError(
                    f"The file {str(path)!r} was changed while it was read: try again."
                )
            if noted:  # at the last moment, so that what was there keeps its own until then
                _note(target, sha256)
    return False


def _note(target: Path, sha256: str) -> None:
    with whole_file(target.with_name(target.name + NOTE)) as part:
        part.write_text(f"{sha256}  {target.name}\n", encoding="utf-8")


def _copied(path: Path, part: Path) -> str:
    """Copy a file, and return the SHA-256 of what was written."""
    digest = hashlib.sha256()
    try:
        source = path.open("rb")
    except OSError as error:
        raise unreadable(path, error) from None
    with source, part.open("wb") as target:
        while block := source.read(1 << 20):
            digest.update(block)
            target.write(block)
    return digest.hexdigest()
