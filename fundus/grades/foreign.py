"""Classifiers and regressors of other packages as graders, and the scale of any model."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_regressor
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from fundus.grades.grader import Grader, Reading, Votes
from fundus.grades.labels import to_positions
from fundus.grades.severity import expected_grade

#: Types of the parameter 'grades'.
_SCALES = (int, list, tuple, np.ndarray)


def is_frozen(estimator: Any) -> bool:
    """Whether an estimator is fitted already and is not fitted again."""
    return isinstance(estimator, FrozenEstimator)


def unwrapped(model: Any) -> Any:
    """Return the best model of a search, the model inside a frozen one, or the model itself."""
    while is_frozen(model) or hasattr(model, "best_estimator_"):
        model = model.estimator if is_frozen(model) else model.best_estimator_
    return model


def as_grader(model: Any, scale: NDArray[Any] | None = None) -> Grader:
    """Return a model as a grader: itself, or the best model of a search, where that is one.

    Parameters
    ----------
    model : classifier, regressor, search, Pipeline or FrozenEstimator
        Fitted, or only used to find out what it will predict.
    scale : ndarray, shape (n_grades,), default=None
        The grades in order, for a model that does not know them.
    """
    model = unwrapped(model)
    return model if isinstance(model, Grader) else Foreign(model, scale)


class Foreign(Grader):
    """A model of another package: its severity is ``predict_severity``, if it has that.

    Else it is a regressor's prediction, or a classifier's expected grade. A model with
    ``cutpoints_`` uses them in votes.

    Parameters
    ----------
    model : classifier or regressor
    scale : ndarray, shape (n_grades,), default=None
        The grades in order; labels of a model without a severity get positions on it.
    """

    def __init__(self, model: Any, scale: NDArray[Any] | None = None) -> None:
        self.model = model
        self._proba = hasattr(model, "predict_proba")
        self._severity = hasattr(model, "predict_severity")
        self._cutpoints = hasattr(model, "cutpoints_")
        self.classes_ = getattr(model, "classes_", np.empty(0))  # regressors have none
        own = self.classes_ if scale is None else scale
        self.grades_ = scale_of(model, own) if self._severity else own

    @property
    def votes_by(self) -> str:
        """How an ensemble of models like this one votes."""
        return "cutpoints" if self._cutpoints else super().votes_by

    @property
    def knows_labels(self) -> bool:
        """Whether it is fitted on labels, and not on positions on the scale."""
        return self._severity or not is_regressor(self.model)

    def gives_proba(self) -> bool:
        """Whether it has probabilities, fitted or not."""
        return self._proba

    def gives_severity(self) -> bool:
        """Whether it has a severity, fitted or not."""
        if self._severity or self._proba or is_regressor(self.model):
            return True
        # a search has only some methods, so its inner estimator is checked too
        return hasattr(getattr(self.model, "estimator", None), "predict_severity")

    def read_images(self, X: Any) -> Reading:
        """Return the images unread, for the model."""
        return Reading(X)

    def votes_of(self, reading: Reading) -> Votes:
        """Predict; the grade comes only from the model's own ``predict``."""
        X, proba, severity = reading.images, None, None
        if self._proba:
            proba = self.model.predict_proba(X)
        if self._severity:
            severity = np.asarray(self.model.predict_severity(X))
        elif is_regressor(self.model):
            severity = np.asarray(self.model.predict(X), dtype=np.float64)
        elif proba is not None:
            severity = expected_grade(proba, to_positions(self.classes_, self.grades_))
        return Votes(proba, severity, None, self.model.cutpoints_ if self._cutpoints else None)

    def labels_of(self, reading: Reading) -> NDArray[Any]:
        """Predict labels."""
        return self.model.predict(reading.images)


def scale_of(model: Any, classes: NDArray[Any]) -> NDArray[Any]:
    """Return the grades of a fitted model in order, or `classes` where it has no scale."""
    model = unwrapped(model)
    while isinstance(model, Pipeline):
        model = unwrapped(model.steps[-1][1])
    return getattr(model, "grades_", classes)


def whole_scale(
    model: Any, classes: NDArray[Any], order: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Return the scale on which all labels lie.

    Parameters
    ----------
    model : estimator
        Fitted. Its own scale is used if it holds every label, as a given one does; one
        that a fold's model took from its own labels may lack some.
    classes : ndarray, shape (n_classes,)
        Sorted; the scale if neither other can be used.
    order : ndarray, shape (n_grades,), default=None
        The scale of the labels, which is the second choice.
    """
    known = set(classes.tolist())
    if order is None or not known <= set(order.tolist()):
        order = classes
    own = scale_of(model, order)
    return own if known <= set(own.tolist()) else order


def given_scale(estimator: Any) -> int | Sequence[Hashable] | None:
    """Return the scale that was given to an estimator, or to one inside it, or ``None``.

    The estimator is not fitted, or it is frozen.
    """
    for name, value in {"": estimator, **estimator.get_params()}.items():
        if name.split("__")[-1] == "grades" and isinstance(value, _SCALES):
            return value.tolist() if isinstance(value, np.ndarray) else value
        if is_frozen(value):
            own = scale_of(value, np.empty(0)).tolist()
            if own:
                return own
    return None


def numbering_of(estimator: Any) -> str | None:
    """Return the class that encodes labels alphabetically before a model that needs their order.

    It is one of scikit-learn's, inside the estimator, which is not fitted.
    """
    from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier

    for value in estimator.get_params().values():
        if isinstance(value, (BaggingClassifier, StackingClassifier, VotingClassifier)) and any(
            isinstance(inner, Grader) for inner in value.get_params().values()
        ):
            return type(value).__name__
    return None
