"""A fitted model with new cutpoints; its networks and heads stay as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator

from fundus.exceptions import InvalidParameterError
from fundus.grades.foreign import as_grader, unwrapped
from fundus.grades.grader import Grader, Votes
from fundus.meta.conformal import OrdinalConformalClassifier
from fundus.meta.conformal_sets import one_image_each, one_less
from fundus.meta.cutpoints import CutpointClassifier, TunedCutpointClassifierCV
from fundus.meta.ensemble import FoldEnsemble
from fundus.meta.voting import ballot_of


def cuttable(model: Any) -> Grader:
    """Return the model whose severity is cut: the model, or the one inside a conformal one.

    Raises
    ------
    InvalidParameterError
        If it gives no severity, or knows no grades.
    """
    grader = as_grader(_graded_by(model))
    named = type(unwrapped(_graded_by(model))).__name__
    if not grader.gives_severity():
        raise InvalidParameterError(
            f"Cutpoints need a severity to cut, and {named} has neither predict_severity nor "
            "predict_proba: train a model that has one of them."
        )
    if not len(grader.grades_):
        raise InvalidParameterError(
            f"{named} predicts numbers and knows no grades: put it into a classifier of grades, "
            "such as FixedCutpointClassifier(FrozenEstimator(model))."
        )
    return grader


def distribution_of(model: Any) -> str:
    """What the cutpoints of a fitted model are best for; of an ensemble, those of its folds."""
    inner = unwrapped(_graded_by(model))
    if isinstance(inner, FoldEnsemble):
        inner = unwrapped(inner.estimators_[0])
    tuned = isinstance(inner, TunedCutpointClassifierCV)
    return getattr(inner, "distribution", "empirical") if tuned else "empirical"


def recut(
    model: Any,
    severity: NDArray[np.float64],
    y: NDArray[Any],
    groups: NDArray[Any] | None,
    *,
    scoring: Any,
    distribution: str,
    n_bootstraps: int,
    random_state: Any,
) -> Any:
    """Return a model with cutpoints that are fitted on severities which the model gave.

    Parameters
    ----------
    model : classifier
        Fitted. Cutpoints that it has are replaced; a rule for sets is made again from `severity`,
        since it promises something about images like these alone.
    severity : ndarray of float, shape (n_samples,)
        On the scale of `cuttable`.
    y : ndarray, shape (n_samples,)
        Labels that the model knows.
    groups : ndarray, shape (n_samples,), or None
        Patients.
    scoring, distribution, n_bootstraps, random_state
        As of `TunedCutpointClassifierCV`.

    Returns
    -------
    TunedCutpointClassifierCV or OrdinalConformalClassifier
    """
    outer = as_grader(_graded_by(model))
    inner = unwrapped(_graded_by(model))
    while isinstance(inner, CutpointClassifier):  # its severity is that of the model inside
        inner = unwrapped(inner.estimator_)
    tuned = TunedCutpointClassifierCV(
        FrozenEstimator(inner),
        scoring=scoring,
        distribution=distribution,
        n_bootstraps=n_bootstraps,
        random_state=random_state,
    )
    tuned.estimator_, tuned.grades_ = inner, outer.grades_
    tuned.classes_, tuned.oof_severity_ = outer.classes_, severity
    tuned._tune(y, None, groups)
    tuned._take_features_of(inner, None)
    whole = unwrapped(model)
    if not isinstance(whole, OrdinalConformalClassifier):
        return tuned
    level = one_less(whole.rule_.alpha)
    sets = OrdinalConformalClassifier(
        FrozenEstimator(tuned), confidence_level=level, random_state=random_state
    )
    sets._take(tuned, ballot_of(tuned))
    rows = one_image_each(groups, len(y), random_state)
    sets._make_rule([(Votes(None, severity, None).of(rows), y[rows])])
    sets._take_features_of(tuned, None)
    return sets


def _graded_by(model: Any) -> Any:
    """Return what predicts the grades in a model."""
    whole = unwrapped(model)
    return whole.ensemble_ if isinstance(whole, OrdinalConformalClassifier) else whole
