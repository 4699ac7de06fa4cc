"""Scaling of features by how little they vary among the augmented views of an image."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fundus.exceptions import DataError
from fundus.parameters import check_real


class ViewStandardScaler(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    r"""Standardise features, and make those small that vary among the views of one image.

    A standardised feature is multiplied by :math:`1 / \sqrt{1 + s\,v / b}`, with the strength
    :math:`s`, the variance :math:`v` among the views of an image and the variance :math:`b` among
    the means of images; the two add up to the variance of the feature. A penalised model then uses
    what stays the same when an image is warped, blurred or lit differently.

    Parameters
    ----------
    strength : float, default=1.0
        0 only standardises.

    Attributes
    ----------
    mean_ : ndarray of float, shape (n_features,)
    scale_ : ndarray of float, shape (n_features,)
        Standard deviation of all rows; 1 for a feature without variance.
    within_var_, between_var_ : ndarray of float, shape (n_features,)
        Variance among the views of an image, and among the means of images.
    weights_ : ndarray of float, shape (n_features,)
        What the standardised features are multiplied by, in [0, 1].
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (n_features,)
        Where ``X`` has names of features.

    Examples
    --------
    >>> X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> scaler = ViewStandardScaler().fit(X, groups=[0, 0, 1, 1])
    >>> scaler.weights_.tolist()  # the second feature only tells views apart
    [1.0, 0.0]
    """

    def __init__(self, strength: float = 1.0) -> None:
        self.strength = strength

    def fit(
        self,
        X: ArrayLike,
        y: Any = None,
        *,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> ViewStandardScaler:
        """Measure the variances.

        Parameters
        ----------
        X : array-like of float, shape (n_samples, n_features)
        y : ignored
        groups : array-like, shape (n_samples,), default=None
            The image of every row; ``None`` or one row an image gives a `StandardScaler`.
        sample_weight : array-like of float, shape (n_samples,), default=None

        Returns
        -------
        self

        Raises
        ------
        InvalidParameterError
            If `strength` is no number of at least 0.
        DataError
            If no row has weight.
        """
        check_real(self, "strength", low=0)
        features: NDArray[Any] = validate_data(self, X, dtype=[np.float64, np.float32])
        weights = _check_sample_weight(sample_weight, features, ensure_non_negative=True)
        if not weights.sum() > 0:
            raise DataError("sample_weight must not be zero in every row.")
        given = None if sample_weight is None else weights
        plain = StandardScaler().fit(features, sample_weight=given)
        self.mean_, self.scale_ = plain.mean_, plain.scale_
        self.within_var_, self.between_var_ = np.zeros(len(plain.var_)), plain.var_
        if groups is not None:
            named = check_array(groups, ensure_2d=False, dtype=None, input_name="groups")
            check_consistent_length(features, named)
            self.within_var_, self.between_var_ = _variances(features, named, weights)
        noise = self.strength * self.within_var_
        # the scaler has taken what is left by rounding for no variance
        varies = plain.scale_ == np.sqrt(plain.var_)
        share = np.ones(len(noise))
        total = self.between_var_ + noise
        np.divide(self.between_var_, total, out=share, where=(noise > 0) & varies)
        self.weights_ = np.sqrt(share)
        return self

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """Standardise and weight features.

        Parameters
        ----------
        X : array-like of float, shape (n_samples, n_features)

        Returns
        -------
        ndarray of float, shape (n_samples, n_features)
        """
        check_is_fitted(self)
        dtypes = [np.float64, np.float32]
        features: NDArray[Any] = validate_data(self, X, reset=False, dtype=dtypes)
        dtype = features.dtype
        scaled = features - self.mean_.astype(dtype)
        scaled /= self.scale_.astype(dtype)
        scaled *= self.weights_.astype(dtype)
        return scaled

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _variances(
    X: NDArray[Any], groups: NDArray[Any], weights: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted variance of every feature within groups, and among the means of groups."""
    _, first, number = np.unique(groups, return_index=True, return_inverse=True)
    weights = weights.astype(np.float64)
    rows = np.arange(len(weights))
    members = csr_array((weights, (number, rows)), shape=(len(first), len(rows)))
    total = np.bincount(number, weights)
    # distances from a row of the group, so that equal rows are at exactly none from their mean
    origin = X[first].astype(np.float64)
    away = X.astype(np.float64)
    away -= origin[number]
    mean = (members @ away) / np.where(total > 0, total, 1)[:, np.newaxis]
    away -= mean[number]
    away **= 2
    within = weights @ away / weights.sum()
    means = origin + mean
    between = total @ (means - np.average(means, axis=0, weights=total)) ** 2 / total.sum()
    return within, between


class WithViewStrength(Protocol):
    """A head whose features are scaled by `view_scaler`."""

    view_strength: float


def view_scaler(head: WithViewStrength) -> StandardScaler | ViewStandardScaler:
    """Return the unfitted scaler that a head asks for; a `StandardScaler` where it is 0.

    Raises
    ------
    InvalidParameterError
        If `view_strength` is no number of at least 0.
    """
    check_real(head, "view_strength", low=0)
    return ViewStandardScaler(head.view_strength) if head.view_strength > 0 else StandardScaler()
