"""Screening of patients, by the worse eye."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.grades.icdr import is_sight_threatening


def worse_eyes(
    patient: NDArray[np.intp],
    grade: NDArray[np.intp],
    severity: NDArray[np.float64],
    oedema: NDArray[np.float64] | None,
    called: NDArray[np.bool_],
) -> dict[str, Any]:
    """Return arguments of `screening_report` with a row for each patient, by the worse eye.

    Parameters
    ----------
    patient : ndarray of int, shape (n_images,)
        Numbered from 0.
    grade : ndarray of int, shape (n_images,)
    severity : ndarray of float, shape (n_images,)
        ``inf`` for an image that could not be graded.
    oedema : ndarray of float, shape (n_images,), or None
        ``nan`` where it is not known.
    called : ndarray of bool, shape (n_images,)
        Images that graders called ungradable, whose grade and oedema do not count.

    Returns
    -------
    dict of str to ndarray
        A patient counts as called ungradable where an eye was, unless the other eye threatens
        sight: then nothing about the patient is unknown.

    Examples
    --------
    >>> none = np.zeros(3, bool)
    >>> found = worse_eyes(
    ...     np.array([0, 0, 1]), np.array([0, 3, 1]), np.array([0.2, 2.7, np.inf]), None, none
    ... )
    >>> found["y_true"].tolist(), found["severity"].tolist(), found["ungradable"].tolist()
    ([3, 1], [2.7, inf], [False, True])
    """

    def worst(values: NDArray[Any], least: float) -> NDArray[np.float64]:
        found = np.full(int(patient.max()) + 1, least, dtype=float)
        np.maximum.at(found, patient, np.where(np.isnan(values), least, values))
        return found

    grades = worst(np.where(called, 0.0, grade), 0).astype(int)
    highest = worst(severity, -np.inf)
    dme = None if oedema is None else worst(np.where(called, np.nan, oedema), 0)
    return {
        "y_true": grades,
        "severity": highest,
        "dme": dme,
        "ungradable": np.isposinf(highest),
        "called_ungradable": (worst(called.astype(float), 0) > 0)
        & ~is_sight_threatening(grades, dme),
    }
