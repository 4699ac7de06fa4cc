"""Operating points: the severity from which on images are referred."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fundus.exceptions import (
    BundleError,
    DataError,
    InvalidParameterError,
    Mention,
    Message,
    OperatingPointError,
)
from fundus.metrics.resampled import DrawnRanking, Ranking

# a share such as 9 / 10 must reach a goal of 0.9 however it was computed
_ROUNDING = 1e-9


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold of the severity, from which on images are referred.

    Parameters
    ----------
    threshold : float
        An image of ``severity >= threshold`` is referred.
    wanted : {"sensitivity", "specificity"}
        What it was chosen for.
    goal : float
        The least value of it that was wanted.
    sensitivity, specificity : float
        What it has on the images it was chosen on.
    """

    threshold: float
    wanted: str
    goal: float
    sensitivity: float
    specificity: float

    def _check_saved(self) -> None:
        shares = (self.goal, self.sensitivity, self.specificity)
        numbers = all(type(x) in (int, float) for x in (self.threshold, *shares))
        if (
            not numbers
            or not math.isfinite(self.threshold)
            or not all(0 <= share <= 1 for share in shares)
            or self.wanted not in ("sensitivity", "specificity")
        ):
            raise BundleError(
                "A saved operating point must have a finite threshold, shares in [0, 1], and be "
                f"chosen for sensitivity or specificity. Got {self!r} instead: the model is "
                "damaged or was changed after it was saved."
            )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return dict(vars(self))


def operating_point(
    severity: ArrayLike,
    positive: ArrayLike,
    *,
    sensitivity: float | None = None,
    specificity: float | None = None,
) -> OperatingPoint:
    """Choose the threshold that has a wanted sensitivity or specificity, and most of the other.

    Choose it on out-of-fold severities, never on those of images a model was trained on, and
    never on the images it is then reported for.

    Parameters
    ----------
    severity : array-like of float, shape (n_samples,)
        Finite; the higher the more severe.
    positive : array-like of bool, shape (n_samples,)
        Which images are to be referred, as `is_referable` tells.
    sensitivity, specificity : float, default=None
        The least value that is wanted, in (0, 1]; one of the two.

    Returns
    -------
    OperatingPoint
        Its threshold lies halfway between two severities.

    Raises
    ------
    OperatingPointError
        If it is reached only by referring every image, or none; the message gives the best that
        can be reached.
    DataError
        If lengths differ, a severity is not finite, or all images are of one class.
    InvalidParameterError
        If not exactly one of `sensitivity` and `specificity` is given, in (0, 1].

    Notes
    -----
    Cost: a sort, O(n_samples · log n_samples).

    Examples
    --------
    >>> point = operating_point([0.2, 0.9, 1.5, 2.5, 3.0], [0, 0, 1, 0, 1], sensitivity=0.9)
    >>> point.threshold, point.sensitivity, round(point.specificity, 2)
    (1.2, 1.0, 0.67)
    """
    wanted, goal = _goal(sensitivity, specificity)
    values, truth = np.asarray(severity, dtype=np.float64), np.asarray(positive).astype(bool)
    if values.shape != truth.shape or values.ndim != 1:
        raise DataError(
            "A severity is needed for every image. "
            f"Got shapes {values.shape} and {truth.shape} of severity and positive."
        )
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise DataError(f"severity must be finite. Got {values[row]} in row {row}.")
    if not truth.any() or truth.all():
        raise DataError(
            "An operating point needs images that are to be referred and others. "
            f"Got {truth.sum()} of {len(truth)} that are."
        )
    ranking, once = Ranking(truth, values), np.ones((1, len(values)))
    sens, spec = (rate[0] for rate in ranking.rates(once))
    j = int(chosen_thresholds(ranking.drawn(once), wanted, goal)[0])
    last = len(ranking.values) - 1
    if not 1 <= j <= last:
        raise OperatingPointError(_unreachable(sens, spec, wanted, goal, last))
    threshold = float(ranking.values[j - 1] + ranking.values[j]) / 2
    return OperatingPoint(threshold, wanted, goal, float(sens[j]), float(spec[j]))


def _goal(sensitivity: float | None, specificity: float | None) -> tuple[str, float]:
    given = [
        (name, goal)
        for name, goal in (("sensitivity", sensitivity), ("specificity", specificity))
        if goal is not None
    ]
    if len(given) != 1 or not 0 < given[0][1] <= 1:
        text = (
            "An operating point needs either a sensitivity or a specificity in (0, 1]. "
            f"Got sensitivity={sensitivity!r} and specificity={specificity!r}."
        )
        raise InvalidParameterError(Message(text, Mention("sensitivity", owner="")))
    return given[0]


def chosen_thresholds(drawn: DrawnRanking, wanted: str, goal: float) -> NDArray[np.intp]:
    """Threshold of each resample: the highest of enough sensitivity, the lowest of specificity."""
    least = goal - _ROUNDING
    return drawn.highest(least) if wanted == "sensitivity" else drawn.lowest(least)


def _unreachable(
    sens: NDArray[np.float64], spec: NDArray[np.float64], wanted: str, goal: float, last: int
) -> str:
    if last == 0:
        return f"A {wanted} of {goal:g} cannot be reached: all images have one severity."
    best, who = (1, "every image") if wanted == "sensitivity" else (last, "no image")
    value, other = (sens, spec) if wanted == "sensitivity" else (spec, sens)
    what = "specificity" if wanted == "sensitivity" else "sensitivity"
    return (
        f"A {wanted} of {goal:g} can be reached only by referring {who}. The best that can be is "
        f"{value[best]:.4f}, with a {what} of {other[best]:.4f}: want at most that."
    )
