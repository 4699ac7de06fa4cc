"""The counterparts of scikit-learn's and this package's linear estimators."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import (
    BayesianRidge,
    ElasticNet,
    ElasticNetCV,
    HuberRegressor,
    Lasso,
    LassoCV,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    RidgeCV,
    SGDRegressor,
)
from sklearn.svm import SVC, SVR, LinearSVC, LinearSVR, NuSVC, NuSVR

from fundus.grades.foreign import unwrapped
from fundus.grades.in_keras import best_of, chosen, interpolated, ordered_logit_proba
from fundus.grades.labels import to_positions
from fundus.heads.ordinal_estimators import OrdinalLogisticRegression
from fundus.heads.ordinal_ridge import OrdinalRidge
from fundus.tracing.estimators import Features, refused, traces

_REGRESSORS = (
    *(Ridge, RidgeCV, LinearRegression, Lasso, LassoCV, ElasticNet, ElasticNetCV, BayesianRidge),
    *(HuberRegressor, SGDRegressor, LinearSVR, SVR, NuSVR),
)
_SOFTMAX = (LogisticRegression, LogisticRegressionCV, LinearDiscriminantAnalysis)
_DECIDERS = (LinearSVC, RidgeClassifier, RidgeClassifierCV)
_MACHINES = (SVC, NuSVC)


def _scores(estimator: Any, features: Features) -> Any:
    """Its linear scores, one or one for each row of its coefficients."""
    if isinstance(estimator, (SVC, NuSVC, SVR, NuSVR)) and estimator.kernel != "linear":
        raise refused(
            estimator,
            f"its kernel {estimator.kernel!r} compares photographs with those of the training, "
            "whose features would leave with it. Use kernel='linear'",
        )
    weights = np.atleast_2d(np.asarray(estimator.coef_, dtype=np.float64)).T
    bias = np.broadcast_to(np.asarray(estimator.intercept_, np.float64).ravel(), weights.shape[1])
    return features.dense(weights, bias)


def _regressor(estimator: Any, features: Features) -> Any:
    scores = _scores(estimator, features)
    if scores.shape[1] != 1:
        raise refused(estimator, "it predicts several numbers. Fit it on one column of grades")
    return scores[:, 0]


def _two(upper: Any) -> Any:
    """Probabilities of two classes from that of the second, (batch, 1)."""
    from keras import ops

    return ops.concatenate([1.0 - upper, upper], axis=1)


def _softmax(estimator: Any, features: Features) -> Any:
    from keras import ops

    scores = _scores(estimator, features)
    if scores.shape[1] > 1:
        return ops.softmax(scores, axis=1)
    return ops.concatenate([ops.sigmoid(-scores), ops.sigmoid(scores)], axis=1)


def _decision(estimator: Any, features: Features) -> Any:
    """What ``decision_function`` gives, (batch, 1) of two classes or (batch, n_classes)."""
    from keras import ops

    scores = _scores(estimator, features)
    if type(estimator) not in _MACHINES or scores.shape[1] == 1:
        return scores
    won, sums = _of_pairs(scores, len(estimator.classes_))
    return won + sums / (3.0 * (ops.abs(sums) + 1.0))


def _of_pairs(scores: Any, n_classes: int) -> tuple[Any, Any]:
    """How many pairs each class has won, and the sum of its scores, (batch, n_classes)."""
    from keras import ops

    won: list[Any] = [0.0] * n_classes
    total: list[Any] = [0.0] * n_classes
    for k, (a, b) in enumerate(combinations(range(n_classes), 2)):
        score = scores[:, k : k + 1]
        first = ops.cast(score >= 0, "float32")
        won[a], won[b] = won[a] + first, won[b] + (1.0 - first)
        total[a], total[b] = total[a] + score, total[b] - score
    return ops.concatenate(won, axis=1), ops.concatenate(total, axis=1)


def _decides(estimator: Any, features: Features) -> Any:
    """Ones for the class that it names."""
    from keras import ops

    if getattr(estimator, "probability", False) is True:
        raise refused(
            estimator,
            "its own probabilities couple pairs of classes. Put it into CalibratedClassifierCV, "
            "as the head 'svm' does",
        )
    n_classes = len(estimator.classes_)
    if type(estimator) in _MACHINES and n_classes > 2 and not estimator.break_ties:
        won, _ = _of_pairs(_scores(estimator, features), n_classes)
        return ops.one_hot(best_of(won), n_classes)
    decision = _decision(estimator, features)
    if decision.shape[1] == 1:
        return _two(ops.cast(decision > 0, "float32"))
    return ops.one_hot(best_of(decision), decision.shape[1])


for _cls in _REGRESSORS:
    traces(_cls)(_regressor)
for _cls in _SOFTMAX:
    traces(_cls)(_softmax)
for _cls in (*_DECIDERS, *_MACHINES):
    traces(_cls)(_decides)


@traces(OrdinalLogisticRegression)
@traces(OrdinalRidge)
def _ordinal(estimator: Any, features: Features) -> Any:
    slope = float(getattr(estimator, "slope_", 1.0))
    severity = features.dense(
        np.asarray(estimator.coef_, dtype=np.float64)[:, np.newaxis] * slope,
        np.asarray([getattr(estimator, "intercept_", 0.0)]) * slope,
    )
    proba = ordered_logit_proba(severity - np.asarray(estimator.thresholds_, dtype=np.float32))
    classes, scale = estimator.classes_, getattr(estimator, "grades_", estimator.classes_)
    return chosen(proba, to_positions(classes, scale[np.isin(scale, classes)]))


@traces(CalibratedClassifierCV)
def _calibrated(estimator: Any, features: Features) -> Any:
    parts = [
        _one_calibrated(estimator, part, features) for part in estimator.calibrated_classifiers_
    ]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total / float(len(parts))


def _one_calibrated(whole: Any, part: Any, features: Features) -> Any:
    from keras import ops

    inner = unwrapped(part.estimator)
    if type(inner) not in (*_MACHINES, *_DECIDERS, *_SOFTMAX):
        raise refused(inner, "what CalibratedClassifierCV is around must be a linear classifier")
    if getattr(whole, "method", "") not in ("sigmoid", "isotonic"):
        raise refused(whole, "its method must be 'sigmoid' or 'isotonic'")
    decision = _decision(inner, features)
    curves = part.calibrators
    n_classes = len(whole.classes_)
    if len(inner.classes_) != n_classes:
        raise refused(whole, "a fold of it lacks a class. Fit it with ensemble=False")
    columns = [_curve(curve, decision[:, k : k + 1]) for k, curve in enumerate(curves)]
    if n_classes == 2:
        return _two(columns[0])
    proba = ops.concatenate(columns, axis=1)
    total = ops.sum(proba, axis=1, keepdims=True)
    even = ops.ones_like(proba) / float(n_classes)
    return ops.where(total > 0, proba / ops.where(total > 0, total, 1.0), even)


def _curve(curve: Any, scores: Any) -> Any:
    """A rising curve from scores to probabilities."""
    from keras import ops

    if isinstance(curve, IsotonicRegression):
        return interpolated(scores, curve.X_thresholds_, curve.y_thresholds_)
    return ops.sigmoid(-(scores * float(curve.a_) + float(curve.b_)))
