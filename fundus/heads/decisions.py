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
        Place of each class on the scale, ascending.

    Returns
    -------
    ndarray of float, shape (n_samples, n_classes)

    Examples
    --------
    >>> interpolated_proba(np.array([1.25, 9.0]), np.arange(3)).tolist()
    [[0.0, 0.75, 0.25], [0.0, 0.0, 1.0]]
    """
    clipped = np.clip(severity, places[0], places[-1])
    proba = np.zeros((len(severity), len(places)))
    if len(places) == 1:
        return proba + 1.0
    above = np.clip(np.searchsorted(places, clipped, side="right"), 1, len(places) - 1)
    low, high = places[above - 1], places[above]
    share = (clipped - low) / (high - low)
    rows = np.arange(len(severity))
    proba[rows, above - 1] = 1.0 - share
    proba[rows, above] = share
    return proba
