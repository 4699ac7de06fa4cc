"""From probabilities to severities and back; both on the places of the observed grades."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def expected_grade(proba: NDArray[np.float64], places: NDArray[np.intp]) -> NDArray[np.float64]:
    """Severity of a classifier: the mean grade under its probabilities.

    Parameters
    ----------
    proba : ndarray of float, shape (n_samples, n_classes)
    places : ndarray of int, shape (n_classes,)
        Place of each class on the scale.

    Returns
    -------
    ndarray of float, shape (n_samples,)

    Examples
    --------
    >>> expected_grade(np.array([[0.5, 0.0, 0.5]]), np.arange(3)).tolist()
    [1.0]
    """
    return proba @ places.astype(np.float64)


def normalised(proba: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale rows to sum 1; rows that sum to nothing stay as they are.

    Parameters
    ----------
    proba : ndarray of float, shape (n_samples, n_classes)

    Returns
    -------
    ndarray of float, shape (n_samples, n_classes)

    Examples
    --------
    >>> normalised(np.array([[1.0, 3.0], [0.0, 0.0]])).tolist()
    [[0.25, 0.75], [0.0, 0.0]]
    """
    total = proba.sum(axis=1, keepdims=True)
    return proba / np.where(total > 0, total, 1.0)


def interpolated_proba(
    severity: NDArray[np.float64], places: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Probabilities of a regressor: linear between the two grades next to the severity.

    Their expected grade is the severity, clipped to the grades there are, and their most probable
    grade is the nearest one.

    Parameters
    ----------
    severity : ndarray of float, shape (n_samples,)
    places : ndarray of int, shape (n_classes,)
        Place of each class on the scale, in any order.

    Returns
    -------
    ndarray of float, shape (n_samples, n_classes)

    Examples
    --------
    >>> interpolated_proba(np.array([1.25, 9.0]), np.arange(3)).tolist()
    [[0.0, 0.75, 0.25], [0.0, 0.0, 1.0]]
    """
    order = np.argsort(places)
    steps = places[order]
    clipped = np.clip(severity, steps[0], steps[-1])
    proba = np.zeros((len(severity), len(places)))
    if len(places) == 1:
        return proba + 1.0
    above = np.clip(np.searchsorted(steps, clipped, side="right"), 1, len(steps) - 1)
    share = (clipped - steps[above - 1]) / (steps[above] - steps[above - 1])
    rows = np.arange(len(severity))
    proba[rows, order[above - 1]] = 1.0 - share
    proba[rows, order[above]] = share
    return proba


def nearest_class(grades: NDArray[np.intp], places: NDArray[np.intp]) -> NDArray[np.intp]:
    """Index of the class nearest to each grade, the lower of two.

    Parameters
    ----------
    grades : ndarray of int, shape (n_samples,)
        Places on the scale.
    places : ndarray of int, shape (n_classes,)
        Place of each class on the scale, in any order.

    Returns
    -------
    ndarray of int, shape (n_samples,)

    Examples
    --------
    >>> nearest_class(np.array([0, 1, 3, 4]), np.array([0, 2, 4])).tolist()
    [0, 0, 1, 2]
    """
    order = np.argsort(places)
    distance = np.abs(grades[:, np.newaxis] - places[order])
    return order[distance.argmin(axis=1)]
