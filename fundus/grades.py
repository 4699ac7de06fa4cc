"""The international clinical diabetic retinopathy (ICDR) scale."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Names of the grades 0–4 (Wilkinson et al. 2003, doi:10.1016/S0161-6420(03)00475-5).
GRADE_NAMES = (
    "no apparent DR",
    "mild NPDR",
    "moderate NPDR",
    "severe NPDR",
    "PDR",
)

#: Length of the ICDR scale.
N_GRADES = len(GRADE_NAMES)

#: The lowest grade that is referred to an ophthalmologist.
REFERABLE_GRADE = 2


def is_referable(grades: ArrayLike) -> NDArray[np.bool_]:
    """Whether each grade calls for referral (moderate NPDR or worse).

    Parameters
    ----------
    grades : array-like of int, shape (n_samples,)
        ICDR grades, 0–4.

    Returns
    -------
    ndarray of bool, shape (n_samples,)

    Examples
    --------
    >>> is_referable([0, 1, 2, 4]).tolist()
    [False, False, True, True]
    """
    return np.asarray(grades) >= REFERABLE_GRADE
