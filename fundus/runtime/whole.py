"""Files and folders that are written whole or not at all, also where the process is killed.

What is written grows in a hidden folder beside its target, ``.NAME.0123abcd.part``, and is moved
from there in one step. The folder has a lock that the operating system releases when its owner
dies: that tells what a killed process has left, which the next write of the same target removes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from fundus.exceptions import FundusError, WriteError

#: Names of the streams of a process.
_STREAMS = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/self/fd/")
_LOCK = "lock"
_ENDING = re.compile(r"\.[0-9a-f]{8}\.part")
_LENGTH_OF_ENDING = len(".01234567.part")
# file systems whose names may be longer or shorter say so themselves
_LONGEST_NAME = 255  # bytes
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}
# some network file systems cannot sync a folder, and one may be written to and not be read
_NO_FSYNC = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EACCES}

_ELSEWHERE = "choose another folder"
_ADVICE = {
    errno.ENOSPC: "make room on the disk, or write to another one",
    errno.EDQUOT: "make room within your quota, or write to another disk",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or write to another disk",
    errno.EROFS: "the disk is read-only, so write to another one",
    errno.EACCES: f"change the permissions, or {_ELSEWHERE}",
    errno.EPERM: f"change the permissions, or {_ELSEWHERE}",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EISDIR: "a folder has this name, so choose another one",
    errno.ENOTDIR: "a file stands where a folder is needed, so choose another name",
    errno.ENOTEMPTY: "the folder has files in it, so remove them or choose another one",
    errno.EEXIST: "the folder has files in it, so remove them or choose another one",
    errno.EBUSY: "the folder is in use or a disk is mounted there, so choose one inside it",
    errno.EIO: "the disk has a fault, so write to another one",
    errno.ELOOP: "the link leads back to itself, so remove it or choose another name",
}


def write_error(path: str | os.PathLike[str], error: OSError) -> WriteError:
    """Return the error of the library for one of the operating system.

    Parameters
    ----------
    path : path-like
        What was to be written, as the user has named it.
    error : OSError

    Returns
    -------
    WriteError
        It names the file, the reason and what to do, and has the same ``errno``.

    Examples
    --------
    >>> import errno
    >>> print(write_error("a.csv", OSError(errno.ENAMETOOLONG, "File name too long")))
    'a.csv' could not be written (File name too long): choose a shorter name.
    """
    advice = _ADVICE.get(error.errno or 0, "see that the disk works, or write to another one")
    told = WriteError(
        f"{os.fspath(path)!r} could not be written ({error.strerror or error}): {advice}."
    )
    told.errno = error.errno
    return told


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a device or a pipe, which is written to directly.

    Examples
    --------
    >>> is_stream("/dev/stdout"), is_stream("results.csv")
    (True, False)
    """
    if os.path.abspath(path).startswith(_STREAMS):
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def make_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder and those that it is in, unless they are there.

    Raises
    ------
    WriteError
        If it cannot be made.
    """
    with _named(path):
        Path(path).mkdir(parents=True, exist_ok=True)


@contextmanager
def whole_file(path: str | os.PathLike[str], *, fsync: bool = True) -> Iterator[Path]:
    """Give a path to write to, which becomes the file `path` if there was no error.

    Parameters
    ----------
    path : path-like
        Its folder is made. A file that is there is replaced, and its permissions are kept; for a
        link, as with `open`, the file that it leads to. A device or a pipe is written to directly.
    fsync : bool, default=True
        Whether the content is on the disk before the file gets its name, so that it is whole also
        after a power cut.

    Yields
    ------
    Path
        A new name with the same ending, on the same disk.

    Raises
    ------
    WriteError
        If the file cannot be written: the disk is full, the name too long, a folder, and so on. A
        file that was there is as before.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with whole_file(f"{folder}/grades.csv") as part:
    ...         _ = part.write_text("file,grade")
    ...     os.listdir(folder)
    ['grades.csv']
    """
    if is_stream(path):
        with _named(path):
            yield Path(path)
        return
    with _named(path):
        target = Path(os.path.realpath(path))
        if target.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if target.is_dir():
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        with _part_of(target) as (part, parents):
            yield part
            _finish(part, target, parents, fsync)


@contextmanager
def whole_folder(path: str | os.PathLike[str], *, fsync: bool = True) -> Iterator[Path]:
    """Give an empty folder to write to, which becomes the folder `path` if there was no error.

    Parameters
    ----------
    path : path-like
        A folder that does not exist yet, or an empty one, whose permissions are kept. The folder
        that it is in is made.
    fsync : bool, default=True
        As in `whole_file`, for every file in it.

    Yields
    ------
    Path
        A new folder of the same name, on the same disk.

    Raises
    ------
    WriteError
        If the folder cannot be written, has files in it, or is a link or the working folder, whose
        place another folder cannot take.
    """
    with _named(path):
        _refuse_folder(path)
        target = Path(os.path.realpath(path))
        with _part_of(target) as (part, parents):
            part.mkdir()
            yield part
            _finish(part, target, parents, fsync)


def _refuse_folder(path: str | os.PathLike[str]) -> None:
    if os.path.islink(os.fspath(path).rstrip(os.sep)):
        raise WriteError(
            f"{os.fspath(path)!r} is a link, and a folder cannot be written in its place: give "
            f"the folder that it leads to, {os.path.realpath(path)!r}."
        )
    if not os.path.lexists(path):
        return
    if not os.path.isdir(path):
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if os.listdir(path):
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
    if os.path.samefile(path, os.curdir) or os.path.ismount(path):
        within = os.path.join(path, "model")
        raise WriteError(
            f"{os.fspath(path)!r} is the working folder or a disk, and a folder cannot be written "
            f"in its place: give a new folder inside it, such as {within!r}."
        )


@contextmanager
def _named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn errors of the operating system about what is written into the library's.

    Errors about another file, such as one that is read meanwhile, are passed on.
    """
    try:
        yield
    except (FundusError, BrokenPipeError):  # a reader that has left, as `head` does, is no fault
        raise
    except OSError as error:
        name = error.filename
        if isinstance(name, (str, bytes)) and not _is_of(Path(os.fsdecode(name)), Path(path)):
            raise
        raise write_error(path, error) from error


def _is_of(file: Path, path: Path) -> bool:
    """Whether a file is the target, a folder that it is in, or in the target's hidden folder."""
    target = Path(os.path.realpath(path))
    if file in (path, target, *target.parents):
        return True
    stem = _stem(target)
    return any(
        part.name.startswith(stem) and part.parent == target.parent
        for part in (file, *file.parents)
    )


@contextmanager
def _part_of(target: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Give a path for the content, and the folders that get a new entry for the target.

    It is in a hidden folder of its own, which is removed at the end.
    """
    with suppress(FileNotFoundError):
        os.lstat(target)  # a name that is too long is refused before any work
    new = [place for place in (target, *target.parents) if not place.exists()] or [target]
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target)
    while True:
        folder = target.parent / f"{_stem(target)}.{uuid.uuid4().hex[:8]}.part"
        # closed to others, since the content gets its permissions at the end
        folder.mkdir(mode=0o700)
        lock = FileLock(folder / _LOCK)
        try:
            if _acquired(lock):
                break
        except BaseException:
            _remove(folder, lock)
            raise
    try:
        yield folder / target.name, [place.parent for place in new]
    finally:
        _remove(folder, lock)


def _stem(target: Path) -> str:
    """Return how the names of a target's hidden folders begin, cut where they would be too long."""
    stem = f".{target.name}"
    try:
        longest = os.pathconf(target.parent, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):  # Windows, and file systems that do not say
        longest = _LONGEST_NAME
    if len(os.fsencode(stem)) + _LENGTH_OF_ENDING <= longest:
        return stem
    digest = "~" + hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
    room = longest - _LENGTH_OF_ENDING - len(digest)
    return os.fsencode(stem)[:room].decode("utf-8", "ignore") + digest


def _acquired(lock: FileLock) -> bool:
    """Take the lock of a new folder; ``False`` where another process has removed it as empty."""
    try:
        lock.acquire(timeout=0)
    except (FileNotFoundError, FileExistsError, Timeout):  # removed before or while it is looked at
        return False
    except NotImplementedError:
        return True
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return True  # nobody can take it, so nobody removes the folder
    return os.path.exists(lock.lock_file)


def _remove_leftovers(target: Path) -> None:
    """Remove what killed processes have left of a target; the folders of living ones stay."""
    stem = _stem(target)
    try:
        names = os.listdir(target.parent)
    except PermissionError:  # a folder may be written to, and not be read
        return
    for name in names:
        folder = target.parent / name
        if not (name.startswith(stem) and _ENDING.fullmatch(name, len(stem))):
            continue
        if folder.is_symlink() or not folder.is_dir():
            continue
        lock = FileLock(folder / _LOCK)
        if not os.path.exists(lock.lock_file):
            with suppress(OSError):  # killed before it had a lock; with files in it, it is not ours
                folder.rmdir()
            continue
        try:
            lock.acquire(timeout=0)
        except (Timeout, OSError, NotImplementedError):  # its owner lives, or cannot be known
            continue
        _remove(folder, lock)


def _remove(folder: Path, lock: FileLock) -> None:
    """Remove a hidden folder, its lock last; what cannot be removed is left to the next write."""
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            if entry.name == _LOCK:
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                os.unlink(entry.path)
    with suppress(OSError):
        lock.release()
        os.unlink(lock.lock_file)
    with suppress(OSError):
        folder.rmdir()


def _finish(part: Path, target: Path, parents: list[Path], fsync: bool) -> None:
    """Give the content its name, in one step."""
    if target.exists():
        with suppress(PermissionError):  # of file systems without permissions
            shutil.copymode(target, part)
    if fsync:
        for folder, _, names in os.walk(part):
            for name in names:
                _fsync(Path(folder, name))
            _fsync_folder(Path(folder))
        if not part.is_dir():
            _fsync(part)
    if os.name == "nt" and target.is_dir():
        target.rmdir()  # elsewhere an empty folder is replaced in the same step
    os.replace(part, target)
    if fsync:
        for parent in parents:
            _fsync_folder(parent)


def _fsync(path: Path) -> None:
    number = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _fsync_folder(path: Path) -> None:
    if os.name == "nt":
        return  # Windows opens no folders
    try:
        _fsync(path)
    except OSError as error:
        if error.errno not in _NO_FSYNC:
            raise
