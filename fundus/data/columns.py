"""What a frame says beside the images: eyes, fellow eyes and measurements."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fundus.exceptions import DataError
from fundus.grades.patients import known_patients

_SIDES = {"left": 0.0, "right": 1.0, None: np.nan}
_OTHER = {"left": "right", "right": "left"}


def right_eyes(X: pd.DataFrame) -> NDArray[np.float64]:
    """Column ``eye`` as numbers, shape (n,): 1 for right, 0 for left, ``nan`` for unknown.

    Raises
    ------
    DataError
        If a row holds something else.

    Examples
    --------
    >>> right_eyes(pd.DataFrame({"eye": ["right", "left", None]})).tolist()
    [1.0, 0.0, nan]
    """
    return np.array([_SIDES[eye] for eye in _eyes(X)])


def _eyes(X: pd.DataFrame) -> list[str | None]:
    eyes = [None if pd.isna(eye) else eye for eye in X["eye"].tolist()]
    for row, eye in enumerate(eyes):
        if eye not in _SIDES:
            raise DataError(
                "The 'eye' column of X must hold 'left', 'right' or nothing. "
                f"Got {eye!r} in row {row}."
            )
    return eyes


def numeric_column(X: Any, name: str) -> NDArray[np.float64]:
    """Return a numeric column of a frame, shape (n,); missing values are ``nan``.

    Raises
    ------
    DataError
        If `X` is no frame, or the column is missing, no number, or infinite.

    Examples
    --------
    >>> numeric_column(pd.DataFrame({"age": [61, None]}), "age").tolist()
    [61.0, nan]
    """
    if not isinstance(X, pd.DataFrame) or name not in X.columns:
        got = list(X.columns) if isinstance(X, pd.DataFrame) else type(X).__name__
        raise DataError(f"X must be a frame with the column {name!r}. Got {got} instead.")
    column = X[name]
    if not pd.api.types.is_numeric_dtype(column):
        raise DataError(
            f"The column {name!r} of X must hold numbers. Got dtype {column.dtype} instead."
        )
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isinf(values).any():
        row = int(np.flatnonzero(np.isinf(values))[0])
        raise DataError(f"The column {name!r} of X must be finite. Got {values[row]} in row {row}.")
    return values


def fellow_severity(X: pd.DataFrame, severity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean severity of the same patient's other eye, shape (n,), by ``patient`` and ``eye`` of X.

    It is ``nan`` where the other eye is not in the frame, or the side is unknown.

    Examples
    --------
    >>> frame = pd.DataFrame({"patient": ["a", "a", "b"], "eye": ["left", "right", "left"]})
    >>> fellow_severity(frame, np.array([1.0, 3.0, 2.0])).tolist()
    [3.0, 1.0, nan]
    """
    patients = known_patients(X)
    if patients is None:
        raise DataError("X must have a 'patient' column to look for fellow eyes.")
    seen: dict[tuple[Any, str | None], list[float]] = {}
    pairs = list(zip(patients, _eyes(X), strict=True))
    for pair, value in zip(pairs, severity.tolist(), strict=True):
        seen.setdefault(pair, []).append(value)
    return np.array(
        [np.mean(seen.get((who, _OTHER[eye]), [np.nan])) if eye else np.nan for who, eye in pairs]
    )
