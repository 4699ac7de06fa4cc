"""`Explanation`: maps of a model's severity, or of a grade, on photographs."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from fundus.data.inputs import Images
from fundus.exceptions import DataError
from fundus.explain.found import Member
from fundus.explain.overlay import coloured, write_png
from fundus.explain.spreading import Place, Shares, shares_of, spread
from fundus.runtime.whole import whole_file

#: The ``kind`` in a file of arrays.
KIND = "fundus explanation"


class Explanation:
    """Where on its photographs a model sees what it grades by: what ``model.explain`` returns.

    A map has the size of its photograph, upright. Each pixel holds by how much the value is higher
    for what is there, below 0 where it is lower; the sum of a map and the bias are the value.

    Parameters
    ----------
    images : Images
        The photographs.
    members : list of Member
        One for each model of an ensemble, else one.
    of : str
        What the maps are of.

    Attributes
    ----------
    of : str
        "severity", or such as "grade 2": the logarithm of its probability, less the mean of all
        grades. "score of the severity" and "score of grade 2" are those of models that decide by
        scores, such as support vector machines: a rise from grade to grade, or a score less the
        mean.
    method : str
        "exact": the map and the bias are the value, whatever is in the picture. "hirescam": true to
        first order, with all that is not in the bias. "occlusion": how far the value falls where a
        window is covered.
    value : ndarray of float64, shape (n,)
        What is explained, the mean over members.
    bias : ndarray of float64, shape (n,)
        The value without the map.
    severity : ndarray of float64, shape (n,)
        In positions on the scale.
    n_members : int
        Models whose maps are averaged.

    Examples
    --------
    >>> from fundus import TransferClassifier
    >>> X = np.random.default_rng(0).integers(0, 255, (8, 40, 48, 3), dtype=np.uint8)
    >>> model = TransferClassifier("tiny", "ridge", weights="fixed", cache=False)
    >>> found = model.fit(X, [0, 1, 2, 3] * 2).explain(X[:2])
    >>> found.method, found.map(0).shape
    ('exact', (40, 48))
    >>> bool(np.isclose(found.map(0).sum() + found.bias[0], model.predict_severity(X)[0]))
    True
    """

    def __init__(self, images: Images, members: list[Member], of: str) -> None:
        self.images, self.members, self.of = images, members, of
        self.value, self.bias, self.severity = (
            np.mean([getattr(member, name) for member in members], axis=0)
            for name in ("value", "bias", "severity")
        )

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        by = f" by {self.n_members} models" if self.n_members > 1 else ""
        return f"<Explanation of the {self.of} of {len(self)} photographs{by}: {self.method}>"

    @property
    def n_members(self) -> int:
        """Models whose maps are averaged."""
        return len(self.members)

    @property
    def method(self) -> str:
        """How the maps were made; of an ensemble whose models differ, all ways, with commas."""
        return ", ".join(dict.fromkeys(member.method for member in self.members))

    def map(self, row: int) -> NDArray[np.float32]:
        """Return the map of a photograph, the mean of all members.

        Parameters
        ----------
        row : int

        Returns
        -------
        ndarray of float32, shape (height, width)
        """
        joined: dict[Any, tuple[Place, NDArray[Any]]] = {}
        for member in self.members:
            place = member.places[row]
            for grid in member.grids[row]:
                key = id(place), grid.shape
                _, before = joined.get(key, (place, np.zeros_like(grid)))
                joined[key] = place, before + grid / self.n_members
        return np.sum([spread(grid, place) for place, grid in joined.values()], axis=0)

    @property
    def maps(self) -> list[NDArray[np.float32]]:
        """The maps of all photographs; each is made when `map` is called, and takes its size."""
        return [self.map(row) for row in range(len(self))]

    def disagreement(self, row: int) -> NDArray[np.float32]:
        """Return how far the members' maps of a photograph differ: their standard deviation.

        Parameters
        ----------
        row : int

        Returns
        -------
        ndarray of float32, shape (height, width)

        Raises
        ------
        DataError
            If there is one member only.
        """
        if self.n_members == 1:
            raise DataError(
                "One model alone does not disagree: explain with an ensemble, such as FoldEnsemble."
            )
        # one at a time, as maps have the size of photographs
        mean: Any = 0.0
        squares: Any = 0.0
        known: dict[Any, Shares] = {}
        for count, member in enumerate(self.members, start=1):
            place, found = member.places[row], np.zeros((), np.float32)
            for grid in member.grids[row]:
                key = id(place), grid.shape
                if key not in known:
                    known[key] = shares_of(grid.shape, place)
                found = found + spread(grid, place, known[key])
            away = found - mean
            mean = mean + away / count
            squares = squares + away * (found - mean)
        return np.sqrt(np.maximum(squares / self.n_members, 0)).astype(np.float32)

    def photograph(self, row: int) -> NDArray[np.uint8]:
        """Read a photograph at its full size.

        Parameters
        ----------
        row : int

        Returns
        -------
        ndarray of uint8, shape (height, width, 3)
            RGB, 0–255.
        """
        return self.images.photograph(row)

    def to_overlay(self, row: int, *, disagreement: bool = False) -> NDArray[np.uint8]:
        """Draw a map over its photograph.

        Parameters
        ----------
        row : int
        disagreement : bool, default=False
            Draw the members' disagreement instead.

        Returns
        -------
        ndarray of uint8, shape (height, width, 3)
            RGB, 0–255: orange raises the value, blue lowers it, and where they disagree is green.
        """
        values = self.disagreement(row) if disagreement else self.map(row)
        return coloured(self.photograph(row), values, disagreement=disagreement)

    def save(
        self,
        folder: str | os.PathLike[str],
        names: Sequence[str] | None = None,
        *,
        arrays: bool = False,
    ) -> list[Path]:
        """Write the overlays of all photographs as PNG, each file whole or not at all.

        Parameters
        ----------
        folder : path-like
            Made if need be. It gets ``<name>.png``; ``disagreement/<name>.png`` where there are
            several members; and with `arrays` ``<name>.npz``, whose ``map`` and ``disagreement``
            have the size of the photograph, with ``value``, ``bias``, ``severity``, ``of`` and
            ``method``.
        names : sequence of str, shape (n,), default=None
            By default the numbers of rows.
        arrays : bool, default=False

        Returns
        -------
        list of Path
            The files.

        Raises
        ------
        DataError
            If there is not one name for each photograph, or one occurs twice.
        WriteError
            If a file cannot be written.
        """
        names = [str(row) for row in range(len(self))] if names is None else list(names)
        if len(names) != len(self) or len(set(names)) < len(names):
            raise DataError(
                f"names must hold a name of its own for each of {len(self)} photographs. Got "
                f"{len(names)} names, {len(set(names))} of them different."
            )
        return [
            path
            for row, name in enumerate(names)
            for path in self._write(row, folder, name, arrays)
        ]

    def _write(
        self, row: int, folder: str | os.PathLike[str], name: str, arrays: bool
    ) -> list[Path]:
        photograph = self.photograph(row)
        held = {"map": self.map(row)}
        if self.n_members > 1:
            held["disagreement"] = self.disagreement(row)
        paths = files_of_maps(folder, name, several=self.n_members > 1, arrays=arrays)
        for (what, values), path in zip(held.items(), paths, strict=False):
            write_png(coloured(photograph, values, disagreement=what == "disagreement"), path)
        if arrays:
            known = {key: getattr(self, key)[row] for key in ("value", "bias", "severity")}
            about = {"kind": KIND, "of": self.of, "method": self.method}
            every: dict[str, Any] = {**held, **known, **about}
            with whole_file(paths[-1]) as part, part.open("wb") as stream:
                np.savez_compressed(stream, **every)
        return paths


def files_of_maps(
    folder: str | os.PathLike[str], name: str, *, several: bool, arrays: bool
) -> list[Path]:
    """Return the files that `Explanation.save` writes for one photograph.

    Examples
    --------
    >>> [path.as_posix() for path in files_of_maps("maps", "1_left", several=True, arrays=True)]
    ['maps/1_left.png', 'maps/disagreement/1_left.png', 'maps/1_left.npz']
    """
    base = Path(folder)
    found = [base / f"{name}.png"]
    if several:
        found.append(base / "disagreement" / f"{name}.png")
    return [*found, base / f"{name}.npz"] if arrays else found


def is_arrays(path: Path) -> bool:
    """Whether a file is one of those that `Explanation.save` writes with ``arrays=True``."""
    try:
        with np.load(path) as held:
            return str(held["kind"]) == KIND
    except (OSError, ValueError, TypeError, KeyError, EOFError, BadZipFile, zlib.error):
        return False
