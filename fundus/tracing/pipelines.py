"""A scikit-learn Pipeline that begins with `FeatureExtractor`, as operations of Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import is_regressor
from sklearn.pipeline import Pipeline

from fundus.exceptions import ExportError
from fundus.grades.grader import Grader, Votes
from fundus.grades.in_keras import best_of, expected_grade
from fundus.grades.labels import to_positions
from fundus.tracing.estimators import traced_estimator
from fundus.tracing.heads import check_decision, check_same
from fundus.tracing.trace import Trace


def votes_of_pipeline(model: Any, grader: Grader, trace: Trace) -> Votes:
    """Predict as a model of another package does, of the picture of a trace.

    Parameters
    ----------
    model : Pipeline
        Fitted. Its first step gives frozen features.
    grader : Grader
        The same model as a grader.
    trace : Trace

    Raises
    ------
    ExportError
        If it is something else.
    """
    frozen = None
    if isinstance(model, Pipeline) and len(model.steps) > 1:
        frozen = getattr(model.steps[0][1], "frozen_", None)
    if frozen is None:
        raise ExportError(
            f"{model!r} cannot be exported: only models of this package, and Pipelines that begin "
            "with FeatureExtractor, have their networks where an export finds them."
        )
    (features,) = trace.frozen(frozen)
    rest = model[1:]  # which keeps the class: one of imbalanced-learn knows its samplers
    outputs = traced_estimator(rest, features)
    check_same(rest, features.shape[1], regressor=is_regressor(model))
    if is_regressor(model):
        return Votes(None, outputs, None)
    check_decision(rest, features.shape[1])
    best, severity = best_of(outputs), None
    if not grader.gives_proba():
        return Votes(None, None, best)
    if len(grader.grades_):
        positions = to_positions(grader.classes_, grader.grades_)
        severity = expected_grade(outputs, np.asarray(positions))
    return Votes(outputs, severity, best)
