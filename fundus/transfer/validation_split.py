"""The inner validation split: training rows that are held out for early stopping."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fundus.grades.patients import read_patients


def inner_split(
    positions: NDArray[np.intp],
    groups: NDArray[Any] | None,
    fraction: float,
    seed: int,
) -> tuple[NDArray[np.intp], NDArray[np.intp] | None]:
    """Hold out part of the training rows for early stopping.

    Parameters
    ----------
    positions : ndarray of int, shape (n_samples,)
        Grades.
    groups : ndarray, shape (n_samples,), or None
        Rows of one group stay together.
    fraction : float
        Share to hold out, in [0, 1).

    Returns
    -------
    train, held_out : ndarray of int
        Row numbers, ascending; `held_out` is ``None`` if nothing can be held out without
        leaving a grade, or the training part, empty.

    Raises
    ------
    DataError
        If there is not one group for each row, or one is unknown.
    """
    everything = np.arange(len(positions))
    rng = np.random.default_rng(seed)
    held = (
        _stratified_rows(positions, fraction, rng)
        if groups is None
        else _stratified_groups(positions, read_patients(groups, len(positions)), fraction, rng)
    )
    if not held.any():
        return everything, None
    return everything[~held], everything[held]


def _stratified_rows(
    positions: NDArray[np.intp], fraction: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Rows to hold out, in proportion to each grade, by the largest remainder."""
    counts = np.bincount(positions)
    wanted = counts * fraction
    take = np.floor(wanted).astype(int)
    missing = round(wanted.sum()) - take.sum()
    take[np.argsort(take - wanted, kind="stable")[:missing]] += 1
    take = np.minimum(take, np.maximum(counts - 1, 0))
    held = np.zeros(len(positions), dtype=bool)
    for grade, n in enumerate(take):
        held[rng.permutation(np.flatnonzero(positions == grade))[:n]] = True
    return held


def _stratified_groups(
    positions: NDArray[np.intp],
    groups: NDArray[Any],
    fraction: float,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Whole groups to hold out, in proportion to their highest grades, never a grade's last."""
    codes = pd.factorize(groups)[0]
    highest = np.zeros(codes.max() + 1, dtype=np.intp)
    np.maximum.at(highest, codes, positions)
    held = _stratified_rows(highest, fraction, rng)[codes]
    for grade in np.unique(positions):
        if held[positions == grade].all():
            held[np.isin(codes, codes[positions == grade])] = False
    return held
