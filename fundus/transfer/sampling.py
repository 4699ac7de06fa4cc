"""Over- and under-sampling of the rows that a head trains on, and of no others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import MissingDependencyError
from fundus.metrics.kappa import class_sample_weight

#: Values of ``sampling=``.
SAMPLINGS = (None, "over", "under")


def make_sampler(sampling: str, seed: int) -> Any:
    """Return imbalanced-learn's random sampler.

    Parameters
    ----------
    sampling : {"over", "under"}
    seed : int

    Returns
    -------
    RandomOverSampler or RandomUnderSampler

    Raises
    ------
    MissingDependencyError
        If imbalanced-learn is not installed.
    """
    try:
        from imblearn.over_sampling import RandomOverSampler
        from imblearn.under_sampling import RandomUnderSampler
    except ImportError:
        raise MissingDependencyError(
            f"sampling={sampling!r} needs imbalanced-learn: pip install 'fundus-zoo[imbalance]'."
        ) from None
    return (RandomOverSampler if sampling == "over" else RandomUnderSampler)(random_state=seed)


def drawn_rows(
    sampling: str | None, rows: NDArray[np.intp], positions: NDArray[np.intp], seed: int
) -> NDArray[np.intp]:
    """Draw training rows so that every grade has as many.

    Parameters
    ----------
    sampling : {"over", "under"} or None
        Rows are repeated until each grade has as many as the most frequent, or left out until each
        has as few as the rarest; ``None`` takes them as they are.
    rows : ndarray of int, shape (n_rows,)
        Rows to draw from.
    positions : ndarray of int, shape (n_samples,)
        Place of every sample's grade on the scale.
    seed : int

    Returns
    -------
    ndarray of int, shape (n_drawn,)
        In the order of `rows`; copies stand side by side.

    Examples
    --------
    >>> y = np.array([0, 0, 0, 1])
    >>> drawn_rows("over", np.arange(4), y, 0).tolist()
    [0, 1, 2, 3, 3, 3]
    """
    if sampling is None:
        return rows
    sampler = make_sampler(sampling, seed)
    places = np.arange(len(rows))[:, np.newaxis]
    sampler.fit_resample(places, positions[rows])
    return rows[np.sort(sampler.sample_indices_)]


def drawn_weights(
    class_weight: Any,
    labels: NDArray[Any],
    sample_weight: NDArray[np.float64] | None,
    rows: NDArray[np.intp],
    scale: NDArray[Any],
) -> NDArray[np.float64] | None:
    """Weigh drawn rows by grades as often as they were drawn, and all other rows as if none was.

    Sampling and weights thus never make up for one imbalance twice.

    Parameters
    ----------
    class_weight : dict, str or None
    labels : ndarray, shape (n_samples,)
    sample_weight : ndarray of float, shape (n_samples,), or None
    rows : ndarray of int
        From `drawn_rows`.
    scale : ndarray, shape (n_grades,)
        The grades in order.

    Returns
    -------
    ndarray of float, shape (n_samples,), or None
    """
    weights = class_sample_weight(class_weight, labels, sample_weight, scale=scale)
    given = None if sample_weight is None else sample_weight[rows]
    drawn = class_sample_weight(class_weight, labels[rows], given, scale=scale)
    if weights is not None and drawn is not None:
        weights[rows] = drawn
    return weights


def with_their_views(rows: NDArray[np.intp], n_views: int) -> NDArray[np.intp]:
    """Rows of a source in which every image is followed by so many views of it."""
    each = n_views + 1
    return (rows[:, np.newaxis] * each + np.arange(each)).ravel()
