"""The frozen function: a network's untrained part with its preprocessing, and its cache key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fundus.backbones.network import Network, release_of, weights_identity
from fundus.frozen.normaliser import Normaliser
from fundus.hookspecs import BackboneSpec
from fundus.images import ImageRecipe
from fundus.images.aperture import APERTURE_VERSION
from fundus.plugins.registry import get_registry
from fundus.runtime.identity import code_identity
from fundus.runtime.keras_settings import dtype_policy


@dataclass(frozen=True)
class Frozen:
    """A frozen part with its preprocessing: a pure function of an image.

    Parameters
    ----------
    recipe : ImageRecipe
        How a file becomes a square uint8 image.
    normaliser : Normaliser
        How that image becomes the network's float32 input: a photometric step, if any, and a scale.
    power : float or None
        `signed_power` of the outputs. It is cheap, so the store holds
        the outputs without it, and one entry works for all powers.
    """

    network: Network
    recipe: ImageRecipe
    normaliser: Normaliser
    power: float | None = None

    @property
    def pools_fov(self) -> bool:
        """Whether the frozen part takes the mask of the field of view beside the picture."""
        return self.network.freeze == "all" and self.network.pool_over == "fov"

    def about(self) -> dict[str, Any]:
        """Describe the function for people."""
        network, photometric = self.network, self.normaliser.photometric
        about = {
            "backbone": network.spec.name,
            "weights": network.weights,
            "freeze": network.freeze,
            "pooling": network.pooling if network.freeze == "all" else None,
            "pool_over": network.pool_over if network.freeze == "all" else None,
            "stages": network.stages,
            "image_size": network.image_size,
            "crop": self.recipe.crop,
            "photometric": None if photometric is None else str(photometric.function),
            "normaliser": str(self.normaliser.function),
        }
        aperture = self.recipe.aperture
        return about if aperture is None else about | {"aperture": aperture}

    def key(self) -> str:
        """Cache key of the function, as 64 hexadecimal digits: equal keys mean equal outputs.

        The power is not part of it.
        """
        network, spec = self.network, self.network.spec
        what = {
            "backbone": spec.name,
            "origin": _origin(network.backbone),
            "keras": release_of("keras"),
            "tensorflow": release_of("tensorflow"),
            "precision": dtype_policy(),
            "weights": weights_identity(network),
            "image": self.recipe.key(),
            "normaliser": self.normaliser.key(),
            "freeze": f"{network.kind} {network.freeze}",
            "pooling": network.pooling if network.freeze == "all" else None,
        }
        # only where they are used, so that the keys of earlier releases stay valid
        if self.pools_fov:
            what["pool_over"] = f"fov {APERTURE_VERSION}"
        if network.stages is not None:
            what["stages"] = network.stages
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _origin(backbone: str | BackboneSpec) -> str:
    """Identity of the code that builds the network: its release and its functions."""
    if isinstance(backbone, BackboneSpec):
        build, load = backbone.build, backbone.load_weights
        return f"{code_identity(build)} {'' if load is None else code_identity(load)}"
    entry = get_registry().find("backbone", backbone)
    build, load = entry.spec.build, entry.spec.load_weights
    release = f"{entry.distribution} {release_of(entry.distribution)}"
    return f"{release} {_installed(build)} {'' if load is None else _installed(load)}"


#: By the `id` of an installed function, which may not be hashable: itself, and its code identity.
_codes: dict[int, tuple[Callable[..., Any], str]] = {}


def _installed(function: Callable[..., Any]) -> str:
    """Code identity of a function of an installed package, which does not change in a process."""
    found, code = _codes.get(id(function), (None, ""))
    if found is not function:
        code = code_identity(function)
        _codes[id(function)] = function, code
    return code
