"""What is registered: backbones, heads and preprocessors, built in or from plugins."""

from __future__ import annotations

import threading
import warnings
from functools import lru_cache

from fundus.exceptions import PluginWarning
from fundus.registry.contract import HOOKS
from fundus.registry.discovery import canonical, load_registry
from fundus.registry.records import (
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
    "list_preprocessors",
    "load_registry",
    "plugin_statuses",
]

_lock = threading.RLock()


def get_registry() -> Registry:
    """Return the registry of this process, loaded once.

    Returns
    -------
    Registry
    """
    with _lock:
        return _loaded()


@lru_cache(maxsize=1)
def _loaded() -> Registry:
    return load_registry()


def plugin_statuses() -> list[PluginStatus]:
    """Return what became of each plugin, without a warning about those that were left out.

    Returns
    -------
    list of PluginStatus
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


def list_preprocessors() -> list[str]:
    """Names accepted as ``normalise=``, without importing Keras.

    Returns
    -------
    list of str
        Sorted.

    Examples
    --------
    >>> "caffe" in list_preprocessors()
    True
    """
    return get_registry().names("preprocessor")
