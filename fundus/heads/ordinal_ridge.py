"""Ordinal ridge regression on features, with probabilities from its leave-one-out severities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fundus.heads.base import EstimatorHead
from fundus.heads.ordinal_estimators import OrdinalClassifier, OrdinalLogisticRegression
from fundus.parameters import invalid


class OrdinalRidge(OrdinalClassifier):
    """Ridge regression of the grade, with probabilities from its leave-one-out severities.

    The penalty is the one with the least leave-one-out error. A proportional-odds model of the
    grade on the leave-one-out severity, which no image influences its own of, gives the
    probabilities: they are as sure as the regression is on images it has not seen, and the
    thresholds between grades are fitted.

    Parameters
    ----------
    alphas : float or sequence of float, default=(1, 10, 100, 1000, 10000, 100000, 1000000)
        Strengths of the L2 penalty to choose from.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        The labels in ``y``, sorted.
    grades_ : ndarray, shape (n_grades,)
        The labels in the order of the grades: the categories of a pandas Categorical, also those
        without rows, else the sorted labels, with a warning where they are more than two names.
    alpha_ : float
        The penalty that was chosen.
    coef_ : ndarray of float, shape (n_features,)
    intercept_ : float
        Of the severity ``x @ coef_ + intercept_``, on the axis of the labels where they are
        numbers, and of their order where not.
    loo_severity_ : ndarray of float, shape (n_samples,)
        Severity of every training row by the regression on all others.
    slope_ : float
        Of the log-odds of a higher grade on the severity; 0, and every row has the probabilities
        of the training set, where the leave-one-out severities do not rise with the grade.
    thresholds_ : ndarray of float, shape (n_classes - 1,)
        Increasing; on the scale of the log-odds.
    n_features_in_ : int

    Notes
    -----
    Rows that repeat an image, as over-samplers and augmented views make them, make it too sure.

    Examples
    --------
    >>> X = np.arange(12.0)[:, np.newaxis]
    >>> model = OrdinalRidge().fit(X, np.arange(12) // 4)
    >>> model.predict(X).tolist()
    [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    """

    def __init__(
        self, alphas: float | Sequence[float] = (1, 10, 100, 1000, 10000, 100000, 1000000)
    ) -> None:
        self.alphas = alphas

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> OrdinalRidge:
        """Choose the penalty, fit the regression, and the probabilities on what it left out.

        Parameters
        ----------
        X : array-like of float, shape (n_samples, n_features)
        y : array-like, shape (n_samples,)
        sample_weight : array-like of float, shape (n_samples,), default=None

        Returns
        -------
        self

        Raises
        ------
        InvalidParameterError
            If `alphas` holds anything but positive numbers.
        InvalidGradeError
            If there is one class only.
        """
        alphas = np.atleast_1d(np.asarray(self.alphas))
        usable = alphas.dtype.kind in "iuf" and alphas.ndim == 1 and alphas.size > 0
        if not usable or not (np.isfinite(alphas) & (alphas > 0)).all():
            raise invalid(self, "alphas", "one or more positive numbers", self.alphas)
        features, positions, weights = self._read(X, y, sample_weight)
        # the distances of numbers count, unless they are in an order of their own
        grades = self._occurring()
        numbers = grades.dtype.kind in "iuf" and bool((np.diff(grades) > 0).all())
        target = (grades[positions] if numbers else positions).astype(np.float64)
        fits = ridge_fits(features, target, weights, alphas.astype(np.float64))
        errors = [np.average((severity - target) ** 2, weights=weights) for *_, severity in fits]
        best = int(np.argmin(errors))
        self.alpha_ = float(alphas[best])
        self.coef_, self.intercept_, self.loo_severity_ = fits[best]
        # a penalty of 1 on the slope is nothing against the images, and keeps it finite
        link = OrdinalLogisticRegression().fit(
            self.loo_severity_[:, np.newaxis], positions, sample_weight=weights
        )
        if link.coef_[0] < 0:
            link.fit(np.zeros((len(positions), 1)), positions, sample_weight=weights)
        self.slope_ = float(link.coef_[0])
        self.thresholds_ = link.thresholds_
        return self

    def _logits(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        severity = X @ self.coef_ + self.intercept_
        return self.slope_ * severity[:, np.newaxis] - self.thresholds_


def ridge_fits(
    X: NDArray[np.float64],
    y: NDArray[np.float64],
    weights: NDArray[np.float64],
    alphas: NDArray[np.float64],
) -> list[tuple[NDArray[np.float64], float, NDArray[np.float64]]]:
    """Ridge regressions with an intercept, and their exact leave-one-out predictions.

    `sklearn.linear_model.RidgeCV` keeps the squared leave-one-out errors, without their sign.

    Parameters
    ----------
    X : ndarray of float, shape (n_samples, n_features)
    y : ndarray of float, shape (n_samples,)
    weights : ndarray of float, shape (n_samples,)
    alphas : ndarray of float, shape (n_alphas,)

    Returns
    -------
    list of tuple
        Coefficients ``(n_features,)``, intercept, and the prediction for each row by the
        regression on all others ``(n_samples,)``; one tuple per penalty.
    """
    center, level = np.average(X, axis=0, weights=weights), np.average(y, weights=weights)
    root = np.sqrt(weights)
    u, s, vt = np.linalg.svd(root[:, np.newaxis] * (X - center), full_matrices=False)
    projected = u.T @ (root * (y - level))
    fits = []
    for alpha in alphas:
        coef = vt.T @ (s / (s**2 + alpha) * projected)
        leverage = weights / weights.sum() + u**2 @ (s**2 / (s**2 + alpha))
        residual = y - level - (X - center) @ coef
        left_out = y - residual / np.maximum(1 - leverage, np.finfo(np.float64).eps)
        fits.append((coef, float(level - center @ coef), left_out))
    return fits


class OrdinalRidgeHead(EstimatorHead):
    """Ridge regression of the grade, with fitted thresholds and honest probabilities.

    Unlike `RidgeHead` it is a classifier, and chooses its own penalty; see `OrdinalRidge`.

    Parameters
    ----------
    alphas : float or sequence of float, default=(1, 10, 100, 1000, 10000, 100000, 1000000)
        Strengths of the L2 penalty to choose from, by leave-one-out.

    Examples
    --------
    >>> OrdinalRidgeHead(alphas=100.0)
    OrdinalRidgeHead(alphas=100.0)
    """

    assumes_order = True

    def __init__(
        self, alphas: float | Sequence[float] = (1, 10, 100, 1000, 10000, 100000, 1000000)
    ) -> None:
        self.alphas = alphas

    def make_estimator(self, *, grade_counts: NDArray[np.intp], random_state: int | None) -> Any:
        """Return a standardised ordinal ridge regression."""
        return make_pipeline(StandardScaler(), OrdinalRidge(self.alphas))
