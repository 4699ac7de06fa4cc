"""Fixed inputs for checks: the same numbers on every machine and for every release of numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def probe_images(n: int = 4, image_size: int = 16) -> NDArray[np.uint8]:
    """Return images for which different preprocessing gives different results.

    Parameters
    ----------
    n : int, default=4
        Number. The first image has a different ramp in each colour, the second is black, the third
        white; all others are noise.
    image_size : int, default=16
        Edge, in pixels.

    Returns
    -------
    ndarray of uint8, shape (n, image_size, image_size, 3)
        RGB, 0–255.

    Examples
    --------
    >>> probe_images(image_size=2)[0].tolist()
    [[[0, 0, 127], [255, 0, 0]], [[0, 255, 255], [255, 255, 127]]]
    """
    y, x = np.indices((image_size, image_size))
    last = max(image_size - 1, 1)
    ramp = [x * 255 // last, y * 255 // last, (last + y - x) * 255 // (2 * last)]
    plain = [np.zeros_like(x)] * 3, [np.full_like(x, 255)] * 3
    noise = [[_noise(x, y, 3 * k + channel) for channel in range(3)] for k in range(max(n - 3, 0))]
    images = [np.dstack(channels).astype(np.uint8) for channels in (ramp, *plain, *noise)]
    return np.stack(images[:n])


def in_aperture(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return images that are black outside a disc, as photographs are.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, image_size, image_size, 3)

    Examples
    --------
    >>> in_aperture(np.full((1, 4, 4, 3), 9, np.uint8))[0, :, :, 0].tolist()
    [[0, 9, 9, 0], [9, 9, 9, 9], [9, 9, 9, 9], [0, 9, 9, 0]]
    """
    edge = images.shape[1]
    y, x = np.indices((edge, edge)) - (edge - 1) / 2
    inside = y**2 + x**2 <= edge**2 / 4
    return np.where(inside[..., None], images, np.uint8(0))


def _noise(x: NDArray[np.intp], y: NDArray[np.intp], k: int) -> NDArray[np.intp]:
    # the mixing steps of the splitmix64 generator, with integers only
    z = (x + 4096 * y + 16777216 * (k + 1)).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(56)).astype(np.intp)


def probe_features(
    n_samples: int = 60, n_grades: int = 5, n_features: int = 8
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Return features whose first column rises with the grade, and the grades.

    Parameters
    ----------
    n_samples, n_grades, n_features : int, default=60, 5, 8

    Returns
    -------
    X : ndarray of float32, shape (n_samples, n_features)
        Noise in [-1, 1), plus 2 per grade in the first column.
    y : ndarray of int, shape (n_samples,)
        ``0 … n_grades - 1``, in turn.

    Examples
    --------
    >>> X, y = probe_features(6, n_grades=3)
    >>> X.shape, y.tolist()
    ((6, 8), [0, 1, 2, 0, 1, 2])
    """
    y = np.arange(n_samples) % n_grades
    row, column = np.indices((n_samples, n_features))
    X = _noise(column, row, 0) / 128 - 1
    X[:, 0] += 2 * y
    return X.astype(np.float32), y
