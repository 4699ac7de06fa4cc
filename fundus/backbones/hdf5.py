"""Files of weights in HDF5, checked before their arrays are read."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from fundus.exceptions import BundleError

#: Most groups and arrays of a file.
_MOST_ITEMS = 100_000

#: Where a ``.keras`` file has its weights.
_WEIGHTS = "model.weights.h5"


def check_hdf5(data: bytes, path: str, *, own: bool = False, most: float = math.inf) -> None:
    """Raise if a file would have other files read, or more memory used than it has bytes for.

    Parameters
    ----------
    data : bytes
        The file.
    path : str
        Named in errors.
    own : bool, default=False
        Whether this library wrote it: then arrays are stored as they are, and are finite.
    most : float, default=inf
        Most numbers of an array: those of the largest in the network.

    Raises
    ------
    BundleError
        If it is no HDF5; if an array is in another file, or made of parts of others, or a link
        leads to one; if an array is larger than any of the network, or, of our own, than the bytes
        that are stored for it, or not finite.
    """
    import h5py  # type: ignore[import-untyped]

    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            for name, array in _arrays(file, h5py):
                _check(name, array, own=own, most=most)
    except _Refused as error:
        why = str(error)
    except Exception as error:  # of h5py, of many types
        why = f"it is no HDF5 of weights, {type(error).__name__}: {' '.join(str(error).split())}"
    else:
        return
    raise BundleError(f"The weights file {path!r} cannot be used, since {why}: copy it again.")


def weights_in_keras(data: bytes, path: str, *, most: int) -> bytes:
    """Return the weights in a ``.keras`` file, the one part of it that is read.

    Parameters
    ----------
    data : bytes
        The file.
    path : str
        Named in errors.
    most : int
        Most bytes of the weights, since a few bytes of an archive may stand for very many.

    Raises
    ------
    BundleError
        If it is no ``.keras`` file, or has no weights or too many.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = archive.getinfo(_WEIGHTS).file_size
            if size <= most:
                return archive.read(_WEIGHTS)
        why = f"its {_WEIGHTS!r} would have {size:,} bytes, and the network has room for {most:,}"
    except KeyError:
        why = f"it has no {_WEIGHTS!r}"
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        why = f"it is no .keras file ({error})"
    raise BundleError(
        f"The weights file {path!r} cannot be used, since {why}: save the model again with "
        "model.save('x.keras')."
    )


class _Refused(Exception):
    """What is wrong with a file."""


def _arrays(file: Any, h5py: Any) -> Iterator[tuple[str, Any]]:
    """Yield all arrays with their names, each group once."""
    groups, seen, n_items = [("", file)], set(), 0
    while groups:
        name, group = groups.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in seen:
            raise _Refused(f"its group {name!r} is inside itself or occurs twice")
        seen.add(address)
        for key in group:
            n_items += 1
            inner = f"{name}/{key}"
            if n_items > _MOST_ITEMS:
                raise _Refused(f"it has more than {_MOST_ITEMS:,} parts")
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise _Refused(f"its part {inner!r} is a link")
            item = group[key]
            if isinstance(item, h5py.Group):
                groups.append((inner, item))
            elif isinstance(item, h5py.Dataset):
                yield inner, item
            else:
                raise _Refused(f"its part {inner!r} is neither a group nor an array")


def _check(name: str, array: Any, *, own: bool, most: float) -> None:
    if array.external or array.is_virtual:
        raise _Refused(f"its array {name!r} is in other files")
    n_numbers = math.prod(array.shape or (1,))
    if n_numbers > most:
        raise _Refused(f"its array {name!r} has the shape {array.shape}, which no weight has")
    if not own:
        return
    plain = array.chunks is None and array.dtype.kind in "biuf"
    if not plain or array.id.get_storage_size() != n_numbers * array.dtype.itemsize:
        raise _Refused(f"its array {name!r} is not stored as numbers of the shape {array.shape}")
    if array.dtype.kind == "f" and not np.isfinite(array[()]).all():
        raise _Refused(f"its array {name!r} has numbers that are not finite")
