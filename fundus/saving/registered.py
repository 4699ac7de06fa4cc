"""The entries that a saved model takes from plugins: their names and packages."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from typing import Any

from fundus.exceptions import BundleError, UnknownNameError
from fundus.heads.base import Head
from fundus.heads.sklearn_heads import EstimatorAsHead
from fundus.plugins.records import OWN, Entry, Kind
from fundus.plugins.registry import canonical, get_registry

NO_CODE = (
    "The backbone {!r} was given as a BackboneSpec, which cannot be saved without code: register "
    "it through a plugin and pass its name."
)


def origin_of(entry: Entry) -> dict[str, str]:
    """Return where an entry of the registry can be found on loading."""
    return {
        "name": entry.qualified_name,
        "distribution": entry.distribution,
        "version": metadata.version(entry.distribution),
    }


def find_registered(kind: Kind, origin: dict[str, str]) -> Any:
    """Find the spec that a model was saved with.

    Parameters
    ----------
    kind : {"backbone", "head", "preprocessor"}
    origin : dict
        As `origin_of` returns it; older bundles lack some versions.

    Returns
    -------
    BackboneSpec, HeadSpec or PreprocessorSpec

    Raises
    ------
    UnknownNameError
        If it is not installed, or the name belongs to an entry of another package.
    """
    name, package = origin["name"], origin["distribution"]
    needs = f"The model needs the {kind} {name!r} of the package {package!r}"
    saved = f" (saved with version {origin['version']})" if origin.get("version") else ""
    try:
        entry = get_registry().find(kind, name)
    except UnknownNameError as error:
        raise UnknownNameError(
            f"{needs}, which is not installed or does not load: pip install {package}{saved}. "
            f"({error})"
        ) from None
    if canonical(entry.distribution) != canonical(package):
        raise UnknownNameError(
            f"{needs}, but the one with that name here comes with {entry.distribution!r}: "
            f"pip install {package}{saved}, and uninstall the other or leave it out with "
            "FUNDUS_DISABLE_PLUGINS."
        )
    return entry.spec


def head_record(head: Head) -> dict[str, str]:
    """Return where a head's class is found on loading: by registered name, or in this library."""
    if type(head) is EstimatorAsHead:
        return {"name": "", "distribution": OWN}
    for entry in get_registry().entries["head"]:
        if entry.spec.makes(type(head)):
            return origin_of(entry)
    raise BundleError(
        f"The head {head!r} cannot be saved, since its class is not registered: offer "
        f"{type(head).__name__} as a HeadSpec's 'make' in a plugin."
    )


def head_class(origin: dict[str, str]) -> Callable[..., Any]:
    """Find the class of a head; see `head_record`."""
    return find_registered("head", origin).maker if origin["name"] else EstimatorAsHead
