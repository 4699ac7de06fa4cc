"""Fitting an estimator on several rows of every image, which share its weight."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.linear_model import RidgeClassifierCV, RidgeCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from fundus.heads.view_folds import ViewFolds
from fundus.parameters import invalid


def with_their_views(rows: NDArray[np.intp], n_views: int) -> NDArray[np.intp]:
    """Rows of a source in which every image is followed by `n_views` views of it."""
    each = n_views + 1
    return (rows[:, np.newaxis] * each + np.arange(each)).ravel()


def row_weights(
    weights: NDArray[np.float64] | None, images: NDArray[np.intp], n_views: int
) -> NDArray[np.float64] | None:
    """Weights of rows, of which the image and its views share that of the image.

    Parameters
    ----------
    weights : ndarray of float, shape (n_images,), or None
        ``None`` is 1 for every image.
    images : ndarray of int, shape (n_rows,)
        Image of every row.
    n_views : int
        Rows of an image beside its own.

    Returns
    -------
    ndarray of float, shape (n_rows,), or None
        ``None`` where all are 1.

    Examples
    --------
    >>> row_weights(np.array([1.0, 3.0]), np.array([0, 0, 1, 1]), 1).tolist()
    [0.5, 0.5, 1.5, 1.5]
    """
    if n_views == 0:
        return None if weights is None else weights[images]
    each = 1 / (n_views + 1)
    return np.full(len(images), each) if weights is None else weights[images] * each


def steps_of(estimator: Any) -> list[tuple[str, Any]]:
    """Steps of a pipeline with the prefix of their parameters, or the estimator with none."""
    if isinstance(estimator, Pipeline):
        return [(f"{name}__", step) for name, step in estimator.steps]
    return [("", estimator)]


def takes(step: Any, name: str) -> bool:
    """Whether a step's ``fit`` has a parameter of that name; "passthrough" has none."""
    return hasattr(step, "fit") and has_fit_parameter(step, name)


def check_takes_views(estimator: Any, n_views: int) -> None:
    """Raise where an estimator cannot be fitted on several rows of every image.

    Parameters
    ----------
    estimator : estimator
        Unfitted; the last step of a pipeline counts.
    n_views : int

    Raises
    ------
    InvalidParameterError
        If it takes no weights, or leaves out single rows to choose its penalty.
    """
    if n_views == 0:
        return
    _, last = steps_of(estimator)[-1]
    if not takes(last, "sample_weight"):
        expected = (
            f"None for the head {last!r}, whose fit takes no sample_weight, so that an image and "
            "its views cannot share one weight: choose a head that takes it, or leave out "
            "augment_views"
        )
        raise invalid("TransferClassifier", "augment_views", expected, n_views)
    for _, owner, cv in _inner_cvs(estimator):
        if cv is None and isinstance(owner, (RidgeCV, RidgeClassifierCV)):
            expected = (
                f"None for the head {owner!r}, which leaves out single rows and not images with "
                f"their views: set its cv, such as {type(owner).__name__}(cv=5)"
            )
            raise invalid("TransferClassifier", "augment_views", expected, n_views)


def keep_views_together(estimator: Any, n_views: int) -> Any:
    """Let the inner folds of an estimator divide images, not rows; its ``cv`` is replaced."""
    if n_views:
        folds = {
            name: ViewFolds(cv, n_views + 1, is_classifier(owner))
            for name, owner, cv in _inner_cvs(estimator)
        }
        estimator.set_params(**folds)
    return estimator


def _inner_cvs(estimator: Any) -> list[tuple[str, Any, Any]]:
    """Parameters called ``cv`` that divide rows, also of parts: name, owner and value."""
    params = estimator.get_params(deep=True)
    found = []
    for name, value in params.items():
        owner, _, own = name.rpartition("__")
        divides = hasattr(value, "split") or isinstance(value, (int, np.integer, Iterable))
        if own == "cv" and (value is None or (divides and not isinstance(value, str))):
            found.append((name, params[owner] if owner else estimator, value))
    return found
