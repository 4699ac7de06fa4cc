"""Bicubic resampling of a grid with PyTorch's two kernels, in numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def resample_bicubic(grid: NDArray[np.floating], side: int, *, antialias: bool) -> NDArray:
    """Resample a square grid as ``torch.nn.functional.interpolate(mode="bicubic")`` does.

    Parameters
    ----------
    grid : ndarray of float, shape (n, n, channels)
    side : int
        Edge of the result.
    antialias : bool
        Whether the kernel is Pillow's, which widens when the grid shrinks, instead of the one with
        a fixed width.

    Returns
    -------
    ndarray of float32, shape (side, side, channels)
    """
    matrix = (_smoothing if antialias else _plain)(grid.shape[0], side)
    resampled = np.einsum("yi,xj,ijc->yxc", matrix, matrix, grid.astype(np.float64), optimize=True)
    return resampled.astype(np.float32)


def _cubic(x: NDArray, a: float) -> NDArray:
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _plain(n: int, side: int) -> NDArray[np.float64]:
    """Four taps; those beyond the edge count for the edge."""
    matrix = np.zeros((side, n))
    for row in range(side):
        centre = (row + 0.5) * n / side - 0.5
        taps = np.floor(centre) + np.arange(-1, 3)
        np.add.at(matrix[row], np.clip(taps, 0, n - 1).astype(int), _cubic(taps - centre, -0.75))
    return matrix


def _smoothing(n: int, side: int) -> NDArray[np.float64]:
    """A kernel as wide as a step of the result; what lies beyond the edge is left out."""
    scale = n / side
    width = max(scale, 1.0)
    centres = (np.arange(side)[:, np.newaxis] + 0.5) * scale
    first = np.maximum(np.trunc(centres - 2 * width + 0.5), 0)
    last = np.minimum(np.trunc(centres + 2 * width + 0.5), n)
    taps = np.arange(n)
    inside = (taps >= first) & (taps < last)
    matrix = np.where(inside, _cubic((taps - centres + 0.5) / width, -0.5), 0.0)
    return matrix / matrix.sum(axis=1, keepdims=True)
