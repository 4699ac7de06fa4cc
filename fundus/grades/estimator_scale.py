"""The scale of an estimator: what it was given, or what it has learned."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

#: What the parameter 'grades' may be.
_SCALES = (int, list, tuple, np.ndarray)


def unwrapped(model: Any) -> Any:
    """Return what a search has found, or the model itself."""
    return getattr(model, "best_estimator_", model)


def scale_of(model: Any, classes: NDArray[Any]) -> NDArray[Any]:
    """Return the grades of a fitted model in order, or `classes` where it has no scale."""
    model = unwrapped(model)
    while isinstance(model, (Pipeline, FrozenEstimator)):
        inner = model.steps[-1][1] if isinstance(model, Pipeline) else model.estimator
        model = unwrapped(inner)
    return getattr(model, "grades_", classes)


def whole_scale(
    model: Any, classes: NDArray[Any], order: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Return the scale on which all labels lie.

    Parameters
    ----------
    model : estimator
        Fitted. Its own scale is taken where it holds every label, as one that was given does; one
        that a fold's model read off its own labels may lack some.
    classes : ndarray, shape (n_classes,)
        Sorted.
    order : ndarray, shape (n_grades,), default=None
        The scale that came with the labels, which is the second choice.

    Returns
    -------
    ndarray, shape (n_grades,)
        The sorted labels where neither will do.
    """
    known = set(classes.tolist())
    if order is None or not known <= set(order.tolist()):
        order = classes
    own = scale_of(model, order)
    return own if known <= set(own.tolist()) else order


def given_scale(estimator: Any) -> int | Sequence[Hashable] | None:
    """Return the scale that an estimator, or one inside it, was given, or ``None``.

    Parameters
    ----------
    estimator : estimator
        Not fitted, or frozen.

    Returns
    -------
    int, sequence or None
    """
    params = estimator.get_params() if hasattr(estimator, "get_params") else {}
    for name, value in {"": estimator, **params}.items():
        if name.split("__")[-1] == "grades" and isinstance(value, _SCALES):
            return value.tolist() if isinstance(value, np.ndarray) else value
        if isinstance(value, FrozenEstimator):
            own = scale_of(value, np.empty(0)).tolist()
            if own:
                return own
    return None


def numbering_of(estimator: Any) -> str | None:
    """Return what numbers labels by the alphabet before a model that needs their order sees them.

    Parameters
    ----------
    estimator : estimator
        Not fitted.

    Returns
    -------
    str or None
        Name of a class of scikit-learn's.
    """
    from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier

    params = estimator.get_params() if hasattr(estimator, "get_params") else {}
    for value in params.values():
        if isinstance(value, (BaggingClassifier, StackingClassifier, VotingClassifier)) and any(
            hasattr(inner, "predict_severity") for inner in value.get_params().values()
        ):
            return type(value).__name__
    return None
