"""Cutpoints for severities: the best ones, or the median of those of resampled images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_random_state

from fundus.grades.cutpoints import check_cost, grades_at, optimal_cutpoints
from fundus.grades.labels import to_positions
from fundus.meta.voting import middle_cutpoints
from fundus.metrics.kappa import quadratic_weighted_kappa


def tuned_cutpoints(
    severity: NDArray[np.float64],
    y: NDArray[Any],
    scale: NDArray[Any],
    *,
    scoring: Any = "qwk",
    weight: NDArray[np.float64] | None = None,
    allowed: ArrayLike | None = None,
    groups: NDArray[Any] | None = None,
    distribution: str = "empirical",
    n_bootstraps: int = 0,
    random_state: Any = None,
) -> tuple[NDArray[np.float64], float, NDArray[np.float64] | None]:
    """Fit cutpoints on severities of images that their models have not seen.

    Parameters
    ----------
    severity : ndarray of float, shape (n_samples,)
    y : ndarray, shape (n_samples,)
        Labels.
    scale : ndarray, shape (n_grades,)
        The grades in order.
    scoring : "qwk" or array-like of float, shape (n_grades, n_grades)
    weight : ndarray of float, shape (n_samples,), default=None
    allowed : array-like of labels, default=None
        The grades that may be predicted.
    groups : ndarray, shape (n_samples,), default=None
        Patients.
    distribution : {"empirical", "normal"}, default="empirical"
        As in `optimal_cutpoints`.
    n_bootstraps : int, default=0
        ``0`` takes the best cutpoints, else the median of those of so many resamples.
    random_state : int, RandomState or None, default=None
        Seed of the resamples.

    Returns
    -------
    cutpoints : ndarray of float, shape (n_grades - 1,)
        Ascending.
    score : float
        Theirs on all images.
    samples : ndarray of float, shape (n_bootstraps, n_grades - 1), or None
        The best cutpoints of each resample; ``None`` without resamples.
    """

    def best(drawn: NDArray[np.float64] | None) -> tuple[NDArray[np.float64], float]:
        return optimal_cutpoints(
            severity,
            y,
            n_grades=scale.tolist(),
            scoring=scoring,
            sample_weight=drawn,
            allowed=allowed,
            distribution=distribution,
        )

    cutpoints, score = best(weight)
    if not n_bootstraps:
        return cutpoints, score, None
    true = to_positions(y, scale)
    draws = resampled_weights(true, groups, weight, n_bootstraps, random_state)
    samples = np.stack([best(drawn)[0] for drawn in draws])
    cutpoints = middle_cutpoints(list(samples))
    return cutpoints, _score(true, grades_at(severity, cutpoints), scoring, weight, scale), samples


def _score(
    true: NDArray[np.intp],
    pred: NDArray[np.intp],
    scoring: Any,
    weight: NDArray[np.float64] | None,
    scale: NDArray[Any],
) -> float:
    if isinstance(scoring, str):
        return quadratic_weighted_kappa(true, pred, n_grades=len(scale), sample_weight=weight)
    return -float(np.average(check_cost(scoring, len(scale))[true, pred], weights=weight))


def resampled_weights(
    grades: NDArray[np.intp],
    groups: NDArray[Any] | None,
    weight: NDArray[np.float64] | None,
    n_bootstraps: int,
    random_state: Any,
) -> Iterator[NDArray[np.float64]]:
    """Yield the weight of every image ``(n_samples,)`` in each resample, which holds every grade.

    Patients, each with all images, are drawn with replacement among those of one worst grade, so
    that the shares of the grades stay about as they are; without patients, images of one grade.
    Where a grade that is nobody's worst is missing then, one of its patients is drawn in addition.

    Parameters
    ----------
    grades : ndarray of int, shape (n_samples,)
        Positions on the scale.
    groups : ndarray, shape (n_samples,), or None
        Patients.
    weight : ndarray of float, shape (n_samples,), or None
        Images of weight 0 are not drawn.
    n_bootstraps : int
    random_state : int, RandomState or None

    Examples
    --------
    >>> grades, patients = np.array([0, 0, 1, 1]), np.array(["anna", "ben", "ben", "carl"])
    >>> draws = list(resampled_weights(grades, patients, None, 20, 0))
    >>> all(drawn[1] == drawn[2] for drawn in draws)  # both are Ben's
    True
    >>> all(drawn[:2].any() and drawn[2:].any() for drawn in draws)
    True
    """
    rng = check_random_state(random_state)
    own = np.ones(len(grades)) if weight is None else weight
    heavy = np.flatnonzero(own > 0)
    true = grades[heavy]
    who = np.arange(len(heavy)) if groups is None else pd.factorize(groups[heavy])[0]
    worst = np.full(int(who.max()) + 1, -1)
    np.maximum.at(worst, who, true)
    strata = [np.flatnonzero(worst == grade) for grade in np.unique(worst)]
    holders = [np.unique(who[true == grade]) for grade in np.unique(true)]
    for _ in range(n_bootstraps):
        times = np.zeros(len(worst))
        for stratum in strata:
            np.add.at(times, rng.choice(stratum, len(stratum)), 1.0)
        for those in holders:
            if not times[those].any():
                times[rng.choice(those)] += 1.0
        drawn = np.zeros(len(grades))
        drawn[heavy] = own[heavy] * times[who]
        yield drawn
