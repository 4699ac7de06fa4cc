"""Remove what the store has written, and nothing else, whatever state it is in."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path

from fundus.store.claims import remove_dead
from fundus.store.environment import DATA, LOCK, OPENING, unusable

ABOUT = "about.json"
SEGMENT = re.compile(r"[0-9a-f]{32}")

_EVICTED = re.compile(r"evicted-[0-9a-f]{32}")
#: Notes that a killed process was writing; up to release 0.1, and now (`fundus.runtime.whole`).
_PART = re.compile(r"(about\.json|format)\.[0-9a-f]{32}")
_HIDDEN_PART = re.compile(r"\.(about\.json|format|CACHEDIR\.TAG)\.[0-9a-f]{8}\.part")
_IN_PART = {"about.json", "format", "CACHEDIR.TAG", "lock"}


def segment_folders(store: Path) -> list[Path]:
    """Return the folders of segments in a store."""
    return [f for f in _listed(store / "segments") if SEGMENT.fullmatch(f.name) and _is_folder(f)]


def size_of(folder: Path) -> int:
    """Bytes of the files that the store has written into a segment's folder."""
    total = 0
    for file in _ours(folder):
        try:
            total += file.stat().st_size
        except OSError:
            continue  # another process has just removed it
    return total


def remove_segment(store: Path, name: str) -> None:
    """Remove a segment; a process that has it open keeps its own view of it.

    Raises
    ------
    StoreError
        If it cannot be removed.
    """
    folder = store / "segments" / name
    try:
        if not _is_folder(folder):
            return  # another process was faster
        if len(_ours(folder)) == len(_listed(folder)):
            # out of sight first, so that nobody opens a half-removed folder
            folder = folder.rename(store / f"evicted-{uuid.uuid4().hex}")
        _empty(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise unusable(f"The cache folder {str(folder)!r} cannot be removed ({error})") from None


def remove_leftovers(store: Path) -> None:
    """Remove what killed processes have left in a store: evicted segments, locks, parts of notes.

    Raises
    ------
    StoreError
        If something cannot be removed.
    """
    try:
        for path in _listed(store):
            if _EVICTED.fullmatch(path.name) and _is_folder(path):
                _empty(path)
        remove_dead(store / "workers")
    except FileNotFoundError:
        return  # another process does the same
    except OSError as error:
        raise unusable(f"The cache folder {str(store)!r} cannot be cleaned ({error})") from None


def clear(store: Path) -> int:
    """Remove all segments, without opening anything; return how many bytes that freed.

    Raises
    ------
    StoreError
        If something cannot be removed, or the path is a file.
    """
    if store.exists() and not store.is_dir():
        raise unusable(f"{str(store)!r} is a file, and no cache")
    freed = 0
    for folder in segment_folders(store):
        freed += size_of(folder)
        remove_segment(store, folder.name)
    remove_leftovers(store)
    return freed


def _empty(folder: Path) -> None:
    """Remove what is ours in a folder, and the folder itself if nothing else was in it."""
    for file in sorted(_ours(folder), key=lambda f: f.name != LOCK):
        if file.is_dir():
            for part in file.iterdir():
                if part.name in _IN_PART:
                    part.unlink(missing_ok=True)
            file.rmdir()
        else:
            file.unlink(missing_ok=True)
    if not _listed(folder):
        folder.rmdir()


def _ours(folder: Path) -> list[Path]:
    return list(_ours_in(folder))


def _ours_in(folder: Path) -> Iterator[Path]:
    for path in _listed(folder):
        if _HIDDEN_PART.fullmatch(path.name):
            if _is_folder(path) and all(part.name in _IN_PART for part in path.iterdir()):
                yield path
        elif (path.name in (DATA, LOCK, OPENING, ABOUT) or _PART.fullmatch(path.name)) and (
            path.is_file() or path.is_symlink()
        ):
            yield path


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
