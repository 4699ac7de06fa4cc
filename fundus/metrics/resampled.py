"""Scores of many resamples at once, each a row of weights of images ``(n_resamples, n_images)``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]
Scores = NDArray[np.float64]


def confusions(
    weights: Weights, true: NDArray[np.intp], pred: NDArray[np.intp], n_grades: int
) -> Scores:
    """Confusion matrices by true and predicted grade, ``(n_resamples, n_grades, n_grades)``.

    `true` and `pred` are positions on the scale, ``(n_images,)``.

    Examples
    --------
    >>> grades = np.array([0, 1, 1])
    >>> confusions(np.ones((4, 3)), grades, grades, 2).shape
    (4, 2, 2)
    """
    cells = np.zeros((len(true), n_grades * n_grades))
    cells[np.arange(len(true)), true * n_grades + pred] = 1.0
    return (weights @ cells).reshape(-1, n_grades, n_grades)


def kappa_of(confusion: NDArray) -> Scores:
    """Quadratic weighted kappa of confusion matrices ``(…, n_grades, n_grades)``.

    It is ``nan`` where both gradings are one and the same single grade.

    Examples
    --------
    >>> kappa_of(np.eye(3, dtype=int)).item()
    1.0
    """
    grades = np.arange(confusion.shape[-1])
    penalty = (grades[:, np.newaxis] - grades) ** 2.0
    observed = (penalty * confusion).sum(axis=(-2, -1))
    true, pred = confusion.sum(axis=-1), confusion.sum(axis=-2)
    expected = np.einsum("...i,ij,...j->...", true, penalty, pred)
    n = confusion.sum(axis=(-2, -1))
    return 1.0 - ratio(observed * n, expected)


def accuracy_of(confusion: NDArray) -> Scores:
    """Share of images on the diagonal of confusion matrices ``(…, n_grades, n_grades)``."""
    return np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum(axis=(-2, -1))


def adjacent_accuracy_of(confusion: NDArray) -> Scores:
    """Share of images at most one grade off the diagonal of confusion matrices."""
    grades = np.arange(confusion.shape[-1])
    near = np.abs(grades[:, np.newaxis] - grades) <= 1
    return (near * confusion).sum(axis=(-2, -1)) / confusion.sum(axis=(-2, -1))


def absolute_error_of(confusion: NDArray) -> Scores:
    """Mean distance from the diagonal of confusion matrices, in grades."""
    grades = np.arange(confusion.shape[-1])
    distance = np.abs(grades[:, np.newaxis] - grades)
    return (distance * confusion).sum(axis=(-2, -1)) / confusion.sum(axis=(-2, -1))


def sensitivities_of(confusion: NDArray) -> Scores:
    """Share of each true grade that is predicted as such, ``(…, n_grades)``; ``nan`` for none."""
    diagonal = np.diagonal(confusion, axis1=-2, axis2=-1)
    return ratio(diagonal, confusion.sum(axis=-1))


def mean_of(weights: Weights, values: NDArray[np.float64]) -> Scores:
    """Weighted means of a value of each image, ``(n_resamples,)``."""
    return weights @ values / weights.sum(axis=1)


def share_of(weights: Weights, hits: NDArray[np.bool_], among: NDArray[np.bool_]) -> Scores:
    """Weighted share of hits among some images; ``nan`` where none of these was drawn."""
    return ratio(weights @ (hits & among).astype(float), weights @ among.astype(float))


def ratio(above: NDArray, below: NDArray) -> Scores:
    """Divide; ``nan`` where the divisor is 0."""
    nothing = np.full(np.broadcast_shapes(np.shape(above), np.shape(below)), np.nan)
    return np.divide(above, below, out=nothing, where=np.asarray(below) > 0)


class Ranking:
    """Images in the order of a score, to weigh each threshold in many resamples at once.

    Parameters
    ----------
    positive : ndarray of bool, shape (n_images,)
        What is to be found.
    score : ndarray of float, shape (n_images,)
        The higher the likelier; ``inf`` is allowed.

    Attributes
    ----------
    values : ndarray of float, shape (n_values,)
        The distinct scores, rising. Threshold ``j`` flags the images of ``score >= values[j]``,
        and the last one, ``n_values``, flags none.

    Examples
    --------
    >>> ranking = Ranking(np.array([False, True, True]), np.array([0.1, 0.1, 0.7]))
    >>> ranking.auc(np.ones((1, 3))).tolist()
    [0.75]
    """

    def __init__(self, positive: NDArray[np.bool_], score: NDArray[np.float64]) -> None:
        self.values, code = np.unique(score, return_inverse=True)
        self._order = np.argsort(code, kind="stable")
        self._starts = np.searchsorted(code[self._order], np.arange(len(self.values)))
        self._positive = positive[self._order].astype(float)

    def _counts(self, weights: Weights) -> tuple[Scores, Scores]:
        ordered = weights[:, self._order]
        every = np.add.reduceat(ordered, self._starts, axis=1)
        found = np.add.reduceat(ordered * self._positive, self._starts, axis=1)
        return found, every - found

    def auc(self, weights: Weights) -> Scores:
        """Area under the ROC curve, ties counted half; ``nan`` where one class was not drawn."""
        found, false = self._counts(weights)
        below = np.cumsum(false, axis=1) - false
        won = (found * (below + 0.5 * false)).sum(axis=1)
        return ratio(won, found.sum(axis=1) * false.sum(axis=1))

    def rates(self, weights: Weights) -> tuple[Scores, Scores]:
        """Sensitivity and specificity of every threshold.

        Returns
        -------
        sensitivity, specificity : ndarray of float, shape (n_resamples, n_values + 1)
            ``nan`` where one class was not drawn.
        """
        found, false = self._counts(weights)
        none = np.zeros((len(weights), 1))
        flagged = np.concatenate([np.cumsum(found[:, ::-1], axis=1)[:, ::-1], none], axis=1)
        cleared = np.concatenate([none, np.cumsum(false, axis=1)], axis=1)
        return ratio(flagged, flagged[:, :1]), ratio(cleared, cleared[:, -1:])


class Bins:
    """Images by their confidence, for the expected calibration error.

    Parameters
    ----------
    hit : ndarray of bool, shape (n_images,)
        What the confidence is of.
    confidence : ndarray of float, shape (n_images,)
        In [0, 1].
    n_bins : int
        Of one width.
    """

    def __init__(
        self, hit: NDArray[np.bool_], confidence: NDArray[np.float64], n_bins: int
    ) -> None:
        place = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
        self._gaps = np.zeros((len(hit), n_bins))
        self._gaps[np.arange(len(hit)), place] = hit - confidence

    def error(self, weights: Weights) -> Scores:
        """Mean over images of the distance of share and mean confidence in their bin."""
        return np.abs(weights @ self._gaps).sum(axis=1) / weights.sum(axis=1)
