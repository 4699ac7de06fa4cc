"""Errors of a regressor's severities on images that it was not fitted on.

Its probabilities are made from them. All rows of one image, or of one patient where
patients are known, are left out together: copies from an over-sampler, and augmented views.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fundus.exceptions import DataWarning
from fundus.frozen.sources import ArraySource, Source

#: Number of parts of the training rows that are left out in turn, where there is no closed form.
INNER_FOLDS = 3

#: With fewer images held out for early stopping, a network is trained again on inner folds.
FEWEST_HELD_OUT = 10

#: Error in positions where nothing can be left out: one grade.
DEFAULT_STD = 1.0


@dataclass(frozen=True)
class Rows:
    """Part of the rows of a source."""

    source: Source
    rows: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: NDArray[np.intp], epoch: int | None) -> list[NDArray[np.float32]]:
        """Inputs of some of these rows."""
        return self.source.batch(self.rows[rows], epoch)


def units_of(
    groups: NDArray[np.generic] | None, source: Source, rows: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Number the groups of images that are left out together.

    Parameters
    ----------
    groups : ndarray, shape (n_samples,), or None
        Patients, or names of files.
    source : Source
        If it holds features in memory, images with the same features are one unit too.
    rows : ndarray of int, shape (n_samples,)
        Each image's own row of the source.

    Returns
    -------
    ndarray of int, shape (n_samples,)
        ``0 … n_units - 1``.
    """
    given = np.arange(len(rows)) if groups is None else pd.factorize(groups)[0]
    if not isinstance(source, ArraySource):
        return given
    content = np.array([source.features[row].tobytes() for row in rows], dtype=object)
    alike = given.max() + 1 + pd.factorize(content)[0]
    size = alike.max() + 1
    graph = coo_array((np.ones(len(rows)), (given, alike)), shape=(size, size))
    return pd.factorize(connected_components(graph, directed=False)[1][given])[0]


def inner_folds(
    units: NDArray[np.intp], positions: NDArray[np.intp], seed: int
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Leave out a third of the units at a time, stratified by their highest grades.

    Parameters
    ----------
    units, positions : ndarray of int, shape (n_samples,)

    Returns
    -------
    list of (train, left_out)
        Empty if there are too few units, or a training part would have one grade only.

    Examples
    --------
    >>> folds = inner_folds(np.arange(9), np.arange(9) // 3, 0)
    >>> [sorted(out.tolist()) == out.tolist() and len(out) for _, out in folds]
    [3, 3, 3]
    """
    highest = np.zeros(units.max() + 1, dtype=np.intp)
    np.maximum.at(highest, units, positions)
    if len(highest) < INNER_FOLDS:
        return []
    shuffled = np.random.default_rng(seed).permutation(len(highest))
    part = np.empty(len(highest), dtype=np.intp)
    part[np.lexsort((shuffled, highest))] = np.arange(len(highest)) % INNER_FOLDS
    masks = [part[units] == k for k in range(INNER_FOLDS)]
    if any(len(np.unique(positions[~out])) < 2 for out in masks):
        return []
    return [(np.flatnonzero(~out), np.flatnonzero(out)) for out in masks]


def residual_std(
    severity: NDArray[np.float64],
    positions: NDArray[np.intp],
    weights: NDArray[np.float64] | None,
) -> float | None:
    """Root mean square of grades minus severities.

    Parameters
    ----------
    severity : ndarray of float, shape (n_samples,)
        From models that were not fitted on the image, in positions.
    positions : ndarray of int, shape (n_samples,)
    weights : ndarray of float, shape (n_samples,), or None
        The caller's weights; class weights would make rare grades count as common.

    Returns
    -------
    float or None
        ``None`` if fewer than two images have weight.
    """
    counted = np.ones(len(positions)) if weights is None else weights
    if (counted > 0).sum() < 2:
        return None
    return float(np.sqrt(np.average((severity - positions) ** 2, weights=counted)))


def std_of_inner_folds(
    severity_without: Callable[[NDArray[np.intp], NDArray[np.intp]], NDArray[np.float64]],
    units: NDArray[np.intp],
    positions: NDArray[np.intp],
    weights: NDArray[np.float64] | None,
    seed: int,
) -> float:
    """Root mean square of the residuals of inner folds, or `DEFAULT_STD` with a warning.

    Parameters
    ----------
    severity_without : callable
        Fits on its first argument and returns the severity for the second.
    units, positions : ndarray of int, shape (n_samples,)
    weights : ndarray of float, shape (n_samples,), or None

    Warns
    -----
    DataWarning
        If there are too few images, or no model can be fitted on two thirds of them.
    """
    why = f"{units.max() + 1} images or patients are too few to leave some out"
    folds = inner_folds(units, positions, seed)
    severity = np.full(len(positions), np.nan)
    try:
        for train, left_out in folds:
            severity[left_out] = severity_without(train, left_out)
    except (ValueError, FloatingPointError) as error:
        why, folds = f"the head cannot be fitted on two thirds of the images ({error})", []
    std = residual_std(severity, positions, weights) if folds else None
    if std is not None:
        return std
    warnings.warn(
        f"The probabilities assume that the severity's error is one grade, since {why}.",
        DataWarning,
        stacklevel=4,
    )
    return DEFAULT_STD
