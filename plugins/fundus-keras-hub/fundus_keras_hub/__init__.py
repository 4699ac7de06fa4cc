"""The vision backbones of keras-hub, each with the preprocessing of its own preset."""

from __future__ import annotations

from fundus.hookspecs import hookimpl
from fundus_keras_hub.specs import local_backbones, preset_backbone, registered_backbones

__all__ = ["preset_backbone"]

fundus_api = 1


@hookimpl
def fundus_backbones():
    """Return keras-hub's presets, and those in the folder ``FUNDUS_KERAS_HUB_PRESETS``.

    A local preset that has the name of one of keras-hub's takes its place.
    """
    local = local_backbones()
    names = {spec.name for spec in local}
    return [*local, *(spec for spec in registered_backbones() if spec.name not in names)]
