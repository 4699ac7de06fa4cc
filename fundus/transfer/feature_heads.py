"""Fitting a scikit-learn head on frozen features, and the error of its severities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context

from fundus.frozen.sources import ArraySource
from fundus.heads.base import EstimatorHead
from fundus.heads.ridge_residuals import left_out_residuals
from fundus.parameters import invalid
from fundus.runtime.threads import one_blas_thread
from fundus.training.fitted import FittedEstimator
from fundus.transfer.residuals import residual_std, std_of_inner_folds, units_of
from fundus.transfer.sampling import Samples
from fundus.transfer.view_rows import (
    check_takes_views,
    keep_views_together,
    row_weights,
    steps_of,
    takes,
    with_their_views,
)


def fit_head_on_features(head: EstimatorHead, samples: Samples) -> FittedEstimator:
    """Draw the training images if sampling is set, and fit a scikit-learn head on them.

    The source of the samples must hold features.
    """
    images, fit_weight = samples.drawn(np.arange(len(samples)))
    positions, n_views, seed = samples.grades.positions[images], samples.n_views, samples.seed
    sample_weight, fit_weight = (
        None if w is None else w[images] for w in (samples.sample_weight, fit_weight)
    )
    X = samples.source.batch(with_their_views(images, n_views), None)[0]
    estimator = fit_estimator(head, X, positions, sample_weight, fit_weight, seed, n_views)
    std = None
    if head.is_regressor:
        groups = None if samples.groups is None else samples.groups[images]
        std = estimator_std(
            head, estimator, X, positions, sample_weight, fit_weight, groups, seed, n_views
        )
    return FittedEstimator(estimator, len(samples.grades.scale), head.is_regressor, std)


def fit_estimator(
    head: EstimatorHead,
    X: NDArray[Any],
    positions: NDArray[np.intp],
    sample_weight: NDArray[np.float64] | None,
    fit_weight: NDArray[np.float64] | None,
    seed: int,
    n_views: int,
) -> Any:
    """Fit a scikit-learn head on features, with one BLAS thread.

    Parameters
    ----------
    X : ndarray of float, shape (n_samples * (n_views + 1), n_features)
    positions : ndarray of int, shape (n_samples,)
    sample_weight : ndarray or None
        The caller's weights; they reach every step that takes weights.
    fit_weight : ndarray or None
        The caller's weights times the class weights; they reach the last step.
    n_views : int
        Augmented rows that follow each image's own. All rows of an image share its weight, its
        number is given to steps that take `groups`, and inner folds keep them together.

    Raises
    ------
    InvalidParameterError
        If there are weights or views and the estimator takes no weights.
    """
    images = np.repeat(np.arange(len(positions)), n_views + 1)
    if sample_weight is not None:
        used = sample_weight[images] != 0
        if not used.all() and len(np.unique(positions[images[used]])) > 1:
            # rows that a bootstrap left out: SVMs lose a grade whose rows all have weight 0
            X, images = X[used], images[used]
    positions = positions[images]
    counts = np.bincount(positions) // (n_views + 1)
    estimator = head.make_estimator(grade_counts=counts[counts > 0], random_state=seed)
    check_takes_views(estimator, n_views)
    keep_views_together(estimator, n_views)
    weights = _weights_by_step(
        estimator,
        row_weights(sample_weight, images, n_views),
        row_weights(fit_weight, images, n_views),
        images if n_views else None,
    )
    # weights are passed by step name, whatever the caller's metadata routing
    with one_blas_thread(), config_context(enable_metadata_routing=False):
        return estimator.fit(X, positions, **weights)


def _weights_by_step(
    estimator: Any,
    sample_weight: NDArray[np.float64] | None,
    fit_weight: NDArray[np.float64] | None,
    groups: NDArray[np.intp] | None,
) -> dict[str, Any]:
    """Arguments of ``fit`` by the names of steps; all of shape (n_rows,)."""
    steps = steps_of(estimator)
    weights: dict[str, Any] = {}
    for prefix, step in steps:
        if groups is not None and takes(step, "groups"):
            weights[f"{prefix}groups"] = groups
    for prefix, step in steps[:-1]:
        if sample_weight is not None and takes(step, "sample_weight"):
            weights[f"{prefix}sample_weight"] = sample_weight
    if fit_weight is not None:
        prefix, last = steps[-1]
        if not takes(last, "sample_weight"):
            raise invalid(
                "TransferClassifier",
                "class_weight",
                f"None, and sample_weight too, for the head {last!r}, which takes no weights",
                "weights",
            )
        weights[f"{prefix}sample_weight"] = fit_weight
    return weights


def estimator_std(
    head: EstimatorHead,
    estimator: Any,
    X: NDArray[Any],
    positions: NDArray[np.intp],
    sample_weight: NDArray[np.float64] | None,
    fit_weight: NDArray[np.float64] | None,
    groups: NDArray[Any] | None,
    seed: int,
    n_views: int,
) -> float:
    """Root mean square of a regressor's residuals on images that it was not fitted on.

    In closed form for ridge regressions, else from inner folds.

    Parameters
    ----------
    estimator : estimator
        Fitted by `fit_estimator` with the same parameters.
    groups : ndarray, shape (n_samples,), or None
        Images of one group are left out together.

    Returns
    -------
    float
        In positions on the scale.

    Warns
    -----
    DataWarning
        Where nothing can be left out, so an error of one grade is assumed.
    """
    each = n_views + 1
    own = np.arange(len(positions)) * each
    units = units_of(groups, ArraySource(X), own)
    with one_blas_thread():
        residuals = left_out_residuals(
            estimator,
            X,
            np.repeat(positions, each),
            row_weights(fit_weight, np.repeat(np.arange(len(positions)), each), n_views),
            np.repeat(units, each),
        )
    if residuals is not None:
        std = residual_std(positions - residuals[own], positions, sample_weight)
        if std is not None:
            return std

    def severity_without(
        train: NDArray[np.intp], left_out: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        part, whole = (None if w is None else w[train] for w in (sample_weight, fit_weight))
        rows = with_their_views(train, n_views)
        fitted = fit_estimator(head, X[rows], positions[train], part, whole, seed, n_views)
        with one_blas_thread():
            return np.asarray(fitted.predict(X[own[left_out]]), dtype=np.float64)

    return std_of_inner_folds(severity_without, units, positions, sample_weight, seed)
