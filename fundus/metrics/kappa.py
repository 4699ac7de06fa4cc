"""Scores and class weights for grades on an ordered scale."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import cohen_kappa_score
from sklearn.metrics._scorer import _Scorer

from fundus.exceptions import InvalidGradeError
from fundus.grades.common_scale import common_scale
from fundus.grades.foreign import scale_of
from fundus.grades.labels import as_labels, grade_scale, is_text, to_positions
from fundus.parameters import invalid, refused


def quadratic_weighted_kappa(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    n_grades: int | Sequence[Hashable] | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Agreement between two gradings, with quadratic penalties.

    Parameters
    ----------
    y_true, y_pred : array-like, shape (n_samples,)
        Grades in ``range(n_grades)``, or labels of the scale given as `n_grades`.
    n_grades : int or sequence of labels, default=None
        The scale, lowest grade first. It fixes the penalty matrix, so a grade that is absent from
        a fold does not change the score of the others. ``None`` is 5 for numbers and the order of
        the categories for a pandas Categorical; other names are sorted, with a warning.
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
    DataWarning
        Where more than two names are put into the order of the alphabet.

    References
    ----------
    .. [1] J. Cohen, "Weighted kappa", Psychological Bulletin 70(4), 1968.
       :doi:`10.1037/h0026256`

    Examples
    --------
    >>> round(quadratic_weighted_kappa([0, 1, 2, 4], [0, 1, 3, 4]), 3)
    0.947
    """
    scale = common_scale(n_grades, y_true, y_pred, names=("y_true", "y_pred"))
    true = to_positions(y_true, scale, name="y_true")
    pred = to_positions(y_pred, scale, name="y_pred")
    if len(true) != len(pred):
        raise InvalidGradeError(
            f"y_true and y_pred must be of one length. Got {len(true)} and {len(pred)} rows."
        )
    if len(np.unique(np.concatenate([true, pred]))) == 1:
        warnings.warn(
            "Quadratic weighted kappa is undefined (nan): both gradings hold the one grade "
            f"{scale.tolist()[true[0]]!r}.",
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
    y_true: ArrayLike, y_pred: ArrayLike, *, n_grades: int | Sequence[Hashable] | None = None
) -> float:
    """Share of images that are graded right or one grade off.

    Parameters
    ----------
    y_true, y_pred : array-like, shape (n_samples,)
        Grades in ``range(n_grades)``, or labels of the scale given as `n_grades`.
    n_grades : int or sequence of labels, default=None
        The scale, as in `quadratic_weighted_kappa`.

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
    scale = common_scale(n_grades, y_true, y_pred, names=("y_true", "y_pred"))
    true = to_positions(y_true, scale, name="y_true")
    pred = to_positions(y_pred, scale, name="y_pred")
    if len(true) != len(pred) or not len(true):
        raise InvalidGradeError(
            "y_true and y_pred must be of one length, and hold a grade at least. "
            f"Got {len(true)} and {len(pred)} rows."
        )
    return float((np.abs(true - pred) <= 1).mean())


class _KappaScorer(_Scorer):
    """A scorer that takes the order of names from the estimator, which a score function cannot.

    scikit-learn has no public class for it, and a plain callable would predict anew for each of
    several scorers.
    """

    def _score(
        self, method_caller: Any, estimator: Any, X: Any, y_true: Any, **kwargs: Any
    ) -> float:
        if "n_grades" not in self._kwargs:
            read = as_labels(y_true, name="y_true")
            if read.order is not None or is_text(read.values):
                scale = scale_of(estimator, np.empty(0))
                if set(read.values.tolist()) <= set(scale.tolist()):
                    kwargs["n_grades"] = scale.tolist()
        return super()._score(method_caller, estimator, X, y_true, **kwargs)


def make_kappa_scorer(grades: int | Sequence[Hashable] | None = None) -> Any:
    """Return a scorer of quadratic weighted kappa on a fixed scale.

    Parameters
    ----------
    grades : int or sequence of labels, default=None
        The scale, lowest grade first. ``None`` is 5 for numbers; for names and for a pandas
        Categorical it is the estimator's ``grades_``, and where it has none, what
        `quadratic_weighted_kappa` makes of the labels.

    Returns
    -------
    callable
        ``scorer(estimator, X, y_true, sample_weight=None)``, for ``scoring=`` in
        ``GridSearchCV``, ``cross_validate`` and others.

    Examples
    --------
    >>> from sklearn.dummy import DummyClassifier
    >>> model = DummyClassifier().fit([[0], [1]], [0, 2])
    >>> make_kappa_scorer(3)(model, [[0], [1]], [0, 2])
    0.0
    """
    if grades is not None:
        grade_scale(grades)
    fixed = {} if grades is None else {"n_grades": grades}
    return _KappaScorer(quadratic_weighted_kappa, 1, fixed, "predict")


#: Ready scorer for the five ICDR grades 0–4, and for names in the order of the estimator.
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
        If `y` is empty, or has not one grade a row.

    Examples
    --------
    >>> inverse_frequency_weights([0, 0, 0, 1])
    {0: 0.25, 1: 0.75}
    """
    labels, counts = np.unique(as_labels(y).values, return_counts=True)
    if not len(labels):
        raise InvalidGradeError("y is empty: class weights need at least one grade.")
    inverse = 1.0 / counts
    weights = inverse / inverse.sum()
    return {label: float(w) for label, w in zip(labels.tolist(), weights, strict=True)}


def class_sample_weight(
    class_weight: dict[Any, float] | str | None,
    y: NDArray[Any],
    sample_weight: NDArray[np.float64] | None = None,
    *,
    scale: NDArray[Any] | None = None,
) -> NDArray[np.float64] | None:
    """Turn class weights into a weight for every row, times `sample_weight`.

    Parameters
    ----------
    class_weight : dict, "balanced", "inverse_frequency" or None
        ``"balanced"`` is n / (n_grades · count), as in scikit-learn; ``"inverse_frequency"`` is
        `inverse_frequency_weights`. A grade that a dict leaves out has weight 1, as long as every
        key of the dict is a label.
    y : ndarray, shape (n_samples,)
        Grades.
    sample_weight : ndarray of float, shape (n_samples,), default=None
        Counts of ``"balanced"`` are of weight, not of rows, where this is given.
    scale : ndarray, shape (n_grades,), default=None
        All labels; those that `y` lacks are labels too.

    Returns
    -------
    ndarray of float, shape (n_samples,), or None
        A new array, or ``None`` where both arguments are ``None``.

    Raises
    ------
    InvalidParameterError
        If `class_weight` is none of the above, or a dict that leaves out a label of `y` while it
        has a key that is no label.

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
        _refuse_strange_keys(class_weight, labels, labels if scale is None else scale)
        per_class = np.array([class_weight.get(label, 1.0) for label in labels.tolist()])
        if not np.all(np.isfinite(per_class)) or np.any(per_class < 0):
            must = f"must hold finite weights of at least 0. Got {class_weight!r} instead."
            raise refused("", "class_weight", must)
    elif class_weight in ("balanced", "inverse_frequency"):
        # a grade all of whose rows weigh nothing takes no part
        inverse = np.divide(1.0, totals, out=np.zeros_like(totals), where=totals > 0)
        scale = totals.sum() / (totals > 0).sum()
        per_class = inverse * (scale if class_weight == "balanced" else 1 / inverse.sum())
    else:
        raise invalid(
            "", "class_weight", "a dict, 'balanced', 'inverse_frequency' or None", class_weight
        )
    return base * per_class[codes]


def _refuse_strange_keys(
    class_weight: dict[Any, float], classes: NDArray[Any], scale: NDArray[Any]
) -> None:
    """Apply scikit-learn's rule: no label of `y` without a weight while a key is no label."""
    known = {*scale.tolist(), *classes.tolist()}
    strange = [key for key in class_weight if key not in known]
    without = [label for label in classes.tolist() if label not in class_weight]
    if not strange or not without:
        return
    numbers, names = classes.dtype.kind in "biuf", [key for key in strange if isinstance(key, str)]
    hint = "use the labels as keys, or give the whole scale as 'grades' where y may lack one"
    if numbers and names and all(_is_number(key) for key in names):
        hint = (
            "the keys are text where the labels are numbers, as after json.loads; convert them, "
            "{int(key): weight for key, weight in class_weight.items()}"
        )
    elif numbers and names:
        hint = (
            "the keys are names where the labels are numbers, as VotingClassifier and "
            "StackingClassifier make them before they fit; encode y first, and use its numbers"
        )
    elif numbers and {label + 1 for label in known} == set(class_weight):
        hint = f"the keys count from {min(class_weight)}, the labels from {min(known)}"
    must = (
        f"must have labels as keys. The classes, {without}, are not in class_weight. "
        f"Got the keys {strange} instead, which are none of "
        f"{list(dict.fromkeys(known))}: {hint}."
    )
    raise refused("", "class_weight", must)


def _is_number(text: str) -> bool:
    return text.strip().lstrip("+-").replace(".", "", 1).isdigit()
