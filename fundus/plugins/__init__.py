"""What is registered: backbones, heads and preprocessors, built in or from plugins."""

from fundus.plugins.registry import (
    BUILTIN,
    HOOKS,
    OWN,
    PRECOMPUTED,
    Entry,
    Kind,
    PluginStatus,
    Registry,
    canonical,
    get_registry,
    list_backbones,
    list_heads,
    list_preprocessors,
    load_registry,
    plugin_statuses,
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
