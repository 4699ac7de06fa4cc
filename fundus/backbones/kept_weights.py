"""The folder of weights: what every backbone wants, what is there, and putting a file in place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fundus.backbones.build import build_backbone
from fundus.backbones.weights_digests import (
    NOTE,
    digest_of,
    is_there,
    noted_digest,
    path_of_user,
    problem_of,
    unreadable,
)
from fundus.backbones.weights_files import (
    about_size,
    file_of,
    formats_of,
    places_of,
    weights_folder,
    where_from,
)
from fundus.backbones.weights_place import put_in_place
from fundus.exceptions import (
    BundleError,
    InvalidParameterError,
    Mention,
    Message,
    WeightsNotAvailableError,
)
from fundus.hookspecs import BackboneSpec, WeightsFile
from fundus.parameters import invalid
from fundus.plugins.registry import Entry, get_registry

_OWNER = "add_weights"

_Known = tuple[BackboneSpec, WeightsFile]


@dataclass(frozen=True)
class Wanted:
    """The file of one backbone's pretrained weights, and where it is.

    Parameters
    ----------
    entry : Entry
        The backbone.
    name : str
        Name that the backbone goes by.
    weights : str
        One of its `pretrained`.
    record : WeightsFile or None
        ``None`` where its plugin does not say what the file is.
    path : Path or None
        Where it is; ``None`` where it is not here.
    error : str
        What its plugin raised when it was asked, or nothing.
    """

    entry: Entry
    name: str
    weights: str
    record: WeightsFile | None
    path: Path | None
    error: str = ""

    def _size(self) -> str | None:
        if self.record is None:
            return None
        if self.path is not None:
            return f"{self.path.stat().st_size / 1e6:,.1f} MB"
        return about_size(self.entry.spec, self.record)

    def to_dict(self) -> dict[str, Any]:
        """Return what is known as plain values."""
        record, spec = self.record, self.entry.spec
        digest = "" if record is None else record.digest
        return {
            "backbone": self.name,
            "weights": self.weights,
            "plugin": self.entry.plugin,
            "distribution": self.entry.distribution,
            "file": None if record is None else record.file,
            "size": self._size(),
            "md5": digest if len(digest) == 32 else None,
            "sha256": digest if len(digest) == 64 else None,
            "url": (record.url or None) if record else None,
            "package": (record.package or None) if record else None,
            "formats": list(formats_of(spec)),
            "path": None if self.path is None else str(self.path),
            "error": self.error,
        }


def wanted_files() -> list[Wanted]:
    """List what every registered backbone wants, and where it is; no file is read.

    Returns
    -------
    list of Wanted
        By the names of backbones.

    Raises
    ------
    WeightsNotAvailableError
        If the folder of weights cannot be read.
    """
    _in_folder()  # told once, not of every backbone
    registry = get_registry()
    return [
        wanted
        for name in registry.names("backbone")
        for wanted in _wanted(name, registry.find("backbone", name))
    ]


def _wanted(name: str, entry: Entry) -> Iterator[Wanted]:
    for weights in entry.spec.pretrained:
        record = path = None
        error = ""
        try:
            record = file_of(entry.spec, weights)
            error = shared_name(record)
            path = next(iter(places_of(entry.spec, weights, there=True)), None)
        except (Exception, SystemExit) as failure:  # an error of one plugin must not stop the list
            error = f"{type(failure).__name__}: {failure}"
        yield Wanted(entry, name, weights, record, path, error)


def other_files() -> list[Path]:
    """List the files in the folder of weights that no backbone wants by name.

    Returns
    -------
    list of Path
        ``weights="NAME"`` reads them.
    """
    known = {record.file for _, record in _records()}
    return sorted(
        path
        for path in _in_folder()
        if path.is_file() and path.name not in known and not path.name.startswith(".")
        if not path.name.endswith(NOTE)
    )


def _in_folder() -> list[Path]:
    folder = weights_folder()
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unreadable(folder, error) from None


def shared_name(record: WeightsFile | None) -> str:
    """Say in one clause which other backbone's file has this one's name; empty where none has."""
    for own, other in () if record is None else _others_called(record):
        return (
            f"its file {other.file!r} has the name of another file, of the backbone {own.name!r}: "
            "the folder of weights holds one of each name, so one plugin must rename its file"
        )
    return ""


def _others_called(record: WeightsFile) -> list[_Known]:
    """Records of other files that have the name of this one."""
    return [
        (own, other)
        for own, other in _records()
        if other is not record and other.file == record.file
        if not record.digest or other.digest != record.digest
    ]


def _records() -> Iterator[tuple[BackboneSpec, WeightsFile]]:
    for entry in get_registry().entries["backbone"]:
        for record in entry.spec.weights_files:
            yield entry.spec, record


@dataclass(frozen=True)
class Checked:
    """What became of the check of one file: ``"right"``, ``"wrong"`` or ``"unknown"``.

    It has no path where a plugin cannot say where its file is.
    """

    path: Path | None
    backbone: str | None
    state: str
    problem: str = ""


def verify_weights() -> list[Checked]:
    """Read every file of weights that is here, and compare it with its digest.

    Returns
    -------
    list of Checked
        ``"unknown"`` is a file of which no digest is known.
    """
    checked = []
    for wanted in wanted_files():
        if wanted.error:
            checked.append(Checked(wanted.path, wanted.name, "wrong", wanted.error))
            continue
        digest = "" if wanted.record is None else wanted.record.digest
        places = places_of(wanted.entry.spec, wanted.weights, there=True)
        checked += [_checked(path, wanted.name, digest) for path in places]
    return checked + [_checked(path, None, "") for path in other_files()]


def _checked(path: Path, backbone: str | None, digest: str) -> Checked:
    try:
        problem = problem_of(path, digest)
    except OSError as error:
        return Checked(path, backbone, "wrong", f"it cannot be read ({error.strerror or error})")
    if problem:
        return Checked(path, backbone, "wrong", problem)
    known = digest or noted_digest(path)
    return Checked(path, backbone, "right" if known else "unknown")


@dataclass(frozen=True)
class Added:
    """A file that was put into the folder of weights; ``weights=`` takes it by `weights`."""

    path: Path
    backbone: str
    weights: str
    sha256: str
    was_there: bool


def add_weights(
    file: str | Path, *, backbone: str | None = None, sha256: str | None = None
) -> Added:
    """Put a file into the folder of weights, whole or not at all, if it is the right one.

    A file with the digest of pretrained weights gets their name, whatever it is called. Any other
    file is first loaded into its backbone, and keeps its own name; its SHA-256 is noted beside it.

    Parameters
    ----------
    file : str or Path
    backbone : str, default=None
        Whose file it is; needed where neither its digest nor its name is known.
    sha256 : str, default=None
        What its SHA-256 must be, as 64 hexadecimal digits.

    Returns
    -------
    Added

    Raises
    ------
    WeightsNotAvailableError
        If there is no such file.
    BundleError
        If it is another file than its name, `backbone` or `sha256` says, is of a form that the
        backbone cannot take, does not fit it, or if another file has its name.
    InvalidParameterError
        If it is not known which backbone it is for, or `sha256` is no digest.
    """
    path = path_of_user(file)
    if not is_there(path):
        raise WeightsNotAvailableError(
            f"There is no file {str(path)!r}: give the path of a file of weights."
        )
    try:
        found = digest_of(path, "sha256")
    except OSError as error:
        raise unreadable(path, error) from None
    if sha256 is not None:
        _check_stated(path, sha256, found)
    spec = None if backbone is None else get_registry().find("backbone", backbone).spec
    known = _by_digest(path, spec) or _by_name(path, spec)
    if known is None:
        own, name, weights = _owner_of(path, spec), path.name, path.name
    else:
        (own, record), name, weights = known, known[1].file, known[1].weights
    target = weights_folder() / name
    noted = known is None or not record.digest
    if noted:
        build_backbone(own, weights=path, seed=0)  # by the readers that a fit uses

    def refuse() -> None:
        _refuse_to_replace(path, target, found, None if known is None else known[1])

    was_there = put_in_place(path, target, found, noted=noted, refuse=refuse)
    return Added(target, own.name, weights, found, was_there)


def _check_stated(path: Path, sha256: str, found: str) -> None:
    stated = sha256.strip().lower()
    if re.fullmatch(r"[0-9a-f]{64}", stated) is None:
        raise invalid(_OWNER, "sha256", "a SHA-256, 64 hexadecimal digits", sha256)
    if stated != found:
        raise BundleError(
            f"The file {str(path)!r} was to have the SHA-256 {stated}, but has {found}: it is "
            "another file or a damaged one; get it again."
        )


def _by_digest(path: Path, spec: BackboneSpec | None) -> _Known | None:
    """Return whose file it is by its content; refuse another backbone's."""
    found = [
        (own, record)
        for own, record in _records()
        if record.digest
        and digest_of(path, "md5" if len(record.digest) == 32 else "sha256") == record.digest
    ]
    if spec is None or not found:
        return found[0] if found else None
    of_spec = [known for known in found if known[0] is spec]
    if not of_spec:
        own, record = found[0]
        raise BundleError(
            f"The file {str(path)!r} is {record.file!r}, the weights {record.weights!r} of the "
            f"backbone {own.name!r}, and was to be of {spec.name!r}: name that backbone, or none."
        )
    return of_spec[0]


def _by_name(path: Path, spec: BackboneSpec | None) -> _Known | None:
    """Return whose file it is by its name; refuse one whose digest is another, or another's."""
    called = [(own, record) for own, record in _records() if record.file == path.name]
    if not called:
        return None
    own, record = next((known for known in called if known[0] is spec), called[0])
    if spec is not None and own is not spec:
        raise BundleError(
            f"The file {str(path)!r} is called as the weights {record.weights!r} of the backbone "
            f"{own.name!r}, and was to be of {spec.name!r}: rename the file, since it would be "
            "taken for those."
        )
    problem = problem_of(path, record.digest) if record.digest else ""
    if problem:
        raise BundleError(
            f"The file {str(path)!r} is not the weights {record.weights!r} of the backbone "
            f"{own.name!r}, as its name says: {problem}. Get it again{where_from(record)}; a file "
            "of other weights needs another name."
        )
    return own, record


def _owner_of(path: Path, spec: BackboneSpec | None) -> BackboneSpec:
    if spec is not None:
        return spec
    about = Mention("backbone", owner=_OWNER)
    raise InvalidParameterError(
        Message(
            f"The {about} must be given for {str(path)!r}: neither its name nor its SHA-256, "
            f"{digest_of(path, 'sha256')}, is one that a backbone wants ('fundus weights list' "
            "shows them). Name the backbone that the file is for.",
            about,
        )
    )


def _refuse_to_replace(path: Path, target: Path, sha256: str, record: WeightsFile | None) -> None:
    """Refuse to replace a file of one's own, or of another backbone that gave it the same name."""
    if record is None:
        raise BundleError(
            f"Another file is called {str(target)!r}, with the SHA-256 "
            f"{digest_of(target, 'sha256')}; {str(path)!r} has {sha256}. Rename the file to add, "
            "or remove the one that is there."
        )
    for own, other in _others_called(record):
        if not other.digest or not problem_of(target, other.digest):
            raise BundleError(
                f"The file {str(target)!r} is that of the backbone {own.name!r}, which has the "
                f"name that {str(path)!r} needs: one plugin must rename its file. Until then, add "
                "it under another name, for weights='NAME', or remove the one that is there."
            )
