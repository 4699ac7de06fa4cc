"""Heads whose scores are linear in the features: their weights, with the scaling before them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.base import is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectorMixin
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from sklearn.svm import SVC, NuSVC

from fundus.grades.foreign import unwrapped
from fundus.grades.labels import to_positions
from fundus.grades.severity import ordered_logit_proba
from fundus.heads.ordinal_estimators import OrdinalClassifier
from fundus.heads.view_scaler import ViewStandardScaler

Floats = NDArray[np.float64]

#: How far a head that is read may be from what it predicts, by the precision of its features.
_DOUBLE, _SINGLE = 1e-6, 1e-3


@dataclass(frozen=True)
class Linear:
    """Scores ``features @ weights + bias``, and what an estimator makes of them.

    Parameters
    ----------
    weights : ndarray of float, shape (n_features, m)
    bias : ndarray of float, shape (m,)
    start : ndarray of float, shape (m,)
        Scores of features at the mean of the training images, as scalers know it; of zeros where
        there is no scaler.
    link : callable or None
        From scores (n, m) to what the estimator predicts: values (n,) of a regressor, else
        probabilities in the order of its classes. ``None`` where its classes are chosen by scores
        that are no such function, as a support vector machine's; there is a score for each class.
    """

    weights: Floats
    bias: Floats
    start: Floats
    link: Callable[[Floats], Floats] | None

    def scores(self, features: Floats) -> Floats:
        """Scores of features, (n, m)."""
        return features @ self.weights + self.bias


def linear_head(estimator: Any, features: Floats) -> Linear | None:
    """Read a fitted estimator as linear scores, if it is that.

    Parameters
    ----------
    estimator : classifier or regressor
        Also in a Pipeline, a search or a FrozenEstimator.
    features : ndarray of float, shape (n, n_features)
        Rows on which it must predict the same; otherwise it is taken for something else.

    Returns
    -------
    Linear or None

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> X = np.array([[0.0, 1.0], [2.0, 1.5], [4.0, 0.0]])
    >>> ridge = make_pipeline(StandardScaler(), Ridge()).fit(X, [0, 1, 3])
    >>> found = linear_head(ridge, X)
    >>> bool(np.allclose(found.scores(X)[:, 0], ridge.predict(X)))
    True
    """
    whole = estimator = unwrapped(estimator)
    before: list[Any] = []
    while isinstance(estimator, Pipeline):
        steps = [
            unwrapped(step) for _, step in estimator.steps if step not in (None, "passthrough")
        ]
        before += steps[:-1]
        estimator = steps[-1]
    read: Any = features
    for step in before:
        if not is_affine(step):
            return None
        read = step.transform(read)
    found = _last(estimator, np.asarray(read, dtype=np.float64))
    if found is None:
        return None
    for step in reversed(before):
        found = through(step, found)
    # as it is used: weights so large that single precision decides are no sum of parts
    single = features.astype(np.float32)
    return found if _agrees(found, whole, features, single, _SINGLE) else None


def is_affine(step: Any) -> bool:
    """Whether a step before a head is known to be affine."""
    plain = (StandardScaler, ViewStandardScaler, RobustScaler, PCA)
    if type(step) in (MinMaxScaler, MaxAbsScaler):
        return not getattr(step, "clip", False)
    return type(step) in plain or isinstance(step, SelectorMixin)


def through(step: Any, found: Linear) -> Linear:
    """The same scores on what goes into a step."""
    inner, n = found.weights, len(found.weights)
    if isinstance(step, SelectorMixin):
        outer = np.zeros((len(step.get_support()), inner.shape[1]))
        outer[step.get_support()] = inner
        return replace(found, weights=outer)
    centre, factor = np.zeros(n), np.ones(n)
    if isinstance(step, PCA):
        across = step.components_.astype(np.float64)
        if step.whiten:
            across = across / np.sqrt(np.maximum(step.explained_variance_, 0))[:, None]
        outer, centre = across.T @ inner, step.mean_.astype(np.float64)
        return replace(found, weights=outer, bias=found.bias - centre @ outer)
    if isinstance(step, MinMaxScaler):
        factor = step.scale_
        centre = -step.min_ / factor
    else:
        means = getattr(step, "center_" if isinstance(step, RobustScaler) else "mean_", None)
        if means is not None and getattr(step, "with_mean", True):
            centre = means
        factor = factor if step.scale_ is None else 1 / step.scale_
        if isinstance(step, ViewStandardScaler):
            factor = factor * step.weights_
    outer = factor[:, None] * inner
    return replace(found, weights=outer, bias=found.bias - centre @ outer)


def _last(estimator: Any, X: Floats) -> Linear | None:
    """The scores of an estimator alone, tried on rows that it can read."""
    candidates = (
        [_regressor(estimator)]
        if is_regressor(estimator)
        else [*_classifiers(estimator, X), _class_scores(estimator, X)]
    )
    for found in candidates:
        if found is not None and _agrees(found, estimator, X, X, _DOUBLE):
            return found
    return None


def _agrees(
    found: Linear, estimator: Any, X: Floats, given: NDArray[Any], tolerance: float
) -> bool:
    """Whether what is read from an estimator is what it predicts of what it is given."""
    if found.weights.shape[0] != X.shape[1]:
        return False
    if found.link is None:
        return True  # compared with its decision where it was made
    told = estimator.predict if is_regressor(estimator) else estimator.predict_proba
    wanted = np.asarray(told(given), dtype=np.float64)
    got = found.link(found.scores(X))
    return got.shape == wanted.shape and np.allclose(got, wanted, rtol=tolerance, atol=tolerance)


def _coefficients(estimator: Any) -> tuple[Floats, Floats] | None:
    """Weights (n_features, m) and intercepts (m,) of an estimator that has them."""
    coef, intercept = getattr(estimator, "coef_", None), getattr(estimator, "intercept_", None)
    if not isinstance(coef, np.ndarray) or intercept is None:
        return None
    weights = np.atleast_2d(coef.astype(np.float64)).T
    bias = np.broadcast_to(np.asarray(intercept, dtype=np.float64), weights.shape[1]).copy()
    return weights, bias


def _regressor(estimator: Any) -> Linear | None:
    found = _coefficients(estimator)
    if found is None or found[0].shape[1] != 1:
        return None
    return Linear(*found, found[1], lambda scores: scores[:, 0])


def _classifiers(estimator: Any, X: Floats) -> list[Linear | None]:
    """What a classifier with probabilities may be."""
    if isinstance(estimator, OrdinalClassifier):
        return [_ordinal(estimator)]
    if type(estimator) is CalibratedClassifierCV:
        return [_calibrated(estimator)]
    found = _coefficients(estimator)
    if found is None or not hasattr(estimator, "predict_proba"):
        return []
    if found[0].shape[1] == 1:
        return [Linear(*found, found[1], _two)]
    return [
        Linear(*found, found[1], lambda scores: softmax(scores, axis=1)),
        Linear(*found, found[1], _each_against_the_rest),
    ]


def _two(scores: Floats) -> Floats:
    return np.column_stack([expit(-scores[:, 0]), expit(scores[:, 0])])


def _each_against_the_rest(scores: Floats) -> Floats:
    proba = expit(scores)
    return proba / proba.sum(axis=1, keepdims=True)


def _ordinal(estimator: OrdinalClassifier) -> Linear | None:
    slope = getattr(estimator, "slope_", 1.0)
    found = _coefficients(estimator)
    if found is None:  # a proportional-odds model has thresholds alone
        coef = getattr(estimator, "coef_", None)
        if coef is None:
            return None
        found = coef[:, None].astype(np.float64), np.zeros(1)
    classes = estimator.classes_
    scale = getattr(estimator, "grades_", classes)
    order = to_positions(classes, scale[np.isin(scale, classes)])

    def link(scores: Floats) -> Floats:
        return ordered_logit_proba(slope * scores - estimator.thresholds_)[:, order]

    return Linear(*found, found[1], link)


def _calibrated(estimator: CalibratedClassifierCV) -> Linear | None:
    """Of one machine of two classes, whose score a curve turns into a probability."""
    if len(estimator.calibrated_classifiers_) != 1 or len(estimator.classes_) != 2:
        return None
    (inner,) = estimator.calibrated_classifiers_
    found = _coefficients(unwrapped(inner.estimator))
    if found is None or found[0].shape[1] != 1:
        return None

    def link(scores: Floats) -> Floats:
        upper = np.asarray(inner.calibrators[0].predict(scores[:, 0]), dtype=np.float64)
        return np.column_stack([1 - upper, upper])

    return Linear(*found, found[1], link)


def _class_scores(estimator: Any, X: Floats) -> Linear | None:
    """A score for each class, of a classifier that decides by scores."""
    if type(estimator) is CalibratedClassifierCV:
        if len(estimator.calibrated_classifiers_) != 1:
            return None
        estimator = unwrapped(estimator.calibrated_classifiers_[0].estimator)
    found = _coefficients(estimator)
    if found is None or not hasattr(estimator, "decision_function"):
        return None
    weights, bias = found
    n_classes, n_scores = len(estimator.classes_), weights.shape[1]
    if weights.shape[0] != X.shape[1]:
        return None
    decision = np.asarray(estimator.decision_function(X), dtype=np.float64).reshape(len(X), -1)
    scores = X @ weights + bias
    if n_classes == 2 and n_scores == 1:
        if not np.allclose(scores, decision, rtol=1e-5, atol=1e-6):
            return None
        mix = np.array([[-1.0, 1.0]])
    elif isinstance(estimator, (SVC, NuSVC)):
        mix = _pairs(n_classes)
        if not np.allclose(_votes(scores, n_classes), decision, rtol=1e-5, atol=1e-6):
            return None
    elif n_scores == n_classes and np.allclose(scores, decision, rtol=1e-5, atol=1e-6):
        mix = np.eye(n_classes)
    else:
        return None
    return Linear(weights @ mix, bias @ mix, bias @ mix, None)


def _pairs(n_classes: int) -> Floats:
    """From the scores of pairs to the sum of each class's own, (n_pairs, n_classes)."""
    pairs = list(combinations(range(n_classes), 2))
    mix = np.zeros((len(pairs), n_classes))
    for row, (a, b) in enumerate(pairs):
        mix[row, a], mix[row, b] = 1.0, -1.0
    return mix


def _votes(scores: Floats, n_classes: int) -> Floats:
    """Decisions that a support vector machine makes of the scores of its pairs."""
    won = np.zeros((len(scores), n_classes))
    for k, (a, b) in enumerate(combinations(range(n_classes), 2)):
        won[:, a] += scores[:, k] >= 0
        won[:, b] += scores[:, k] < 0
    total = scores @ _pairs(n_classes)
    return won + total / (3 * (np.abs(total) + 1))
