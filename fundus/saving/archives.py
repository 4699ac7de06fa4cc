"""Archives of arrays and estimators: their sizes are compared before anything is unpacked."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from fundus.exceptions import BundleError

#: Types of arrays: truth values, whole numbers and numbers with a fraction.
NUMBERS = "biuf"

_OF_SKOPS = f"{NUMBERS}cUSmMV"

#: Times its size that a sparse matrix in a file may take.
MOST_INFLATED = 200

#: Where skops describes the objects in its file.
SCHEMA = "schema.json"


def read_npz(data: bytes, path: Path) -> dict[str, NDArray[Any]]:
    """Read the numbers in a file of `numpy.savez`, which does not compress.

    Parameters
    ----------
    data : bytes
        The file.
    path : Path
        Named in errors.

    Raises
    ------
    BundleError
        If a member is compressed, is no array of numbers, or has fewer bytes than its shape needs.

    Examples
    --------
    >>> file = io.BytesIO()
    >>> np.savez(file, a=np.arange(3.0))
    >>> read_npz(file.getvalue(), Path("part-01.npz"))["a"].tolist()
    [0.0, 1.0, 2.0]
    """
    with _opened(data, path) as archive:
        arrays = {}
        for entry in archive.infolist():
            content = archive.read(entry)
            _check_npy(content, path, entry.filename, kinds=NUMBERS)
            name = entry.filename.removesuffix(".npy")
            arrays[name] = np.load(io.BytesIO(content), allow_pickle=False)
    return arrays


def check_skops(data: bytes, path: Path) -> None:
    """Check the sizes of a file of `skops.io.dump`, which does not compress either.

    Raises
    ------
    BundleError
        If a member is compressed, an array has fewer bytes than its shape needs, or the objects
        together would read more than the file holds.
    """
    with _opened(data, path) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        if SCHEMA not in sizes:
            raise damaged(path, f"it has no {SCHEMA}")
        for entry in archive.infolist():
            if entry.filename.endswith(".npy"):
                _check_npy(archive.read(entry), path, entry.filename, kinds=_OF_SKOPS)
            elif entry.filename.endswith(".npz"):
                _check_sparse(archive.read(entry), path, entry.filename)
        schema = json.loads(archive.read(SCHEMA))
    # an object that occurs in several places is read once, under its number
    read = {(id_of, file) for id_of, file in _files_in(schema)}
    if sum(sizes.get(file, 0) for _, file in read) > len(data):
        raise damaged(path, "its objects read parts of it several times")
    _weigh(schema, {}, path)


def _check_sparse(content: bytes, path: Path, name: str) -> None:
    """Check a sparse matrix, whose arrays `scipy.sparse.save_npz` does compress."""
    try:
        archive = ZipFile(io.BytesIO(content))
    except BadZipFile as error:
        raise damaged(path, f"its part {name!r} is no matrix: {error}") from None
    with archive:
        if sum(entry.file_size for entry in archive.infolist()) > MOST_INFLATED * len(content):
            raise damaged(path, f"its part {name!r} is a small file for a large matrix")
        for entry in archive.infolist():
            _check_npy(archive.read(entry), path, f"{name}/{entry.filename}", kinds=_OF_SKOPS)


def _weigh(part: Any, weights: dict[Any, int], path: Path) -> int:
    """Count the objects in a part of a schema.

    Objects with one number are one object, which skops follows wherever it occurs: in a file that
    it wrote, each occurrence is written in full, so that following them costs no more than reading.
    """
    if isinstance(part, list):
        return sum(_weigh(inner, weights, path) for inner in part)
    if not isinstance(part, dict):
        return 0
    weight = 1 + sum(_weigh(inner, weights, path) for inner in part.values())
    id_of = part.get("__id__")
    if isinstance(id_of, (int, str)) and weights.setdefault(id_of, weight) != weight:
        raise damaged(path, "two of its objects have one number")
    return weight


def _opened(data: bytes, path: Path) -> ZipFile:
    """Open an archive whose members are stored as they are, each under its own name."""
    try:
        archive = ZipFile(io.BytesIO(data))
    except BadZipFile as error:
        raise damaged(path, str(error)) from None
    entries = archive.infolist()
    for entry in entries:
        if not _is_stored(entry):
            raise damaged(path, f"its part {entry.filename!r} is compressed")
    if sum(entry.file_size for entry in entries) > len(data):
        raise damaged(path, "its parts are larger than the file")
    if len({entry.filename for entry in entries}) < len(entries):
        raise damaged(path, "two of its parts have one name")
    return archive


def _is_stored(entry: ZipInfo) -> bool:
    encrypted = bool(entry.flag_bits & 1)
    same = entry.file_size == entry.compress_size
    return entry.compress_type == ZIP_STORED and same and not encrypted


def _check_npy(content: bytes, path: Path, name: str, *, kinds: str) -> None:
    """Compare the shape in an array's header with the bytes that follow it."""
    file = io.BytesIO(content)
    try:
        version = npy.read_magic(file)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, _, dtype = read(file)
    except (ValueError, KeyError, TypeError, SyntaxError, OverflowError) as error:
        raise damaged(path, f"its part {name!r} is no array: {error}") from None
    if dtype.kind not in kinds or dtype.hasobject or dtype.subdtype is not None:
        raise damaged(path, f"its part {name!r} holds {dtype}, and no numbers")
    whole = all(type(n) is int and 0 <= n < 1 << 48 for n in shape) and len(shape) <= 32
    if not whole or math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise damaged(path, f"its part {name!r} has not as many bytes as its shape {shape} needs")


def _files_in(schema: Any) -> Iterator[tuple[Any, str]]:
    """Yield the file of every object in a schema of skops, with the object's number."""
    parts = [schema]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            if isinstance(part.get("file"), str):
                id_of = part.get("__id__")
                yield (id_of if isinstance(id_of, (int, str)) else id(part)), part["file"]
            parts.extend(part.values())
        elif isinstance(part, list):
            parts.extend(part)


def damaged(path: Path, why: str) -> BundleError:
    """Return the error for a file that is not as it was written."""
    return BundleError(f"The file {str(path)!r} is damaged: {why}. Copy the model again.")
