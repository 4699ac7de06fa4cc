"""The international clinical diabetic retinopathy (ICDR) scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fundus.exceptions import DataError, InvalidGradeError

if TYPE_CHECKING:
    import pandas as pd

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


def patient_grades(grades: ArrayLike, patients: ArrayLike) -> pd.Series:
    """Grade each patient by the worse eye: the highest grade of any photograph.

    Parameters
    ----------
    grades : array-like of int, shape (n_samples,)
        Grade of each photograph, true or predicted; higher is worse.
    patients : array-like, shape (n_samples,)
        Patient of each photograph.

    Returns
    -------
    pandas.Series of int, shape (n_patients,)
        Indexed by patient, in the order in which they first appear.

    Raises
    ------
    DataError
        If there is not one patient for each grade, or a patient is missing.
    InvalidGradeError
        If a grade is missing.

    Examples
    --------
    >>> patient_grades([0, 2, 1, 1], ["anna", "anna", "ben", "ben"]).to_dict()
    {'anna': 2, 'ben': 1}
    """
    import pandas as pd

    values, who = np.asarray(grades), np.asarray(patients)
    if values.ndim != 1 or values.shape != who.shape:
        raise DataError(
            "grades and patients must be 1-D and of one length. "
            f"Got shapes {values.shape} and {who.shape}."
        )
    for name, column, error in (
        ("grade", values, InvalidGradeError),
        ("patient", who, DataError),
    ):
        missing = np.flatnonzero(pd.isna(column))
        if len(missing):
            raise error(f"Every photograph must have a {name}. Got none in row {missing[0]}.")
    return pd.Series(values, name="grade").groupby(pd.Index(who, name="patient"), sort=False).max()
