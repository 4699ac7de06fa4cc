"""Predictions of a model: grades, severities, probabilities, and decisions made from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fundus.grades.foreign import as_grader
from fundus.grades.grader import Grader, Reading, Votes
from fundus.grades.labels import to_positions
from fundus.meta.conformal import OrdinalConformalClassifier
from fundus.meta.ensemble import FoldEnsemble
from fundus.metrics.operating_points import OperatingPoint
from fundus.reporting.screening import REFERABLE


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions for n images.

    Parameters
    ----------
    grades : ndarray of int, shape (n,)
        Positions on the scale, 0 for its lowest grade.
    severity : ndarray of float, shape (n,), or None
        In positions on the scale; ``None`` if the model gives no probabilities.
    proba : ndarray of float, shape (n, n_grades), or None
        A grade that was not trained on has probability 0.
    referable : ndarray of bool, shape (n,), or None
        Whether the severity reaches the model's first operating point for referable
        disease, which is the one for a sensitivity if that could be reached.
    sets : tuple of two ndarrays of int, shape (n,), or None
        Positions of the lowest and the highest grade of each image's conformal set.
    """

    grades: NDArray[np.intp]
    severity: NDArray[np.float64] | None = None
    proba: NDArray[np.float64] | None = None
    referable: NDArray[np.bool_] | None = None
    sets: tuple[NDArray[np.intp], NDArray[np.intp]] | None = None

    def to_frame(self, *, decisions: bool = True) -> pd.DataFrame:
        """Return one row per image.

        Parameters
        ----------
        decisions : bool, default=True
            Whether to add the decisions by the model's rules.

        Returns
        -------
        DataFrame
            Columns ``grade``; ``severity`` and ``probability_0`` … if there are any; and for the
            decisions ``referable``, ``grades_set``, such as "1;2", and ``defer``, whether the set
            has several grades.
        """
        found: dict[str, Any] = {"grade": self.grades}
        if self.severity is not None and self.proba is not None:
            found["severity"] = self.severity
            found |= {f"probability_{k}": column for k, column in enumerate(self.proba.T)}
        if decisions and self.referable is not None:
            found["referable"] = self.referable
        if decisions and self.sets is not None:
            pairs = zip(*self.sets, strict=True)
            found["grades_set"] = [";".join(map(str, range(a, b + 1))) for a, b in pairs]
            found["defer"] = self.sets[0] != self.sets[1]
        return pd.DataFrame(found)


def predict_images(model: Any, X: Any) -> Predictions:
    """Predict images with a fitted model; each photograph is read once.

    The model's operating points and its rule for sets are used if it has them.
    """
    return predict_members(model, X)[0]


def predict_by_folds(model: Any, X: Any, folds: Sequence[int]) -> NDArray[np.float64]:
    """Return each image's severity ``(n,)`` from one chosen model of an ensemble.

    `folds` are the indices of the models ``(n,)``; the ensemble has probabilities.
    """
    severity = np.array([votes.severity for votes in predict_members(model, X)[1]])
    return severity[np.asarray(folds), np.arange(len(folds))]


def predict_members(model: Any, X: Any) -> tuple[Predictions, list[Votes]]:
    """Predict images as `predict_images` does; return what each of the averaged models says, too.

    The second is empty where the model has no probabilities.
    """
    grader = as_grader(model)
    inner, reading = averaged(model), grader.read_images(X)
    if not inner.gives_proba():
        return Predictions(to_positions(inner.labels_of(reading), inner.grades_)), []
    members = inner.members(reading)
    votes = inner.average(members)
    labels = inner.labels_of(reading) if votes.best is None else inner.classes_[votes.best]
    sets = _sets(grader, inner, reading, members)
    return _on_scale(inner, labels, votes.severity, votes.proba, points_of(model), sets), members


def out_of_fold_predictions(ensemble: FoldEnsemble) -> Predictions:
    """Return the out-of-fold predictions of an ensemble that tested every image."""
    labels = ensemble.oof_prediction_
    if not ensemble.gives_proba():
        return Predictions(to_positions(labels, ensemble.grades_))
    return _on_scale(ensemble, labels, ensemble.oof_severity_, ensemble.oof_proba_, {}, None)


def _on_scale(
    grader: Grader,
    labels: NDArray[Any],
    severity: NDArray[np.float64] | None,
    proba: NDArray[np.float64] | None,
    points: Mapping[str, Sequence[OperatingPoint]],
    sets: tuple[NDArray[np.intp], NDArray[np.intp]] | None,
) -> Predictions:
    assert proba is not None
    scale = grader.grades_
    full = np.zeros((len(proba), len(scale)))
    full[:, to_positions(grader.classes_, scale)] = proba
    chosen, referable = points.get(REFERABLE), None
    if chosen and severity is not None:
        referable = severity >= chosen[0].threshold
    return Predictions(to_positions(labels, scale), severity, full, referable, sets)


def _sets(
    grader: Grader, inner: Grader, reading: Reading, members: list[Votes]
) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
    if not isinstance(grader, OrdinalConformalClassifier):
        return None
    if not isinstance(inner, FoldEnsemble):
        members = grader.members(reading)
    low, high = grader.sets_of(members)
    return to_positions(low, grader.grades_), to_positions(high, grader.grades_)


def averaged(model: Any) -> Grader:
    """Return the model that predicts the grades: the model, or the one inside a conformal one."""
    grader = as_grader(model)
    if isinstance(grader, OrdinalConformalClassifier):
        return as_grader(grader.ensemble_)
    return grader


def points_of(model: Any) -> dict[str, list[OperatingPoint]]:
    """Return the operating points that were chosen with a model, by condition."""
    return dict(getattr(model, "operating_points_", None) or {})


def names_of_grades(model: Any, of_data: Sequence[str] | None = None) -> list[str]:
    """Return the names of a fitted model's grades, lowest first.

    These are ``class_names_`` if the model has them, else those of a data set, else ``class0`` …
    for grades that are numbered, or the labels themselves.
    """
    if names := getattr(model, "class_names_", None) or of_data:
        return list(names)
    labels = averaged(model).grades_.tolist()
    numbered = labels == [*range(len(labels))]
    return [f"class{k}" if numbered else str(k) for k in labels]
