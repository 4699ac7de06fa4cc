"""Exact maps over the squares that networks get, of several models at once, for small pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.data.inputs import Images
from fundus.explain.found import Found
from fundus.explain.frozen_maps import explain_frozen, has_places
from fundus.explain.models import parts_of
from fundus.explain.overlay import coloured
from fundus.explain.spreading import Place, spread
from fundus.explain.targets import Leaf, Part
from fundus.images.aperture import field_of_view
from fundus.images.placement import Placement


def overlays_of(
    models: Sequence[Any], images: Images, scale: NDArray[Any], edge: int
) -> list[NDArray[np.uint8]] | None:
    """Draw the map of each image's severity by a model of its own over the square it sees.

    The frozen layers run once for each image, whatever the number of models.

    Parameters
    ----------
    models : sequence of classifier
        A fitted one for each image; one that occurs more than once is explained once.
    images : Images
    scale : ndarray, shape (n_grades,)
        That of all models.
    edge : int
        Of the drawn squares, in pixels.

    Returns
    -------
    list of ndarray of uint8, shape (edge, edge, 3), or None
        RGB, 0–255, as `coloured` makes them; ``None`` where a map would not be exact, as of heads
        that are not linear, or layers that were trained.

    Raises
    ------
    ImageReadError
        If files cannot be read.
    """
    distinct = {id(model): model for model in models}
    of_model = {name: parts_of(model, scale) for name, model in distinct.items()}
    parts = [part for some in of_model.values() for part in some]
    leaf = _shared(parts)
    if leaf is None:
        return None
    found = dict(zip(map(id, parts), explain_frozen(parts, images, None, "exact"), strict=True))
    if any(one is None for one in found.values()):
        return None
    recipe = leaf.frozen.recipe
    at = Placement(edge, edge, 0.0, 0.0, float(edge), float(edge))
    drawn = []
    for row, model in enumerate(models):
        mask = None
        if leaf.frozen.pools_fov:
            mask = field_of_view(images.picture(row, recipe)[None])[0]
        place = Place(at, mask)
        members: list[Found | None] = [found[id(part)] for part in of_model[id(model)]]
        values = np.mean(
            [
                np.sum([spread(grid, place) for grid in member.grids[row]], axis=0)
                for member in members
                if member is not None
            ],
            axis=0,
        )
        picture = images.picture(row, replace(recipe, image_size=edge))
        drawn.append(coloured(picture, values))
    return drawn


def _shared(parts: list[Part]) -> Leaf | None:
    """One of the parts, if all have the same frozen layers, whose maps have positions."""
    leaves = [part.model for part in parts if isinstance(part.model, Leaf)]
    if not leaves or len(leaves) < len(parts):
        return None
    if any(leaf.frozen.network.freeze != "all" for leaf in leaves):
        return None
    kinds = {(leaf.frozen.key(), leaf.frozen.power) for leaf in leaves}
    return leaves[0] if len(kinds) == 1 and has_places(leaves[0].frozen) else None
