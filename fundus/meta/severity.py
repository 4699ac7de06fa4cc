"""What any fitted model says of images: a severity, and probabilities where it has them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_regressor

from fundus.grades.estimator_scale import scale_of, unwrapped
from fundus.grades.labels import to_positions
from fundus.grades.severity import expected_grade


def innermost(model: Any) -> Any:
    """Return the fitted model that reads the images, out of searches and meta-estimators.

    A model of two stages stays whole, since it reads more than what its first stage does.
    """
    model = unwrapped(model)
    while hasattr(model, "estimator_") and not hasattr(model, "final_estimator_"):
        model = unwrapped(model.estimator_)
    return model


def has_severity(model: Any) -> bool:
    """Whether a severity can be had from a model, fitted or not."""
    model = unwrapped(model)
    if hasattr(model, "predict_severity") or hasattr(model, "predict_proba"):
        return True
    # a search passes on some methods only, so what it searches over is asked too
    searched = getattr(model, "estimator", None)
    return is_regressor(model) or hasattr(searched, "predict_severity")


def is_plain_regressor(model: Any) -> bool:
    """Whether a model knows numbers only, no labels, so that it is fitted on places."""
    model = unwrapped(model)
    return bool(is_regressor(model)) and not hasattr(model, "predict_severity")


def severity_of(model: Any, X: Any, scale: NDArray[Any]) -> NDArray[np.float64]:
    """Severity of every image.

    Parameters
    ----------
    model : classifier or regressor
        Fitted. ``predict_severity`` where it is offered; else what a regressor predicts, or a
        classifier's expected grade.
    X : images or array-like
    scale : ndarray, shape (n_grades,)
        The grades in order; the model's own may lack some of them.

    Returns
    -------
    ndarray of float, shape (n_samples,)
        In places on `scale`.
    """
    model = unwrapped(model)
    if hasattr(model, "predict_severity"):
        return to_scale(np.asarray(model.predict_severity(X)), scale_of(model, scale), scale)
    if is_regressor(model):
        return np.asarray(model.predict(X), dtype=np.float64)
    return expected_grade(model.predict_proba(X), to_positions(model.classes_, scale))


def residual_std_of(model: Any, scale: NDArray[Any]) -> float | None:
    """Standard deviation of a regressor's error, as it was found in its fit.

    Parameters
    ----------
    model : classifier
        Fitted.
    scale : ndarray, shape (n_grades,)
        The grades in order; the model's own may lack some of them.

    Returns
    -------
    float or None
        In places on `scale`, whose steps are taken to be wider alike where the model's own is
        shorter. ``None`` where it is unknown, or the model no ordinal regressor.
    """
    model = unwrapped(model)
    head = getattr(getattr(model, "final_estimator_", model), "head_", None)
    std = getattr(head, "residual_std", None)
    if std is None:
        return None
    steps = len(scale_of(model, scale)) - 1
    return float(std) * (len(scale) - 1) / max(steps, 1)


def proba_of(model: Any, X: Any, classes: NDArray[Any]) -> NDArray[np.float64] | None:
    """Probability of every class.

    Parameters
    ----------
    model : classifier or regressor
        Fitted.
    X : images or array-like
    classes : ndarray, shape (n_classes,)
        Sorted; a class that the model never saw has probability 0.

    Returns
    -------
    ndarray of float, shape (n_samples, n_classes), or None
        ``None`` where the model gives none.
    """
    model = unwrapped(model)
    if not hasattr(model, "predict_proba"):
        return None
    own = model.predict_proba(X)
    proba = np.zeros((len(own), len(classes)))
    proba[:, np.searchsorted(classes, model.classes_)] = own
    return proba


def to_scale(
    severity: NDArray[np.float64], own: NDArray[Any], scale: NDArray[Any]
) -> NDArray[np.float64]:
    """Carry severities from a fold's own scale to the whole one.

    Parameters
    ----------
    severity : ndarray of float, shape (n_samples,)
        In places on `own`; infinite ones stay so.
    own : ndarray, shape (n_own,)
        Where a fold lacked a grade and the scale was left to the data, a part of `scale`; the
        steps are wider there.
    scale : ndarray, shape (n_grades,)

    Returns
    -------
    ndarray of float, shape (n_samples,)
        In places on `scale`; beyond its own ends a severity keeps its distance from them.

    Examples
    --------
    >>> grades = np.array([0, 1, 2, 4]), np.arange(5)
    >>> to_scale(np.array([-0.5, 2.5, 3.25]), *grades).tolist()
    [-0.5, 3.0, 4.25]
    """
    if len(own) == len(scale):
        return severity
    places = to_positions(own, scale)
    inside = np.clip(severity, 0, len(own) - 1)
    return np.interp(inside, np.arange(len(own)), places) + (severity - inside)


def shared_input(models: list[Any], X: Any) -> Any:
    """Run frozen work that all models share once.

    Parameters
    ----------
    models : list of classifier
    X : images or array-like

    Returns
    -------
    Source, or `X` itself
        What the models' ``predict`` methods take.
    """
    inner = [innermost(model) for model in models]
    names = {(m.frozen_.name(), m.frozen_.power) if hasattr(m, "frozen_") else None for m in inner}
    if len(names) != 1 or None in names or not hasattr(inner[0], "shared_input"):
        return X
    return inner[0].shared_input(X)
