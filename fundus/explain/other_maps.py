"""Maps of networks with trained layers, by gradients, and of any model, by occlusion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.data.inputs import Images
from fundus.explain.contributions import grid_of
from fundus.explain.found import Found
from fundus.explain.frozen_maps import BATCH
from fundus.explain.networks import LastMap, decoded
from fundus.explain.occlusion import occlusion
from fundus.explain.targets import (
    LEAST_OF_NETWORKS,
    Leaf,
    Opaque,
    Part,
    Target,
    target_of,
)
from fundus.frozen.loading import load_rows
from fundus.frozen.sources import powered
from fundus.frozen.work import run_frozen
from fundus.images.aperture import field_of_view
from fundus.runtime.opencv import cv2

#: Longest side, in pixels, of a photograph that a model of unknown preprocessing gets covered.
LONGEST = 768


def explain_trained(part: Part, images: Images, grade: Any) -> Found | None:
    """Explain a network whose last layers were trained, by the gradients of its last map.

    What is kept at the cut is read from the store, so that frozen layers do not run again.

    Returns
    -------
    Found or None
        None where the network has no map.
    """
    leaf = part.model
    assert isinstance(leaf, Leaf)
    net = LastMap(leaf.head.network())
    grid = None if net.net is None else grid_of(net.shape)
    if grid is None:
        return None
    (height, width), extras = grid
    tail: Any = leaf.head.tail
    target = target_of(part, grade).with_least(LEAST_OF_NETWORKS)

    def raw_of(outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        return decoded(tail.head, tail.n_grades, leaf.positions, outputs)

    source, found = leaf.read(images), Found(part, "hirescam")
    for start in range(0, len(images), BATCH):
        rows = np.arange(start, min(start + BATCH, len(images)))
        arrays = source.batch(rows, None)
        outputs, parts = net.parts(arrays, lambda o: target.value(raw_of(o)))
        raw = raw_of(outputs)
        inside = parts[:, extras:].reshape(-1, height, width)
        value = target.value(raw)
        bias = value - inside.sum(axis=(1, 2))
        found.add([inside], value, bias, target.severity(raw))
    return found


@dataclass
class _Held:
    """What frozen layers have given, in memory, as a `Source`."""

    arrays: list[NDArray[np.float32]]

    def __len__(self) -> int:
        return len(self.arrays[0])

    def batch(self, rows: NDArray[np.intp], epoch: int | None) -> list[NDArray[np.float32]]:
        return [array[rows] for array in self.arrays]


def explain_occluded(part: Part, images: Images, grade: Any) -> Found:
    """Explain by covering parts of each picture; nothing of it is kept in the store."""
    if isinstance(part.model, Leaf):
        return _occluded_leaf(part, part.model, images, grade)
    return _occluded_opaque(part, part.model, images, grade)


def _occluded_leaf(part: Part, leaf: Leaf, images: Images, grade: Any) -> Found:
    found, frozen = Found(part, "occlusion"), leaf.frozen
    target = target_of(part, grade, _columns_of_outputs(leaf))

    def raw_of(pictures: NDArray[np.uint8], masks: NDArray[np.bool_]) -> NDArray[np.float64]:
        arrays = run_frozen(frozen, pictures, masks=masks if frozen.pools_fov else None)
        raw = leaf.head.outputs(powered(_Held(arrays), frozen.power))
        if raw.ndim == 1:
            return raw
        known = raw[:, leaf.positions] if not leaf.labelled else raw
        return known / np.maximum(known.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)

    rows = range(len(images))
    for _, pictures in load_rows(images, rows, frozen.recipe, n_jobs=leaf.n_jobs):
        for picture, mask in zip(pictures, field_of_view(pictures), strict=True):

            def value(some: NDArray[np.uint8], mask: NDArray[np.bool_] = mask) -> Any:
                return target.value(raw_of(some, np.repeat(mask[None], len(some), axis=0)))

            _add(found, target, picture, mask, raw_of(picture[None], mask[None]), value)
    return found


def _columns_of_outputs(leaf: Leaf) -> NDArray[np.intp] | None:
    """Place of each column of a head's outputs on its scale."""
    if not leaf.labelled or leaf.head.is_regressor:
        return None
    return leaf.columns_of(leaf.head.network().classes_)


def _occluded_opaque(part: Part, model: Opaque, images: Images, grade: Any) -> Found:
    found, target = Found(part, "occlusion"), target_of(part, grade)

    def raw_of(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
        votes = model.predict([*pictures])
        # the severity is the model's own, which need not be the mean of its probabilities
        by_proba = grade is not None or part.by_proba or votes.severity is None
        return np.asarray(votes.proba if by_proba and votes.proba is not None else votes.severity)

    for row in range(len(images)):
        picture = shrunk(images.photograph(row))
        mask = field_of_view(picture[None])[0]
        raw = raw_of(picture[None])
        _add(found, target, picture, mask, raw, lambda some: target.value(raw_of(some)))
    return found


def shrunk(photograph: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A photograph whose longest side is `LONGEST` pixels at most."""
    height, width = photograph.shape[:2]
    scale = min(1.0, LONGEST / max(height, width))
    if scale == 1:
        return photograph
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(photograph, size, interpolation=cv2.INTER_AREA)


def _add(
    found: Found,
    target: Target,
    picture: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    raw: NDArray[np.float64],
    value: Callable[[NDArray[np.uint8]], NDArray[np.float64]],
) -> None:
    base = target.value(raw)
    grid = occlusion(picture, mask, value, float(base[0]))
    found.add([grid[None]], base, base - grid.sum(), target.severity(raw))
