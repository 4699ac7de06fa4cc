"""Thresholds that are scored on photographs of patients who did not set them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_random_state

from fundus.exceptions import DataError, Mention, Message, OperatingPointError
from fundus.grades.cutpoints import grades_at
from fundus.meta.tuned_cutpoints import tuned_cutpoints
from fundus.metrics.operating_points import operating_point
from fundus.model_selection.leaks import Folds
from fundus.model_selection.splits import check_split, make_cv

#: Of fewer patients than about so many cutpoints are too uncertain to trust without a look.
ENOUGH = 100

#: How often folds are shuffled anew until every training part holds every grade.
_TRIES = 50


def patient_folds(
    X: Any, y: NDArray[np.intp], who: NDArray[Any] | None, cv: int, *, cache: Any, random_state: Any
) -> Folds:
    """Return shuffled folds of whole patients, each of which leaves photographs of every grade.

    Parameters
    ----------
    X : images or array-like
    y : ndarray of int, shape (n_images,)
    who : ndarray, shape (n_images,), or None
        Patients.
    cv : int
        Number of folds.
    cache : bool or path
        Store that remembers the digests of files.
    random_state : int, RandomState or None

    Raises
    ------
    SplitError
        If there are fewer patients, or images of every grade, than folds, or an image is on both
        sides of one.
    DataError
        If no folds were found that leave every grade.
    """
    if random_state is None or isinstance(random_state, np.random.RandomState):
        random_state = check_random_state(random_state).randint(2**31 - _TRIES)
    rows = np.zeros(len(y))
    for seed in range(random_state, random_state + _TRIES):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The least populated class")
            folds = list(make_cv(cv, y, who, seed).split(rows, y, who))
        if all(len(test) and not len(np.setdiff1d(y, y[train])) for train, test in folds):
            return check_split(folds, X, y, who, cache=cache)
    fewer = Mention("cv", text="cv")
    text = (
        f"No {cv} folds were found that leave photographs of every grade to the other folds: add "
        f"photographs of other patients with the rarest grade, or lower {fewer}."
    )
    raise DataError(Message(text, fewer))


def crossed_grades(
    severity: NDArray[np.float64],
    y: NDArray[np.intp],
    who: NDArray[Any] | None,
    folds: Folds,
    n_grades: int,
    **options: Any,
) -> NDArray[np.intp]:
    """Cut each fold's severities by the cutpoints of the other folds.

    Parameters
    ----------
    severity : ndarray of float, shape (n_images,)
    y : ndarray of int, shape (n_images,)
    who : ndarray, shape (n_images,), or None
        Patients.
    folds : list of (train, test)
        Every image is tested once.
    n_grades : int
    **options
        As of `tuned_cutpoints`.

    Returns
    -------
    ndarray of int, shape (n_images,)
        Positions on the scale.
    """
    predicted = np.full(len(y), -1)
    for train, test in folds:
        cutpoints, *_ = tuned_cutpoints(
            severity[train],
            y[train],
            np.arange(n_grades),
            allowed=np.unique(y),
            groups=None if who is None else who[train],
            **options,
        )
        predicted[test] = grades_at(severity[test], cutpoints)
    return predicted


def crossed_referrals(
    severity: NDArray[np.float64], truth: NDArray[np.bool_], folds: Folds, wanted: str, goal: float
) -> tuple[NDArray[np.bool_] | None, str]:
    """Refer each fold's images by the operating point of the other folds.

    Parameters
    ----------
    severity : ndarray of float, shape (n_images,)
    truth : ndarray of bool, shape (n_images,)
    folds : list of (train, test)
    wanted : {"sensitivity", "specificity"}
    goal : float

    Returns
    -------
    referred : ndarray of bool, shape (n_images,), or None
        ``None`` where some folds have no such point.
    note : str
        Why there are none.
    """
    referred = np.zeros(len(truth), dtype=bool)
    for train, test in folds:
        try:
            point = operating_point(severity[train], truth[train], **{wanted: goal})
        except (OperatingPointError, DataError) as error:
            return None, f"not cross-fitted at {wanted} {goal:g}: {error}"
        referred[test] = severity[test] >= point.threshold
    return referred, ""


def count_patients(who: NDArray[Any] | None, rows: NDArray[Any]) -> int:
    """Return the number of patients in some rows, of images where patients are unknown."""
    if who is None:
        return int(np.count_nonzero(rows)) if rows.dtype == bool else len(rows)
    return len(set(who[rows].tolist()))


def check_amounts(
    y: NDArray[np.intp],
    who: NDArray[Any] | None,
    labels: Sequence[str],
    known: NDArray[np.intp],
    *,
    min_patients: int,
    may_be_missing: bool,
) -> None:
    """Refuse graded photographs on which cutpoints cannot be fitted, or not be scored honestly.

    Parameters
    ----------
    y : ndarray of int, shape (n_images,)
        Positions on the scale.
    who : ndarray, shape (n_images,), or None
        Patients.
    labels : sequence of str, shape (n_grades,)
        What the grades are called.
    known : ndarray of int
        Positions of the grades that the model was trained on.
    min_patients : int
    may_be_missing : bool
        Whether a grade may have no photograph.

    Raises
    ------
    DataError
        The message says what is needed.
    """
    whom = "photographs" if who is None else "patients"
    n = count_patients(who, np.arange(len(y)))
    if n < min_patients:
        text = (
            f"{n} {whom} are too few to fit cutpoints on: at least {min_patients} are needed, and "
            f"less than about {ENOUGH} are few. Grade photographs of more patients"
        )
        if n < 2:
            raise DataError(f"{text}.")
        fewer = Mention("min_patients", n)
        raise DataError(Message(f"{text}, or pass {fewer} if so few must do.", fewer))
    present = np.unique(y)
    strange = np.setdiff1d(present, known)
    if len(strange):
        row = int(np.flatnonzero(y == strange[0])[0])
        raise DataError(
            f"The model was not trained on grade {labels[strange[0]]}, which row {row} has, so no "
            "cutpoint can make it predict that: leave these photographs out, or train anew."
        )
    missing = np.setdiff1d(known, present)
    if len(missing) and not (may_be_missing and len(present) > 1):
        names = ", ".join(labels[k] for k in missing)
        text = (
            f"No photograph has grade {names}, and a cutpoint needs photographs of the grades on "
            "both sides: add some"
        )
        if len(present) < 2:
            raise DataError(f"{text}.")
        never = Mention("missing_grades", "never")
        text = f"{text}, or pass {never}, after which such a grade is not predicted any more."
        raise DataError(Message(text, never))
    for grade in present:
        if count_patients(who, y == grade) < 2:
            one = "photograph" if who is None else "patient"
            raise DataError(
                f"Only one {one} has grade {labels[grade]}, so nothing is left to set cutpoints "
                "with when it is scored: add photographs of other patients with that grade, or "
                "leave it out."
            )
