"""Digests of files of weights, a publisher's or noted ones, and files that cannot be read."""

from __future__ import annotations

import hashlib
import os
import re
from functools import lru_cache
from pathlib import Path

from fundus.exceptions import WeightsNotAvailableError

#: The folder of weights; without it, one in the user's own folder of data.
VARIABLE = "FUNDUS_WEIGHTS_DIR"

#: Ending of the note beside a file whose publisher gives no digest, as ``sha256sum`` writes it.
NOTE = ".sha256"


def path_of_user(path: str | os.PathLike[str]) -> Path:
    """Return a path with ``~`` replaced, or as it is where it names a user who is not known."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def unreadable(path: Path, error: OSError) -> WeightsNotAvailableError:
    """Return the error for a file or folder of weights that the system does not let one read."""
    return WeightsNotAvailableError(
        f"{str(path)!r} cannot be read ({error.strerror or error}): change its permissions, or "
        f"those of the folder that it is in; {VARIABLE} names another folder of weights."
    )


def is_there(path: Path) -> bool:
    """Return whether there is a file.

    Raises
    ------
    WeightsNotAvailableError
        If its folder cannot be read.
    """
    try:
        return path.is_file()
    except OSError as error:
        raise unreadable(path, error) from None


def problem_of(path: Path, digest: str = "") -> str:
    """Say in one clause why a file is not the one with this digest; empty where it is.

    Without a digest, that in the note beside the file counts, if there is one.
    """
    problem = ""
    if not digest:
        digest, problem = _note_of(path)
    if problem or not digest:
        return problem
    name = "MD5" if len(digest) == 32 else "SHA-256"
    try:
        found = digest_of(path, "md5" if len(digest) == 32 else "sha256")
    except OSError as error:
        return f"it cannot be read ({error.strerror or error})"
    return "" if found == digest else f"expected the {name} {digest}, and it has {found}"


def noted_digest(path: Path) -> str:
    """Return the SHA-256 that was noted beside a file when it was put in place, or nothing."""
    return _note_of(path)[0]


def _note_of(path: Path) -> tuple[str, str]:
    """Return the SHA-256 in the note beside a file, and what is wrong with the note."""
    note = path.with_name(path.name + NOTE)
    advice = "remove that note, or add the file again with 'fundus weights add'"
    try:
        words = note.read_text(encoding="utf-8-sig").split()
    except FileNotFoundError:
        return "", ""
    except UnicodeDecodeError:
        return "", f"the note {str(note)!r} is no UTF-8 text: {advice}"
    except OSError as error:
        return "", f"the note {str(note)!r} cannot be read ({error.strerror or error}): {advice}"
    # sha256sum puts a backslash before the digest of a file with an odd name
    digest = words[0].lstrip("\\").lower() if words else ""
    if re.fullmatch(r"[0-9a-f]{64}", digest) is None:
        return "", f"the note {str(note)!r} begins with no SHA-256, 64 hexadecimal digits: {advice}"
    return digest, ""


def digest_of(path: Path, algorithm: str) -> str:
    """Return the digest of a file in hexadecimal digits; read again only if it was changed."""
    stat = path.stat()
    stamp = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
    return _digest(str(path), algorithm, stamp)


@lru_cache(maxsize=256)
def _digest(path: str, algorithm: str, stamp: tuple[int, ...]) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
