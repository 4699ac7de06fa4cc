"""Labels on their scale: what ``y`` and ``grades=`` mean."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from fundus.exceptions import DataError, InvalidGradeError, InvalidParameterError


def grade_scale(grades: int | Sequence[Hashable]) -> NDArray[Any]:
    """Return the labels of a scale, lowest first.

    Parameters
    ----------
    grades : int or sequence
        The number of grades, meaning ``0 … grades - 1``, or the labels in order.

    Returns
    -------
    ndarray, shape (n_grades,)

    Raises
    ------
    InvalidParameterError
        If there are fewer than two grades or a label occurs twice.

    Examples
    --------
    >>> grade_scale(5).tolist()
    [0, 1, 2, 3, 4]
    """
    if isinstance(grades, (int, np.integer)) and not isinstance(grades, bool):
        scale = np.arange(int(grades))
    elif isinstance(grades, (str, bytes, bool, float)):
        raise InvalidParameterError(
            "The 'grades' parameter must be an int or a sequence of labels. "
            f"Got {grades!r} instead."
        )
    else:
        scale = np.asarray(list(grades))
    if len(scale) < 2 or len(set(scale.tolist())) < len(scale):
        raise InvalidParameterError(
            "The 'grades' parameter must give at least two grades, each once. "
            f"Got {grades!r} instead."
        )
    return scale


def to_positions(
    y: ArrayLike,
    scale: NDArray[Any],
    *,
    name: str = "y",
    where: Callable[[int], str] = "row {}".format,
) -> NDArray[np.intp]:
    """Positions of labels on a scale.

    Parameters
    ----------
    y : array-like, shape (n_samples,)
        Labels.
    scale : ndarray, shape (n_grades,)
        The labels of the scale, lowest first.
    name : str, default="y"
        What to call `y` in an error.
    where : callable
        Names a row in an error.

    Returns
    -------
    ndarray of int, shape (n_samples,)
        ``0 … n_grades - 1``.

    Raises
    ------
    InvalidGradeError
        If a label is missing (NaN) or not on the scale; the message gives the row.

    Examples
    --------
    >>> to_positions(["mild", "none"], np.array(["none", "mild"])).tolist()
    [1, 0]
    """
    labels = np.asarray(y)
    if labels.ndim != 1:
        raise InvalidGradeError(
            f"{name} must have one grade a row, shape (n_samples,). Got shape {labels.shape}."
        )
    index = {label: k for k, label in enumerate(scale.tolist())}
    positions = np.array([index.get(label, -1) for label in labels.tolist()], dtype=np.intp)
    bad = np.flatnonzero(positions < 0)
    if len(bad):
        more = f" ({len(bad) - 1} more such rows)" if len(bad) > 1 else ""
        raise InvalidGradeError(
            f"{name} must hold grades out of {scale.tolist()}. "
            f"Got {labels.tolist()[bad[0]]!r} in {where(int(bad[0]))} instead{more}."
        )
    return positions


def read_labels(
    y: ArrayLike | None, n_rows: int, where: Callable[[int], str], owner: object
) -> NDArray[Any]:
    """Check that ``y`` has a grade in every row, and at least two different ones.

    Parameters
    ----------
    y : array-like, shape (n_samples,)
    n_rows : int
        Rows of ``X``.
    where : callable
        Names a row in a message.
    owner : object
        The estimator, named in a message.

    Returns
    -------
    ndarray, shape (n_samples,)

    Raises
    ------
    InvalidGradeError
        If a grade is missing, or there is one only.
    DataError
        If ``X`` and ``y`` differ in length, or there is no ``y``.
    """
    if y is None:
        raise DataError(
            f"{type(owner).__name__} requires y to be passed, but the target y is None."
        )
    labels = column_or_1d(y, warn=True)
    if len(labels) != n_rows:
        raise DataError(
            "X and y must be of one length: inconsistent numbers of samples. "
            f"Got {n_rows} rows of X and {len(labels)} grades."
        )
    if n_rows == 0:
        raise DataError("X and y must have rows. Got 0 rows: found array with 0 sample(s).")
    unusable = pd.isna(labels)
    if labels.dtype.kind == "f":
        unusable |= np.isinf(labels)
    missing = np.flatnonzero(unusable)
    if len(missing):
        more = f"; {len(missing) - 1} more rows have none either" if len(missing) > 1 else ""
        raise InvalidGradeError(
            "y must hold a grade in every row. "
            f"Got {labels.tolist()[missing[0]]!r} (Input y contains NaN or infinity) in "
            f"{where(int(missing[0]))}{more}."
        )
    check_classification_targets(labels)
    if len(pd.unique(labels)) < 2:
        raise InvalidGradeError(
            "y must hold at least 2 grades (classes) to learn from. "
            f"Got 1 class only: {labels.tolist()[0]!r} in all {n_rows} rows."
        )
    return labels


@dataclass(frozen=True)
class Grades:
    """The grades of a training set.

    Parameters
    ----------
    scale : ndarray, shape (n_grades,)
        All labels, lowest first.
    classes : ndarray, shape (n_classes,)
        The labels that occur, in ``np.unique`` order.
    positions : ndarray of int, shape (n_samples,)
        Place of every row on the scale.
    """

    scale: NDArray[Any]
    classes: NDArray[Any]
    positions: NDArray[np.intp]


def read_grades(
    labels: NDArray[Any],
    grades: int | Sequence[Hashable] | None,
    where: Callable[[int], str],
) -> Grades:
    """Place labels on their scale.

    Parameters
    ----------
    labels : ndarray, shape (n_samples,)
    grades : int, sequence or None
        The scale; ``None`` is the sorted labels.
    where : callable
        Names a row in an error.

    Returns
    -------
    Grades

    Raises
    ------
    InvalidGradeError
        If a label is off the scale.
    """
    classes = np.unique(labels)
    scale = classes if grades is None else grade_scale(grades)
    return Grades(scale, classes, to_positions(labels, scale, where=where))
