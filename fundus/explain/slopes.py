"""Slopes of what a model says in the scores that its head adds up, at a point or along a path.

Where the scores go straight from a start to an image's own, the mean slopes times the way are all
of the change: nothing is left over, however the probabilities bend (Aumann and Shapley; integrated
gradients, Sundararajan et al. 2017).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: From scores (n, m) to a value for each row, (n,).
Value = Callable[[Floats], Floats]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
_AT, _SHARE = (_NODES + 1) / 2, _WEIGHTS / 2
_STEP = 1e-5
# a way shorter than this is a point
_SHORT = 1e-4


def local_slopes(value: Value, scores: Floats) -> Floats:
    """Slopes at a point, by central differences: (n, m).

    Parameters
    ----------
    value : callable
        From scores (n, m) to (n,).
    scores : ndarray of float, shape (n, m)

    Examples
    --------
    >>> local_slopes(lambda z: z[:, 0] ** 2 + 3 * z[:, 1], np.array([[2.0, 5.0]])).round(6)
    array([[4., 3.]])
    """
    slopes = np.empty_like(scores, dtype=np.float64)
    for k in range(scores.shape[1]):
        step = np.zeros_like(slopes)
        step[:, k] = _STEP * np.maximum(np.abs(scores[:, k]), 1.0)
        slopes[:, k] = (value(scores + step) - value(scores - step)) / (2 * step[:, k])
    return slopes


def path_slopes(value: Value, start: Floats, scores: Floats) -> Floats:
    """Mean slopes on the straight way from a start to scores: (n, m).

    Parameters
    ----------
    value : callable
        From scores (n, m) to (n,).
    start : ndarray of float, shape (m,)
    scores : ndarray of float, shape (n, m)

    Examples
    --------
    >>> def product(z):
    ...     return z[:, 0] * z[:, 1]
    >>> slopes = path_slopes(product, np.zeros(2), np.array([[2.0, 3.0]]))
    >>> slopes.round(6), float((slopes * [2.0, 3.0]).sum().round(6))
    (array([[1.5, 1. ]]), 6.0)
    """
    way = scores - start
    if scores.shape[1] == 1:
        rise = value(scores) - value(np.broadcast_to(start, scores.shape))
        slopes = local_slopes(value, scores)
        far = np.abs(way[:, 0]) > _SHORT
        slopes[far, 0] = rise[far] / way[far, 0]
        return slopes
    return np.sum(
        [
            share * local_slopes(value, start + at * way)
            for at, share in zip(_AT, _SHARE, strict=True)
        ],
        axis=0,
    )
