"""Ordinal ridge regression on features, with probabilities from its leave-one-out severities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.pipeline import make_pipeline
from sklearn.utils import check_array, check_consistent_length

from fundus.heads.base import EstimatorHead
from fundus.heads.ordinal_estimators import OrdinalClassifier, OrdinalLogisticRegression
from fundus.heads.view_scaler import view_scaler
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
        Severity of every training row by the regression on all others, or on those of all other
        groups.
    slope_ : float
        Of the log-odds of a higher grade on the severity; 0, and every row has the probabilities
        of the training set, where the leave-one-out severities do not rise with the grade.
    thresholds_ : ndarray of float, shape (n_classes - 1,)
        Increasing; on the scale of the log-odds.
    n_features_in_ : int

    Notes
    -----
    Rows that repeat an image, as over-samplers make them, make it too sure, unless `groups` names
    their image; augmented views of `TransferClassifier` are left out together.

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
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> OrdinalRidge:
        """Choose the penalty, fit the regression, and the probabilities on what it left out.

        Parameters
        ----------
        X : array-like of float, shape (n_samples, n_features)
        y : array-like, shape (n_samples,)
        sample_weight : array-like of float, shape (n_samples,), default=None
        groups : array-like, shape (n_samples,), default=None
            Rows of one group are left out together; ``None`` leaves out one row at a time.

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
        left_out = None if groups is None else _numbered(groups, features)
        fits = ridge_fits(features, target, weights, alphas.astype(np.float64), left_out)
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


def _numbered(groups: ArrayLike, X: NDArray[np.float64]) -> NDArray[np.intp] | None:
    """Number the groups of rows; None where every row is one of its own."""
    named = check_array(groups, ensure_2d=False, dtype=None, input_name="groups")
    check_consistent_length(X, named)
    found, number = np.unique(named, return_inverse=True)
    return None if len(found) == len(X) else number


def ridge_fits(
    X: NDArray[np.float64],
    y: NDArray[np.float64],
    weights: NDArray[np.float64],
    alphas: NDArray[np.float64],
    groups: NDArray[np.intp] | None = None,
) -> list[tuple[NDArray[np.float64], float, NDArray[np.float64]]]:
    """Ridge regressions with an intercept, and their exact leave-one-out predictions.

    `sklearn.linear_model.RidgeCV` keeps the squared leave-one-out errors, without their sign.

    Parameters
    ----------
    X : ndarray of float, shape (n_samples, n_features)
    y : ndarray of float, shape (n_samples,)
    weights : ndarray of float, shape (n_samples,)
    alphas : ndarray of float, shape (n_alphas,)
    groups : ndarray of int, shape (n_samples,), default=None
        Rows of one group are left out together.

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
    blocks = None if groups is None else _Blocks(groups, (X - center) @ vt.T, weights)
    fits = []
    for alpha in alphas:
        coef = vt.T @ (s / (s**2 + alpha) * projected)
        residual = y - level - (X - center) @ coef
        if blocks is None:
            leverage = weights / weights.sum() + u**2 @ (s**2 / (s**2 + alpha))
            left_out = y - residual / np.maximum(1 - leverage, np.finfo(np.float64).eps)
        else:
            left_out = y - blocks.residual_without(residual, 1 / (s**2 + alpha))
        fits.append((coef, float(level - center @ coef), left_out))
    return fits


class _Blocks:
    r"""The blocks of a ridge regression's hat matrix that belong to groups of rows.

    As in `fundus.heads.ridge_residuals.left_out_residuals`, the residuals of a group :math:`b` by
    the regression without it are :math:`(I - H_{bb})^{-1} e_b`.

    Parameters
    ----------
    groups : ndarray of int, shape (n_samples,)
    scores : ndarray of float, shape (n_samples, rank)
        Centred rows along the right singular vectors.
    weights : ndarray of float, shape (n_samples,)
    """

    def __init__(
        self,
        groups: NDArray[np.intp],
        scores: NDArray[np.float64],
        weights: NDArray[np.float64],
    ) -> None:
        self._mean = 1 / weights.sum()
        counts = np.bincount(groups)
        order = np.argsort(groups, kind="stable")
        size = counts[groups[order]]
        #: for each size that groups have, the rows of every such group, their scores and weights
        self._parts = []
        for k in np.unique(counts[counts > 0]):
            rows = order[size == k].reshape(-1, k)
            self._parts.append((rows, scores[rows], weights[rows]))

    def residual_without(
        self, residual: NDArray[np.float64], inverse: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Residuals of every group by the regression on all others.

        Parameters
        ----------
        residual : ndarray of float, shape (n_samples,)
            Of the regression on all rows.
        inverse : ndarray of float, shape (rank,)
            Of the penalised squared singular values.

        Returns
        -------
        ndarray of float, shape (n_samples,)
        """
        result = np.empty(len(residual))
        for rows, scores, weights in self._parts:
            products = self._mean + (scores * inverse) @ scores.transpose(0, 2, 1)
            kept = np.eye(rows.shape[1]) - products * weights[:, np.newaxis, :]
            # the pseudo-inverse, as nothing is kept where one group has all the weight
            result[rows] = (np.linalg.pinv(kept) @ residual[rows][:, :, np.newaxis])[:, :, 0]
        return result


class OrdinalRidgeHead(EstimatorHead):
    """Ridge regression of the grade, with fitted thresholds and honest probabilities.

    Unlike `RidgeHead` it is a classifier, and chooses its own penalty; see `OrdinalRidge`.

    Parameters
    ----------
    alphas : float or sequence of float, default=(1, 10, 100, 1000, 10000, 100000, 1000000)
        Strengths of the L2 penalty to choose from, by leave-one-out.
    view_strength : float, default=0.0
        Strength of the `ViewStandardScaler` of the features, which needs ``augment_views``; 0 only
        standardises them.

    Examples
    --------
    >>> OrdinalRidgeHead(alphas=100.0)
    OrdinalRidgeHead(alphas=100.0)
    """

    assumes_order = True

    def __init__(
        self,
        alphas: float | Sequence[float] = (1, 10, 100, 1000, 10000, 100000, 1000000),
        view_strength: float = 0.0,
    ) -> None:
        self.alphas = alphas
        self.view_strength = view_strength

    def make_estimator(self, *, grade_counts: NDArray[np.intp], random_state: int | None) -> Any:
        """Return a standardised ordinal ridge regression."""
        return make_pipeline(view_scaler(self), OrdinalRidge(self.alphas))
