"""Scores of many resamples at once, each a row of weights of images ``(n_resamples, n_images)``."""

from __future__ import annotations

from typing import Literal

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
        self.positive, self.negative = order[positive[order]], order[~positive[order]]
        values = np.arange(len(self.values) + 1)
        # how many positive and negative images, in rising order, lie below each threshold
        self.positives_below = np.searchsorted(code[self.positive], values)
        self.negatives_below = np.searchsorted(code[self.negative], values)
        # and for each positive image the negative ones below it, and those below or equal
        self.below = np.searchsorted(code[self.negative], code[self.positive])
        self.up_to = np.searchsorted(code[self.negative], code[self.positive], side="right")
        self.tied = not np.array_equal(self.below, self.up_to)

    def drawn(self, weights: Weights) -> DrawnRanking:
        """Sum the weights of resamples in the order of the score, for several questions."""
        return DrawnRanking(self, weights)

    def auc(self, weights: Weights) -> Scores:
        """Area under the ROC curve, ties counted half; ``nan`` where one class was not drawn."""
        return self.drawn(weights).auc()

    def rates(self, weights: Weights) -> tuple[Scores, Scores]:
        """Sensitivity and specificity of every threshold.

        Returns
        -------
        sensitivity, specificity : ndarray of float, shape (n_resamples, n_values + 1)
            ``nan`` where one class was not drawn.
        """
        thresholds = np.arange(len(self.values) + 1)
        return self.drawn(weights).rates(np.tile(thresholds, (len(weights), 1)))


class DrawnRanking:
    """A `Ranking` in some resamples.

    Parameters
    ----------
    ranking : Ranking
    weights : ndarray of float, shape (n_resamples, n_images)
    """

    def __init__(self, ranking: Ranking, weights: Weights) -> None:
        self._ranking, self._found = ranking, of(weights, ranking.positive)
        self._missed = _running(self._found)
        self._cleared = _running(of(weights, ranking.negative))

    def auc(self) -> Scores:
        """Area under the ROC curve, ties counted half; ``nan`` where one class was not drawn."""
        won = np.einsum("ij,ij->i", self._found, of(self._cleared, self._ranking.below))
        if self._ranking.tied:
            won += np.einsum("ij,ij->i", self._found, of(self._cleared, self._ranking.up_to))
        else:
            won *= 2
        return ratio(won / 2, self._missed[:, -1] * self._cleared[:, -1])

    def rates(self, thresholds: NDArray[np.intp]) -> tuple[Scores, Scores]:
        """Sensitivity and specificity of some thresholds of each resample.

        Parameters
        ----------
        thresholds : ndarray of int, shape (n_resamples, n)

        Returns
        -------
        sensitivity, specificity : ndarray of float, shape (n_resamples, n)
            ``nan`` where one class was not drawn.
        """
        below = self._ranking.positives_below[thresholds], self._ranking.negatives_below[thresholds]
        missed = np.take_along_axis(self._missed, below[0], axis=1)
        cleared = np.take_along_axis(self._cleared, below[1], axis=1)
        found = self._missed[:, -1:]
        return ratio(found - missed, found), ratio(cleared, self._cleared[:, -1:])

    def highest(self, sensitivity: float) -> NDArray[np.intp]:
        """Highest threshold of each resample that has a sensitivity; 0 where none is known.

        Thresholds need no search one by one, as what lies below them rises with them.
        """
        found = self._missed[:, -1]
        reached = _places(self._missed, found * (1 - sensitivity), "right") - 1
        last = np.searchsorted(self._ranking.positives_below, reached, side="right") - 1
        return np.where(found > 0, last, 0)

    def lowest(self, specificity: float) -> NDArray[np.intp]:
        """Lowest threshold of each resample that has a specificity; 0 where none is known."""
        short = _places(self._cleared, self._cleared[:, -1] * specificity, "left") - 1
        first = np.searchsorted(self._ranking.negatives_below, short, side="right")
        return np.minimum(first, len(self._ranking.values))


def _places(sums: Scores, values: Scores, side: Literal["left", "right"]) -> NDArray[np.intp]:
    """Where each row of rising sums reaches, or passes, a value of its own."""
    pairs = zip(sums, values, strict=True)
    return np.array([np.searchsorted(row, value, side) for row, value in pairs], dtype=np.intp)


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
