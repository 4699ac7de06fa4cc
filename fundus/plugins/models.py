"""Ready graders by name: where the saved model of a plugin is, and what is told of it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from fundus.exceptions import BundleError, FundusError
from fundus.plugins.records import Entry
from fundus.plugins.registry import get_registry
from fundus.plugins.spec_fields import NAME

#: Its digest stands for the whole folder, since it has those of all other files.
MANIFEST = "manifest.json"

_NAMED = re.compile(rf"({NAME.pattern}/)?{NAME.pattern}")


def ready_model(name: str | os.PathLike[str]) -> Entry | None:
    """Return the ready grader that a name stands for.

    Parameters
    ----------
    name : str or path
        ``"idrid"`` or ``"plugin/idrid"``.

    Returns
    -------
    Entry or None
        ``None`` where a file or folder has this name, which comes first, and where no model has it.

    Raises
    ------
    UnknownNameError
        If several plugins offer the name.

    Examples
    --------
    >>> ready_model("no_such_model") is None
    True
    """
    text = os.fspath(name)
    if os.path.lexists(text) or not _NAMED.fullmatch(text):
        return None
    registry = get_registry()
    if all(text not in (e.spec.name, e.qualified_name) for e in registry.entries["model"]):
        return None
    return registry.find("model", text)


@contextmanager
def opened(entry: Entry) -> Iterator[Path]:
    """Give the folder of a ready grader; errors that follow say whose model it is.

    Raises
    ------
    BundleError
        If the folder is not there, or is not the one that the plugin means.
    """
    try:
        yield checked_folder(entry)
    except FundusError as error:
        whose = f"{entry.distribution} {metadata.version(entry.distribution)}"
        raise type(error)(
            f"The model {entry.qualified_name!r} of {whose} cannot be used: {error}"
        ) from error


def checked_folder(entry: Entry) -> Path:
    """Return the folder of a ready grader, after a look at its manifest; see `opened`."""
    folder, spec = Path(entry.spec.folder), entry.spec
    again = f"install {entry.distribution} again"
    if not (folder / MANIFEST).is_file():
        what = f"has no {MANIFEST}" if folder.is_dir() else "is not there"
        raise BundleError(f"Its folder {str(folder)!r} {what}: {again}, with all of its files.")
    found = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    if spec.digest and found != spec.digest:
        raise BundleError(
            f"The {MANIFEST} in {str(folder)!r} must have the SHA-256 {spec.digest}. Got {found} "
            f"instead, so that it is another model, or was changed: {again}."
        )
    return folder


def models_here() -> str:
    """Say in a sentence which ready graders there are, and which plugins are left out.

    Examples
    --------
    >>> models_here().startswith(("Models here: ", "No plugin here offers a model."))
    True
    """
    registry = get_registry()
    names = ", ".join(map(repr, registry.names("model")))
    said = f"Models here: {names}." if names else "No plugin here offers a model."
    return said + registry.left_out()


def size_of(folder: Path) -> int:
    """Return the bytes of the files in a folder; 0 where it is not there."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
