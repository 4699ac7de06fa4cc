"""Which classes a saved model may hold, and where each is found on loading."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TypeVar

from fundus.exceptions import BundleError
from fundus.plugins.registry import get_registry

C = TypeVar("C", bound=type)

_known: dict[str, type] = {}


def kind_of(cls: type) -> str:
    """Return how a saved model names a class: its module and its own name."""
    return f"{cls.__module__}.{cls.__qualname__}"


def saveable(cls: C) -> C:
    """Let a dataclass, a NamedTuple or an estimator be part of a saved model; a decorator.

    Its fields are saved, or the result of its ``_to_record``. Subclasses of `Saves` are saveable
    without the decorator.
    """
    _known[kind_of(cls)] = cls
    return cls


def is_saveable(value: object) -> bool:
    """Whether the class of a value is saveable."""
    return _known.get(kind_of(type(value))) is type(value)


def find_class(kind: str, trusted: Sequence[str]) -> type:
    """Find a class by its kind, without importing a module only because a file names it.

    Modules of trusted classes may be imported.

    Raises
    ------
    BundleError
        If there is no such class, it is not saveable, or it is neither in this library, nor
        imported in this process, nor trusted.
    """
    module, _, name = kind.rpartition(".")
    parts = module.split(".")
    own = parts[0] == "fundus" and not any(part.startswith("_") for part in parts)
    if kind not in _known and module and (own or kind in trusted):
        try:
            import_module(module)
        except ImportError as error:
            raise BundleError(
                f"The model holds {name!r} of the module {module!r}, which cannot be imported "
                f"({error}): install the package or the version that it was saved with."
            ) from None
    elif kind not in _known:
        get_registry()  # an installed plugin may provide it
    if kind in _known:
        return _known[kind]
    raise BundleError(
        f"The model holds {kind!r}, which is not a saveable class, or is not known here. If "
        f"it is one of your own or of another package, import {module!r} before you load the "
        f"model, or pass trusted=[{kind!r}] if you know where the model comes from."
    )
