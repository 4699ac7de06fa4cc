"""`stress_report`: what is left of a model's scores when photographs are changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fundus.data.inputs import Images
from fundus.exceptions import DataError
from fundus.frozen.views import changed
from fundus.grades.foreign import as_grader, unwrapped
from fundus.grades.grader import Grader
from fundus.grades.icdr import REFERABLE_GRADE
from fundus.grades.labels import to_positions
from fundus.meta.ensemble import FoldEnsemble
from fundus.parameters import invalid
from fundus.reporting.predictions import averaged
from fundus.reporting.stress_asked import StressAsked, read_asked
from fundus.reporting.stress_scores import Predicted
from fundus.reporting.stressed import Change, StressReport

#: Kinds of change that differ most between cameras, one of tone, detail and geometry each.
FEW_KINDS = ("tone", "resolution", "zoom")

#: Rows of views that are in memory at a time.
_ROWS = 2048

#: Severities that were kept and found again differ by less, in the middle of all photographs.
_SAME_SEVERITY = 0.01


def stress_report(
    model: Any,
    X: Any,
    y: ArrayLike,
    *,
    kinds: Iterable[str] | None = None,
    strengths: Iterable[int] = (1, 2, 3),
    groups: ArrayLike | None = None,
    referable: int | None = REFERABLE_GRADE,
    random_state: int = 0,
    n_resamples: int = 2000,
) -> StressReport:
    """Score a fitted model on photographs that it has not seen, unchanged and changed.

    Each kind of change that `degradations` knows is made of every photograph, alone and at each
    strength. What frozen layers make of it is kept, so that a second report computes nothing.

    Parameters
    ----------
    model : classifier
        Fitted on images, such as from `fundus.load`.
    X : images
        Images that it was not fitted on, as in its ``predict``.
    y : array-like, shape (n_samples,)
        Grades.
    kinds : iterable of str, default=None
        Names of `degradations`; ``None`` is all of them.
    strengths : iterable of int, default=(1, 2, 3)
        1 is mild, 2 medium, 3 strong.
    groups : array-like, shape (n_samples,), default=None
        Patients; by default those of the frame. Without them, images are treated as independent.
    referable : int or None, default=2
        Position on the scale of the lowest referable grade; ``None`` leaves sensitivity and
        specificity out.
    random_state : int, default=0
        Seed of the changes and of the resamples.
    n_resamples : int, default=2000
        Bootstrap resamples of patients, the same ones for every score.

    Returns
    -------
    StressReport

    Raises
    ------
    DataError
        If the model or `X` holds features, or lengths differ.
    InvalidGradeError
        If a grade is missing or not on the model's scale.
    InvalidParameterError
        If a parameter cannot be used.
    ImageReadError
        If files cannot be read; the first is named, the rest counted.

    See Also
    --------
    stress_out_of_fold : The same for the images that a `FoldEnsemble` was fitted on.
    make_view_scorer : A score under views of several changes at once, for searches.

    Notes
    -----
    Sensitivity and specificity are those of the predicted grades; operating points are not used.

    Cost: one pass of the network for each photograph, kind and strength, the first time; 45 with
    the defaults. Then O(n_resamples · n_samples · n_grades²) for each kind and strength. Memory
    does not grow with them.

    Examples
    --------
    >>> from fundus import TransferClassifier
    >>> y = np.repeat([0, 1, 2], 4)
    >>> X = np.random.default_rng(0).integers(60 * y, 60 * y + 80, (3, 32, 32, 12), np.uint8).T
    >>> model = TransferClassifier("tiny", "ridge", weights="fixed", cache=False).fit(X, y)
    >>> found = stress_report(model, X, y, kinds=["tone"], strengths=[2], n_resamples=100)
    >>> sorted(found["tone", 2].measures)[:3]
    ['grades_changed', 'qwk', 'qwk_change']
    """
    grader = averaged(model)
    asked = StressAsked.of("stress_report", kinds, strengths, referable, random_state, n_resamples)
    images, true, groups = read_asked(grader, model, X, y, groups, asked)
    predict = partial(_predicted, grader)
    unchanged = predict(images)
    return asked.report(true, unchanged, _changed(predict, images, asked), grader, groups)


def stress_out_of_fold(
    ensemble: FoldEnsemble,
    X: Any,
    y: ArrayLike,
    *,
    kinds: Iterable[str] | None = None,
    strengths: Iterable[int] = (1, 2, 3),
    groups: ArrayLike | None = None,
    referable: int | None = REFERABLE_GRADE,
    random_state: int = 0,
    n_resamples: int = 2000,
) -> StressReport:
    """Score an ensemble on the photographs that it was fitted on, each by its test fold's model.

    Parameters
    ----------
    ensemble : FoldEnsemble
        Fitted.
    X : images
        Its training images, in the same order.
    y : array-like, shape (n_samples,)
        Their grades.
    kinds : iterable of str, default=None
        Names of `degradations`; ``None`` is all of them.
    strengths : iterable of int, default=(1, 2, 3)
        1 is mild, 2 medium, 3 strong.
    groups : array-like, shape (n_samples,), default=None
        Patients; by default those of the frame.
    referable : int or None, default=2
        Position on the scale of the lowest referable grade.
    random_state : int, default=0
        Seed of the changes and of the resamples.
    n_resamples : int, default=2000
        Bootstrap resamples of patients.

    Returns
    -------
    StressReport
        With ``out_of_fold``.

    Raises
    ------
    DataError
        If the images are not those the ensemble was fitted on, or some were in no test fold.
    InvalidParameterError
        If `ensemble` is no `FoldEnsemble`, or another parameter cannot be used.

    See Also
    --------
    stress_report : Scores of images that a model has not seen.

    Examples
    --------
    >>> from fundus import TransferClassifier
    >>> y = np.repeat([0, 1, 2], 4)
    >>> X = np.random.default_rng(0).integers(60 * y, 60 * y + 80, (3, 32, 32, 12), np.uint8).T
    >>> model = TransferClassifier("tiny", "ridge", weights="fixed", cache=False)
    >>> model = FoldEnsemble(model, cv=2, random_state=0).fit(X, y)
    >>> found = stress_out_of_fold(model, X, y, kinds=["tone"], n_resamples=100)
    >>> found.out_of_fold, found.n_images
    (True, 12)
    """
    ensemble = unwrapped(ensemble)
    if not isinstance(ensemble, FoldEnsemble):
        raise invalid("stress_out_of_fold", "ensemble", "a FoldEnsemble", ensemble)
    asked = StressAsked.of(
        "stress_out_of_fold", kinds, strengths, referable, random_state, n_resamples
    )
    images, true, groups = read_asked(ensemble, ensemble, X, y, groups, asked)
    fold = ensemble.oof_fold_
    if len(fold) != len(images) or (fold < 0).any():
        raise DataError(
            f"{len(images)} images are scored out of fold, and the ensemble predicted "
            f"{int((fold >= 0).sum())} of {len(fold)} out of fold: give the data it was fitted on, "
            "and folds that test every image."
        )
    parts = [np.flatnonzero(fold == k) for k in range(len(ensemble.estimators_))]
    predicts = [partial(_predicted_by_fold, ensemble, k) for k in range(len(parts))]
    unchanged = [
        predict(images.subset(rows)) for predict, rows in zip(predicts, parts, strict=True)
    ]
    whole = _joined(unchanged, parts)
    _check_same(ensemble, whole)
    found = [
        _changed(predict, images.subset(rows), asked)
        for predict, rows in zip(predicts, parts, strict=True)
    ]
    every = {change: _joined([part[change] for part in found], parts) for change in asked.changes}
    return asked.report(true, whole, every, ensemble, groups, out_of_fold=True)


def _predicted(grader: Grader, images: Images) -> Predicted:
    reading = grader.read_images(images)
    votes = grader.votes_of(reading)
    labels = grader.labels_of(reading) if votes.best is None else grader.classes_[votes.best]
    return Predicted(to_positions(labels, grader.grades_), votes.severity)


def _predicted_by_fold(ensemble: FoldEnsemble, fold: int, images: Images) -> Predicted:
    rules = ensemble.ballot()
    grader = as_grader(ensemble.estimators_[fold], rules.scale)
    votes = rules.scores(grader, grader.read_images(images))
    assert votes.best is not None  # a ballot decides
    return Predicted(to_positions(rules.classes[votes.best], rules.scale), votes.severity)


def _changed(
    predict: Callable[[Images], Predicted], images: Images, asked: StressAsked
) -> dict[Change, Predicted]:
    """Predict every image under every change, some images at a time."""
    parts, size = [], max(1, _ROWS // len(asked.ways))
    for start in range(0, len(images), size):
        some = images.subset(np.arange(start, min(start + size, len(images))))
        parts.append(predict(changed(some, asked.ways, asked.random_state)))
    severities = [part.severity for part in parts if part.severity is not None]
    grades = np.concatenate([part.grades for part in parts]).reshape(len(images), -1)
    severity = np.concatenate(severities).reshape(len(images), -1) if severities else None
    return {
        change: Predicted(grades[:, k], None if severity is None else severity[:, k])
        for k, change in enumerate(asked.changes)
    }


def _joined(found: Sequence[Predicted], parts: Sequence[NDArray[np.intp]]) -> Predicted:
    """Put the predictions of parts of the rows into one."""
    place = np.argsort(np.concatenate(parts))
    severities = [part.severity for part in found if part.severity is not None]
    return Predicted(
        np.concatenate([part.grades for part in found])[place],
        np.concatenate(severities)[place] if len(severities) == len(found) else None,
    )


def _check_same(ensemble: FoldEnsemble, found: Predicted) -> None:
    """Raise `DataError` if images are others than those that were predicted out of fold."""
    kept = to_positions(ensemble.oof_prediction_, ensemble.grades_)
    severity = getattr(ensemble, "oof_severity_", None)
    if severity is None or found.severity is None:
        same = np.mean(kept == found.grades) > 0.5
    else:
        same = np.median(np.abs(severity - found.severity)) < _SAME_SEVERITY
    if not same:
        raise DataError(
            "The models of the folds grade the images otherwise than when the ensemble was fitted: "
            "give its training images, in the same order."
        )
