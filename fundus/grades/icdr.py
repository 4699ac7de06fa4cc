"""The international clinical diabetic retinopathy (ICDR) scale, and its use in screening."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fundus.exceptions import DataError, DataWarning, InvalidGradeError

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

#: The lowest grade that threatens sight by itself.
SIGHT_THREATENING_GRADE = 3

#: Referable macular oedema: hard exudates within one disc diameter of the fovea.
REFERABLE_DME = 2


def is_referable(grades: ArrayLike, dme: ArrayLike | None = None) -> NDArray[np.bool_]:
    """Whether each image calls for referral: moderate NPDR or worse, or macular oedema.

    Parameters
    ----------
    grades : array-like of int, shape (n_samples,)
        ICDR grades, 0–4.
    dme : array-like of float, shape (n_samples,), default=None
        Risk of macular oedema as IDRiD grades it [1]_: 0 no hard exudates, 1 exudates further
        than one disc diameter from the fovea, 2 within it. 2 is referable [2]_. An image whose
        value is missing (NaN) is judged by its grade alone.

    Returns
    -------
    ndarray of bool, shape (n_samples,)

    Raises
    ------
    DataError
        If lengths differ or a value of `dme` is not 0, 1 or 2; the message gives the row.

    Warns
    -----
    DataWarning
        If values of `dme` are missing.

    References
    ----------
    .. [1] P. Porwal et al., "Indian Diabetic Retinopathy Image Dataset (IDRiD)", Data 3(3), 2018.
       :doi:`10.3390/data3030025`
    .. [2] V. Gulshan et al., "Development and validation of a deep learning algorithm for
       detection of diabetic retinopathy in retinal fundus photographs", JAMA 316(22), 2016.
       :doi:`10.1001/jama.2016.17216`

    Examples
    --------
    >>> is_referable([0, 1, 2, 4]).tolist()
    [False, False, True, True]
    >>> is_referable([0, 1, 2], dme=[0, 2, 0]).tolist()
    [False, True, True]
    """
    return _at_least(grades, REFERABLE_GRADE, dme)


def is_sight_threatening(grades: ArrayLike, dme: ArrayLike | None = None) -> NDArray[np.bool_]:
    """Whether each image threatens sight: severe NPDR or worse, or macular oedema.

    Parameters
    ----------
    grades : array-like of int, shape (n_samples,)
        ICDR grades, 0–4.
    dme : array-like of float, shape (n_samples,), default=None
        As in `is_referable`.

    Returns
    -------
    ndarray of bool, shape (n_samples,)

    Raises
    ------
    DataError
        As in `is_referable`.

    Warns
    -----
    DataWarning
        As in `is_referable`.

    Examples
    --------
    >>> is_sight_threatening([1, 2, 3, 4]).tolist()
    [False, False, True, True]
    >>> is_sight_threatening([1, 2, 2], dme=[0, 1, 2]).tolist()
    [False, False, True]
    """
    return _at_least(grades, SIGHT_THREATENING_GRADE, dme)


def _at_least(grades: ArrayLike, lowest: int, dme: ArrayLike | None) -> NDArray[np.bool_]:
    by_grade = np.asarray(grades) >= lowest
    if dme is None:
        return by_grade
    oedema = np.asarray(dme, dtype=np.float64)
    if oedema.shape != by_grade.shape:
        raise DataError(
            "A value of dme is needed for every grade. "
            f"Got shapes {oedema.shape} and {by_grade.shape}."
        )
    missing = np.isnan(oedema)
    bad = np.flatnonzero(~missing & ~np.isin(oedema, (0, 1, 2)))
    if len(bad):
        raise DataError(
            "dme must hold 0, 1 or 2, or NaN where it is not known. "
            f"Got {oedema[bad[0]].item()!r} in row {bad[0]} instead."
        )
    if missing.any():
        warnings.warn(
            f"Macular oedema is not graded in {missing.sum()} of {len(oedema)} images: these "
            "count by their grade of retinopathy alone.",
            DataWarning,
            stacklevel=3,
        )
    return by_grade | (oedema >= REFERABLE_DME)


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

    from fundus.grades.patients import read_patients

    values = np.asarray(grades)
    if values.ndim != 1 or values.shape != np.shape(patients):
        raise DataError(
            "grades and patients must be 1-D and of one length. "
            f"Got shapes {values.shape} and {np.shape(patients)}."
        )
    missing = np.flatnonzero(pd.isna(values))
    if len(missing):
        raise InvalidGradeError(
            f"Every photograph must have a grade. Got none in row {missing[0]}."
        )
    who = read_patients(patients, len(values), name="patients")
    return pd.Series(values, name="grade").groupby(pd.Index(who, name="patient"), sort=False).max()


def are_numbers(class_names: Sequence[str]) -> bool:
    """Whether names of grades are their numbers, such as ``class3``, ``3`` or ``03``."""
    numbers = [re.fullmatch(r"(?:class)?0*(\d+)", name, re.IGNORECASE) for name in class_names]
    return [m and int(m[1]) for m in numbers] == [*range(len(class_names))]


def grade_labels(class_names: Sequence[str]) -> list[str]:
    """Labels of grades in tables and figures.

    Number and ICDR name if the names are the numbers of the five ICDR grades, else the unchanged
    names.

    Examples
    --------
    >>> grade_labels(["class0", "class1", "class2", "class3", "class4"])[1]
    '1 mild NPDR'
    >>> grade_labels(["healthy", "ill"])
    ['healthy', 'ill']
    """
    if len(class_names) == N_GRADES and are_numbers(class_names):
        return [f"{k} {name}" for k, name in enumerate(GRADE_NAMES)]
    return list(class_names)
