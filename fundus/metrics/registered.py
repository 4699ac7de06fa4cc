"""Metrics of plugins: what they say of a grading, and scorers of them for scikit-learn."""

from __future__ import annotations

import contextlib
import math
import os
import reprlib
import sys
import warnings
from collections.abc import Hashable, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fundus.exceptions import PluginError, PluginWarning, warn_caller
from fundus.grades.common_scale import common_scale
from fundus.grades.foreign import as_grader, scale_of
from fundus.grades.labels import as_labels, grade_scale, is_text, to_positions
from fundus.grades.severity import to_scale
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
            number = _number(value)
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split())[:300]
        raise PluginError(
            f"The metric {entry.lasting_name!r} of {entry.distribution} failed with "
            f"{type(error).__name__}: {text}"
        ) from error
    if number is None:
        raise PluginError(
            f"The metric {entry.lasting_name!r} of {entry.distribution} must return a finite "
            f"number, or nan where it is not defined. Got {reprlib.repr(value)} instead"
        )
    return number


def _number(value: Any) -> float | None:
    """What a metric has returned as a number, nan where it is masked; None where it is none."""
    if value is np.ma.masked:
        return math.nan
    if isinstance(value, np.generic | np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    number = float(value)
    return None if math.isinf(number) else number


def warn_of_metric(error: PluginError) -> None:
    """Warn of a metric that is left out, or raise under ``FUNDUS_STRICT_PLUGINS=1``."""
    if os.environ.get("FUNDUS_STRICT_PLUGINS") == "1":
        raise error
    warn_caller(f"{str(error).rstrip('.')}. It is left out.", PluginWarning)


def warn_of_resamples(error: PluginError, count: int, n: int) -> None:
    """Warn of a metric that fails on some resamples, or raise, as `warn_of_metric` does."""
    if os.environ.get("FUNDUS_STRICT_PLUGINS") == "1":
        raise error
    warn_caller(
        f"{str(error).rstrip('.')}. So it was on {count} of {n} resamples: its interval is of the "
        "others, and there is none where more than a tenth fail.",
        PluginWarning,
    )


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
    grades : int or sequence of labels, default=None
        The scale, lowest grade first.
    """

    def __init__(self, name: str, grades: int | Sequence[Hashable] | None = None) -> None:
        self.name, self.grades = name, grades

    def __repr__(self) -> str:
        more = "" if self.grades is None else f", grades={self.grades!r}"
        return f"metric_scorer({self.name!r}{more})"

    def __call__(self, estimator: Any, X: Any, y_true: ArrayLike) -> float:
        """Return the score, with the sign turned where smaller is better."""
        entry = get_registry().find("metric", self.name)
        spec, predicted = entry.spec, None
        if spec.needs == "grades":
            predicted = estimator.predict(X)
        scale = self._scale(estimator, y_true, predicted)
        true = to_positions(y_true, scale, name="y_true")
        found: NDArray[Any]
        if predicted is not None:
            found = to_positions(predicted, scale, name="y_pred")
        elif spec.needs == "severity":
            grader: Any = as_grader(estimator)
            severity = np.asarray(grader.predict_severity(X), dtype=np.float64)
            found = to_scale(severity, grader.grades_, scale)
        else:
            found = np.zeros((len(true), len(scale)))
            found[:, to_positions(estimator.classes_, scale)] = estimator.predict_proba(X)
        value = metric_value(entry, true, found)
        return value if spec.greater_is_better else -value

    def _scale(self, estimator: Any, y_true: Any, predicted: Any) -> NDArray[Any]:
        """The scale as `kappa_scorer` has it: 0–4 for numbers, the estimator's order for names."""
        if self.grades is None:
            read = as_labels(y_true, name="y_true")
            own = scale_of(estimator, np.empty(0))
            named = read.order is not None or is_text(read.values)
            if named and set(read.values.tolist()) <= set(own.tolist()):
                return own
        labels = [y_true, estimator.classes_ if predicted is None else predicted]
        return common_scale(self.grades, *labels, names=("y_true", "y_pred"))


def metric_scorer(name: str, grades: int | Sequence[Hashable] | None = None) -> MetricScorer:
    """Return the scorer of a plugin's metric.

    Parameters
    ----------
    name : str
        ``"name"`` or ``"plugin/name"``, as ``fundus plugins`` lists it.
    grades : int or sequence of labels, default=None
        The scale, lowest grade first. ``None`` is 5 for numbers; for names and for a pandas
        Categorical it is the estimator's ``grades_``, and where it has none, that of the
        categories, or of the alphabet, with a warning.

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
    if grades is not None:
        grade_scale(grades)
    return MetricScorer(name, grades)
