"""Checks whether the input of a network is in the range that its weights were trained with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fundus.frozen.normaliser import Normaliser

Limits = tuple[NDArray[np.float32], NDArray[np.float32]]


def scale_range(own: Normaliser) -> Limits:
    """Lowest and highest value of a scale in each channel, for images of one colour.

    Parameters
    ----------
    own : Normaliser
        The network's own scale.

    Returns
    -------
    low, high : ndarray of float32, shape (3,)

    Examples
    --------
    >>> low, high = scale_range(Normaliser("lite"))
    >>> low.tolist(), high.tolist()
    ([-0.9921875, -0.9921875, -0.9921875], [1.0, 1.0, 1.0])
    """
    greys = np.repeat(np.arange(256)[:, None], 3, axis=1)
    corners = np.indices((2, 2, 2)).reshape(3, 8).T * 255  # for scales that mix channels
    colours = np.concatenate([greys, corners]).astype(np.uint8)
    values = own.apply(np.tile(colours[:, None, None, :], (1, 8, 8, 1)))
    return values.min(axis=(0, 1, 2)), values.max(axis=(0, 1, 2))


def range_problem(
    normaliser: Normaliser, own: Normaliser, images: NDArray[np.uint8], *, tolerance: float = 1e-5
) -> str:
    """Describe how the input of a network leaves the range of the network's own scale.

    Parameters
    ----------
    normaliser : Normaliser
        It makes the network's input.
    own : Normaliser
        The scale that the network's weights were trained with.
    images : ndarray of uint8, shape (n, height, width, 3)
        Images to test it on.
    tolerance : float, default=1e-5
        Allowed deviation as a share of the range's width.

    Returns
    -------
    str
        Both ranges in one clause; empty if there is no problem, or if the network's own
        scale has no fixed range, as it depends on more than a pixel's colour.

    Examples
    --------
    >>> images = np.array([0, 255], np.uint8).repeat(192).reshape(2, 8, 8, 3)
    >>> range_problem(Normaliser("none"), Normaliser("lite"), images)
    'values of 0 to 255, where the weights were trained with -0.992 to 1'
    """
    low, high = scale_range(own)
    margin = tolerance * (high - low)
    bounds = low - margin, high + margin
    values = normaliser.apply(images)
    if _inside(values, bounds) or not _inside(own.apply(images), bounds):
        return ""
    return (
        f"values of {values.min():.3g} to {values.max():.3g}, where the weights were trained with "
        f"{low.min():.3g} to {high.max():.3g}"
    )


def _inside(values: NDArray[np.float32], bounds: Limits) -> bool:
    return bool(((values >= bounds[0]) & (values <= bounds[1])).all())
