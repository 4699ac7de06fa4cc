"""Groups of images by a column of a frame: categories, bands of age, quartiles."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fundus.data.tables import normal_name
from fundus.exceptions import DataError, Mention, Message

#: A column of numbers with more distinct ones is a measurement, and no category.
MOST_CODES = 10

#: Most groups of a column, so that one with a name in every row is told.
MOST_GROUPS = 100

#: What a message and a table call the images whose value is missing.
UNKNOWN = "unknown"


@dataclass(frozen=True, eq=False)
class Grouping:
    """Images by the value of a column.

    Parameters
    ----------
    column : str
    names : tuple of str
        The groups, in order.
    codes : ndarray of int, shape (n_images,)
        Group of each image, -1 where the value is missing.
    """

    column: str
    names: tuple[str, ...]
    codes: NDArray[np.intp]


def column_of(X: Any, column: str, *, role: str) -> pd.Series:
    """Return a column of a frame.

    Parameters
    ----------
    X : DataFrame
    column : str
    role : str
        Name of the parameter that names the column, for messages.

    Raises
    ------
    DataError
        If `X` is no frame, or has no such column; those that it has are listed.

    Examples
    --------
    >>> column_of(pd.DataFrame({"path": [], "eye": []}), "camera", role="by")
    Traceback (most recent call last):
    ...
    fundus.exceptions.DataError: There is no column 'camera' for by=; the columns are 'path', 'eye'.
    """
    named = Mention(role)
    if not isinstance(X, pd.DataFrame):
        text = f"The images stand in no table that could have the column {column!r} for {named}."
        raise DataError(Message(text, named))
    if column not in X.columns:
        listed = ", ".join(repr(str(name)) for name in X.columns)
        text = f"There is no column {column!r} for {named}; the columns are {listed}."
        raise DataError(Message(text, named))
    return X[column]


def is_measurement(values: pd.Series) -> bool:
    """Whether a column holds numbers, more different ones than codes of categories would be.

    Examples
    --------
    >>> is_measurement(pd.Series(range(20))), is_measurement(pd.Series([0, 1] * 10))
    (True, False)
    """
    numbers = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    return numbers and values.nunique() > MOST_CODES


def group_images(X: Any, column: str, *, role: str = "by", bands: bool = True) -> Grouping:
    """Group images by a column.

    Parameters
    ----------
    X : DataFrame
    column : str
    role : str, default="by"
        Name of the parameter that names the column, for messages.
    bands : bool, default=True
        Whether measurements are cut: ages into bands of ten years, others at their quartiles.

    Returns
    -------
    Grouping
        Empty text counts as missing, as do infinite numbers.

    Raises
    ------
    DataError
        If there is no such column, it has no value in any row, or more than a hundred groups.

    Examples
    --------
    >>> frame = pd.DataFrame({"age": [*range(38, 58, 2), 71, None]})
    >>> found = group_images(frame, "age")
    >>> found.names, found.codes.tolist()
    (('30 to 39', '40 to 49', '50 to 59', '70 to 79'), [0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, -1])
    """
    values = column_of(X, column, role=role)
    is_age = bool(re.search(r"\bage\b", normal_name(column))) and _are_years(values)
    if bands and (is_age or is_measurement(values)):
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        names, codes = _bands(np.where(np.isfinite(numbers), numbers, np.nan), is_age=is_age)
    else:
        texts = [_text(value) for value in values.tolist()]
        known = sorted({text for text in texts if text is not None}, key=_natural)
        names, place = known, {name: k for k, name in enumerate(known)}
        codes = np.array([-1 if text is None else place[text] for text in texts], dtype=np.intp)
    named = Mention(role)
    if not names:
        text = f"The column {column!r} for {named} has no value in any row."
        raise DataError(Message(text, named))
    if len(names) > MOST_GROUPS:
        text = (
            f"The column {column!r} for {named} has {len(names)} different values, and at most "
            f"{MOST_GROUPS} groups are compared: choose a column of categories."
        )
        raise DataError(Message(text, named))
    return Grouping(column, tuple(names), codes)


def _are_years(values: pd.Series) -> bool:
    """Whether a column of ages holds years, and no codes of groups of ages."""
    numbers = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    return bool(numbers and (values.dropna() > MOST_CODES).any())


def _bands(numbers: NDArray[np.float64], *, is_age: bool) -> tuple[list[str], NDArray[np.intp]]:
    known = np.isfinite(numbers)
    codes = np.full(len(numbers), -1, dtype=np.intp)
    if is_age:
        decades, codes[known] = np.unique(numbers[known] // 10, return_inverse=True)
        return [f"{10 * d:.0f} to {10 * d + 9:.0f}" for d in decades], codes
    ends = np.unique(np.quantile(numbers[known], [0, 0.25, 0.5, 0.75, 1]))
    # a band holds its upper end
    codes[known] = np.maximum(np.searchsorted(ends, numbers[known], side="left") - 1, 0)
    names = [f"{a:.10g} to {b:.10g}" for a, b in pairwise(ends)]
    return names, codes


def _text(value: Any) -> str | None:
    if pd.isna(value) or (isinstance(value, float) and not np.isfinite(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # a column of integers where one is missing
    return str(value).strip() or None


def _natural(text: str) -> tuple[Any, ...]:
    """Order numbers by size, before text."""
    try:
        return 0, float(text), text
    except ValueError:
        return 1, text
