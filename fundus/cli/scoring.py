"""What a model says of images, on the whole scale of its grades."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fundus.labels import to_positions
from fundus.reporting.report import Report, make_report
from fundus.severity import shared_input

if TYPE_CHECKING:
    from sklearn.utils import Bunch


@dataclass(frozen=True)
class Scores:
    """Predictions for n images.

    Parameters
    ----------
    grades : ndarray of int, shape (n,)
        Places on the scale.
    severity : ndarray of float, shape (n,), or None
    proba : ndarray of float, shape (n, n_grades), or None
        ``None``, as the severity, where the head gives no probabilities.
    """

    grades: NDArray[np.intp]
    severity: NDArray[np.float64] | None
    proba: NDArray[np.float64] | None

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return severity and probabilities as columns of a table, where there are any."""
        if self.severity is None or self.proba is None:
            return {}
        named = {f"probability_{k}": self.proba[:, k] for k in range(self.proba.shape[1])}
        return {"severity": self.severity, **named}

    def report(self, data: Bunch, class_names: Sequence[str]) -> Report:
        """Compare with the grades of a data set."""
        return make_report(
            data.grades,
            self.grades,
            n_grades=len(class_names),
            class_names=class_names,
            severity=self.severity,
            patients=data.patients if data.patients_known else None,
        )


def score_images(model: Any, X: Any, scale: NDArray[Any]) -> Scores:
    """Run a fitted model on images, once where it gives probabilities.

    Parameters
    ----------
    model : FoldEnsemble or TransferClassifier
    X : images
    scale : ndarray, shape (n_grades,)
        Labels, lowest first.

    Returns
    -------
    Scores
    """
    from fundus.ensemble import FoldEnsemble

    if not hasattr(model, "predict_proba"):
        return Scores(to_positions(model.predict(X), scale), None, None)
    if isinstance(model, FoldEnsemble):
        votes = model.ballot().mean(model.estimators_, X)
        return _on_scale(model.classes_[votes.best], votes.severity, votes.proba, model, scale)
    X = shared_input([model], X)
    proba, severity = model.predict_proba(X), model.predict_severity(X)
    cut = hasattr(model, "cutpoints_")  # else the most probable grade, without another run
    labels = model.predict(X) if cut else model.classes_[proba.argmax(axis=1)]
    return _on_scale(labels, severity, proba, model, scale)


def out_of_fold(model: Any, scale: NDArray[Any]) -> Scores:
    """Return what each fold's model said of the images it has not seen.

    Parameters
    ----------
    model : FoldEnsemble
        Fitted, every image in one test fold.
    scale : ndarray, shape (n_grades,)

    Returns
    -------
    Scores
    """
    if not hasattr(model, "oof_proba_"):
        return Scores(to_positions(model.oof_prediction_, scale), None, None)
    return _on_scale(model.oof_prediction_, model.oof_severity_, model.oof_proba_, model, scale)


def _on_scale(
    labels: NDArray[Any],
    severity: NDArray[np.float64],
    proba: NDArray[np.float64] | None,
    model: Any,
    scale: NDArray[Any],
) -> Scores:
    assert proba is not None
    full = np.zeros((len(proba), len(scale)))
    full[:, to_positions(model.classes_, scale)] = proba
    return Scores(to_positions(labels, scale), severity, full)
