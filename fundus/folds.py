"""Fitting one model per fold."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import _safe_indexing
from sklearn.utils.metadata_routing import get_routing_for_object

from fundus.exceptions import DataError
from fundus.fitting.plan import plans_told

Folds = list[tuple[NDArray[np.intp], NDArray[np.intp]]]


def check_tested_once(folds: Folds, n_rows: int) -> None:
    """Raise `DataError` where a row is in two test folds."""
    times = np.zeros(n_rows, dtype=int)
    for _, test in folds:
        times[test] += 1
    if times.max() > 1:
        raise DataError(
            f"Row {int(times.argmax())} is in two test folds, so it has no one out-of-fold "
            "prediction: use a splitter that tests every row once at most."
        )


def is_search(model: Any) -> bool:
    """Whether a model is a search of scikit-learn's, which takes groups for its own splits."""
    return hasattr(model, "cv") and "params" in inspect.signature(model.fit).parameters


def fit_fold(
    model: Any,
    X: Any,
    y: NDArray[Any],
    train: NDArray[np.intp],
    weight: NDArray[np.float64] | None,
    groups: Any,
    *,
    tell: bool = True,
) -> Any:
    """Fit a clone on the training rows of a fold; weights and patients go along.

    Parameters
    ----------
    model : classifier or search
    X : images or array-like
    y : ndarray, shape (n_samples,)
    train : ndarray of int
        Rows to train on.
    weight : ndarray of float, shape (n_samples,), or None
    groups : array-like, shape (n_samples,), or None
    tell : bool, default=True
        Whether a verbose model prints its plan.

    Returns
    -------
    estimator
        Fitted.
    """
    extra: dict[str, Any] = {}
    if weight is not None:
        extra["sample_weight"] = weight[train]
    if groups is not None and (
        "groups" in inspect.signature(model.fit).parameters
        or (is_search(model) and get_routing_for_object(model.cv).consumes("split", ["groups"]))
    ):
        extra["groups"] = np.asarray(groups)[train]
    with plans_told(tell):
        return model.fit(_safe_indexing(X, train), y[train], **extra)
