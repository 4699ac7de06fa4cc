"""How far the ranks of a score follow something else within strata, in many resamples at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fundus.metrics.resampled import Scores, Weights, ratio


class MidRanks:
    """Ranks of a value, the mean one for equal values, in resamples.

    Parameters
    ----------
    values : ndarray of float, shape (n_images,)

    Examples
    --------
    >>> drawn = np.array([[1.0, 1.0, 1.0], [2.0, 1.0, 0.0]])
    >>> MidRanks(np.array([5.0, 7.0, 7.0])).of(drawn).tolist()
    [[1.0, 2.5, 2.5], [1.5, 3.0, 3.0]]
    """

    def __init__(self, values: NDArray[np.float64]) -> None:
        _, self._code = np.unique(values, return_inverse=True)
        self._order = np.argsort(self._code, kind="stable")
        n_values = int(self._code.max()) + 1
        self._starts = np.searchsorted(self._code[self._order], np.arange(n_values))

    def of(self, weights: Weights) -> Scores:
        """Return the ranks ``(n_resamples, n_images)``; an image not drawn has one too."""
        tied = np.add.reduceat(weights[:, self._order], self._starts, axis=1)
        return (np.cumsum(tied, axis=1) - tied + (tied + 1) / 2)[:, self._code]


def spearman(weights: Weights, first: MidRanks, second: MidRanks) -> Scores:
    """Spearman's rank correlation, ``(n_resamples,)``; ``nan`` where one of the two is constant.

    Examples
    --------
    >>> ranks = MidRanks(np.array([0.0, 1.0, 2.0]))
    >>> spearman(np.ones((1, 3)), ranks, ranks).tolist()
    [1.0]
    """
    n = weights.sum(axis=1, keepdims=True)
    a, b = (ranks.of(weights) - (n + 1) / 2 for ranks in (first, second))
    spread = (weights * a * a).sum(axis=1) * (weights * b * b).sum(axis=1)
    return ratio((weights * a * b).sum(axis=1), np.sqrt(spread))


def kruskal_wallis(
    weights: Weights, ranks: MidRanks, category: NDArray[np.intp]
) -> tuple[Scores, Scores, Scores]:
    """Kruskal and Wallis's H of a score by category, of the categories that were drawn.

    Parameters
    ----------
    weights : ndarray of float, shape (n_resamples, n_images)
    ranks : MidRanks
    category : ndarray of int, shape (n_images,)
        From 0.

    Returns
    -------
    h, n, k : ndarray of float, shape (n_resamples,)
        H, corrected for ties, ``nan`` where all scores are equal; images and categories drawn.

    Examples
    --------
    >>> ranks = MidRanks(np.array([1.0, 2.0, 3.0, 4.0]))
    >>> h, n, k = kruskal_wallis(np.ones((1, 4)), ranks, np.array([0, 0, 1, 1]))
    >>> round(float(h[0]), 3), float(n[0]), float(k[0])
    (2.4, 4.0, 2.0)
    """
    member = (category[:, np.newaxis] == np.arange(category.max() + 1)).astype(float)
    n = weights.sum(axis=1)
    centred = ranks.of(weights) - (n[:, np.newaxis] + 1) / 2
    of_each = weights @ member
    between = np.nansum(ratio(((weights * centred) @ member) ** 2, of_each), axis=1)
    spread = (weights * centred**2).sum(axis=1)
    return (n - 1) * ratio(between, spread), n, (of_each > 0).sum(axis=1).astype(float)


class Within:
    """A score within strata, such as a severity within true grades.

    Parameters
    ----------
    score : ndarray of float, shape (n_images,)
    stratum : ndarray of int, shape (n_images,)
    n_strata : int
    """

    def __init__(
        self, score: NDArray[np.float64], stratum: NDArray[np.intp], n_strata: int
    ) -> None:
        self.score, self.stratum, self.n_strata = score, stratum, n_strata

    def _parts(self, known: NDArray[np.bool_]) -> Iterator[tuple[int, NDArray[np.intp]]]:
        for k in range(self.n_strata):
            rows = np.flatnonzero(known & (self.stratum == k))
            if len(rows) > 2:
                yield k, rows

    def correlation(self, weights: Weights, values: NDArray[np.float64]) -> tuple[Scores, Scores]:
        """Spearman's correlation with `values` pooled over strata, and in each.

        The strata are pooled with weights n - 1, the inverse of its variance where there is no
        correlation [1]_. Images with a value of ``nan`` are left out.

        Returns
        -------
        pooled : ndarray of float, shape (n_resamples,)
        each : ndarray of float, shape (n_resamples, n_strata)
            ``nan`` for a stratum of fewer than three images, or without a spread.

        References
        ----------
        .. [1] J. M. G. Taylor, "Kendall's and Spearman's correlation coefficients in the presence
           of a blocking variable", Biometrics 43(2), 1987. :doi:`10.2307/2531822`
        """
        each = np.full((len(weights), self.n_strata), np.nan)
        size = np.zeros(each.shape)
        for k, rows in self._parts(np.isfinite(values)):
            drawn = weights[:, rows]
            each[:, k] = spearman(drawn, MidRanks(self.score[rows]), MidRanks(values[rows]))
            size[:, k] = np.maximum(drawn.sum(axis=1) - 1, 0)
        size[np.isnan(each)] = 0
        return ratio(np.nansum(each * size, axis=1), size.sum(axis=1)), each

    def explained(self, weights: Weights, category: NDArray[np.intp]) -> tuple[Scores, Scores]:
        """Eta squared of the ranks by category, pooled over strata, and in each.

        It is (H - k + 1) / (n - k) of the Kruskal-Wallis test [1]_, whose expectation is 0 where
        the categories are alike, so that it may be a little below 0; pooled, numerators and
        denominators are summed. Images of category -1 are left out.

        Returns
        -------
        pooled : ndarray of float, shape (n_resamples,)
        each : ndarray of float, shape (n_resamples, n_strata)
            ``nan`` for a stratum with one category, or no more images than categories.

        References
        ----------
        .. [1] M. Tomczak and E. Tomczak, "The need to report effect size estimates revisited",
           Trends in Sport Sciences 21(1), 2014.
        """
        above = np.full((len(weights), self.n_strata), np.nan)
        below = np.zeros(above.shape)
        for k, rows in self._parts(category >= 0):
            ranks = MidRanks(self.score[rows])
            h, n, n_categories = kruskal_wallis(weights[:, rows], ranks, category[rows])
            usable = np.isfinite(h) & (n_categories > 1) & (n > n_categories)
            above[usable, k] = (h - n_categories + 1)[usable]
            below[usable, k] = (n - n_categories)[usable]
        return ratio(np.nansum(above, axis=1), below.sum(axis=1)), ratio(above, below)
