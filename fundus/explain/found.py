"""What is found of one of the models that are explained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.explain.spreading import Grid, Place, placed_share
from fundus.explain.targets import Part


@dataclass
class Found:
    """What is found of one part, image by image.

    Parameters
    ----------
    part : Part
    method : {"exact", "hirescam", "occlusion"}
    by_scores : bool
        Whether it is of scores, for lack of probabilities.
    """

    part: Part
    method: str
    by_scores: bool = False
    grids: list[list[Grid]] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    bias: list[float] = field(default_factory=list)
    severity: list[float] = field(default_factory=list)

    def add(
        self,
        grids: Sequence[NDArray[Any]],
        value: NDArray[np.float64],
        bias: NDArray[np.float64],
        severity: NDArray[np.float64],
    ) -> None:
        """Keep what is found for a batch; grids are (n, height, width), one for each map."""
        for row in range(len(value)):
            self.grids.append([grid[row].astype(np.float32) for grid in grids])
        self.value += value.tolist()
        self.bias += bias.tolist()
        self.severity += severity.tolist()

    def member(self, places: list[Place]) -> Member:
        """Return it with its places; what falls on padding goes to the bias."""
        beside = [
            sum(float(grid.sum(dtype=np.float64)) - placed_share(grid, place) for grid in grids)
            for grids, place in zip(self.grids, places, strict=True)
        ]
        return Member(
            self.method,
            self.grids,
            places,
            np.array(self.value),
            np.array(self.bias) + beside,
            np.array(self.severity),
        )


@dataclass(frozen=True)
class Member:
    """Maps of n images by one model.

    Parameters
    ----------
    method : {"exact", "hirescam", "occlusion"}
    grids : list of list of ndarray
        For each image, what the positions of each map add.
    places : list of Place
        For each image.
    value, bias, severity : ndarray of float, shape (n,)
    """

    method: str
    grids: list[list[Grid]]
    places: list[Place]
    value: NDArray[np.float64]
    bias: NDArray[np.float64]
    severity: NDArray[np.float64]
