"""From an estimator's parameters to the records of its frozen part; all checks are here."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from fundus.data.inputs import Images
from fundus.hookspecs import BackboneSpec
from fundus.images import ImageRecipe
from fundus.networks.loading import load_rows
from fundus.networks.network import Frozen, Network, all_frozen
from fundus.parameters import check_int, check_option, invalid
from fundus.plugins import get_registry, list_backbones
from fundus.preprocessing.fitted import fit_normaliser

POOLINGS = ("avg", "max", "flatten")


def draw_seed(random_state: Any) -> int:
    """Draw the seed of one fit.

    Parameters
    ----------
    random_state : int, RandomState or None
        An int gives the same seed every time; ``None`` a fresh one, independent of the global
        generator.

    Returns
    -------
    int
    """
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0] >> 1)
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def resolve_network(owner: Any, *, freeze: Any, seed: int) -> Network:
    """Check the parameters that say which network, and return its record.

    Parameters
    ----------
    owner : estimator
        With attributes ``backbone, weights, image_size, crop, pooling``.
    freeze : "all", int, float or str
    seed : int
        Seed of random weights.

    Returns
    -------
    Network

    Raises
    ------
    InvalidParameterError
        If a parameter cannot be used.
    UnknownNameError
        If no backbone goes by the name.
    """
    backbone = owner.backbone
    if isinstance(backbone, BackboneSpec):
        spec = backbone
    elif isinstance(backbone, str):
        spec = get_registry().find("backbone", backbone).spec
    else:
        names = ", ".join(list_backbones()[:3])
        raise invalid(owner, "backbone", f"a name ({names}, …) or a BackboneSpec", backbone)
    check_int(owner, "image_size", low=spec.min_image_size, none=True)
    check_option(owner, "pooling", POOLINGS)
    check_option(owner, "crop", ("fov", "square", None))
    weights = owner.weights
    if isinstance(weights, os.PathLike) or (
        isinstance(weights, str) and weights not in spec.pretrained
    ):
        weights = str(Path(weights).expanduser().absolute())
    if (
        weights is not None
        and weights not in spec.pretrained
        and not (isinstance(weights, str) and Path(weights).is_file())
    ):
        named = "".join(f"{name!r}, " for name in spec.pretrained)
        raise invalid(owner, "weights", f"{named}None or a weights file that exists", owner.weights)
    return Network(
        backbone=backbone,
        weights=weights,
        image_size=int(owner.image_size or spec.image_size),
        freeze=freeze,
        pooling=owner.pooling,
        seed=seed if weights is None else None,
    )


def prepare(owner: Any, images: Images, *, freeze: Any, seed: int) -> Frozen:
    """Return the frozen part an estimator asks for, its normaliser fitted on `images`.

    Parameters
    ----------
    owner : estimator
        With the attributes of `resolve_network`, and ``normalise, n_jobs``.
    images : Images
        The training images.
    freeze : "all", int, float or str
    seed : int

    Returns
    -------
    Frozen
    """
    network = resolve_network(owner, freeze=freeze, seed=seed)
    if freeze != "all" and all_frozen(network):
        network = replace(network, freeze="all")
    recipe = ImageRecipe(network.image_size, owner.crop)

    def batches() -> Any:
        rows = range(len(images))
        return (batch for _, batch in load_rows(images, rows, recipe, n_jobs=owner.n_jobs))

    return Frozen(network, recipe, fit_normaliser(owner.normalise, network.spec, batches))
