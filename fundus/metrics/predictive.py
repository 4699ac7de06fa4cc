"""Predictive values of a test at a given prevalence."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fundus.metrics.resampled import ratio
from fundus.parameters import invalid


def predictive_values(
    sensitivity: ArrayLike, specificity: ArrayLike, prevalence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positive and negative predictive value of a test, by Bayes' rule.

    Parameters
    ----------
    sensitivity, specificity : array-like of float
    prevalence : float
        Share of those tested who have the disease, in (0, 1).

    Returns
    -------
    ppv, npv : ndarray of float
        Share of the referred who have it, and of the others who have it not; ``nan`` where the
        test refers nobody, or everybody.

    Raises
    ------
    InvalidParameterError
        If `prevalence` is not in (0, 1).

    Examples
    --------
    >>> ppv, npv = predictive_values(0.9, 0.8, 0.1)
    >>> round(float(ppv), 3), round(float(npv), 3)
    (0.333, 0.986)
    """
    check_prevalence("predictive_values", prevalence)
    sens, spec = (np.asarray(rate, dtype=np.float64) for rate in (sensitivity, specificity))
    ill, well = prevalence, 1 - prevalence
    ppv = ratio(ill * sens, ill * sens + well * (1 - spec))
    return ppv, ratio(well * spec, well * spec + ill * (1 - sens))


def check_prevalence(owner: str, prevalence: Any) -> None:
    """Raise `InvalidParameterError` unless a prevalence is a number in (0, 1)."""
    number = isinstance(prevalence, Real) and not isinstance(prevalence, bool)
    if not number or not 0 < float(prevalence) < 1:
        raise invalid(owner, "prevalence", "a float in the range (0, 1)", prevalence)
