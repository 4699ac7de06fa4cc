"""What users pass as ``X``, as rows of images: paths, a frame with a path column, or arrays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fundus.data.patients import known_patients
from fundus.exceptions import DataError
from fundus.images import ImageRecipe, array_digest, decode, prepare_array, read_bytes

_ACCEPTED = (
    "X must be a 1-D array-like of image paths, a DataFrame with a 'path' column, or a uint8 RGB "
    "array of shape (n, height, width, 3)."
)


@dataclass(frozen=True)
class Images:
    """The images of ``X``, none of them read yet.

    Parameters
    ----------
    paths : ndarray of str, shape (n,), or None
        Image files.
    arrays : ndarray of uint8, shape (n, height, width, 3), or None
        RGB images, 0–255; exactly one of `paths` and `arrays` is given.
    patients : ndarray, shape (n,), or None
        Patient of each row, where ``X`` is a frame that says so.
    """

    paths: NDArray[Any] | None = None
    arrays: NDArray[np.uint8] | None = None
    patients: NDArray[Any] | None = None

    def __len__(self) -> int:
        data = self.paths if self.paths is not None else self.arrays
        assert data is not None
        return len(data)

    @property
    def units(self) -> NDArray[Any] | None:
        """What must stay on one side of a split: patients where known, else files."""
        return self.paths if self.patients is None else self.patients

    def where(self, row: int) -> str:
        """Name a row in a message."""
        return f"row {row}" if self.paths is None else f"row {row} ({self.paths[row]!r})"

    def subset(self, rows: NDArray[np.intp]) -> Images:
        """Return some of the rows."""
        return replace(
            self,
            **{
                field.name: value[rows]
                for field in fields(self)
                if isinstance(value := getattr(self, field.name), np.ndarray)
            },
        )

    def content(self, row: int) -> bytes | NDArray[np.uint8]:
        """Read the file's bytes, or return the array, of one row."""
        if self.paths is not None:
            return read_bytes(self.paths[row])
        assert self.arrays is not None
        return self.arrays[row]

    def picture(self, row: int, recipe: ImageRecipe) -> NDArray[np.uint8]:
        """Decode one row into a square uint8 RGB image."""
        content = self.content(row)
        if isinstance(content, bytes):
            return decode(content, recipe, name=self.where(row))
        return prepare_array(content, recipe)

    def digest_of(self, row: int, content: str) -> str:
        """SHA-256 that names what `picture` makes of a row, whose content has the one given."""
        return content

    def array_digest(self, row: int) -> str:
        """SHA-256 of an in-memory image."""
        assert self.arrays is not None
        return array_digest(self.arrays[row])


def as_images(X: Any) -> Images:
    """Read ``X`` as rows of images.

    Parameters
    ----------
    X : array-like of path, DataFrame or ndarray of uint8
        See the message of the error.

    Returns
    -------
    Images

    Raises
    ------
    DataError
        If ``X`` is none of the accepted forms, is empty, or a row holds no path.

    Examples
    --------
    >>> as_images(["10_left.jpeg", "10_right.jpeg"]).where(1)
    "row 1 ('10_right.jpeg')"
    """
    if isinstance(X, Images):
        return X
    if isinstance(X, pd.DataFrame):
        if "path" not in X.columns:
            raise DataError(f"{_ACCEPTED} Got a DataFrame with columns {list(X.columns)} instead.")
        return Images(paths=_paths(X["path"].tolist()), patients=known_patients(X))
    if isinstance(X, (str, bytes, os.PathLike)):
        raise DataError(f"{_ACCEPTED} Got the single path {X!r} instead: put it in a list.")
    if isinstance(X, np.ndarray) and X.ndim > 1:
        return Images(arrays=_check_arrays(X))
    if isinstance(X, (pd.Series, np.ndarray)):
        return Images(paths=_paths(X.tolist()))
    if isinstance(X, Sequence):
        rows = list(X)
        if rows and all(isinstance(row, np.ndarray) for row in rows):
            shapes = {row.shape for row in rows}
            if len(shapes) > 1:
                raise DataError(
                    f"{_ACCEPTED} Got arrays of {len(shapes)} different shapes, such as "
                    f"{sorted(shapes)[:2]}: save them as files, or resize them to one shape."
                )
            return Images(arrays=_check_arrays(np.stack(rows)))
        return Images(paths=_paths(rows))
    raise DataError(f"{_ACCEPTED} Got {type(X).__name__} instead.")


def _paths(rows: list[Any]) -> NDArray[Any]:
    if not rows:
        raise DataError(f"{_ACCEPTED} Got 0 rows: found array with 0 sample(s).")
    paths = np.empty(len(rows), dtype=object)
    for k, row in enumerate(rows):
        if not isinstance(row, (str, Path)) or not str(row):
            raise DataError(f"{_ACCEPTED} Got {row!r} in row {k} instead.")
        paths[k] = str(row)
    return paths


def _check_arrays(X: NDArray[Any]) -> NDArray[np.uint8]:
    if X.ndim != 4 or X.shape[-1] != 3 or X.dtype != np.uint8:
        raise DataError(
            f"{_ACCEPTED} Got dtype {X.dtype} and shape {X.shape} instead."
            + (" Pass one image as X[np.newaxis]." if X.ndim == 3 and X.shape[-1] == 3 else "")
        )
    if 0 in X.shape:
        raise DataError(f"{_ACCEPTED} Got shape {X.shape}: found array with 0 sample(s) or pixels.")
    return X
