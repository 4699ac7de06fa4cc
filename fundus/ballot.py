"""How the models of an ensemble vote, each with the classes and the scale of its own fold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.heads.decisions import expected_grade, interpolated_proba
from fundus.labels import to_positions


def unwrapped(model: Any) -> Any:
    """Return what a search has found, or the model itself."""
    return getattr(model, "best_estimator_", model)


def innermost(model: Any) -> Any:
    """Return the fitted model that reads the images, out of searches and meta-estimators."""
    for name in ("best_estimator_", "estimator_"):
        if hasattr(model, name):
            return innermost(getattr(model, name))
    return model


def has_severity(model: Any) -> bool:
    """Whether a severity can be had from a model."""
    model = unwrapped(model)
    return hasattr(model, "predict_severity") or hasattr(model, "predict_proba")


def is_ordinal_regressor(model: Any) -> bool:
    """Whether a fitted model's head predicts a severity rather than probabilities."""
    head = getattr(unwrapped(model), "head_", None)
    return bool(getattr(head, "is_regressor", False))


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
    if len(names) != 1 or None in names:
        return X
    return inner[0].shared_input(X)


@dataclass(frozen=True)
class Ballot:
    """The rules of one ensemble.

    Parameters
    ----------
    classes : ndarray, shape (n_classes,)
        All labels, sorted.
    scale : ndarray, shape (n_grades,)
        The grades in order.
    voting : {"soft", "hard", "severity"}
    """

    classes: NDArray[Any]
    scale: NDArray[Any]
    voting: str

    def scores(self, model: Any, X: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Run one model once.

        Parameters
        ----------
        model : classifier
            Fitted on one fold.
        X : images or array-like

        Returns
        -------
        proba : ndarray of float, shape (n_samples, n_classes)
            A class that the model never saw has probability 0.
        severity : ndarray of float, shape (n_samples,)
            In places on the ensemble's scale.
        """
        model = unwrapped(model)
        if self.voting == "severity" and hasattr(model, "predict_severity"):
            severity = self._on_scale(model, np.asarray(model.predict_severity(X)))
            return self._interpolated(severity), severity
        own = model.predict_proba(X)
        proba = np.zeros((len(own), len(self.classes)))
        proba[:, np.searchsorted(self.classes, model.classes_)] = own
        return proba, expected_grade(proba, self._places())

    def mean(self, models: list[Any], X: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Average all models' probabilities and severities; the shapes are those of `scores`."""
        X = shared_input(models, X)
        return self.combine([self.scores(model, X) for model in models])

    def combine(
        self, scores: list[tuple[NDArray[np.float64], NDArray[np.float64]]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Average what `scores` gave of each model."""
        severity = np.mean([s for _, s in scores], axis=0)
        if self.voting == "severity":
            return self._interpolated(severity), severity
        return np.mean([p for p, _ in scores], axis=0), severity

    def majority(self, models: list[Any], X: Any) -> NDArray[Any]:
        """Return the label most models predict, the lowest of several."""
        X = shared_input(models, X)
        votes = np.stack([np.searchsorted(self.classes, m.predict(X)) for m in models])
        counts = np.stack([(votes == k).sum(axis=0) for k in range(len(self.classes))])
        return self.classes[counts.argmax(axis=0)]

    def _places(self) -> NDArray[np.intp]:
        return to_positions(self.classes, self.scale)

    def _interpolated(self, severity: NDArray[np.float64]) -> NDArray[np.float64]:
        return interpolated_proba(severity, self._places())

    def _on_scale(self, model: Any, severity: NDArray[np.float64]) -> NDArray[np.float64]:
        """Severities on a fold's own scale, in places of the ensemble's."""
        own = getattr(model, "grades_", self.scale)
        if len(own) == len(self.scale):
            return severity
        # the fold lacked a grade and its scale was left to the data, so its steps are wider
        return np.interp(severity, np.arange(len(own)), to_positions(own, self.scale))
