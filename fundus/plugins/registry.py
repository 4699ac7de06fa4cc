"""What is registered: backbones, heads, preprocessors and others, built in or from plugins."""

from __future__ import annotations

import threading
import warnings
from functools import lru_cache
from typing import Literal

from fundus.exceptions import PluginWarning
from fundus.parameters import invalid
from fundus.plugins.contract import HOOKS
from fundus.plugins.discovery import canonical, load_registry
from fundus.plugins.records import (
    BUILTIN,
    OWN,
    PRECOMPUTED,
    Entry,
    Kind,
    PluginStatus,
    Registry,
)

__all__ = [
    "BUILTIN",
    "HOOKS",
    "OWN",
    "PRECOMPUTED",
    "Entry",
    "Kind",
    "PluginStatus",
    "Registry",
    "canonical",
    "get_registry",
    "list_backbones",
    "list_heads",
    "list_models",
    "list_preprocessors",
    "load_registry",
    "plugin_statuses",
]

_lock = threading.RLock()


def get_registry() -> Registry:
    """Return the registry of this process, loaded once."""
    with _lock:
        return _loaded()


@lru_cache(maxsize=1)
def _loaded() -> Registry:
    return load_registry()


def plugin_statuses() -> list[PluginStatus]:
    """Return what became of each plugin, without a warning about those that were left out.

    The built-in entries come first, as the plugin ``"builtin"``.

    Examples
    --------
    >>> plugin_statuses()[0].state
    'loaded'
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)
        return get_registry().statuses


def list_backbones() -> list[str]:
    """Names accepted as ``backbone=``, without importing Keras.

    Returns
    -------
    list of str
        Sorted. ``"precomputed"`` is no network: with it `TransferClassifier` takes 2-D features
        instead of images.

    Examples
    --------
    >>> {"resnet50", "precomputed"} <= set(list_backbones())
    True
    """
    return sorted([*get_registry().names("backbone"), PRECOMPUTED])


def list_heads() -> list[str]:
    """Names accepted as ``head=``, without importing Keras.

    Returns
    -------
    list of str
        Sorted.

    Examples
    --------
    >>> {"softmax", "relu", "svm", "logistic", "ridge"} <= set(list_heads())
    True
    """
    return get_registry().names("head")


def list_models() -> list[str]:
    """Names of the ready graders, which `load` and commands take, without importing Keras.

    Returns
    -------
    list of str
        Sorted; empty where no plugin offers one.

    Examples
    --------
    >>> "no_such_model" in list_models()
    False
    """
    return get_registry().names("model")


def list_preprocessors(
    kind: Literal["scale", "photometric"] | None = None,
) -> list[str]:
    """Names of preprocessors, without importing Keras.

    Parameters
    ----------
    kind : {"scale", "photometric"} or None, default=None
        Only those accepted as ``normalise=``, or as ``photometric=``; ``None`` is both.

    Returns
    -------
    list of str
        Sorted.

    Raises
    ------
    InvalidParameterError
        If there is no such kind.

    Examples
    --------
    >>> "caffe" in list_preprocessors("scale")
    True
    >>> "ben_graham" in list_preprocessors("photometric")
    True
    """
    if kind not in (None, "scale", "photometric"):
        raise invalid("list_preprocessors", "kind", "'scale', 'photometric' or None", kind)
    registry = get_registry()
    names = registry.names("preprocessor")
    return [n for n in names if kind in (None, registry.find("preprocessor", n).spec.kind)]
