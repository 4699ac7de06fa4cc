"""Means, deviations and maxima over the positions of a map, each position with a weight."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: A position whose weight is at least this counts for a maximum.
HALF = 0.5

#: Variances below count as this, where the slope of the root would be infinite.
LEAST_VARIANCE = 1e-12

#: Most tokens beside those of patches: one of the class, and registers.
MOST_EXTRAS = 16


def area_weights(n_in: int, n_out: int) -> NDArray[np.float32]:
    """How much of each of `n_out` equal parts each of `n_in` pixels covers; columns add up to 1.

    Examples
    --------
    >>> area_weights(4, 2).tolist()
    [[0.5, 0.0], [0.5, 0.0], [0.0, 0.5], [0.0, 0.5]]
    >>> area_weights(3, 2)[1].round(2)
    array([0.33, 0.33], dtype=float32)
    """
    edges = np.arange(n_out + 1) * (n_in / n_out)
    pixels = np.arange(n_in)[:, None]
    covered = np.minimum(pixels + 1, edges[1:]) - np.maximum(pixels, edges[:-1])
    return (np.clip(covered, 0, None) * (n_out / n_in)).astype(np.float32)


def patch_grid(n_tokens: int) -> tuple[int, int] | None:
    """Edge of the square of patches in a list of tokens, and how many other tokens precede it.

    Returns
    -------
    tuple of int or None
        ``None`` where the number is not that of a square and a few others.

    Examples
    --------
    >>> patch_grid(196), patch_grid(197), patch_grid(261), patch_grid(180)
    ((14, 0), (14, 1), (16, 5), (13, 11))
    >>> patch_grid(350) is None
    True
    """
    edge = math.isqrt(n_tokens)
    extras = n_tokens - edge**2
    return (edge, extras) if edge and extras <= MOST_EXTRAS else None


def weights_of(mask: Any, height: int, width: int) -> Any:
    """Share of each position of a map that a mask of the picture covers.

    Parameters
    ----------
    mask : KerasTensor of bool, shape (batch, size, size)
        One that holds nothing counts as one that holds everything.
    height, width : int
        Of the map.

    Returns
    -------
    KerasTensor of float32, shape (batch, height * width)
    """
    from keras import ops

    size = mask.shape[1]
    share = ops.cast(mask, "float32")
    share = ops.where(ops.max(share, axis=(1, 2), keepdims=True) > 0, share, 1.0)
    share = ops.matmul(share, area_weights(size, width))
    share = ops.matmul(ops.transpose(share, (0, 2, 1)), area_weights(size, height))
    return ops.reshape(ops.transpose(share, (0, 2, 1)), (-1, height * width))


def as_rows(tensor: Any, skip: int = 0) -> Any:
    """A map as float32 of shape (batch, positions, channels), without its first `skip` tokens."""
    from keras import ops

    channels = tensor.shape[-1]
    rows = ops.reshape(ops.cast(tensor, "float32"), (-1, math.prod(tensor.shape[1:-1]), channels))
    return rows[:, skip:] if skip else rows


def mean(rows: Any, weights: Any) -> Any:
    """Weighted mean over positions; without weights all are equal."""
    from keras import ops

    if weights is None:
        return ops.mean(rows, axis=1)
    shares = weights / ops.sum(weights, axis=1, keepdims=True)
    # a product of matrices, which needs no second array of the size of the map
    return ops.squeeze(ops.matmul(ops.expand_dims(shares, 1), rows), 1)


def deviation(rows: Any, weights: Any) -> Any:
    """Weighted standard deviation over positions; without weights all are equal."""
    from keras import ops

    centred = rows - ops.expand_dims(mean(rows, weights), 1)
    return ops.sqrt(ops.maximum(mean(ops.square(centred), weights), LEAST_VARIANCE))


def maximum(rows: Any, weights: Any) -> Any:
    """Maximum over the positions of at least half the weight, or of the largest where none is."""
    from keras import ops

    least = ops.minimum(ops.max(weights, axis=1, keepdims=True), HALF)
    counts = ops.expand_dims(weights >= least, 2)
    return ops.max(ops.where(counts, rows, float(np.finfo(np.float32).min)), axis=1)
