"""Reads ``y`` and ``grades=`` as labels on a scale."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from fundus.exceptions import DataError, DataWarning, InvalidGradeError, warn_caller
from fundus.parameters import invalid, refused


def grade_scale(grades: int | Sequence[Hashable]) -> NDArray[Any]:
    """Return the labels of a scale ``(n_grades,)``, lowest first.

    Parameters
    ----------
    grades : int or sequence
        The number of grades, meaning ``0 … grades - 1``, or the labels in order.

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
        raise invalid("", "grades", "an int or a sequence of labels", grades)
    else:
        scale = np.asarray(list(grades))
    if len(scale) < 2 or len(set(scale.tolist())) < len(scale):
        raise refused(
            "", "grades", f"must give at least two grades, each once. Got {grades!r} instead."
        )
    return scale


def to_positions(
    y: ArrayLike,
    scale: NDArray[Any],
    *,
    name: str = "y",
    where: Callable[[int], str] = "row {}".format,
) -> NDArray[np.intp]:
    """Positions of labels on a scale, ``0 … n_grades - 1``.

    Parameters
    ----------
    y : array-like, shape (n_samples,)
    scale : ndarray, shape (n_grades,)
        The labels of the scale, lowest first.
    name : str, default="y"
        Name of `y` in an error.
    where : callable
        Names a row in an error.

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
        raise _not_one_column(labels, name)
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


def _not_one_column(array: NDArray[Any], name: str) -> InvalidGradeError:
    """Return the error for labels of a wrong shape; one-hot rows are recognised by their sums."""
    hint = ""
    if array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind in "biuf" and len(array):
        numbers = array.astype(np.float64)
        if (numbers >= 0).all() and np.allclose(numbers.sum(axis=1), 1.0):
            hint = (
                ": the rows look one-hot; pass the column of each row's 1, "
                f"np.asarray({name}).argmax(axis=1)"
            )
    return InvalidGradeError(
        f"{name} must have one grade a row, shape (n_samples,). "
        f"Got shape {array.shape} instead{hint}."
    )


@dataclass(frozen=True)
class Labels:
    """Labels, and their order if they have one.

    Parameters
    ----------
    values : ndarray, shape (n_samples,)
    order : ndarray, shape (n_grades,), default=None
        The categories of a pandas Categorical, some of which may have no rows; ``None`` if the
        labels have no order.
    meant : bool, default=False
        Whether `order` was chosen by the user, not made by pandas from sorted names.
    """

    values: NDArray[Any]
    order: NDArray[Any] | None = None
    meant: bool = False

    @property
    def scale(self) -> NDArray[Any]:
        """The labels, lowest first, in the order of the categories, else sorted."""
        return np.unique(self.values) if self.order is None else self.order

    @property
    def guessed(self) -> bool:
        """Whether the order matters and is only alphabetical."""
        return not self.meant and len(self.scale) > 2 and is_text(self.scale)

    def warn_if_guessed(self) -> None:
        """Warn if names were sorted alphabetically.

        Warns
        -----
        DataWarning
        """
        if self.guessed:
            warn_caller(
                f"The labels are names and their order is not known, so it is alphabetical here: "
                f"{self.scale.tolist()}, lowest first. Give the order by grades=[…] (of a "
                "function: n_grades=[…]), lowest first, or by labels that are an ordered "
                "pandas.Categorical. Inside VotingClassifier, StackingClassifier and others that "
                "encode labels alphabetically, neither helps: encode first, as y.cat.codes of "
                "that Categorical.",
                DataWarning,
            )

    def warn_if_contradicted(self, scale: NDArray[Any]) -> None:
        """Warn if the categories have another order than the scale that is used.

        Parameters
        ----------
        scale : ndarray, shape (n_grades,)
            The value of ``grades``.

        Warns
        -----
        DataWarning
        """
        place = {label: k for k, label in enumerate(scale.tolist())}
        places = [place[label] for label in self.scale.tolist() if label in place]
        if self.meant and self.order is not None and places != sorted(places):
            warn_caller(
                f"The 'grades' parameter has another order, {scale.tolist()}, than the categories "
                f"of y, {self.scale.tolist()}: that of 'grades' is used.",
                DataWarning,
            )

    def carried(self) -> Any:
        """Return the labels in a form that keeps the order when rows are selected.

        Returns
        -------
        ndarray or Series of an ordered categorical dtype, shape (n_samples,)
        """
        if self.order is None and not self.guessed:
            return self.values
        return pd.Series(pd.Categorical(self.values, categories=self.scale, ordered=True))


def is_text(labels: NDArray[Any]) -> bool:
    """Whether labels are names, whose sorted order means nothing."""
    return labels.dtype.kind in "USO" and all(isinstance(x, (str, bytes)) for x in labels.tolist())


def as_labels(y: Any, *, name: str = "y", warn: bool = False) -> Labels:
    """Read labels, and the order of their categories where they have one.

    Parameters
    ----------
    y : array-like, shape (n_samples,)
        Also a pandas Categorical, or a Series of one.
    name : str, default="y"
        Name of `y` in an error.
    warn : bool, default=False
        Whether to warn about a column vector.

    Raises
    ------
    InvalidGradeError
        If there is not one label per row, as in one-hot rows.

    Examples
    --------
    >>> names = pd.Categorical(["mild", "none"], ["none", "mild", "severe"], ordered=True)
    >>> as_labels(names).scale.tolist()
    ['none', 'mild', 'severe']
    """
    column = y.iloc[:, 0] if isinstance(y, pd.DataFrame) and y.shape[1] == 1 else y
    array = np.asarray(column)
    if array.ndim != 1 and not (array.ndim == 2 and array.shape[1] == 1):
        raise _not_one_column(array, name)
    values = np.asarray(column_or_1d(y, warn=warn))
    dtype = getattr(column, "dtype", None)
    if not isinstance(dtype, pd.CategoricalDtype):
        return Labels(values)
    order = dtype.categories.to_numpy()
    # by default pandas sorts the names of a Categorical and leaves it unordered
    meant = bool(dtype.ordered) or not dtype.categories.is_monotonic_increasing
    return Labels(values, order, meant)


def read_labels(
    y: ArrayLike | None, n_rows: int, where: Callable[[int], str], owner: object
) -> Labels:
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

    Raises
    ------
    InvalidGradeError
        If a grade is missing, there is only one, or the rows are one-hot.
    DataError
        If ``X`` and ``y`` differ in length, or there is no ``y``.
    """
    if y is None:
        raise DataError(
            f"{type(owner).__name__} requires y to be passed, but the target y is None."
        )
    read = as_labels(y, warn=True)
    labels = read.values
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
    return read


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
        Position of every row on the scale.
    """

    scale: NDArray[Any]
    classes: NDArray[Any]
    positions: NDArray[np.intp]


def read_grades(
    labels: Labels,
    grades: int | Sequence[Hashable] | None,
    where: Callable[[int], str],
) -> Grades:
    """Find the positions of labels on their scale.

    Parameters
    ----------
    labels : Labels
    grades : int, sequence or None
        The scale; ``None`` is the order of a Categorical, else the sorted labels.
    where : callable
        Names a row in an error.

    Raises
    ------
    InvalidGradeError
        If a label is off the scale, or all are, such as numbers if the scale has names.

    Warns
    -----
    DataWarning
        Where more than two names are sorted alphabetically, or `grades` contradicts
        the order of a Categorical.
    """
    classes = np.unique(labels.values)
    if grades is None:
        labels.warn_if_guessed()
        scale = labels.scale
    else:
        scale = grade_scale(grades)
        _refuse_other_kind(classes, scale)
    read = Grades(scale, classes, to_positions(labels.values, scale, where=where))
    if grades is not None:
        labels.warn_if_contradicted(scale)
    return read


def _refuse_other_kind(classes: NDArray[Any], scale: NDArray[Any]) -> None:
    """Refuse numbers if the scale has names, and names if it has numbers."""
    names, numbers = is_text(scale), scale.dtype.kind in "iu"
    if names and classes.dtype.kind in "iuf":
        raise InvalidGradeError(
            f"y must hold grades out of {scale.tolist()}. Got the numbers {classes.tolist()} "
            "instead, none of which is on the scale: VotingClassifier, StackingClassifier and "
            "others encode labels alphabetically before they fit the estimators inside them, so "
            "grades=[names] cannot be used there. Encode y first, such as y.cat.codes of an "
            "ordered pandas.Categorical, and leave the names out of 'grades'."
        )
    if numbers and is_text(classes):
        raise InvalidGradeError(
            f"y must hold grades out of {scale.tolist()}. Got the names {classes.tolist()} "
            "instead: give them as grades=[…], lowest first."
        )
