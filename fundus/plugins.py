"""Discovery of plugins, each loaded on its own, and the registry of what they offer.

Every entry point of the group ``fundus`` gets its own pluggy manager: one that cannot be
imported, breaks the contract or raises is left out whole, recorded and warned about, and the
others go on. Built-in entries come through the same hooks.
"""

from __future__ import annotations

import difflib
import importlib
import itertools
import os
import re
import traceback
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata
from types import ModuleType
from typing import Any, Literal

import pluggy

from fundus import hookspecs
from fundus.exceptions import PluginError, PluginWarning, UnknownNameError
from fundus.hookspecs import API_VERSION, GROUP, BackboneSpec, HeadSpec, PreprocessorSpec
from fundus.spec_fields import field_problem

Kind = Literal["backbone", "head", "preprocessor"]

HOOKS: dict[str, tuple[Kind, type]] = {
    "fundus_backbones": ("backbone", BackboneSpec),
    "fundus_heads": ("head", HeadSpec),
    "fundus_preprocessors": ("preprocessor", PreprocessorSpec),
}

#: Name of the plugin that ships, and its distribution.
BUILTIN = "builtin"
OWN = "fundus-zoo"
BUILTIN_MODULES = (
    "fundus.builtin.efficientnet_lite",
    "fundus.builtin.keras_applications",
    "fundus.builtin.tiny",
    "fundus.builtin.heads",
    "fundus.builtin.preprocessors",
)


@dataclass(frozen=True)
class PluginStatus:
    """What became of one plugin.

    Parameters
    ----------
    name : str
        Name of its entry point.
    distribution, version : str
        The installed package it came with.
    state : {"loaded", "failed", "disabled"}
    error : str
        One line; empty unless the state is ``"failed"``.
    details : str
        The traceback of the failure.
    offers : tuple of str
        What it registered, as ``"backbone:name"``.
    """

    name: str
    distribution: str
    version: str
    state: Literal["loaded", "failed", "disabled"]
    error: str = ""
    details: str = ""
    offers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A registered spec and the plugin it came from."""

    plugin: str
    distribution: str
    spec: Any

    @property
    def qualified_name(self) -> str:
        """``plugin/name``, by which the entry can always be reached."""
        return f"{self.plugin}/{self.spec.name}"


@dataclass
class Registry:
    """All specs by kind and name, and the status of every plugin."""

    entries: dict[Kind, list[Entry]] = field(
        default_factory=lambda: {"backbone": [], "head": [], "preprocessor": []}
    )
    statuses: list[PluginStatus] = field(default_factory=list)

    def find(self, kind: Kind, name: str) -> Entry:
        """Look an entry up by short or qualified name.

        Parameters
        ----------
        kind : {"backbone", "head", "preprocessor"}
        name : str
            ``"vgg16"`` or ``"plugin/vgg16"``.

        Returns
        -------
        Entry

        Raises
        ------
        UnknownNameError
            If there is no such name, or several plugins offer it.
        """
        entries = self.entries[kind]
        for entry in entries:
            if name == entry.qualified_name or (
                entry.plugin == BUILTIN and name == entry.spec.name
            ):
                return entry
        named = [entry for entry in entries if entry.spec.name == name]
        if len(named) == 1:
            return named[0]
        if named:
            offers = " and ".join(repr(entry.qualified_name) for entry in named)
            raise UnknownNameError(f"The {kind} name {name!r} is ambiguous: give {offers} in full.")
        raise UnknownNameError(self._unknown(kind, name))

    def _unknown(self, kind: Kind, name: str) -> str:
        names = self.names(kind)
        message = f"There is no {kind} called {name!r}."
        near = difflib.get_close_matches(str(name), names, n=3)
        if near:
            message += f" Did you mean {' or '.join(repr(n) for n in near)}?"
        else:
            message += f" Registered: {', '.join(names)}."
        failed = [s for s in self.statuses if s.state == "failed"]
        if failed:
            message += " Plugins that failed to load: " + "; ".join(
                f"{s.name} ({s.error})" for s in failed
            )
        return message

    def names(self, kind: Kind) -> list[str]:
        """Names by which entries can be reached: short where unambiguous, else qualified."""
        entries = self.entries[kind]
        builtin = {e.spec.name for e in entries if e.plugin == BUILTIN}
        counts: dict[str, int] = {}
        for entry in entries:
            counts[entry.spec.name] = counts.get(entry.spec.name, 0) + 1
        names = {
            e.spec.name
            if e.plugin == BUILTIN or (e.spec.name not in builtin and counts[e.spec.name] == 1)
            else e.qualified_name
            for e in entries
        }
        return sorted(names)


def _collect(plugin: ModuleType | object, plugin_name: str) -> dict[Kind, list[Any]]:
    """Call the hooks of one plugin and check what they return."""
    api = getattr(plugin, "fundus_api", API_VERSION)
    if api != API_VERSION:
        raise PluginError(
            f"Plugin {plugin_name!r} was written for plugin API {api!r}, this is {API_VERSION}: "
            "install versions of the plugin and of fundus-zoo that go together."
        )
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin, name=plugin_name)
    _check_hook_names(manager, plugin, plugin_name)
    manager.check_pending()
    found: dict[Kind, list[Any]] = {}
    for hook, (kind, record) in HOOKS.items():
        specs: list[Any] = []
        caller = getattr(manager.hook, hook)
        results = caller()
        # pluggy drops None, so a forgotten return would pass for a plugin that offers nothing
        results += [None] * (len(caller.get_hookimpls()) - len(results))
        for result in results:
            if not isinstance(result, Iterable):
                raise PluginError(
                    f"{hook} of plugin {plugin_name!r} must return a list of {record.__name__}. "
                    f"Got {result!r} instead."
                )
            specs.extend(result)
        found[kind] = [_check_spec(spec, record, hook, plugin_name) for spec in specs]
        names = [spec.name for spec in found[kind]]
        for name in names:
            if names.count(name) > 1:
                raise PluginError(f"{hook} of plugin {plugin_name!r} returns {name!r} twice.")
    return found


def _check_hook_names(
    manager: pluggy.PluginManager, plugin: ModuleType | object, plugin_name: str
) -> None:
    for name in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, name)
        if options is None:
            if name in HOOKS:
                raise PluginError(
                    f"{name} of plugin {plugin_name!r} is no hook yet: put @hookimpl above it."
                )
            continue
        hook = options.get("specname") or name
        if hook not in HOOKS:
            near = difflib.get_close_matches(hook, HOOKS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(HOOKS)}."
            raise PluginError(f"Plugin {plugin_name!r} implements an unknown hook {hook!r}.{hint}")


def _check_spec(spec: Any, record: type, hook: str, plugin_name: str) -> Any:
    if not isinstance(spec, record):
        raise PluginError(
            f"{hook} of plugin {plugin_name!r} must return {record.__name__} records. "
            f"Got {spec!r} instead."
        )
    problem = field_problem(spec)  # type: ignore[arg-type]
    if problem:
        raise PluginError(
            f"{hook} of plugin {plugin_name!r} returns a {record.__name__} "
            f"({getattr(spec, 'name', None)!r}) that cannot be used: {problem}"
        )
    return spec


def _disabled(name: str) -> bool:
    setting = os.environ.get("FUNDUS_DISABLE_PLUGINS", "")
    return setting == "1" or name in {part.strip() for part in setting.split(",")}


def _add(
    registry: Registry,
    name: str,
    distribution: str,
    version: str,
    load: Callable[[], ModuleType | object],
) -> None:
    """Load one installed plugin; what goes wrong inside is recorded and warned about, whole."""
    if _disabled(name):
        registry.statuses.append(PluginStatus(name, distribution, version, "disabled"))
        return
    try:
        if any(s.name == name and s.state == "loaded" for s in registry.statuses):
            raise PluginError(
                f"Two plugins are called {name!r}; this one comes with {distribution}. "
                "Uninstall one or rename its entry point."
            )
        found = _collect(load(), name)
    except (Exception, SystemExit) as error:
        _leave_out(registry, name, distribution, version, error)
    else:
        _enter(registry, name, distribution, version, found)


def _leave_out(
    registry: Registry, name: str, distribution: str, version: str, error: BaseException
) -> None:
    if os.environ.get("FUNDUS_STRICT_PLUGINS") == "1":
        raise error
    line = f"{type(error).__name__}: {error}".splitlines()[0]
    details = "".join(traceback.format_exception(error))
    registry.statuses.append(PluginStatus(name, distribution, version, "failed", line, details))
    warnings.warn(
        f"Plugin {name!r} of {distribution} was left out: {line}. "
        "'fundus plugins --verbose' shows the traceback.",
        PluginWarning,
        stacklevel=3,
    )


def _enter(
    registry: Registry, name: str, distribution: str, version: str, found: dict[Kind, list[Any]]
) -> None:
    for kind, specs in found.items():
        registry.entries[kind].extend(Entry(name, distribution, spec) for spec in specs)
    offers = tuple(f"{kind}:{spec.name}" for kind, specs in found.items() for spec in specs)
    registry.statuses.append(PluginStatus(name, distribution, version, "loaded", offers=offers))


class _Builtin:
    """The built-in modules as one plugin object."""

    def __init__(self) -> None:
        self.modules = [importlib.import_module(name) for name in BUILTIN_MODULES]

    def _gather(self, hook: str) -> list[Any]:
        return [spec for m in self.modules if hasattr(m, hook) for spec in getattr(m, hook)()]

    @hookspecs.hookimpl
    def fundus_backbones(self) -> list[BackboneSpec]:
        return self._gather("fundus_backbones")

    @hookspecs.hookimpl
    def fundus_heads(self) -> list[HeadSpec]:
        return self._gather("fundus_heads")

    @hookspecs.hookimpl
    def fundus_preprocessors(self) -> list[PreprocessorSpec]:
        return self._gather("fundus_preprocessors")


def load_registry() -> Registry:
    """Load the built-in entries and every installed plugin afresh.

    Returns
    -------
    Registry
    """
    registry = Registry()
    # whatever fails in here is a fault of the library, so it is raised
    _enter(registry, BUILTIN, OWN, metadata.version(OWN), _collect(_Builtin(), BUILTIN))
    points: dict[str, list[tuple[str, str, str, metadata.EntryPoint]]] = {}
    for dist in metadata.distributions():
        try:
            found = [point for point in dist.entry_points if point.group == GROUP]
            if found:
                # a distribution that is on sys.path twice counts where Python imports it from
                key = re.sub(r"[-_.]+", "-", dist.name).lower()
                points.setdefault(key, [(p.name, dist.name, dist.version, p) for p in found])
        except Exception as error:
            folder = str(getattr(dist, "_path", dist))
            _leave_out(registry, folder, "an unreadable distribution", "", error)
    # sorted, so that nothing depends on the order of sys.path
    for name, distribution, version, point in sorted(itertools.chain(*points.values())):
        _add(registry, name, distribution, version, point.load)
    return registry


@lru_cache(maxsize=1)
def get_registry() -> Registry:
    """Return the registry of this process, loaded once.

    Returns
    -------
    Registry
    """
    return load_registry()


def list_backbones() -> list[str]:
    """Names accepted as ``backbone=``, without importing Keras.

    Returns
    -------
    list of str
        Sorted; ``"precomputed"`` (2-D features) is not in the list, since it is no network.

    Examples
    --------
    >>> "resnet50" in list_backbones()
    True
    """
    return get_registry().names("backbone")


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
