"""Ordinal classifiers on features: penalised proportional odds, and ridge with probabilities."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fundus.exceptions import DataError
from fundus.heads.base import EstimatorHead
from fundus.heads.decisions import ordered_logit_proba
from fundus.labels import read_labels
from fundus.parameters import check_int, check_real, invalid


class OrdinalClassifier(ClassifierMixin, BaseEstimator):
    """What the ordinal classifiers share: labels, weights, and prediction from cumulative logits.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
    """

    classes_: NDArray[Any]

    def _read(
        self, X: Any, y: Any, sample_weight: Any
    ) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.float64]]:
        """Check training data; return features, places of the labels, and weights."""
        X, y = validate_data(self, X, y, dtype=np.float64)
        labels = read_labels(y, len(X), "row {}".format, self)
        self.classes_, positions = np.unique(labels, return_inverse=True)
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if not weights.sum() > 0:
            raise DataError("sample_weight must not be zero in every row.")
        return X, positions, weights

    def _logits(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-odds of a grade above each of all but the highest, shape (n, n_classes - 1)."""
        raise NotImplementedError

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the probability of every class.

        Parameters
        ----------
        X : array-like of float, shape (n_samples, n_features)

        Returns
        -------
        ndarray of float, shape (n_samples, n_classes)
        """
        check_is_fitted(self)
        features = validate_data(self, X, reset=False, dtype=np.float64)
        return ordered_logit_proba(self._logits(features))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most probable class.

        Parameters
        ----------
        X : array-like of float, shape (n_samples, n_features)

        Returns
        -------
        ndarray, shape (n_samples,)
        """
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True  # on classes that are not ordered
        return tags


class OrdinalLogisticRegression(OrdinalClassifier):
    """Proportional-odds model with an L2 penalty: ``logit P(y <= k | x) = threshold_k - x @ coef``.

    The coefficients are penalised, the thresholds are not, and the increments between thresholds
    are positive, so cumulative probabilities never cross. With two classes it is scikit-learn's
    `LogisticRegression`.

    Parameters
    ----------
    C : float, default=1.0
        Inverse strength of the penalty.
    tol : float, default=1e-6
        Largest entry of the gradient of the mean loss at which the solver (L-BFGS) stops.
    max_iter : int, default=1000
        Most iterations of the solver.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        The labels in ``y``, sorted; their order is the order of the grades.
    coef_ : ndarray of float, shape (n_features,)
        A positive one raises the grade.
    thresholds_ : ndarray of float, shape (n_classes - 1,)
        Increasing.
    n_iter_ : int
    n_features_in_ : int

    References
    ----------
    .. [1] P. McCullagh, "Regression models for ordinal data", Journal of the Royal Statistical
       Society B 42(2), 1980. :doi:`10.1111/j.2517-6161.1980.tb01109.x`

    Examples
    --------
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]])
    >>> model = OrdinalLogisticRegression(C=10.0).fit(X, [0, 0, 1, 1, 2, 2])
    >>> model.predict(X).tolist()
    [0, 0, 1, 1, 2, 2]
    """

    def __init__(self, C: float = 1.0, tol: float = 1e-6, max_iter: int = 1000) -> None:
        self.C = C
        self.tol = tol
        self.max_iter = max_iter

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> OrdinalLogisticRegression:
        """Minimise the penalised negative log-likelihood.

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
            If a parameter cannot be used.
        InvalidGradeError
            If there is one class only.
        """
        check_real(self, "C", low=0, low_open=True)
        check_real(self, "tol", low=0, low_open=True)
        check_int(self, "max_iter", low=1)
        features, positions, weights = self._read(X, y, sample_weight)
        n_classes, n_features = len(self.classes_), features.shape[1]
        start = np.zeros(n_features + n_classes - 1)
        start[n_features:] = _increments(_start_thresholds(positions, weights, n_classes))
        result = minimize(
            penalised_loss,
            start,
            args=(features, positions, weights / weights.sum(), 1 / (self.C * weights.sum())),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": self.max_iter, "gtol": self.tol, "ftol": 64 * np.finfo(float).eps},
        )
        if not result.success:
            warnings.warn(
                f"OrdinalLogisticRegression did not converge in {result.nit} iterations "
                f"({result.message}): standardise the features, lower C or raise max_iter.",
                ConvergenceWarning,
                stacklevel=2,
            )
        self.coef_ = result.x[:n_features]
        self.thresholds_ = _thresholds(result.x[n_features:])
        self.n_iter_ = int(result.nit)
        return self

    def _logits(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        return (X @ self.coef_)[:, np.newaxis] - self.thresholds_


def _thresholds(params: NDArray[np.float64]) -> NDArray[np.float64]:
    """First threshold and logs of the increments, to increasing thresholds."""
    return np.cumsum(np.concatenate([params[:1], np.exp(params[1:])]))


def _increments(thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([thresholds[:1], np.log(np.diff(thresholds))])


def _start_thresholds(
    positions: NDArray[np.intp], weights: NDArray[np.float64], n_classes: int
) -> NDArray[np.float64]:
    """Where the model without features has its optimum; no class has a share of nothing."""
    share = np.bincount(positions, weights, n_classes) / weights.sum()
    share = (share + 1e-3) / (1 + 1e-3 * n_classes)
    return logit(np.cumsum(share)[:-1])


def penalised_loss(
    params: NDArray[np.float64],
    X: NDArray[np.float64],
    positions: NDArray[np.intp],
    weights: NDArray[np.float64],
    penalty: float,
) -> tuple[float, NDArray[np.float64]]:
    """Weighted negative log-likelihood of the proportional-odds model, and its gradient.

    With a and b the log-odds of ``y <= k`` and ``y <= k - 1``, the probability of grade k is
    ``expit(a) * expit(-b) * (1 - exp(b - a))``; no term of its logarithm overflows.

    Parameters
    ----------
    params : ndarray of float, shape (n_features + n_classes - 1,)
        Coefficients, the first threshold, logs of the increments.
    X : ndarray of float, shape (n_samples, n_features)
    positions : ndarray of int, shape (n_samples,)
    weights : ndarray of float, shape (n_samples,)
    penalty : float
        Times half the squared norm of the coefficients.

    Returns
    -------
    loss : float
    gradient : ndarray of float, shape (n_features + n_classes - 1,)
    """
    coef, steps = params[: X.shape[1]], params[X.shape[1] :]
    thresholds = _thresholds(steps)
    last = len(thresholds)
    severity = X @ coef
    a = np.append(thresholds, np.inf)[positions] - severity
    b = np.append(-np.inf, thresholds)[positions] - severity
    gaps = np.exp(steps[1:])
    inner = (positions > 0) & (positions < last)
    log_gap = np.log(-np.expm1(-gaps))
    log_proba = log_expit(a) + log_expit(-b)
    log_proba[inner] += log_gap[positions[inner] - 1]
    loss = -weights @ log_proba + 0.5 * penalty * coef @ coef

    da, db = weights * expit(-a), -weights * expit(b)
    d_thresholds = (
        np.bincount(positions, da, last + 1)[:-1] + np.bincount(positions, db, last + 1)[1:]
    )
    # an increment moves all thresholds above it, and widens the grade it belongs to
    d_steps = np.cumsum(d_thresholds[::-1])[::-1]
    widths = np.bincount(positions, weights, last + 1)[1:-1] * np.exp(-gaps) / -np.expm1(-gaps)
    d_steps[1:] = gaps * (d_steps[1:] + widths)
    d_coef = -X.T @ (da + db)
    return float(loss), np.concatenate([penalty * coef - d_coef, -d_steps])


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
        The labels in ``y``, sorted; their order is the order of the grades.
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
        numbers = self.classes_.dtype.kind in "iuf"
        target = (self.classes_[positions] if numbers else positions).astype(np.float64)
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


class OrdinalLogisticHead(EstimatorHead):
    """Proportional-odds logistic regression (cumulative logit) with an L2 penalty.

    Parameters
    ----------
    C : float, default=1e-3
        Inverse strength of the penalty; there are more features than images, so it is strong.
    max_iter : int, default=1000
        Most iterations of the solver.

    Examples
    --------
    >>> OrdinalLogisticHead(C=0.01)
    OrdinalLogisticHead(C=0.01)
    """

    assumes_order = True

    def __init__(self, C: float = 1e-3, max_iter: int = 1000) -> None:
        self.C = C
        self.max_iter = max_iter

    def make_estimator(self, *, grade_counts: NDArray[np.intp], random_state: int | None) -> Any:
        """Return a standardised proportional-odds model."""
        return make_pipeline(
            StandardScaler(), OrdinalLogisticRegression(C=self.C, max_iter=self.max_iter)
        )


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
