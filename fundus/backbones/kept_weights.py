"""The folder of weights: what every backbone wants, what is there, and putting a file in place."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fundus.backbones.build import build_backbone
from fundus.backbones.weights_files import (
    NOTE,
    about_size,
    digest_of,
    file_of,
    formats_of,
    noted_digest,
    places_of,
    problem_of,
    weights_folder,
)
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
from fundus.runtime.whole import whole_file

_OWNER = "add_weights"


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
    """
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
    folder = weights_folder()
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and path.name not in known and not path.name.startswith(".")
        if not path.name.endswith(NOTE)
    )


def _records() -> Iterator[tuple[BackboneSpec, WeightsFile]]:
    for entry in get_registry().entries["backbone"]:
        for record in entry.spec.weights_files:
            yield entry.spec, record


@dataclass(frozen=True)
class Checked:
    """What became of the check of one file: ``"right"``, ``"wrong"`` or ``"unknown"``."""

    path: Path
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
        digest = "" if wanted.record is None else wanted.record.digest
        places = [] if wanted.error else places_of(wanted.entry.spec, wanted.weights, there=True)
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
    path = Path(file).expanduser()
    if not path.is_file():
        raise WeightsNotAvailableError(
            f"There is no file {str(path)!r}: give the path of a file of weights."
        )
    found = digest_of(path, "sha256")
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
    return Added(
        target, own.name, weights, found, _place(path, target, found, noted, known is not None)
    )


def _check_stated(path: Path, sha256: str, found: str) -> None:
    stated = sha256.strip().lower()
    if re.fullmatch(r"[0-9a-f]{64}", stated) is None:
        raise invalid(_OWNER, "sha256", "a SHA-256, 64 hexadecimal digits", sha256)
    if stated != found:
        raise BundleError(
            f"The file {str(path)!r} was to have the SHA-256 {stated}, but has {found}: it is "
            "another file or a damaged one; get it again."
        )


_Known = tuple[BackboneSpec, WeightsFile]


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
    of_spec = [known for known in found if known[0].name == spec.name]
    if not of_spec:
        own, record = found[0]
        raise BundleError(
            f"The file {str(path)!r} is {record.file!r}, the weights {record.weights!r} of the "
            f"backbone {own.name!r}, and was to be of {spec.name!r}: name that backbone, or none."
        )
    return of_spec[0]


def _by_name(path: Path, spec: BackboneSpec | None) -> _Known | None:
    """Return whose file it is by its name; refuse one whose digest is another."""
    for own, record in _records():
        if record.file != path.name or (spec is not None and spec.name != own.name):
            continue
        problem = problem_of(path, record.digest) if record.digest else ""
        if problem:
            whence = f" from {record.url}" if record.url else ""
            raise BundleError(
                f"The file {str(path)!r} is not the weights {record.weights!r} of the backbone "
                f"{own.name!r}, as its name says: {problem}. Get it again{whence}; a file of "
                "other weights needs another name."
            )
        return own, record
    return None


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


def _place(path: Path, target: Path, sha256: str, noted: bool, replaces: bool) -> bool:
    """Copy a file to its place; return whether it was there already."""
    was_there = target.is_file() and digest_of(target, "sha256") == sha256
    if target.is_file() and not was_there and not replaces:
        raise BundleError(
            f"Another file is called {str(target)!r}, with the SHA-256 "
            f"{digest_of(target, 'sha256')}; {str(path)!r} has {sha256}. Rename the file to add, "
            "or remove the one that is there."
        )
    if noted:  # first, so that a file that is there always has it
        with whole_file(target.with_name(target.name + NOTE)) as part:
            part.write_text(f"{sha256}  {target.name}\n", encoding="utf-8")
    if not was_there:
        with whole_file(target) as part:
            if _copied(path, part) != sha256:
                raise BundleError(
                    f"The file {str(path)!r} was changed while it was read: try again."
                )
    return was_there


def _copied(path: Path, part: Path) -> str:
    """Copy a file, and return the SHA-256 of what was written."""
    digest = hashlib.sha256()
    with path.open("rb") as source, part.open("wb") as target:
        while block := source.read(1 << 20):
            digest.update(block)
            target.write(block)
    return digest.hexdigest()
