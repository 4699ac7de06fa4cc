"""Installed plugins, each loaded in its own ``try``, so that one cannot disturb another.

Every entry point of the group ``fundus`` gets its own pluggy manager: one that cannot be
imported, breaks the contract or raises is left out whole, recorded and warned about, and the
others go on. Built-in entries come through the same hooks.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from types import ModuleType
from typing import Any

from fundus import hookspecs
from fundus.exceptions import PluginError, PluginWarning
from fundus.hookspecs import (
    GROUP,
    BackboneSpec,
    HeadSpec,
    LayoutSpec,
    MetricSpec,
    ModelSpec,
    PreprocessorSpec,
    ReportSectionSpec,
)
from fundus.plugins.contract import collect
from fundus.plugins.records import BUILTIN, OWN, Entry, Kind, PluginStatus, Registry

BUILTIN_MODULES = (
    "fundus.builtin.pretrained",  # of efficientnet_lite and keras_applications
    "fundus.builtin.tiny",
    "fundus.builtin.heads",
    "fundus.builtin.preprocessors",
)

_loading = threading.local()


def canonical(distribution: str) -> str:
    """Return the name of a distribution as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def load_registry() -> Registry:
    """Load the built-in entries and every installed plugin afresh.

    Raises
    ------
    PluginError
        If a plugin calls this while it is being loaded.
    """
    with _alone():
        registry = Registry()
        # whatever fails in here is a fault of the library, so it is raised
        _enter(registry, BUILTIN, OWN, metadata.version(OWN), collect(_Builtin(), BUILTIN))
        for name, distribution, version, point in _entry_points(registry):
            _add(registry, name, distribution, version, point.load)
        return registry


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Refuse a plugin that would start the loading of all plugins once more."""
    if getattr(_loading, "now", False):
        raise PluginError(
            "A plugin asks for what is registered while it is being loaded itself: look other "
            "entries up inside build, make or apply."
        )
    _loading.now = True
    try:
        yield
    finally:
        _loading.now = False


_Point = tuple[str, str, str, metadata.EntryPoint]


def _entry_points(registry: Registry) -> list[_Point]:
    points: dict[str, list[_Point]] = {}
    for dist in metadata.distributions():
        try:
            found = [point for point in dist.entry_points if point.group == GROUP]
            if found:
                # a distribution that is on sys.path twice counts where Python imports it from
                points.setdefault(
                    canonical(dist.name), [(p.name, dist.name, dist.version, p) for p in found]
                )
        except Exception as error:
            if _is_of_others(dist):
                continue
            folder = str(getattr(dist, "_path", dist))
            _leave_out(registry, folder, "an unreadable distribution", "", error)
    # sorted, so that nothing depends on the order of sys.path
    return sorted(itertools.chain(*points.values()))


def _is_of_others(dist: metadata.Distribution) -> bool:
    """Whether a distribution whose entry points cannot be read has none for this library."""
    try:
        return f"[{GROUP}]" not in (dist.read_text("entry_points.txt") or "")
    except Exception:  # not known, so it is reported
        return False


def _disabled(name: str, distribution: str) -> bool:
    setting = os.environ.get("FUNDUS_DISABLE_PLUGINS", "")
    names = {part.strip() for part in setting.split(",")} - {""}
    return (
        setting == "1"
        or name in names
        or canonical(distribution) in {canonical(part) for part in names}
    )


def _add(
    registry: Registry,
    name: str,
    distribution: str,
    version: str,
    load: Callable[[], ModuleType | object],
) -> None:
    """Load one installed plugin; what goes wrong inside is recorded and warned about, whole."""
    if _disabled(name, distribution):
        registry.statuses.append(PluginStatus(name, distribution, version, "disabled"))
        return
    try:
        for status in registry.statuses:
            if status.name == name and status.state == "loaded":
                raise PluginError(
                    f"Two plugins are called {name!r}; one comes with {status.distribution}, this "
                    f"one comes with {distribution}. Uninstall one, or set FUNDUS_DISABLE_PLUGINS "
                    f"to the name of its package."
                )
        # what a plugin prints must not end up in the output of a command
        with contextlib.redirect_stdout(sys.stderr):
            found = collect(load(), name)
    except (Exception, SystemExit) as error:
        _leave_out(registry, name, distribution, version, error)
    else:
        _enter(registry, name, distribution, version, found)


def _leave_out(
    registry: Registry, name: str, distribution: str, version: str, error: BaseException
) -> None:
    if os.environ.get("FUNDUS_STRICT_PLUGINS") == "1":
        raise error
    line = _one_line(error)
    details = "".join(traceback.format_exception(error))
    registry.statuses.append(PluginStatus(name, distribution, version, "failed", line, details))
    warnings.warn(
        f"Plugin {name!r} of {distribution} was left out: {line}. "
        "'fundus plugins --verbose' shows the traceback.",
        PluginWarning,
        stacklevel=3,
    )


def _one_line(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # the fault may be in the error itself
        text = "(its message cannot be shown)"
    return f"{type(error).__name__}: {text}".splitlines()[0]


def _enter(
    registry: Registry, name: str, distribution: str, version: str, found: dict[Kind, list[Any]]
) -> None:
    for kind, specs in found.items():
        registry.entries[kind].extend(Entry(name, distribution, spec) for spec in specs)
    offers = tuple(f"{kind}:{spec.name}" for kind, specs in found.items() for spec in specs)
    registry.statuses.append(PluginStatus(name, distribution, version, "loaded", offers=offers))


class _Builtin:
    """The built-in modules as one plugin object."""

    fundus_api = hookspecs.API_VERSION

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

    @hookspecs.hookimpl
    def fundus_layouts(self) -> list[LayoutSpec]:
        return self._gather("fundus_layouts")

    @hookspecs.hookimpl
    def fundus_models(self) -> list[ModelSpec]:
        return self._gather("fundus_models")

    @hookspecs.hookimpl
    def fundus_metrics(self) -> list[MetricSpec]:
        return self._gather("fundus_metrics")

    @hookspecs.hookimpl
    def fundus_report_sections(self) -> list[ReportSectionSpec]:
        return self._gather("fundus_report_sections")
