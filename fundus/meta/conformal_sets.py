"""Which grades a conformal set holds."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_random_state

from fundus.grades.patients import read_patients
from fundus.saving.classes import saveable
from fundus.saving.schema import is_ascending, is_floats, is_number, require


def nonconformity(proba: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each grade is from being predicted: the sum of the probabilities of those before it.

    Grades are taken in turn, the most probable first and then always the more probable of the two
    neighbours of those taken (the worse one where they are equal), so the grades below any bound
    are neighbours, and the most probable grade, at 0, is always among them.

    Parameters
    ----------
    proba : ndarray of float, shape (n, n_grades)
        In the order of the grades.

    References
    ----------
    .. [1] C. Lu, A. N. Angelopoulos, S. Pomerantz, "Improving trustworthiness of AI disease
       severity rating in medical imaging with ordinal conformal prediction sets", MICCAI 2022.
       :arxiv:`2207.02238`

    Examples
    --------
    >>> nonconformity(np.array([[0.125, 0.5, 0.25, 0.125]])).tolist()
    [[0.875, 0.0, 0.5, 0.75]]
    """
    n, n_grades = proba.shape
    rows = np.arange(n)
    low = high = proba.argmax(axis=1)
    result = np.zeros((n, n_grades))
    mass = proba[rows, low]
    padded = np.pad(proba, ((0, 0), (1, 1)), constant_values=-1.0)
    for _ in range(n_grades - 1):
        up = padded[rows, high + 2] >= padded[rows, low]
        taken = np.where(up, high + 1, low - 1)
        result[rows, taken] = mass
        mass = mass + proba[rows, taken]
        low, high = np.minimum(low, taken), np.maximum(high, taken)
    return result


def nonconformity_of_severity(
    severity: NDArray[np.float64], positions: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Distance of each grade from the severity, less that of the nearest grade, ``(n, n_grades)``.

    Parameters
    ----------
    severity : ndarray of float, shape (n,)
        In positions on the scale.
    positions : ndarray of int, shape (n_grades,)
        Rising.

    Examples
    --------
    >>> nonconformity_of_severity(np.array([1.25]), np.arange(3)).tolist()
    [[1.0, 0.0, 0.5]]
    """
    distance = np.abs(np.clip(severity, positions[0], positions[-1])[:, np.newaxis] - positions)
    return distance - distance.min(axis=1, keepdims=True)


def one_less(share: float) -> float:
    """One minus a share, in decimals as they are written, so that 0.9 gives exactly 0.1.

    Examples
    --------
    >>> one_less(0.9), 1 - 0.9
    (0.1, 0.09999999999999998)
    """
    return float(1 - Decimal(repr(float(share))))


@saveable
@dataclass(frozen=True)
class ConformalRule:
    """Which grades a set holds, from the nonconformity of calibration images.

    Parameters
    ----------
    alpha : float
    scores : tuple of ndarray of float
        For each model, the nonconformity of the true grades of the images it has not seen, rising.
    """

    alpha: float
    scores: tuple[NDArray[np.float64], ...]

    def _check_saved(self) -> None:
        inside = is_number(self.alpha, 0, 1) and 0 < self.alpha < 1
        require(inside, self, "alpha", "a number between 0 and 1", self.alpha)
        sound = isinstance(self.scores, tuple) and all(
            is_floats(part) and is_ascending(part) and (part >= 0).all() for part in self.scores
        )
        sound = sound and sum(map(len, self.scores)) > 0
        require(sound, self, "scores", "arrays of rising numbers of at least 0", self.scores)

    @property
    def n_images(self) -> int:
        """Number of calibration images."""
        return sum(len(scores) for scores in self.scores)

    def positions(self, members: list[NDArray[np.float64]]) -> tuple[NDArray[np.intp], ...]:
        """Return the lowest and the highest grade of each image's set, ``(n,)`` each.

        `members` is the nonconformity of every grade by each model, ``(n, n_grades)``.
        """
        # a grade is left out where enough calibration images have a lower score than it would have
        counts = [
            np.searchsorted(scores, member, side="left")
            for scores, member in zip(self.scores, members, strict=True)
        ]
        kept = np.sum(counts, axis=0) < (1 - self.alpha) * (self.n_images + 1)
        # where models agree on no grade, the set is the grade with the best total
        kept[np.arange(len(kept)), np.mean(members, axis=0).argmin(axis=1)] = True
        n_grades = kept.shape[1]
        return kept.argmax(axis=1), n_grades - 1 - kept[:, ::-1].argmax(axis=1)


def one_image_each(patients: ArrayLike | None, n: int, random_state: Any) -> NDArray[np.intp]:
    """Draw one image of each patient.

    Parameters
    ----------
    patients : array-like, shape (n,), or None
        ``None`` takes all images.
    n : int
    random_state : int, RandomState or None

    Returns
    -------
    ndarray of int
        Rows, rising.

    Raises
    ------
    DataError
        If there is not one patient for each row, or one is unknown.

    Examples
    --------
    >>> len(one_image_each(["anna", "anna", "ben"], 3, 0))
    2
    """
    if patients is None:
        return np.arange(n)
    who = read_patients(patients, n)
    order = check_random_state(random_state).permutation(n)
    _, first = np.unique(pd.factorize(who[order])[0], return_index=True)
    return np.sort(order[first])
