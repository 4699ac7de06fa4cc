"""Spreads what the positions of a map add over the pixels of the photograph; the sum is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from fundus.images.placement import Placement

Grid = NDArray[np.float32]


@dataclass(frozen=True)
class Place:
    """Where the grids of one photograph lie.

    Parameters
    ----------
    placement : Placement
        Of the square picture.
    mask : ndarray of bool, shape (height, width), or None
        The picture's field of view, where nothing else counts.
    """

    placement: Placement
    mask: NDArray[np.bool_] | None = None
    # shares by the shape of a grid, as all models of an ensemble have grids of the same shapes
    _held: dict[tuple[int, ...], NDArray[np.float64]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def held(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return how much of each cell of a grid falls on the photograph, in [0, 1]."""
        if shape not in self._held:
            down, across = _axes(shape, self.placement)
            shares = [np.asarray(a.normalised()[a.inside].sum(axis=0)) for a in (down, across)]
            held = np.outer(*shares)
            if self.mask is not None:
                held = np.where(_in_view(down, across, self)[1] > 0, 1.0, held)
            self._held[shape] = held
        return self._held[shape]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the photograph, in pixels."""
        return self.placement.height, self.placement.width


@dataclass(frozen=True)
class _Axis:
    """How cells are spread along one side of the picture.

    Parameters
    ----------
    spread : csr_array, shape (n_pixels, n_cells)
        Rows are the pixels from `first` on, some of which may lie outside the photograph.
    first : int
    inside : slice
        The rows within the photograph.
    """

    spread: csr_array
    first: int
    inside: slice

    def normalised(self) -> csr_array:
        """The same, every cell's pixels adding up to 1."""
        return csr_array(self.spread @ diags_array(1 / self.spread.sum(axis=0)))


def _axis(n_cells: int, start: float, length: float, n_pixels: int) -> _Axis:
    first, last = math.floor(start), math.ceil(start + length - 1e-9)
    pixels = np.arange(first, last)
    inside = slice(max(0, -first), max(0, -first) + min(last, n_pixels) - max(first, 0))
    if length < 2 * n_cells:  # a pixel may hold several cells: by the area they share
        edges = start + np.arange(n_cells + 1) * (length / n_cells)
        low = np.maximum(pixels[:, None], edges[None, :-1])
        high = np.minimum(pixels[:, None] + 1, edges[None, 1:])
        return _Axis(csr_array(np.clip(high - low, 0, None)), first, inside)
    # between the middles of two cells, by the distances from them
    at = np.clip((pixels + 0.5 - start) / length * n_cells - 0.5, 0, n_cells - 1)
    lower = np.minimum(at.astype(np.intp), max(n_cells - 2, 0))
    upper = np.minimum(lower + 1, n_cells - 1)
    share = at - lower
    rows = np.arange(len(pixels))
    values = np.concatenate([1 - share, share])
    places = np.concatenate([rows, rows]), np.concatenate([lower, upper])
    return _Axis(csr_array((values, places), shape=(len(pixels), n_cells)), first, inside)


def _axes(shape: tuple[int, ...], placement: Placement) -> tuple[_Axis, _Axis]:
    down = _axis(shape[0], placement.top, placement.tall, placement.height)
    return down, _axis(shape[1], placement.left, placement.wide, placement.width)


def placed_share(grid: Grid, place: Place) -> float:
    """How much of the sum of a grid falls on the photograph, and not on black padding beside it.

    Parameters
    ----------
    grid : ndarray of float, shape (height, width)
    place : Place

    Examples
    --------
    >>> place = Place(Placement(height=50, width=100, top=-25.0, left=0.0, tall=100.0, wide=100.0))
    >>> round(placed_share(np.ones((4, 4), np.float32), place), 6)
    8.0
    """
    return float((grid * place.held(grid.shape)).sum())


@dataclass(frozen=True)
class Shares:
    """How the cells of all grids of one shape are spread over one photograph.

    Parameters
    ----------
    down, across : _Axis
    mask : ndarray of bool or None
        The field of view at the pixels of the two axes.
    covered : ndarray of float64, shape of the grid, or None
        How much of the mask each cell is spread over.
    """

    down: _Axis
    across: _Axis
    mask: NDArray[np.bool_] | None = None
    covered: NDArray[np.float64] | None = None


def shares_of(shape: tuple[int, ...], place: Place) -> Shares:
    """Return how grids of a shape are spread; it takes a byte for each pixel of the photograph."""
    axes = _axes(shape, place.placement)
    return Shares(*axes) if place.mask is None else Shares(*axes, *_in_view(*axes, place))


def spread(grid: Grid, place: Place, shares: Shares | None = None) -> NDArray[np.float32]:
    """Spread a grid over a photograph; every cell's share stays about where the cell is.

    Between the middles of cells it is interpolated. Where there is a mask, nothing falls outside.

    Parameters
    ----------
    grid : ndarray of float, shape (height, width)
        Over the square picture.
    place : Place
    shares : Shares, default=None
        Of `shares_of`, where several grids of one shape are spread.

    Returns
    -------
    ndarray of float32, shape of the photograph
        Its sum is that of the grid, less what falls on padding.

    Examples
    --------
    >>> place = Place(Placement(height=8, width=8, top=0.0, left=0.0, tall=8.0, wide=8.0))
    >>> pixels = spread(np.array([[0, 4], [0, 0]], np.float32), place)
    >>> pixels.shape, float(pixels.sum()), int(pixels.argmax()) % 8
    ((8, 8), 4.0, 6)
    """
    shares = shares_of(grid.shape, place) if shares is None else shares
    down, across, mask, covered = shares.down, shares.across, shares.mask, shares.covered
    values = grid.astype(np.float64)
    if mask is None or covered is None:
        found = down.normalised() @ values @ across.normalised().T
    else:
        seen = covered > 0
        each = np.divide(values, covered, out=np.zeros_like(values), where=seen)
        found = (down.spread @ each @ across.spread.T) * mask
        if (values[~seen] != 0).any():  # of a cell that is smaller than a pixel of the mask's rim
            rest = np.where(seen, 0.0, values)
            found += down.normalised() @ rest @ across.normalised().T
    whole = np.zeros(place.shape, np.float32)
    top, left = max(down.first, 0), max(across.first, 0)
    part = found[down.inside, across.inside]
    whole[top : top + part.shape[0], left : left + part.shape[1]] = part
    return whole


def _in_view(
    down: _Axis, across: _Axis, place: Place
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """The mask at the photograph's pixels, and how much of it each cell is spread over."""
    assert place.mask is not None
    at, (height, width) = place.placement, place.mask.shape
    rows = _picture_pixels(down, at.top, at.tall, height)
    columns = _picture_pixels(across, at.left, at.wide, width)
    mask = place.mask[np.ix_(rows, columns)]
    within = np.zeros_like(mask)  # the photograph, as the rest is padding
    within[down.inside, across.inside] = True
    mask = mask & within
    return mask, np.asarray(down.spread.T @ (mask.astype(np.float64) @ across.spread))


def _picture_pixels(axis: _Axis, start: float, length: float, size: int) -> NDArray[np.intp]:
    """Which pixel of the picture each pixel of the photograph is."""
    middles = axis.first + np.arange(axis.spread.shape[0]) + 0.5
    return np.clip((middles - start) / length * size, 0, size - 1).astype(np.intp)
