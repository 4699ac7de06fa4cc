"""The contract between the core and one plugin: its number, its hooks and what they return."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import pluggy

from fundus import hookspecs
from fundus._version import __version__
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
from fundus.plugins.records import Kind
from fundus.plugins.spec_fields import field_problem

HOOKS: dict[str, tuple[Kind, type]] = {
    "fundus_backbones": ("backbone", BackboneSpec),
    "fundus_heads": ("head", HeadSpec),
    "fundus_preprocessors": ("preprocessor", PreprocessorSpec),
    "fundus_layouts": ("layout", LayoutSpec),
    "fundus_models": ("model", ModelSpec),
    "fundus_metrics": ("metric", MetricSpec),
    "fundus_report_sections": ("report-section", ReportSectionSpec),
}


def collect(plugin: ModuleType | object, plugin_name: str) -> dict[Kind, list[Any]]:
    """Call the hooks of one plugin, what its entry point names, and return their records by kind.

    Raises
    ------
    PluginError
        If it breaks the contract. Whatever its hooks raise comes through.
    """
    _check_api(getattr(plugin, "fundus_api", 1), plugin_name)
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    _check_hook_names(manager, plugin, plugin_name)
    try:
        manager.register(plugin, name=plugin_name)
    except pluggy.PluginValidationError as error:
        raise PluginError(
            f"{' '.join(str(error).split())}: a hook takes the arguments that fundus.hookspecs "
            "gives it, or fewer."
        ) from None
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


def _check_api(api: Any, plugin_name: str) -> None:
    current = hookspecs.API_VERSION
    if api == current:
        return
    release = tuple(int(part) for part in __version__.split(".")[:2])
    if api == current - 1 and release == hookspecs.API_SINCE[current]:
        warnings.warn(
            f"Plugin {plugin_name!r} was written for plugin API {api}, this is {current}: it still "
            "works, but not with the next minor release of fundus-zoo. Upgrade the plugin.",
            PluginWarning,
            stacklevel=2,
        )
        return
    raise PluginError(
        f"Plugin {plugin_name!r} was written for plugin API {api!r}, this is {current}: "
        "install versions of the plugin and of fundus-zoo that go together."
    )


def _check_hook_names(
    manager: pluggy.PluginManager, plugin: ModuleType | object, plugin_name: str
) -> None:
    hooks = 0
    for name in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, name)
        if options is None:
            _check_no_hook(plugin, name, plugin_name)
            continue
        hooks += 1
        hook = options.get("specname") or name
        # optional ones are for releases that know more hooks than this one
        if hook not in HOOKS and not options.get("optionalhook"):
            near = difflib.get_close_matches(hook, HOOKS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(HOOKS)}."
            raise PluginError(f"Plugin {plugin_name!r} implements an unknown hook {hook!r}.{hint}")
    if not hooks:
        raise PluginError(
            f"Plugin {plugin_name!r} has no hook: its entry point must name the module that holds "
            f"at least one of {', '.join(HOOKS)}, with @hookimpl above it. Got {plugin!r}."
        )


def _check_no_hook(plugin: ModuleType | object, name: str, plugin_name: str) -> None:
    """Refuse a function that is meant as a hook and would be ignored without a warning."""
    if name in HOOKS:
        raise PluginError(
            f"{name} of plugin {plugin_name!r} is no hook yet: put @hookimpl above it."
        )
    if name.startswith("fundus_") and callable(getattr(plugin, name, None)):
        near = difflib.get_close_matches(name, HOOKS, n=1, cutoff=0.8)
        if near:
            raise PluginError(
                f"{name} of plugin {plugin_name!r} is no hook. Did you mean {near[0]!r}? Put "
                "@hookimpl above it; a function that is none needs another name."
            )


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
