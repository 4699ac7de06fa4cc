"""Over- and under-sampling of the rows that a head trains on, not of other rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import MissingDependencyError
from fundus.frozen.sources import Source
from fundus.grades.labels import Grades
from fundus.metrics.kappa import class_sample_weight

#: Values of ``sampling=``.
SAMPLINGS = (None, "over", "under")


def make_sampler(sampling: str, seed: int) -> Any:
    """Return imbalanced-learn's random sampler: "over" or "under".

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
    sampling: str, rows: NDArray[np.intp], positions: NDArray[np.intp], seed: int
) -> NDArray[np.intp]:
    """Draw training rows so that all grades have the same number.

    Parameters
    ----------
    sampling : {"over", "under"}
        Rows are repeated until each grade has as many as the most frequent, or left out until each
        has as few as the rarest.
    rows : ndarray of int, shape (n_rows,)
        Rows to draw from.
    positions : ndarray of int, shape (n_samples,)
        Position of every sample's grade on the scale.

    Returns
    -------
    ndarray of int, shape (n_drawn,)
        In the order of `rows`; copies are next to each other.

    Examples
    --------
    >>> y = np.array([0, 0, 0, 1])
    >>> drawn_rows("over", np.arange(4), y, 0).tolist()
    [0, 1, 2, 3, 3, 3]
    """
    sampler = make_sampler(sampling, seed)
    places = np.arange(len(rows))[:, np.newaxis]
    sampler.fit_resample(places, positions[rows])
    return rows[np.sort(sampler.sample_indices_)]


@dataclass(frozen=True)
class Samples:
    """The images that a head is trained on.

    Parameters
    ----------
    source : Source
        Inputs of the trained part; the views of an image follow its own row.
    grades : Grades
        One for each image, like the next fields.
    sample_weight : ndarray of float, shape (n_samples,), or None
        The caller's weights.
    fit_weight : ndarray of float, shape (n_samples,), or None
        The caller's weights times the class weights.
    groups : ndarray, shape (n_samples,), or None
        Images of one group stay together when some are held out or left out.
    class_weight : dict, str or None
    sampling : {"over", "under"} or None
    n_views : int
        Augmented rows that follow each image's own.
    """

    source: Source
    grades: Grades
    sample_weight: NDArray[np.float64] | None
    fit_weight: NDArray[np.float64] | None
    groups: NDArray[Any] | None
    class_weight: Any
    sampling: str | None
    n_views: int
    seed: int

    def __len__(self) -> int:
        return len(self.grades.positions)

    @property
    def own_rows(self) -> NDArray[np.intp]:
        """Each image's own row of the source, before its views."""
        return np.arange(len(self)) * (self.n_views + 1)

    def drawn(
        self, images: NDArray[np.intp]
    ) -> tuple[NDArray[np.intp], NDArray[np.float64] | None]:
        """Draw training images by `sampling`, with weights for how often they were drawn.

        All other images keep their weights. Sampling and weights thus never correct one imbalance
        twice.

        Parameters
        ----------
        images : ndarray of int, shape (n_images,)

        Returns
        -------
        images : ndarray of int, shape (n_drawn,)
        weights : ndarray of float, shape (n_samples,), or None
        """
        if self.sampling is None:
            return images, self.fit_weight
        scale, positions = self.grades.scale, self.grades.positions
        images = drawn_rows(self.sampling, images, positions, self.seed)
        labels = scale[positions[images]]
        given = None if self.sample_weight is None else self.sample_weight[images]
        drawn = class_sample_weight(self.class_weight, labels, given, scale=scale)
        weights = None if self.fit_weight is None else self.fit_weight.copy()
        if weights is not None and drawn is not None:
            weights[images] = drawn
        return images, weights
