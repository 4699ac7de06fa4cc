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
    cells = totals(weights, true * n_grades + pred, n_grades * n_grades)
    return cells.reshape(-1, n_grades, n_grades)


def totals(weights: Weights, place: NDArray[np.intp], n_places: int) -> Scores:
    """Weights of the images at each place, ``(n_resamples, n_places)``; `place` is of each image.

    Examples
    --------
    >>> totals(np.array([[1.0, 2.0, 3.0]]), np.array([0, 2, 0]), 3).tolist()
    [[4.0, 0.0, 2.0]]
    """
    found = np.empty((len(weights), n_places))
    for total, row in zip(found, weights, strict=True):
        total[:] = np.bincount(place, weights=row, minlength=n_places)
    return found


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
        order = np.argsort(code, kind="stable")
        self._positive, self._negative = order[positive[order]], order[~positive[order]]
        values = np.arange(len(self.values))
        # how many positive and negative images, in rising order, lie below each value
        self._positives_below = np.searchsorted(code[self._positive], values)
        self._negatives_below = np.searchsorted(code[self._negative], values)
        # and for each positive image the negative ones below it, and those below or equal
        self._below = np.searchsorted(code[self._negative], code[self._positive])
        self._up_to = np.searchsorted(code[self._negative], code[self._positive], side="right")

    def auc(self, weights: Weights) -> Scores:
        """Area under the ROC curve, ties counted half; ``nan`` where one class was not drawn."""
        found, false = of(weights, self._positive), _running(of(weights, self._negative))
        won = np.einsum("ij,ij->i", found, of(false, self._below))
        won += np.einsum("ij,ij->i", found, of(false, self._up_to))
        return ratio(won / 2, found.sum(axis=1) * false[:, -1])

    def rates(self, weights: Weights) -> tuple[Scores, Scores]:
        """Sensitivity and specificity of every threshold.

        Returns
        -------
        sensitivity, specificity : ndarray of float, shape (n_resamples, n_values + 1)
            ``nan`` where one class was not drawn.
        """
        missed = self._at_thresholds(weights, self._positive, self._positives_below)
        cleared = self._at_thresholds(weights, self._negative, self._negatives_below)
        found = missed[:, -1:]
        return ratio(found - missed, found), ratio(cleared, cleared[:, -1:])

    @staticmethod
    def _at_thresholds(weights: Weights, images: NDArray[np.intp], below: NDArray) -> Scores:
        """Weight of the images below each threshold, the last of which flags none."""
        return of(_running(of(weights, images)), np.append(below, len(images)))


def of(values: Scores, images: NDArray[np.intp]) -> Scores:
    """Values of some images, or places, ``(n_resamples, n_images)``.

    As ``values[:, images]``, which has the resamples side by side in memory and so takes longer.
    """
    return np.take(values, images, axis=1, mode="clip")


def _running(weights: Weights) -> Scores:
    """Sums of the first 0, 1, … weights, ``(n_resamples, n + 1)``."""
    sums = np.zeros((len(weights), weights.shape[1] + 1))
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums


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
        self._place = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
        self._gaps, self._n_bins = hit - confidence, n_bins

    def error(self, weights: Weights) -> Scores:
        """Mean over images of the distance of share and mean confidence in their bin."""
        gaps = totals(weights * self._gaps, self._place, self._n_bins)
        return np.abs(gaps).sum(axis=1) / weights.sum(axis=1)
