"""Maps by covering parts of a picture, for models of which nothing but predictions is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

#: Cells of the map along a side, and of a window.
CELLS, WINDOW = 12, 2
#: Pictures that a model is given at once.
BATCH = 32


def windows() -> list[tuple[slice, slice]]:
    """Cells that each window covers; neighbouring windows overlap by half.

    Examples
    --------
    >>> len(windows()), windows()[1]
    (121, (slice(0, 2, None), slice(1, 3, None)))
    """
    starts = range(CELLS - WINDOW + 1)
    return [(slice(a, a + WINDOW), slice(b, b + WINDOW)) for a in starts for b in starts]


def _pixels(cells: slice, size: int) -> slice:
    return slice(round(cells.start * size / CELLS), round(cells.stop * size / CELLS))


def occlusion(
    picture: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    value: Callable[[NDArray[np.uint8]], NDArray[np.float64]],
    base: float,
) -> NDArray[np.float64]:
    """By how much a value falls where a window is covered with the mean colour of the retina.

    Parameters
    ----------
    picture : ndarray of uint8, shape (height, width, 3)
    mask : ndarray of bool, shape (height, width)
        Its field of view; nothing outside is covered.
    value : callable
        From pictures (n, height, width, 3) to (n,).
    base : float
        The value of the picture as it is.

    Returns
    -------
    ndarray of float64, shape (CELLS, CELLS)
        For each cell the mean of the windows that hold it, spread over their cells.

    Examples
    --------
    >>> picture = np.zeros((24, 24, 3), np.uint8)
    >>> picture[4:8, 16:20] = 240
    >>> def brightness(pictures):
    ...     return (pictures[..., 0] > 200).sum(axis=(1, 2)) / 16
    >>> found = occlusion(picture, np.ones((24, 24), bool), brightness, 1.0)
    >>> [int(k) for k in np.unravel_index(found.argmax(), found.shape)]
    [2, 8]
    """
    size = picture.shape[:2]
    colour = picture[mask].mean(axis=0).round().astype(np.uint8)
    kept = [
        (cells, pixels)
        for cells in windows()
        if mask[pixels := (_pixels(cells[0], size[0]), _pixels(cells[1], size[1]))].any()
    ]
    total, times = np.zeros((CELLS, CELLS)), np.zeros((CELLS, CELLS))
    for cells in windows():
        times[cells] += 1
    for start in range(0, len(kept), BATCH):
        some = kept[start : start + BATCH]
        covered = np.stack(list(_covered(picture, mask, colour, [p for _, p in some])))
        for (cells, _), found in zip(some, value(covered), strict=True):
            total[cells] += (base - found) / WINDOW**2
    return total / times


def _covered(
    picture: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    colour: NDArray[np.uint8],
    places: list[tuple[slice, slice]],
) -> Iterator[NDArray[np.uint8]]:
    for place in places:
        copy = picture.copy()
        copy[place][mask[place]] = colour
        yield copy
