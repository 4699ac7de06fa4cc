"""What each position of a map adds to the features that are pooled from it.

For every pooling the parts of the positions add up to the feature, so a linear function of the
features is a sum over positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.backbones.pooling import GEM_FLOOR, GEM_POWER
from fundus.backbones.positions import HALF, LEAST_VARIANCE, area_weights, patch_grid

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pooled:
    """Features that were pooled from maps, and their way back.

    Parameters
    ----------
    features : ndarray of float64, shape (n, n_features)
    back : callable
        Takes a slope for each feature, (n, n_features), and returns what each position adds to the
        sum of slopes times features, (n, n_positions).
    grid : tuple of int or None
        Height and width of the map; ``None`` for a vector, whose values have no position.
    extras : int
        Positions before those of the grid, such as a token of the class.
    """

    features: Floats
    back: Callable[[Floats], Floats]
    grid: tuple[int, int] | None
    extras: int = 0

    def placed(self, slopes: Floats) -> tuple[Floats | None, Floats]:
        """Return the grids (n, height, width), and what has no place (n,)."""
        parts = self.back(slopes)
        if self.grid is None:
            return None, parts.sum(axis=1)
        inside = parts[:, self.extras :].reshape(-1, *self.grid)
        return inside, parts[:, : self.extras].sum(axis=1)


def grid_of(shape: tuple[int, ...]) -> tuple[tuple[int, int], int] | None:
    """Height and width of a map's shape ``(height, width, channels)`` or ``(tokens, channels)``.

    Returns
    -------
    tuple or None
        The grid, and how many other tokens precede it; ``None`` where there is no grid.

    Examples
    --------
    >>> grid_of((7, 7, 16)), grid_of((197, 768)), grid_of((350, 8)), grid_of((16,))
    (((7, 7), 0), ((14, 14), 1), None, None)
    """
    if len(shape) == 3:
        return (shape[0], shape[1]), 0
    square = patch_grid(shape[0]) if len(shape) == 2 else None
    return None if square is None else ((square[0], square[0]), square[1])


def weights_in_view(masks: NDArray[np.bool_], height: int, width: int) -> Floats:
    """Share of each position that a mask covers, as `fundus.backbones.positions.weights_of`.

    Parameters
    ----------
    masks : ndarray of bool, shape (n, size, size)
        One that holds nothing counts as one that holds everything.
    height, width : int
        Of the map.

    Returns
    -------
    ndarray of float64, shape (n, height * width)
    """
    share = masks.astype(np.float64)
    share[~masks.any(axis=(1, 2))] = 1.0
    size = masks.shape[1]
    down, across = (area_weights(size, n).astype(np.float64) for n in (height, width))
    return np.einsum("nyx,yh,xw->nhw", share, down, across, optimize=True).reshape(len(masks), -1)


def pool(values: NDArray[Any], how: str, masks: NDArray[np.bool_] | None) -> Pooled:
    """Pool maps as `fundus.backbones.pooling.pooled` does, with the way back.

    Parameters
    ----------
    values : ndarray of float, shape (n, height, width, c), (n, tokens, c) or (n, c)
    how : str
        Pooling of one map: "avg", "max", "avg+max", "gem", "std" or "flatten".
    masks : ndarray of bool, shape (n, size, size), or None
        Fields of view, where it pools over them.

    Returns
    -------
    Pooled

    Examples
    --------
    >>> maps = np.arange(8.0).reshape(1, 2, 2, 2)
    >>> found = pool(maps, "std", None)
    >>> found.features.round(3)
    array([[2.236, 2.236]])
    >>> grids, _ = found.placed(np.array([[1.0, 0.0]]))
    >>> bool(np.isclose(grids.sum(), found.features[0, 0]))
    True
    """
    n = len(values)
    if values.ndim == 2:
        vector = values.astype(np.float64)
        return Pooled(vector, lambda slopes: vector * slopes, None)
    found = grid_of(values.shape[1:])
    grid, extras = (None, 0) if found is None else found
    rows = values.reshape(n, -1, values.shape[-1]).astype(np.float64)
    if masks is None:
        weights = np.ones(rows.shape[:2])
    else:
        assert grid is not None  # `refuse_without_positions` has seen to it
        weights = weights_in_view(masks, *grid)
        if how == "flatten":  # which keeps all tokens
            weights = np.concatenate([np.ones((n, extras)), weights], axis=1)
        else:
            rows, extras = rows[:, extras:], 0
    features, back = _POOLINGS[how](rows, weights)
    return Pooled(features, back, grid, extras)


Way = tuple[Floats, Callable[[Floats], Floats]]


def _weighted(shares: Floats, values: Floats) -> Floats:
    """Mean over positions."""
    return np.matmul(shares[:, None, :], values)[:, 0]


def _along(values: Floats, slopes: Floats) -> Floats:
    """Sum over channels at each position."""
    return np.matmul(values, slopes[:, :, None])[:, :, 0]


def _shares(weights: Floats) -> Floats:
    return weights / weights.sum(axis=1, keepdims=True)


def _avg(rows: Floats, weights: Floats) -> Way:
    shares = _shares(weights)
    return _weighted(shares, rows), lambda slopes: shares * _along(rows, slopes)


def _max(rows: Floats, weights: Floats) -> Way:
    least = np.minimum(weights.max(axis=1, keepdims=True), HALF)
    counts = (weights >= least)[:, :, None]
    peak = np.where(counts, rows, -np.inf).max(axis=1)
    # where several positions have it, each has an equal part
    at = (counts & (rows == peak[:, None])).astype(np.float64)
    at /= at.sum(axis=1, keepdims=True)
    return peak, lambda slopes: _along(at, slopes * peak)


def _std(rows: Floats, weights: Floats) -> Way:
    shares = _shares(weights)
    squares = np.square(rows - _weighted(shares, rows)[:, None])
    variance = _weighted(shares, squares)
    sigma = np.sqrt(np.maximum(variance, LEAST_VARIANCE))
    # where all positions are equal, each has an equal part of the floor
    flat = variance < LEAST_VARIANCE

    def back(slopes: Floats) -> Floats:
        even = np.where(flat, slopes * sigma, 0.0).sum(axis=1, keepdims=True)
        return shares * (_along(squares, np.where(flat, 0.0, slopes / sigma)) + even)

    return sigma, back


def _gem(rows: Floats, weights: Floats) -> Way:
    shares = _shares(weights)
    raised = np.maximum(rows, GEM_FLOOR) ** GEM_POWER
    mean = _weighted(shares, raised)
    features = mean ** (1 / GEM_POWER)
    return features, lambda slopes: shares * _along(raised, slopes * features / mean)


def _avg_max(rows: Floats, weights: Floats) -> Way:
    (mean, of_mean), (peak, of_peak) = _avg(rows, weights), _max(rows, weights)
    features = np.concatenate([mean, peak], axis=1)
    half = mean.shape[1]
    return features, lambda slopes: of_mean(slopes[:, :half]) + of_peak(slopes[:, half:])


def _flatten(rows: Floats, weights: Floats) -> Way:
    held = rows * weights[:, :, None]
    features = held.reshape(len(held), -1)
    return features, lambda slopes: (held * slopes.reshape(held.shape)).sum(axis=2)


_POOLINGS: dict[str, Callable[[Floats, Floats], Way]] = {
    "avg": _avg,
    "max": _max,
    "std": _std,
    "gem": _gem,
    "avg+max": _avg_max,
    "flatten": _flatten,
}


def pool_all(
    maps: list[NDArray[Any]],
    how: str,
    masks: NDArray[np.bool_] | None,
    features: NDArray[Any] | None = None,
) -> tuple[Floats, Callable[[Floats], tuple[list[Floats], Floats]]]:
    """Pool all maps of images and join their features, or find the parts of given ones.

    Parameters
    ----------
    maps : list of ndarray
        First stage first; see `pool`.
    how : str
    masks : ndarray of bool, shape (n, size, size), or None
    features : ndarray of float, shape (n, n_features), default=None
        What a head was given for these maps: the network's own numbers, and raised to a power
        where there is one (`fundus.backbones.pooling.signed_power`). The parts of a feature are
        stretched so that they add up to it: for the power a by :math:`|m|^{a-1}`, where m is the
        feature without it. Where that is 0, they are 0 too.

    Returns
    -------
    features : ndarray of float64, shape (n, n_features)
    back : callable
        From a slope for each feature to grids (n, height, width), one for each map with positions,
        and what has no place (n,).
    """
    pools = [pool(values, how, masks) for values in maps]
    raw = np.concatenate([found.features for found in pools], axis=1)
    given = raw if features is None else features.astype(np.float64)
    stretch = np.divide(given, raw, out=np.zeros_like(raw), where=raw != 0)
    ends = np.cumsum([found.features.shape[1] for found in pools])[:-1]

    def back(slopes: Floats) -> tuple[list[Floats], Floats]:
        parts = np.split(slopes * stretch, ends, axis=1)
        placed = [found.placed(part) for found, part in zip(pools, parts, strict=True)]
        grids = [grid for grid, _ in placed if grid is not None]
        loose = np.sum([loose for _, loose in placed], axis=0)
        # a network's sum that is not 0 where it is one here, by rounding
        return grids, loose + (slopes * np.where(raw != 0, 0.0, given)).sum(axis=1)

    return given, back
