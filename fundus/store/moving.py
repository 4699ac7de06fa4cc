"""Entries of a store as one file, and back: from machine to machine, or out of a cache's limit.

The file is a ZIP archive, not compressed: for each segment what made it, ``NAME/about.json``, and
its entries, ``NAME/entries``: the lengths of key and value, then both, as the store has them.
"""

from __future__ import annotations

import json
import re
import struct
import zipfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from fundus.exceptions import StoreError
from fundus.runtime.whole import whole_file
from fundus.store.cache import open_store
from fundus.store.entries import unpack
from fundus.store.folder import Segment, Store

#: Raised when the layout of the file changes.
FORMAT = 1

_NOTE = "fundus-cache.json"
_LENGTHS = struct.Struct("<HQ")
_NAME = re.compile(r"[0-9a-f]{32}")
_LONGEST_KEY = 511  # bytes; LMDB takes no longer ones
_LARGEST_NOTE = 1 << 20  # bytes
_AT_ONCE = 1 << 24  # bytes written in one transaction


@dataclass(frozen=True)
class Moved:
    """What an export or an import has done.

    Parameters
    ----------
    segments : int
    entries : int
        Written.
    n_bytes : int
        Of these.
    known : int
        That were there already, and were left.
    damaged : int
        That had another checksum, and were left out.
    """

    segments: int = 0
    entries: int = 0
    n_bytes: int = 0
    known: int = 0
    damaged: int = 0


def export_entries(store: Store, path: Path, *, names: tuple[str, ...] = ()) -> Moved:
    """Write the entries of a store into one file, whole or not at all.

    Parameters
    ----------
    store : Store
    path : Path
        Replaced if it exists.
    names : tuple of str, default=()
        Beginnings of the segments' names; all segments where there are none.

    Raises
    ------
    StoreError
        If no segment has one of the names.
    WriteError
        If the file cannot be written.
    """
    infos = [info for info in store.infos() if not names or info.name.startswith(names)]
    for name in names:
        if not any(info.name.startswith(name) for info in infos):
            raise StoreError(
                f"The cache at {str(store.path)!r} has no segment {name!r}: "
                "'fundus cache info' lists them."
            )
    entries = n_bytes = damaged = 0
    with whole_file(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_NOTE, json.dumps({"format": FORMAT}))
        for info in infos:
            archive.writestr(f"{info.name}/about.json", json.dumps(info.about))
            environment = store.environment(info.name)
            with archive.open(f"{info.name}/entries", "w", force_zip64=True) as file:
                for key, value in environment.items():
                    if unpack(value, key) is None:
                        damaged += 1
                        continue
                    file.write(_LENGTHS.pack(len(key), len(value)) + key + value)
                    entries += 1
                    n_bytes += len(value)
    return Moved(len(infos), entries, n_bytes, 0, damaged)


def import_entries(store: Store, path: Path) -> Moved:
    """Add what a file or another store holds to a store; its own entries stay as they are.

    Every entry is checked against its checksum, which finds damage, and not a forgery: features
    decide grades, so import only what you or people whom you trust have made.

    Parameters
    ----------
    store : Store
    path : Path
        A file of `export_entries`, or the folder of a store.

    Raises
    ------
    StoreError
        If it is neither, is damaged, or the store cannot be written.
    """
    if path.is_dir():
        return _import_folder(store, path)
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, path)
            return _import_archive(store, archive, path)
    except FileNotFoundError:
        raise StoreError(
            f"There is no {str(path)!r}: expected a file that 'fundus cache export' has written, "
            "or the folder of a cache."
        ) from None
    except (zipfile.BadZipFile, EOFError, struct.error) as error:
        raise _no_export(path, error) from None


def _check_members(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse members that are compressed, which may be a thousand times as large, or encrypted."""
    members = archive.infolist()
    for member in members:
        stored = member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & 1
        if not stored or member.file_size != member.compress_size:
            raise _no_export(path, f"its part {member.filename[:100]!r} is compressed or encrypted")
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise _no_export(path, "its parts are larger than the file")
    if len({member.filename for member in members}) < len(members):
        raise _no_export(path, "two of its parts have one name")


def _no_export(path: Path, why: object) -> StoreError:
    return StoreError(
        f"{str(path)!r} cannot be imported ({why}): expected a whole file that 'fundus cache "
        "export' has written, or the folder of a cache. What was read before is kept."
    )


def _import_folder(store: Store, path: Path) -> Moved:
    if not (path / "format").is_file():
        raise _no_export(path, "the folder is no cache")
    if path.resolve() == store.path.resolve():
        raise _no_export(path, "it is the cache itself")
    other = open_store(path)
    assert other is not None
    total = Moved()
    for info in other.infos():
        items = other.environment(info.name).items()
        total = _added(total, _put(store, info.name, info.about, items))
    return total


def _import_archive(store: Store, archive: zipfile.ZipFile, path: Path) -> Moved:
    note = _read_note(archive, _NOTE, path)
    if note.get("format") != FORMAT:
        raise _no_export(path, f"its format is {note.get('format')!r}, not {FORMAT}")
    total = Moved()
    for member in archive.namelist():
        name, _, what = member.rpartition("/")
        if what != "entries":
            continue
        if not _NAME.fullmatch(name):
            raise _no_export(path, f"it holds {member!r}")
        about = _read_note(archive, f"{name}/about.json", path)
        with closing(archive.open(member)) as file:
            total = _added(total, _put(store, name, about, _entries(file, path)))
    return total


def _read_note(archive: zipfile.ZipFile, member: str, path: Path) -> dict[str, Any]:
    try:
        if archive.getinfo(member).file_size > _LARGEST_NOTE:
            raise _no_export(path, f"{member!r} is too large")
        found = json.loads(archive.read(member))
    except (KeyError, ValueError, RecursionError):
        raise _no_export(path, f"{member!r} is missing or damaged") from None
    if not isinstance(found, dict):
        raise _no_export(path, f"{member!r} is damaged")
    return found


def _entries(file: IO[bytes], path: Path) -> Iterator[tuple[bytes, bytes]]:
    while head := file.read(_LENGTHS.size):
        n_key, n_value = _LENGTHS.unpack(head)
        if not 0 < n_key <= _LONGEST_KEY:
            raise _no_export(path, "an entry is damaged")
        key, value = file.read(n_key), _read(file, n_value)
        if len(key) < n_key or len(value) < n_value:
            raise _no_export(path, "it ends in the middle of an entry")
        yield key, value


def _read(file: IO[bytes], n_bytes: int) -> bytes:
    """Read so many bytes, or what there is; a length that lies takes no memory."""
    parts = []
    while n_bytes > 0 and (part := file.read(min(n_bytes, _AT_ONCE))):
        parts.append(part)
        n_bytes -= len(part)
    return b"".join(parts)


def _put(
    store: Store, name: str, about: dict[str, Any], items: Iterator[tuple[bytes, bytes]]
) -> Moved:
    """Write what a segment lacks, some at a time."""
    segment = store.segment(name, lambda: about)
    total, batch, size = Moved(1), list[tuple[bytes, bytes]](), 0
    for key, value in items:
        batch.append((key, value))
        size += len(value)
        if size >= _AT_ONCE:
            total = _added(total, _write(segment, batch))
            store.make_room(keep=segment.name)
            batch, size = [], 0
    total = _added(total, _write(segment, batch))
    store.make_room(keep=segment.name)
    return total


def _write(segment: Segment, batch: list[tuple[bytes, bytes]]) -> Moved:
    present = segment.has_many([key for key, _ in batch])
    new = [item for item, there in zip(batch, present, strict=True) if not there]
    right = [(key, value) for key, value in new if unpack(value, key) is not None]
    if right:
        segment.environment.write(right)
    n_bytes = sum(len(value) for _, value in right)
    return Moved(0, len(right), n_bytes, int(present.sum()), len(new) - len(right))


def _added(one: Moved, other: Moved) -> Moved:
    return Moved(
        one.segments + other.segments,
        one.entries + other.entries,
        one.n_bytes + other.n_bytes,
        one.known + other.known,
        one.damaged + other.damaged,
    )
