"""The store's notes: its format, and what made each segment."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from fundus.exceptions import Mention, Message, StoreError, StoreWarning, WriteError, warn_once
from fundus.runtime.whole import whole_file
from fundus.store.environment import can_write, unusable

#: Raised when the layout changes; a folder of a newer format is refused.
FORMAT = 1

_PARTS = ("segments", "digests", "claims")
#: Tells programs that make backups to leave the folder out: https://bford.info/cachedir/
_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This folder is a cache of fundus-zoo, format {}. Everything in it can be computed again.\n"
)
_TAGGED = re.compile(r"a cache of fundus-zoo, format (\d{1,9})\.")


def check_format(path: Path) -> None:
    """Make a folder a store, or see that it is one that can be used.

    Raises
    ------
    StoreError
        If it cannot be made, is none of a store, or is one of a newer release.

    Warns
    -----
    StoreWarning
        If the note of its format is damaged, and is written again.
    """
    note, tag = path / "format", path / "CACHEDIR.TAG"
    try:
        path.mkdir(parents=True, exist_ok=True)
        text = _text(note) if note.exists() else None
        tagged = _TAGGED.search(_text(tag)) if tag.exists() else None
        writable = can_write(path)
        if text is None and not writable:
            raise unusable(f"The folder {str(path)!r} is no cache yet, and cannot be written")
        written = _number(text) if text is not None else FORMAT
        damaged = written < 1 or (tagged is not None and int(tagged[1]) < written)
        if damaged and tagged is None and not any((path / part).is_dir() for part in _PARTS):
            raise unusable(
                f"The folder {str(path)!r} is no cache: the file 'format' in it is of something "
                "else"
            )
        if damaged:
            warn_once(f"The note {str(note)!r} was damaged; it is written again.", StoreWarning)
        if writable and (text is None or damaged):
            write_note(note, str(FORMAT))
        if writable and not tag.exists() and (damaged or written == FORMAT):
            write_note(tag, _TAG.format(FORMAT))
    except StoreError:
        raise
    except OSError as error:
        raise unusable(f"The cache folder {str(path)!r} cannot be used ({error})") from None
    if written > FORMAT and not damaged:
        elsewhere = Mention("cache")
        text = (
            f"The cache folder {str(path)!r} has format {written}, this release knows up to "
            f"{FORMAT}: upgrade fundus-zoo, or set FUNDUS_CACHE_DIR or {elsewhere} to another "
            "folder."
        )
        raise StoreError(Message(text, elsewhere))


def about_of(note: Path) -> dict[str, Any] | None:
    """Read what made a segment; ``None`` where that is not there, or damaged."""
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def write_note(path: Path, text: str) -> None:
    """Write a note, whole.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    try:
        # not synced: a note that a crash of the machine has spoilt is written again
        with whole_file(path, fsync=False) as part:
            part.write_text(text, encoding="utf-8")
    except WriteError as error:
        raise unusable(f"The cache cannot be used ({error})") from None


def _text(note: Path) -> str:
    return note.read_bytes()[:4096].decode("latin-1")


def _number(text: str) -> int:
    """Return the format in a note; 0 where it is no number."""
    return int(text) if re.fullmatch(r"\s*\d{1,9}\s*", text, re.ASCII) else 0
