"""Penalised proportional odds on features, and what ordinal classifiers share."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fundus.exceptions import DataError
from fundus.grades.labels import as_labels, read_labels, to_positions
from fundus.grades.severity import ordered_logit_proba
from fundus.heads.base import EstimatorHead
from fundus.heads.view_scaler import view_scaler
from fundus.parameters import check_int, check_real


class OrdinalClassifier(ClassifierMixin, BaseEstimator):
    """What the ordinal classifiers share: labels, weights, and prediction from cumulative logits.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
    grades_ : ndarray, shape (n_grades,)
    """

    classes_: NDArray[Any]
    grades_: NDArray[Any]

    def _read(
        self, X: Any, y: Any, sample_weight: Any
    ) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.float64]]:
        """Check training data; return features, ranks of the labels that occur, and weights."""
        order = None if y is None else as_labels(y)
        X, y = validate_data(self, X, y, dtype=np.float64)
        labels = read_labels(y, len(X), "row {}".format, self)
        if order is not None:  # which the checked array has lost
            labels = replace(order, values=labels.values)
        labels.warn_if_guessed()
        self.classes_, self.grades_ = np.unique(labels.values), labels.scale
        positions = to_positions(labels.values, self._occurring())
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if not weights.sum() > 0:
            raise DataError("sample_weight must not be zero in every row.")
        return X, positions, weights

    def _occurring(self) -> NDArray[Any]:
        """The classes, lowest grade first."""
        # models of earlier releases have no scale; their order is that of the classes
        scale = getattr(self, "grades_", self.classes_)
        return scale[np.isin(scale, self.classes_)]

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
        by_grade = ordered_logit_proba(self._logits(features))
        return by_grade[:, to_positions(self.classes_, self._occurring())]

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
        The labels in ``y``, sorted.
    grades_ : ndarray, shape (n_grades,)
        The labels in the order of the grades: the categories of a pandas Categorical, also those
        without rows, else the sorted labels, with a warning where they are more than two names.
    coef_ : ndarray of float, shape (n_features,)
        A positive one raises the grade.
    thresholds_ : ndarray of float, shape (n_classes - 1,)
        Increasing, between the grades that occur.
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
        first = _start_thresholds(positions, weights, n_classes)
        start = np.concatenate([np.zeros(n_features), first[:1], np.log(np.diff(first))])
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


class OrdinalLogisticHead(EstimatorHead):
    """Proportional-odds logistic regression (cumulative logit) with an L2 penalty.

    Parameters
    ----------
    C : float, default=1e-3
        Inverse strength of the penalty; there are more features than images, so it is strong.
    max_iter : int, default=1000
        Most iterations of the solver.
    view_strength : float, default=0.0
        Strength of the `ViewStandardScaler` of the features, which needs ``augment_views``; 0 only
        standardises them.

    Examples
    --------
    >>> OrdinalLogisticHead(C=0.01)
    OrdinalLogisticHead(C=0.01)
    """

    assumes_order = True

    def __init__(self, C: float = 1e-3, max_iter: int = 1000, view_strength: float = 0.0) -> None:
        self.C = C
        self.max_iter = max_iter
        self.view_strength = view_strength

    def make_estimator(self, *, grade_counts: NDArray[np.intp], random_state: int | None) -> Any:
        """Return a standardised proportional-odds model."""
        return make_pipeline(
            view_scaler(self), OrdinalLogisticRegression(C=self.C, max_iter=self.max_iter)
        )
