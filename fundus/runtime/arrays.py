"""Arrays of numbers in a file, without pickle, whatever the version of NumPy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray


def save_arrays(
    file: str | os.PathLike[str] | IO[bytes], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write arrays as `numpy.savez` does, which does not compress.

    Parameters
    ----------
    file : path-like or binary file
    arrays : mapping of str to ndarray
        The arrays by their names.

    Raises
    ------
    ValueError
        If an array holds Python objects, for which NumPy would write a pickle.

    Examples
    --------
    >>> from io import BytesIO
    >>> file = BytesIO()
    >>> save_arrays(file, {"weights": np.ones(3)})
    >>> np.load(BytesIO(file.getvalue())).files
    ['weights']
    """
    # not by `savez(allow_pickle=False)`: up to NumPy 2.1 that adds an array of this name
    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            raise ValueError(f"The array {name!r} must hold numbers. Got Python objects instead.")
    named: dict[str, Any] = dict(arrays)
    np.savez(file, **named)
