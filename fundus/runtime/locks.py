"""Locks on folders, which the operating system releases when their owner dies."""

from __future__ import annotations

import errno
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from fundus.exceptions import ResumeError
from fundus.runtime.whole import make_folder, write_error

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}


@contextmanager
def held(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock; the file stays, since a file that is removed can be locked by two.

    Parameters
    ----------
    path : Path
        The lock's file, in a folder that exists. A file beside it says who holds the lock.
    wait : bool, default=False
        Wait for the owner instead of raising.

    Raises
    ------
    ResumeError
        If another process, or another fit in this one, holds it, or it cannot be written.
    """
    lock = FileLock(path, timeout=-1 if wait else 0)
    told = path.with_suffix(".owner")
    try:
        lock.acquire()
    except Timeout:
        raise ResumeError(
            f"{_owner(told)} is at work in {str(path.parent)!r}: wait until it has ended, or "
            "choose another folder."
        ) from None
    except (OSError, NotImplementedError) as error:
        raise ResumeError(
            f"The folder {str(path.parent)!r} cannot be locked ({error}): choose one that can be "
            "written, on a file system with locks."
        ) from error
    try:
        told.write_text(json.dumps({"pid": os.getpid(), "host": platform.node()}), encoding="utf-8")
        yield
    except OSError as error:
        if error.filename != str(told):
            raise
        raise ResumeError(f"The file {str(told)!r} cannot be written ({error}).") from error
    finally:
        told.unlink(missing_ok=True)
        lock.release()


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Let one at a time write to a folder, which is made; others wait.

    Where its file system has no locks, nobody is kept out.

    Raises
    ------
    WriteError
        If the folder cannot be written.
    """
    make_folder(folder)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise write_error(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def is_held(path: Path) -> bool:
    """Whether somebody holds a lock; where that cannot be known, nobody."""
    if not path.is_file():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return False


def _owner(told: Path) -> str:
    try:
        who = json.loads(told.read_text(encoding="utf-8"))
        return f"Process {who['pid']} on {who['host']!r}"
    except (OSError, ValueError, KeyError, TypeError):  # it has just begun, or is about to end
        return "Another process"
