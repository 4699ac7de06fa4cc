"""What a ridge regression says of rows that it was not fitted on, without fitting it again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from fundus.heads.view_scaler import ViewStandardScaler


def ridge_step(estimator: Any) -> tuple[Any, list[Any]] | None:
    """Tell a fitted ridge regression, and the scaling before it, from other estimators.

    Returns
    -------
    tuple or None
        The `Ridge` or `RidgeCV`, and the steps before it. ``None`` for anything else, also where
        a step before it learns more than means and scales, which the grades may have shaped.
    """
    before: list[Any] = []
    if isinstance(estimator, Pipeline):
        before = [step for _, step in estimator.steps[:-1] if step not in (None, "passthrough")]
        estimator = estimator.steps[-1][1]
    if type(estimator) not in (Ridge, RidgeCV) or getattr(estimator, "positive", False):
        return None
    if any(type(step) not in (StandardScaler, ViewStandardScaler) for step in before):
        return None
    return estimator, before


def left_out_residuals(
    estimator: Any,
    X: NDArray[Any],
    y: NDArray[Any],
    weights: NDArray[np.float64] | None,
    units: NDArray[np.intp],
) -> NDArray[np.float64] | None:
    r"""Residuals of every row by the regression on all rows of other units, in closed form.

    With :math:`H` the hat matrix of the weighted regression, those of a unit :math:`b` are
    :math:`(I - H_{bb})^{-1} e_b`. The penalty and the scaling of the features stay as they are.

    Parameters
    ----------
    estimator : estimator
        Fitted on all rows.
    X : ndarray of float, shape (n_rows, n_features)
    y : ndarray of int, shape (n_rows,)
    weights : ndarray of float, shape (n_rows,), or None
        Of the fit.
    units : ndarray of int, shape (n_rows,)
        ``0 … n_units - 1``; rows of one unit are left out together.

    Returns
    -------
    ndarray of float, shape (n_rows,), or None
        Grade less severity. ``None`` where there is no such form: the estimator is no ridge
        regression, it has no penalty, or nothing is left to fit.

    Examples
    --------
    >>> X, y = np.array([[0.0], [1.0], [2.0]]), np.array([0, 1, 1])
    >>> residuals = left_out_residuals(Ridge(alpha=1.0).fit(X, y), X, y, None, np.arange(3))
    >>> without = Ridge(alpha=1.0).fit(X[:2], y[:2])
    >>> bool(np.isclose(residuals[2], 1 - without.predict([[2.0]])[0]))
    True
    """
    found = ridge_step(estimator)
    if found is None or units.max() < 1:
        return None
    ridge, before = found
    chosen = ridge.alpha_ if hasattr(ridge, "alpha_") else ridge.alpha
    alpha = np.asarray(chosen, dtype=np.float64)
    if alpha.size != 1 or not alpha.item() > 0:
        return None
    for step in before:
        X = step.transform(X)
    residual = y - np.asarray(ridge.predict(X), dtype=np.float64)
    root = np.ones(len(y)) if weights is None else np.sqrt(weights)
    products = _Products(np.asarray(X, dtype=np.float64), root, alpha.item(), ridge.fit_intercept)
    order = np.argsort(units, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(units[order])) + 1)
    chunk = np.cumsum([len(rows) for rows in parts]) // _CHUNK
    result = np.empty(len(y))
    for k in np.unique(chunk):
        taken = [rows for rows, c in zip(parts, chunk, strict=True) if c == k]
        for rows, product in zip(taken, products.of(taken), strict=True):
            hat = product * root[rows] ** 2
            result[rows] = np.linalg.solve(np.eye(len(rows)) - hat, residual[rows])
    return result


#: Rows that are worked on at once: one at a time is slow, all take memory.
_CHUNK = 4096


class _Products:
    """Inner products of rows under the inverse of the penalised covariance.

    `X` is of shape (n_rows, n_features); `root`, (n_rows,), holds square roots of the weights.
    """

    def __init__(
        self, X: NDArray[np.float64], root: NDArray[np.float64], alpha: float, intercept: bool
    ) -> None:
        self._mean = 1.0 / float((root**2).sum()) if intercept else 0.0
        self._X = X - np.average(X, axis=0, weights=root**2) if intercept else X
        self._alpha = alpha
        self._inner: NDArray[np.float64] | None = None
        if X.shape[0] < X.shape[1]:
            # through the n x n products, where there are more features than rows
            self._inner = self._X @ self._X.T
            self._rooted = self._inner * root
            penalised = self._rooted * root[:, np.newaxis]
        else:
            weighted = root[:, np.newaxis] * self._X
            penalised = weighted.T @ weighted
        penalised[np.diag_indices_from(penalised)] += alpha
        self._factor = cholesky(penalised, lower=True)

    def of(self, units: list[NDArray[np.intp]]) -> Iterator[NDArray[np.float64]]:
        """Yield the products of the rows of each unit, ``(n_rows, n_rows)``."""
        rows = np.concatenate(units)
        right = (self._X if self._inner is None else self._rooted)[rows]
        white = solve_triangular(self._factor, right.T, lower=True)
        ends = np.cumsum([len(unit) for unit in units])[:-1]
        for unit, part in zip(units, np.split(white, ends, axis=1), strict=True):
            seen = part.T @ part
            if self._inner is not None:
                seen = (self._inner[np.ix_(unit, unit)] - seen) / self._alpha
            yield self._mean + seen
