"""Metrics of plugins: what they say of a grading, and scorers of them for scikit-learn."""

from __future__ import annotations

import contextlib
import math
import os
import reprlib
import sys
import warnings
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fundus.exceptions import PluginError, PluginWarning, warn_caller
from fundus.grades.foreign import as_grader
from fundus.grades.labels import to_positions
from fundus.plugins.registry import Entry, get_registry


def metric_value(entry: Entry, y_true: NDArray[np.intp], found: NDArray[Any]) -> float:
    """Return what the metric of a plugin says; it gets copies, so that it can change nothing.

    Parameters
    ----------
    entry : Entry
        Of kind "metric".
    y_true : ndarray of int, shape (n_images,)
        Positions on the scale.
    found : ndarray
        What the metric needs; see `fundus.hookspecs.MetricSpec`.

    Returns
    -------
    float
        ``nan`` where it is not defined.

    Raises
    ------
    PluginError
        If it fails, or returns no number.
    """
    try:
        # what a plugin prints must not end up in the output of a command
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = entry.spec.function(y_true.copy(), found.copy())
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split())[:300]
        raise PluginError(
            f"The metric {entry.lasting_name!r} of {entry.distribution} failed with "
            f"{type(error).__name__}: {text}"
        ) from error
    plain = (
        value.item() if isinstance(value, np.generic | np.ndarray) and value.ndim == 0 else value
    )
    if isinstance(plain, bool) or not isinstance(plain, Real) or math.isinf(plain):
        raise PluginError(
            f"The metric {entry.lasting_name!r} of {entry.distribution} must return a finite "
            f"number, or nan where it is not defined. Got {reprlib.repr(value)} instead"
        )
    return float(plain)


def warn_of_metric(error: PluginError) -> None:
    """Warn of a metric that is left out, or raise under ``FUNDUS_STRICT_PLUGINS=1``."""
    if os.environ.get("FUNDUS_STRICT_PLUGINS") == "1":
        raise error
    warn_caller(f"{str(error).rstrip('.')}. It is left out.", PluginWarning)


def needed(
    entry: Entry,
    grades: NDArray[np.intp],
    severity: NDArray[np.float64] | None,
    proba: NDArray[np.float64] | None,
) -> NDArray[Any] | None:
    """Return what a metric compares with the true grades; None where the model does not give it."""
    return {"grades": grades, "severity": severity, "probabilities": proba}[entry.spec.needs]


class MetricScorer:
    """Scores an estimator by the metric of a plugin; `metric_scorer` makes it.

    Parameters
    ----------
    name : str
        Of the metric; it is looked up at each call, so that the scorer can be pickled.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"metric_scorer({self.name!r})"

    def __call__(self, estimator: Any, X: Any, y_true: ArrayLike) -> float:
        """Return the score, with the sign turned where smaller is better."""
        entry = get_registry().find("metric", self.name)
        grader: Any = as_grader(estimator)
        scale, spec = grader.grades_, entry.spec
        true = to_positions(y_true, scale, name="y_true")
        found: NDArray[Any]
        if spec.needs == "grades":
            found = to_positions(estimator.predict(X), scale, name="y_pred")
        elif spec.needs == "severity":
            found = np.asarray(grader.predict_severity(X), dtype=np.float64)
        else:
            found = np.zeros((len(true), len(scale)))
            found[:, to_positions(estimator.classes_, scale)] = estimator.predict_proba(X)
        value = metric_value(entry, true, found)
        return value if spec.greater_is_better else -value


def metric_scorer(name: str) -> MetricScorer:
    """Return the scorer of a plugin's metric.

    Parameters
    ----------
    name : str
        ``"name"`` or ``"plugin/name"``, as ``fundus plugins`` lists it.

    Returns
    -------
    callable
        ``scorer(estimator, X, y_true)``, for ``scoring=`` in ``GridSearchCV``, ``cross_validate``
        and others; greater is better, so errors have their sign turned.

    Raises
    ------
    UnknownNameError
        If no metric has the name, or several have.

    See Also
    --------
    kappa_scorer : The scorer of the library's own metric.

    Examples
    --------
    >>> metric_scorer("no_such_metric")
    Traceback (most recent call last):
    ...
    fundus.exceptions.UnknownNameError: There is no metric called 'no_such_metric'...
    """
    get_registry().find("metric", name)
    return MetricScorer(name)
