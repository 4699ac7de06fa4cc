"""All that decides the result of an ensemble's fit, as JSON values that can be compared."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from fundus.backbones.weights_files import named_file
from fundus.data.inputs import as_images, is_image_data
from fundus.frozen.work import digests
from fundus.meta.out_of_fold import TrainingData, cache_of
from fundus.runtime.identity import code_identity
from fundus.runtime.keras_objects import as_config
from fundus.runtime.keras_settings import dtype_policy
from fundus.saving.splitters import cv_record
from fundus.store import open_store

#: Parameters that may differ, as they do not change results.
OF_A_RUN = ("n_jobs", "verbose", "cache", "log_dir", "resume_dir")

#: Releases that decide the bits of a result.
PACKAGES = ("fundus-zoo", "keras", "tensorflow", "numpy", "scipy", "scikit-learn", "opencv-python")

_PLAIN = (type(None), bool, int, float, str, slice)

#: Digits of the digest of a row; the digests are for changes, not against forgery.
_DIGITS = 16


def fingerprint(estimator: Any, data: TrainingData) -> dict[str, Any]:
    """Describe an ensemble's parameters, its data and the releases that would fit it.

    Raises
    ------
    ImageReadError
        If files cannot be read; the first is named, the rest counted.
    """
    params = estimator.get_params(deep=True)
    return {
        "releases": {name: _release(name) for name in PACKAGES}
        | {"dtype policy": dtype_policy(), "byte order": np.dtype(float).str},
        "parameters": {"class": _class(estimator)}
        | {
            name: _described(value)
            for name, value in sorted(params.items())
            if name.split("__")[-1] not in OF_A_RUN
        },
        "data": {
            "input": _rows(data.X, cache_of(estimator)),
            "grade": [_described(label) for label in data.y.tolist()],
            "scale": [_described(label) for label in data.scale.tolist()],
            "weight": None if data.weight is None else data.weight.tolist(),
            # which rows share a patient, or a file, decides how they are divided
            "patient": _shared(data.groups),
            "file": _files(data.X),
        },
    }


def differences(then: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """Say what differs between two fingerprints, one phrase each."""
    for name in sorted({*then["releases"], *now["releases"]}):
        was, is_ = then["releases"].get(name), now["releases"].get(name)
        if was != is_:
            yield f"{name} was {was}, is {is_}"
    for name in sorted({*then["parameters"], *now["parameters"]}):
        was, is_ = (side["parameters"].get(name, "absent") for side in (then, now))
        if was != is_:
            yield f"the {name!r} parameter was {was}, is {is_}"
    before, after = then["data"], now["data"]
    if len(before["grade"]) != len(after["grade"]):
        yield f"there were {len(before['grade'])} rows, are {len(after['grade'])}"
        return
    for name, values in after.items():
        if before.get(name) != values:
            yield _difference(name, before.get(name), values)


def _difference(name: str, was: Any, is_: Any) -> str:
    if name == "scale":
        return f"the scale was [{', '.join(was)}], is [{', '.join(is_)}]"
    what = "sample weight" if name == "weight" else name
    if was is None or is_ is None:
        return f"there was {'no' if was is None else 'a'} {what} for each row, " + (
            "and there is now" if is_ is not None else "and there is none now"
        )
    rows = [row for row, (a, b) in enumerate(zip(was, is_, strict=True)) if a != b]
    shown = name in ("grade", "weight")
    values = f" ({was[rows[0]]}, now {is_[rows[0]]})" if shown else ""
    more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
    return f"the {what} of row {rows[0]}{more} is another{values}"


def _described(value: Any) -> str:
    """Describe a parameter in a way that is the same in every process."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (str, os.PathLike)) and (path := _file(value)) is not None:
        with path.open("rb") as file:
            return f"{os.fspath(value)!r} (SHA-256 {_short(hashlib.file_digest(file, 'sha256'))})"
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, os.PathLike):
        return repr(os.fspath(value))
    if isinstance(value, np.random.RandomState):
        return f"RandomState {_digest(value.get_state(legacy=True))}"
    if isinstance(value, np.ndarray):
        return f"array {value.dtype} {value.shape} {_digest(value)}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_described, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_described(k)}: {_described(v)}" for k, v in value.items()) + "}"
    if (plain := as_config(value)) is not value:
        return json.dumps(plain, sort_keys=True)
    if hasattr(value, "get_params") and not isinstance(value, type):
        return _class(value)  # its own parameters are told one by one
    if hasattr(value, "split") and (record := cv_record(value)) is not None:
        return json.dumps(record)
    if hasattr(value, "__next__"):
        return "folds"  # an iterator, which cannot be read twice; its folds are compared
    return f"{_class(value)} {_digest(value)}"


def _class(value: Any) -> str:
    kind = value if hasattr(value, "__qualname__") else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


def _digest(value: Any) -> str:
    return code_identity(value)[:_DIGITS]


def _short(digest: Any) -> str:
    return digest.hexdigest()[:_DIGITS]


def _file(value: Any) -> Path | None:
    """The file that a parameter names, such as one of weights, also in the folder of weights."""
    try:
        return named_file(value)
    except (OSError, ValueError, RuntimeError):
        return None


def _release(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _rows(X: Any, cache: Any) -> list[str]:
    """Digest of every row's content."""
    if is_image_data(X):
        return [d[:_DIGITS] for d in digests(as_images(X), open_store(cache))]
    if isinstance(X, pd.DataFrame):
        return _rows_of_frame(X)
    if sparse.issparse(X):
        rows = (sparse.csr_array(X)[[k]] for k in range(X.shape[0]))
        return [_digest((row.indices, row.data)) for row in rows]
    array = np.asarray(X)
    if array.dtype.hasobject:
        return [_digest(row) for row in array.tolist()]
    kind = f"{array.dtype.str}{array.shape[1:]}".encode()
    return [_short(hashlib.sha256(kind + row.tobytes())) for row in array]


def _rows_of_frame(X: pd.DataFrame) -> list[str]:
    kind = f"{list(X.columns)}{list(map(str, X.dtypes))}".encode()
    columns = [pd.util.hash_pandas_object(X.iloc[:, k], index=False) for k in range(X.shape[1])]
    table = np.column_stack([column.to_numpy() for column in columns])
    return [_short(hashlib.sha256(kind + row.tobytes())) for row in table]


def _shared(groups: Any) -> list[int] | None:
    """Number the groups by their names' order, which is what their division depends on."""
    if groups is None:
        return None
    return np.unique(np.asarray(groups).astype(str), return_inverse=True)[1].tolist()


def _files(X: Any) -> list[int] | None:
    """Number images by their unit."""
    if not is_image_data(X):
        return None
    units: NDArray[Any] | None = as_images(X).units
    return _shared(units)
