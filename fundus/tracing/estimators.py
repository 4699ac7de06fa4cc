"""Fitted scikit-learn estimators as operations of Keras, and how others say what they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from fundus.exceptions import ExportError
from fundus.explain.linear import Linear, is_affine, through
from fundus.grades.foreign import unwrapped
from fundus.grades.in_keras import constant

#: From a fitted estimator and its features to what it predicts of them.
TracedEstimator = Callable[[Any, "Features"], Any]

_registered: dict[type, TracedEstimator] = {}


class Features:
    """What an estimator gets: a tensor, and scalings before it that are known numbers.

    Parameters
    ----------
    given : KerasTensor of float32, shape (batch, n_features)
    before : list of estimator
        Fitted scalers and other affine steps between `given` and the estimator.
    """

    def __init__(self, given: Any, before: list[Any] | None = None) -> None:
        self._given = given
        self._before = list(before or [])

    @property
    def tensor(self) -> Any:
        """The features as the estimator itself gets them, (batch, n_features)."""
        if not self._before:
            return self._given
        width = _width_after(self._before, self._given.shape[1])
        return self.dense(np.eye(width), np.zeros(width))

    def dense(self, weights: NDArray[Any], bias: NDArray[Any]) -> Any:
        """Scores ``tensor @ weights + bias``, with the scalings in the weights.

        Parameters
        ----------
        weights : ndarray of float, shape (n_features, m)
        bias : ndarray of float, shape (m,)

        Returns
        -------
        KerasTensor of float32, shape (batch, m)
        """
        from keras import layers

        whole = Linear(
            np.asarray(weights, dtype=np.float64),
            np.asarray(bias, dtype=np.float64),
            np.zeros(len(bias)),
            None,
        )
        for step in reversed(self._before):
            whole = through(step, whole)
        # differences from a middle are small, so that their sum rounds little
        middle = constant(self._middle(len(whole.weights)))
        shifted = whole.bias + middle.astype(np.float64) @ whole.weights
        layer = layers.Dense(whole.weights.shape[1], trainable=False)
        scores = layer(self._given - middle)
        layer.set_weights([constant(whole.weights), constant(shifted)])
        return scores

    def _middle(self, width: int) -> NDArray[Any]:
        mean = getattr(self._before[0], "mean_", None) if self._before else None
        return np.zeros(width) if mean is None or np.shape(mean) != (width,) else mean

    def then(self, step: Any) -> Features:
        """Return the features after one more fitted step."""
        if is_affine(step):
            return Features(self._given, [*self._before, step])
        return Features(_traced_by(step, self))


def _width_after(steps: list[Any], width: int) -> int:
    for step in steps:
        row = step.transform(np.zeros((1, width)))
        width = int(np.shape(row)[1])
    return width


def traces(cls: type) -> Callable[[TracedEstimator], TracedEstimator]:
    """Register a function as the counterpart of an estimator's prediction.

    It is called as ``function(estimator, features)``, with a fitted estimator of exactly this class
    and `Features`, and returns a tensor: what a regressor predicts, (batch,); the probabilities of
    a classifier's ``classes_``, (batch, n_classes), or its decisions as ones and zeros where it has
    no ``predict_proba``; or what a transformer gives, (batch, n_features). A class may have a
    method ``traced(features)`` instead. What it returns is compared with the estimator when a model
    is exported.

    Parameters
    ----------
    cls : type

    Examples
    --------
    >>> from sklearn.dummy import DummyRegressor
    >>> @traces(DummyRegressor)
    ... def always_the_same(estimator, features):
    ...     return features.tensor[:, 0] * 0.0 + float(estimator.constant_[0, 0])
    """

    def keep(function: TracedEstimator) -> TracedEstimator:
        _registered[cls] = function
        return function

    return keep


def is_traced(estimator: Any) -> bool:
    """Whether an estimator, or the last step of a Pipeline, says how it is expressed."""
    inner = unwrapped(estimator)
    while isinstance(inner, Pipeline):
        inner = unwrapped(inner.steps[-1][1])
    return hasattr(inner, "traced") or type(inner) in _registered


def traced_estimator(estimator: Any, tensor: Any) -> Any:
    """Return what a fitted estimator predicts of features, as `traces` says it.

    Parameters
    ----------
    estimator : classifier or regressor
        Also in a Pipeline, a search or a FrozenEstimator.
    tensor : KerasTensor of float32, shape (batch, n_features)

    Raises
    ------
    ExportError
        If a step has no counterpart among the operations of Keras.
    """
    features, inner = Features(tensor), unwrapped(estimator)
    while isinstance(inner, Pipeline):
        steps = [unwrapped(step) for _, step in inner.steps if step not in (None, "passthrough")]
        for step in steps[:-1]:
            if hasattr(step, "transform"):  # what draws rows changes nothing in prediction
                features = features.then(step)
        inner = steps[-1]
    return _traced_by(inner, features)


def _traced_by(estimator: Any, features: Features) -> Any:
    own = getattr(type(estimator), "traced", None)
    if own is not None:
        return own(estimator, features)
    function = _registered.get(type(estimator))
    if function is None:
        raise refused(
            estimator,
            "it is none that is known as arithmetic of features. Use a linear head, such as "
            "'ridge', 'logistic' or 'ordinal_ridge', or register its counterpart with "
            "fundus.tracing.estimators.traces",
        )
    return function(estimator, features)


def refused(estimator: Any, why: str) -> ExportError:
    """Return the error for an estimator that cannot be expressed."""
    return ExportError(f"The estimator {estimator!r} cannot be exported: {why}.")
