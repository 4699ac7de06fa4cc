"""Scores and class weights for grades on an ordered scale."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import cohen_kappa_score, make_scorer

from fundus.exceptions import InvalidGradeError, InvalidParameterError
from fundus.grades import N_GRADES
from fundus.labels import grade_scale, to_positions


def quadratic_weighted_kappa(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    n_grades: int | Sequence[Hashable] = N_GRADES,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Agreement between two gradings, with quadratic penalties.

    Parameters
    ----------
    y_true, y_pred : array-like, shape (n_samples,)
        Grades in ``range(n_grades)``, or labels of the scale given as `n_grades`.
    n_grades : int or sequence of labels, default=5
        The scale. It fixes the penalty matrix, so a grade that is absent from a fold does not
        change the score of the others.
    sample_weight : array-like of float, shape (n_samples,), default=None

    Returns
    -------
    float
        1 for perfect agreement, 0 for chance; ``nan``, with a warning, where both gradings are
        one and the same single grade.

    Raises
    ------
    InvalidGradeError
        If a grade lies outside the scale; the message gives the row.

    Warns
    -----
    sklearn.exceptions.UndefinedMetricWarning
        Where the result is ``nan``.

    References
    ----------
    .. [1] J. Cohen, "Weighted kappa", Psychological Bulletin 70(4), 1968.
       :doi:`10.1037/h0026256`

    Examples
    --------
    >>> round(quadratic_weighted_kappa([0, 1, 2, 4], [0, 1, 3, 4]), 3)
    0.947
    """
    scale = grade_scale(n_grades)
    true = to_positions(y_true, scale, name="y_true")
    pred = to_positions(y_pred, scale, name="y_pred")
    if len(true) != len(pred):
        raise InvalidGradeError(
            f"y_true and y_pred must be of one length. Got {len(true)} and {len(pred)} rows."
        )
    if len(np.unique(np.concatenate([true, pred]))) == 1:
        from sklearn.exceptions import UndefinedMetricWarning

        warnings.warn(
            "Quadratic weighted kappa is undefined (nan): both gradings hold the one grade "
            f"{scale[true[0]]!r}.",
            UndefinedMetricWarning,
            stacklevel=2,
        )
        return float("nan")
    return float(
        cohen_kappa_score(
            true,
            pred,
            labels=np.arange(len(scale)),
            weights="quadratic",
            sample_weight=sample_weight,
        )
    )


def adjacent_accuracy(
    y_true: ArrayLike, y_pred: ArrayLike, *, n_grades: int | Sequence[Hashable] = N_GRADES
) -> float:
    """Share of images that are graded right or one grade off.

    Parameters
    ----------
    y_true, y_pred : array-like, shape (n_samples,)
        Grades in ``range(n_grades)``, or labels of the scale given as `n_grades`.
    n_grades : int or sequence of labels, default=5
        The scale.

    Returns
    -------
    float
        In [0, 1]. Chance alone reaches high values on a short scale.

    Raises
    ------
    InvalidGradeError
        If a grade lies outside the scale, there is none, or lengths differ.

    Examples
    --------
    >>> adjacent_accuracy([0, 1, 2, 4], [0, 2, 0, 3])
    0.75
    """
    scale = grade_scale(n_grades)
    true = to_positions(y_true, scale, name="y_true")
    pred = to_positions(y_pred, scale, name="y_pred")
    if len(true) != len(pred) or not len(true):
        raise InvalidGradeError(
            "y_true and y_pred must be of one length, and hold a grade at least. "
            f"Got {len(true)} and {len(pred)} rows."
        )
    return float((np.abs(true - pred) <= 1).mean())


def make_kappa_scorer(grades: int | Sequence[Hashable] = N_GRADES) -> Any:
    """Return a scorer of quadratic weighted kappa on a fixed scale.

    Parameters
    ----------
    grades : int or sequence of labels, default=5
        The scale, lowest grade first.

    Returns
    -------
    callable
        ``scorer(estimator, X, y_true, sample_weight=None)``, for ``scoring=`` in
        ``GridSearchCV``, ``cross_validate`` and their kin.

    Examples
    --------
    >>> from sklearn.dummy import DummyClassifier
    >>> model = DummyClassifier().fit([[0], [1]], [0, 2])
    >>> make_kappa_scorer(3)(model, [[0], [1]], [0, 2])
    0.0
    """
    grade_scale(grades)
    return make_scorer(quadratic_weighted_kappa, n_grades=grades)


#: Ready scorer for the five ICDR grades 0–4.
kappa_scorer = make_kappa_scorer()


def inverse_frequency_weights(y: ArrayLike) -> dict[Any, float]:
    """Class weights proportional to 1 / frequency, normalised to sum 1.

    Parameters
    ----------
    y : array-like, shape (n_samples,)
        Grades.

    Returns
    -------
    dict
        Grade to weight.

    Raises
    ------
    InvalidGradeError
        If `y` is empty.

    Examples
    --------
    >>> inverse_frequency_weights([0, 0, 0, 1])
    {0: 0.25, 1: 0.75}
    """
    labels, counts = np.unique(np.asarray(y), return_counts=True)
    if not len(labels):
        raise InvalidGradeError("y is empty: class weights need at least one grade.")
    inverse = 1.0 / counts
    weights = inverse / inverse.sum()
    return {label: float(w) for label, w in zip(labels.tolist(), weights, strict=True)}


def class_sample_weight(
    class_weight: dict[Any, float] | str | None,
    y: NDArray[Any],
    sample_weight: NDArray[np.float64] | None = None,
) -> NDArray[np.float64] | None:
    """Turn class weights into a weight for every row, times `sample_weight`.

    Parameters
    ----------
    class_weight : dict, "balanced", "inverse_frequency" or None
        ``"balanced"`` is n / (n_grades · count), as in scikit-learn; ``"inverse_frequency"`` is
        `inverse_frequency_weights`. A grade that a dict leaves out has weight 1.
    y : ndarray, shape (n_samples,)
        Grades.
    sample_weight : ndarray of float, shape (n_samples,), default=None
        Counts of ``"balanced"`` are of weight, not of rows, where this is given.

    Returns
    -------
    ndarray of float, shape (n_samples,), or None
        A new array, or ``None`` where both arguments are ``None``.

    Raises
    ------
    InvalidParameterError
        If `class_weight` is none of the above.

    Examples
    --------
    >>> class_sample_weight("balanced", np.array([0, 0, 0, 1])).round(3).tolist()
    [0.667, 0.667, 0.667, 2.0]
    """
    if class_weight is None:
        return None if sample_weight is None else np.array(sample_weight, dtype=np.float64)
    base = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    labels, codes = np.unique(y, return_inverse=True)
    totals = np.bincount(codes, weights=base)
    if isinstance(class_weight, dict):
        per_class = np.array([class_weight.get(label, 1.0) for label in labels.tolist()])
        if not np.all(np.isfinite(per_class)) or np.any(per_class < 0):
            raise InvalidParameterError(
                "The 'class_weight' parameter must hold finite weights of at least 0. "
                f"Got {class_weight!r} instead."
            )
    elif class_weight in ("balanced", "inverse_frequency"):
        # a grade all of whose rows weigh nothing takes no part
        inverse = np.divide(1.0, totals, out=np.zeros_like(totals), where=totals > 0)
        scale = totals.sum() / (totals > 0).sum()
        per_class = inverse * (scale if class_weight == "balanced" else 1 / inverse.sum())
    else:
        raise InvalidParameterError(
            "The 'class_weight' parameter must be a dict, 'balanced', 'inverse_frequency' or None. "
            f"Got {class_weight!r} instead."
        )
    return base * per_class[codes]
