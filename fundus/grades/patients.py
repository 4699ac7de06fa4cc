"""Reads the patient of each row from arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fundus.exceptions import DataError


def read_patients(groups: Any, n_rows: int, *, name: str = "groups") -> NDArray[Any]:
    """Return the patient of every row; none of them is unknown.

    Unknown patients are not one patient: photographs of a patient would then be on both sides
    of a split, or those of all unknown patients on one side.

    Parameters
    ----------
    groups : array-like, shape (n_samples,)
        Names or numbers.
    n_rows : int
        Length that `groups` must have.
    name : str, default="groups"
        Name of `groups` in a message.

    Returns
    -------
    ndarray, shape (n_samples,)
        Of one sortable type: if text and numbers are mixed, as in spreadsheets,
        all become text.

    Raises
    ------
    DataError
        If there is not one patient for each row, or a patient is unknown (``None``, NaN or
        ``pandas.NA``); the first such row is named, and the rest counted.

    Examples
    --------
    >>> read_patients(["anna", None, "ben"], 3)
    Traceback (most recent call last):
    ...
    fundus.exceptions.DataError: groups must name a patient in every row. Got None in row 1: ...
    """
    # a list with NaN must not become an array of text that holds 'nan'
    mixed = isinstance(groups, (list, tuple)) and pd.isna(_flat(groups)).any()
    values = _flat(groups) if mixed else np.asarray(groups)
    if values.ndim != 1:
        raise DataError(
            f"{name} must be 1-D, with one patient a row. Got shape {values.shape} for {n_rows} "
            "rows: pass one column, or join several into one name."
        )
    if len(values) != n_rows:
        raise DataError(f"{name} must have one patient a row. Got {len(values)} for {n_rows} rows.")
    unknown = np.flatnonzero(pd.isna(values))
    if len(unknown):
        more = f", and in {len(unknown) - 1} more rows" if len(unknown) > 1 else ""
        raise DataError(
            f"{name} must name a patient in every row. Got {values.tolist()[unknown[0]]!r} in row "
            f"{unknown[0]}{more}: give an image whose patient is unknown an id of its own, or "
            "leave patients out if they are not known."
        )
    if values.dtype.kind == "O":
        try:
            np.unique(values)
        except TypeError:
            return np.array([str(value) for value in values], dtype=object)
    return values


def _flat(groups: Any) -> NDArray[Any]:
    values = np.empty(len(groups), dtype=object)
    values[:] = groups
    return values


def known_patients(frame: pd.DataFrame) -> NDArray[Any] | None:
    """Return the patients of a frame, or ``None`` if it has no such column.

    Returns
    -------
    ndarray, shape (n,), or None

    Raises
    ------
    DataError
        If a row names no patient.

    Examples
    --------
    >>> known_patients(pd.DataFrame({"patient": ["anna", "ben"]})).tolist()
    ['anna', 'ben']
    """
    if "patient" not in frame.columns:
        return None
    return read_patients(frame["patient"], len(frame), name="The 'patient' column of X")


def patients_of(X: Any, groups: Any, n_rows: int) -> NDArray[Any] | None:
    """Return the given patients, else those in a frame's column, else ``None``.

    Parameters
    ----------
    X : images or array-like
    groups : array-like, shape (n_samples,), or None
    n_rows : int
        Rows of `X`.

    Returns
    -------
    ndarray, shape (n_samples,), or None

    Raises
    ------
    DataError
        As `read_patients`.
    """
    if groups is not None:
        return read_patients(groups, n_rows)
    return known_patients(X) if isinstance(X, pd.DataFrame) else None
