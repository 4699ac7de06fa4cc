"""Maps of heads on frozen features: one pass of the network, whatever number of heads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_regressor

from fundus.backbones.network import load_maps
from fundus.backbones.pooling import of_all_stages, signed_power
from fundus.data.inputs import Images
from fundus.explain.contributions import Floats, grid_of, pool_all
from fundus.explain.found import Found
from fundus.explain.linear import Linear, linear_head
from fundus.explain.networks import decoded, slopes_in_features
from fundus.explain.slopes import local_slopes, path_slopes
from fundus.explain.targets import LEAST_OF_NETWORKS, Leaf, Part, Target, target_of
from fundus.frozen.function import Frozen
from fundus.frozen.loading import load_with_masks
from fundus.frozen.work import run_with_maps
from fundus.heads.base import NeuralHead

#: Images whose maps are worked on at once, in double precision.
BATCH = 8

# the most that single precision may change a value by, relative to it
_ROUNDS = 1e-2


def has_places(frozen: Frozen) -> bool:
    """Whether a map that a network pools has positions; all its layers are frozen."""
    shapes = [tuple(tensor.shape[1:]) for tensor in load_maps(frozen.network).outputs[1:]]
    return any(grid_of(shape) is not None for shape in shapes)


class Heads:
    """The heads of parts that share their frozen layers.

    Parameters
    ----------
    parts : list of Part
    grade : hashable or None
    method : {"auto", "exact", "hirescam"}
    """

    def __init__(self, parts: list[Part], grade: Any, method: str) -> None:
        self.parts, self.grade, self.method = parts, grade, method
        self.readers: list[_Linear | _Net | None] = []
        self.found: list[Found | None] = [None] * len(parts)

    def add(self, features: Floats, back: Callable[[Floats], tuple[list[Floats], Floats]]) -> bool:
        """Find the maps of a batch by every head of which more than predictions are known.

        Parameters
        ----------
        features : ndarray of float64, shape (n, n_features)
        back : callable
            As from `pool_all`.

        Returns
        -------
        bool
            Whether there is such a head.
        """
        if not self.readers:
            self.readers = [self._reader(part, features) for part in self.parts]
        for k, reader in enumerate(self.readers):
            if reader is None:
                continue
            found = self.found[k]
            if found is None:
                found = Found(self.parts[k], reader.method, by_scores=reader.by_scores)
                self.found[k] = found
            slopes, value, bias, severity = reader(features)
            grids, loose = back(slopes)
            found.add(grids, value, bias + loose, severity)
        return any(reader is not None for reader in self.readers)

    def _reader(self, part: Part, features: Floats) -> _Linear | _Net | None:
        leaf = part.model
        assert isinstance(leaf, Leaf)
        tail = getattr(leaf.head, "tail", None)
        if tail is not None and isinstance(tail.head, NeuralHead):
            return None if self.method == "exact" else _Net(leaf, target_of(part, self.grade))
        estimator = leaf.head.network()
        found = linear_head(estimator, features)
        if found is None:
            return None
        columns = None if leaf.head.is_regressor else leaf.columns_of(estimator.classes_)
        target = target_of(part, self.grade, columns)
        return _Linear(found, target, self.method != "hirescam", estimator)


@dataclass
class _Linear:
    """Slopes of a head that is linear."""

    found: Linear
    target: Target
    along: bool
    estimator: Any
    method: str = field(init=False)

    def __post_init__(self) -> None:
        self.method = "exact" if self.along else "hirescam"

    @property
    def by_scores(self) -> bool:
        """Whether scores of classes are explained, as there are no probabilities of them."""
        return self.found.link is None

    def __call__(self, features: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Slopes in the features, values, values without the features' part, severities."""
        found, target = self.found, self.target
        scores, link = found.scores(features), found.link
        if link is None:
            each = np.broadcast_to(target.score_weights, scores.shape)
            value, start = target.of_scores(scores), target.of_scores(found.bias[None])
            severity = target.severity(_told(self.estimator, features.astype(np.float32)))
            return each @ found.weights.T, value, np.repeat(start, len(scores)), severity

        def value_of(z: Floats) -> Floats:
            return target.value(link(z))

        value = value_of(scores)
        slopes = (
            path_slopes(value_of, found.start, scores)
            if self.along
            else local_slopes(value_of, scores)
        )
        each = slopes @ found.weights.T
        # as the head computes it, in single precision; what that rounds is no position's
        told = _told(self.estimator, features.astype(np.float32))
        rounded = target.value(told) - value
        # but for the logarithm of what rounds to nothing
        rounded[np.abs(rounded) > _ROUNDS * np.maximum(1, np.abs(value))] = 0.0
        # nothing is left over, though a steep curve is followed in steps
        bias = value - (each * features).sum(axis=1)
        return each, value + rounded, bias + rounded, target.severity(told)


def _told(estimator: Any, features: NDArray[Any]) -> Floats:
    """What a head predicts: severities, or probabilities, 1 for the class of one without them."""
    if is_regressor(estimator):
        return np.asarray(estimator.predict(features), dtype=np.float64)
    if hasattr(estimator, "predict_proba"):
        return np.asarray(estimator.predict_proba(features), dtype=np.float64)
    predicted = np.asarray(estimator.predict(features))
    return (predicted[:, None] == estimator.classes_[None, :]).astype(np.float64)


@dataclass
class _Net:
    """Slopes of a network on features."""

    leaf: Leaf
    target: Target
    method: str = "hirescam"
    by_scores: bool = False

    def __call__(self, features: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        tail: Any = self.leaf.head.tail
        target = self.target.with_least(LEAST_OF_NETWORKS)

        def raw_of(outputs: Floats) -> Floats:
            return decoded(tail.head, tail.n_grades, self.leaf.positions, outputs)

        net = self.leaf.head.network()
        outputs, each = slopes_in_features(net, features, lambda o: target.value(raw_of(o)))
        raw = raw_of(outputs)
        value = target.value(raw)
        return each, value, value - (each * features).sum(axis=1), target.severity(raw)


def explain_frozen(
    parts: list[Part], images: Images, grade: Any, method: str
) -> list[Found | None]:
    """Explain parts that share their frozen layers, power and preprocessing.

    Parameters
    ----------
    parts : list of Part
        Of a `Leaf` each, all of whose layers before the head are frozen.
    images : Images
    grade : hashable or None
    method : {"auto", "exact", "hirescam"}

    Returns
    -------
    list of Found or None
        None for a head of which only predictions are known.
    """
    leaf = parts[0].model
    assert isinstance(leaf, Leaf)
    frozen = leaf.frozen
    pooling = frozen.network.pooling
    how = (pooling.partition("_")[2] or "avg") if of_all_stages(pooling) else pooling
    heads = Heads(parts, grade, method)
    rows = range(len(images))
    for done, pictures, masks in load_with_masks(
        images, rows, frozen.recipe, masks=frozen.pools_fov, n_jobs=leaf.n_jobs
    ):
        names = [images.where(row) for row in done]
        outputs = run_with_maps(frozen, pictures, masks=masks, where=names.__getitem__)
        for start in range(0, len(done), BATCH):
            features, *maps = (array[start : start + BATCH] for array in outputs)
            seen = None if masks is None else masks[start : start + BATCH]
            read, back = pool_all(maps, how, seen, signed_power(features, frozen.power))
            if not heads.add(read, back):
                return [None] * len(parts)
    return heads.found
