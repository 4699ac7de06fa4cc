"""Converts the ``cv`` of a model to a plain record, and back."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from sklearn import model_selection

from fundus.exceptions import BundleError
from fundus.saving.schema import is_text, wrong


def cv_record(cv: Any) -> dict[str, Any] | None:
    """Turn a ``cv`` into JSON values.

    Parameters
    ----------
    cv : int, None or splitter

    Returns
    -------
    dict or None
        ``None`` for what cannot be written without code or data: folds given as row numbers, a
        splitter of another package, or one of scikit-learn with parameters that are not plain.

    Examples
    --------
    >>> cv_record(model_selection.KFold(3, shuffle=True, random_state=1))
    {'splitter': 'KFold', 'params': {'n_splits': 3, 'shuffle': True, 'random_state': 1}}
    >>> cv_record([([0], [1])]) is None
    True
    """
    if cv is None or (isinstance(cv, (int, np.integer)) and not isinstance(cv, bool)):
        return {"folds": None if cv is None else int(cv)}
    cls = type(cv)
    if getattr(model_selection, cls.__name__, None) is not cls or not _is_splitter(cls):
        return None
    params: dict[str, Any] = {}
    for name in inspect.signature(cls).parameters:
        found = vars(cv).get(name, vars(cv).get("cvargs", {}).get(name, cv))
        value = found.tolist() if isinstance(found, (np.ndarray, np.generic)) else found
        if isinstance(value, np.random.RandomState):
            value = None  # its state cannot be restored
        if not _is_plain(value):
            return None
        params[name] = value
    return {"splitter": cls.__name__, "params": params}


def cv_of(record: dict[str, Any]) -> Any:
    """Build a ``cv`` from its record.

    Raises
    ------
    BundleError
        If scikit-learn has no such splitter, or it takes other parameters.
    """
    if not isinstance(record, dict):
        raise wrong("the model", "cv", "a number of folds or a splitter", record)
    if "folds" in record:
        folds = record["folds"]
        if folds is not None and type(folds) is not int:
            raise wrong("the model", "cv", "a number of folds", folds)
        return folds
    name, given = record.get("splitter"), record.get("params")
    if not is_text(name) or not isinstance(given, dict) or not all(map(_is_plain, given.values())):
        raise wrong("the model", "cv", "a splitter with plain parameters", record)
    params = dict(given)
    cls = getattr(model_selection, str(name), None)
    try:
        if not (isinstance(cls, type) and _is_splitter(cls)):
            raise TypeError(f"scikit-learn has no splitter {name!r}")
        return cls(**params)
    except (TypeError, ValueError) as error:
        raise BundleError(
            f"The model was fitted with the splitter {name}({params}), which cannot be built here "
            f"({error}): install the version of scikit-learn that it was saved with."
        ) from None


def _is_splitter(cls: type) -> bool:
    return hasattr(cls, "split") and hasattr(cls, "get_n_splits")


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))
