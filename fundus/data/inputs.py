"""What users pass as ``X``, as rows of images: paths, a frame that holds some, or images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fundus.exceptions import DataError
from fundus.grades.patients import known_patients
from fundus.images import (
    ImageRecipe,
    array_digest,
    decode,
    decode_bytes,
    image_digest,
    prepare_array,
    read_bytes,
    verify,
)
from fundus.images.aperture import picture_mask
from fundus.images.memory import is_pillow, pillow_rgb

_ACCEPTED = (
    "X must be a list or column of image paths, a DataFrame with a 'path' column, a uint8 RGB "
    "array of shape (n, height, width, 3), or a list of images in memory: Pillow images, the bytes "
    "of image files, or uint8 RGB arrays (height, width, 3)."
)


@dataclass(frozen=True)
class Images:
    """The images of ``X``, none of them read yet.

    Parameters
    ----------
    paths : ndarray of str, shape (n,), or None
        Image files.
    arrays : ndarray of uint8, shape (n, height, width, 3), or None
        RGB images, 0–255.
    patients : ndarray, shape (n,), or None
        Patient of each row, where ``X`` is a frame that says so.
    items : ndarray of object, shape (n,), or None
        Images in memory, of any sizes: the bytes of a file, a Pillow image or a uint8 RGB array
        each. Exactly one of `paths`, `arrays` and `items` is given.
    """

    paths: NDArray[Any] | None = None
    arrays: NDArray[np.uint8] | None = None
    patients: NDArray[Any] | None = None
    items: NDArray[Any] | None = None

    @property
    def _data(self) -> NDArray[Any]:
        return next(d for d in (self.paths, self.arrays, self.items) if d is not None)

    def __len__(self) -> int:
        return len(self._data)

    @property
    def units(self) -> NDArray[Any] | None:
        """What must stay on one side of a split: patients where known, else files.

        Of images in memory, an object that occurs more than once, as over-samplers repeat it.
        """
        if self.patients is not None or self.items is None:
            return self.paths if self.patients is None else self.patients
        first: dict[int, int] = {}
        rows = [first.setdefault(id(item), row) for row, item in enumerate(self.items)]
        return np.array(rows) if len(first) < len(rows) else None

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

    def is_encoded(self, row: int) -> bool:
        """Whether a row is a file, on disc or in memory, that is to be decoded."""
        return self.paths is not None or isinstance(self._data[row], bytes)

    def content(self, row: int) -> bytes | NDArray[np.uint8]:
        """Read the file's bytes, or return the array, of one row."""
        if self.paths is not None:
            return read_bytes(self.paths[row])
        item = self._data[row]
        return pillow_rgb(item, name=self.where(row)) if is_pillow(item) else item

    def photograph(self, row: int) -> NDArray[np.uint8]:
        """Decode one row at its full size: uint8 RGB, upright."""
        content = self.content(row)
        return (
            decode_bytes(content, name=self.where(row)) if isinstance(content, bytes) else content
        )

    def picture(self, row: int, recipe: ImageRecipe) -> NDArray[np.uint8]:
        """Decode one row into a square uint8 RGB image."""
        content = self.content(row)
        if isinstance(content, bytes):
            return decode(content, recipe, name=self.where(row))
        return prepare_array(content, recipe)

    def picture_and_mask(
        self, row: int, recipe: ImageRecipe
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Decode one row as `picture` does, and find its field of view, of the same size."""
        picture = self.picture(row, recipe)
        return picture, picture_mask(picture, self.where(row))

    def digest_of(self, row: int, content: str) -> str:
        """SHA-256 that names what `picture` makes of a row, whose content has the one given."""
        return content

    def content_digest(self, row: int) -> str:
        """SHA-256 of a row's content: of a file's bytes, or of an array.

        Raises
        ------
        ImageReadError
            If it is no whole image.
        """
        content = self.content(row)
        if isinstance(content, bytes):
            verify(self.where(row) if self.paths is None else self.paths[row], content)
            return image_digest(content)
        return array_digest(content)


def is_image_data(X: Any) -> bool:
    """Whether ``X`` holds images, or is meant to, rather than a table of numbers.

    Examples
    --------
    >>> is_image_data(np.array([["10_left.jpeg"], ["10_right.jpeg"]])), is_image_data([[0.5], [1]])
    (True, False)
    """
    if isinstance(X, pd.DataFrame):
        return "path" in X.columns or (X.shape[1] == 1 and _may_be_images(X.iloc[:1, 0].tolist()))
    if isinstance(X, np.ndarray) and X.ndim == 2:
        return X.shape[1] == 1 and X.dtype.kind in "OUS" and _may_be_images(X[:1, 0].tolist())
    if isinstance(X, (pd.Series, np.ndarray)):
        return X.ndim in (0, 1, 4)
    if isinstance(X, (list, tuple)):
        return len(X) > 0 and (np.ndim(X[0]) == 0 or _may_be_images([_unwrapped(X[0])]))
    return _is_one_image(X, ndim=0)


def _may_be_images(rows: list[Any]) -> bool:
    return any(_is_one_image(row, ndim=3) for row in rows)


def _is_one_image(thing: Any, *, ndim: int) -> bool:
    """Whether something is a path, a file's bytes, a Pillow image, or an array of `ndim` axes."""
    if isinstance(thing, np.ndarray):
        return thing.ndim == ndim
    return isinstance(thing, (str, bytes, os.PathLike)) or is_pillow(thing)


def refuse_single(X: Any) -> None:
    """Refuse one image where rows of images are wanted.

    Raises
    ------
    DataError
        If `X` is one path, one file's bytes, one Pillow image, or a numpy array without axes.

    Examples
    --------
    >>> refuse_single("10_left.jpeg")
    Traceback (most recent call last):
    ...
    fundus.exceptions.DataError: X must be ... Got the single path '10_left.jpeg' instead: ...
    """
    if not _is_one_image(X, ndim=0):
        return
    one = X.item() if isinstance(X, np.ndarray) else X
    if isinstance(one, (str, os.PathLike)):
        what = f"the single path {one!r}"
    elif isinstance(one, bytes):
        what = f"the {len(one)} bytes of a single file"
    else:
        what = f"a single {type(one).__name__}"
    kind = ", in a numpy array without axes," if isinstance(X, np.ndarray) else ""
    raise DataError(f"{_ACCEPTED} Got {what}{kind} instead: put it in a list, as in [image].")


def as_images(X: Any) -> Images:
    """Read ``X`` as rows of images.

    Parameters
    ----------
    X : array-like of path, of Pillow image, of bytes or of ndarray; DataFrame; or ndarray of uint8
        See the message of the error. A column, of shape (n, 1), is taken as its rows.

    Raises
    ------
    DataError
        If ``X`` is none of the accepted forms, is empty, or a row holds no image.

    Examples
    --------
    >>> as_images(["10_left.jpeg", "10_right.jpeg"]).where(1)
    "row 1 ('10_right.jpeg')"
    >>> len(as_images(np.array([["10_left.jpeg"], ["10_right.jpeg"]])))
    2
    """
    if isinstance(X, Images):
        return X
    refuse_single(X)
    if isinstance(X, pd.DataFrame):
        if "path" in X.columns:
            return replace(_read_rows(X["path"].tolist()), patients=known_patients(X))
        if X.shape[1] == 1 and is_image_data(X):
            return _read_rows(X.iloc[:, 0].tolist())
        raise DataError(f"{_ACCEPTED} Got a DataFrame with columns {list(X.columns)} instead.")
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "OUS":
        if X.shape[1] != 1:
            raise DataError(
                f"{_ACCEPTED} Got an array of {X.shape[1]} columns instead: pass the column with "
                "the images alone, as X[:, [0]], or a DataFrame with a 'path' column."
            )
        X = X[:, 0]
    if isinstance(X, np.ndarray) and X.ndim > 1:
        return Images(arrays=_check_arrays(X))
    if isinstance(X, np.ndarray) and X.dtype.kind == "S":
        raise DataError(
            f"{_ACCEPTED} Got an array of dtype {X.dtype}, in which numpy drops zero bytes from "
            "the end of every file: pass a list of bytes, or an array of dtype object."
        )
    if isinstance(X, (pd.Series, np.ndarray)):
        return _read_rows(X.tolist())
    if isinstance(X, Sequence):
        return _read_rows([_unwrapped(row) for row in X])
    raise DataError(f"{_ACCEPTED} Got {type(X).__name__} instead.")


def _unwrapped(row: Any) -> Any:
    """Return the one cell of a row of a column, or the row itself."""
    if isinstance(row, (list, tuple)) and len(row) == 1:
        return row[0]
    if isinstance(row, np.ndarray) and row.shape == (1,) and row.dtype.kind in "OUS":
        return row.tolist()[0]
    return row


def _read_rows(rows: list[Any]) -> Images:
    """Rows that are all paths, or all images in memory."""
    if not rows:
        raise DataError(f"{_ACCEPTED} Got 0 rows: found array with 0 sample(s).")
    cells = np.empty(len(rows), dtype=object)
    in_memory = _in_memory(rows[0])
    for k, row in enumerate(rows):
        if isinstance(row, (str, Path)) and str(row) and not in_memory:
            cells[k] = str(row)
        elif _in_memory(row) and in_memory:
            cells[k] = _checked_array(row, k) if isinstance(row, np.ndarray) else row
        else:
            got = f"a {type(row).__name__}" if _in_memory(row) else repr(row)
            mixed = in_memory != _in_memory(row) and (_in_memory(row) or isinstance(row, str))
            why = ", and other rows of another kind: paths and images do not mix" if mixed else ""
            raise DataError(f"{_ACCEPTED} Got {got} in row {k} instead{why}.")
    return Images(items=cells) if in_memory else Images(paths=cells)


def _in_memory(row: Any) -> bool:
    return isinstance(row, (bytes, np.ndarray)) or is_pillow(row)


def _checked_array(image: NDArray[Any], row: int) -> NDArray[np.uint8]:
    if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8 or not image.size:
        raise DataError(
            f"{_ACCEPTED} Got an array of dtype {image.dtype} and shape {image.shape} in row {row} "
            "instead."
        )
    return image


def _check_arrays(X: NDArray[Any]) -> NDArray[np.uint8]:
    if X.ndim != 4 or X.shape[-1] != 3 or X.dtype != np.uint8:
        raise DataError(
            f"{_ACCEPTED} Got dtype {X.dtype} and shape {X.shape} instead."
            + (" Pass one image as X[np.newaxis]." if X.ndim == 3 and X.shape[-1] == 3 else "")
        )
    if 0 in X.shape:
        raise DataError(f"{_ACCEPTED} Got shape {X.shape}: found array with 0 sample(s) or pixels.")
    return X
