"""`evaluate`: score a fitted model on graded images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import DataError
from fundus.meta.ensemble import FoldEnsemble
from fundus.reporting.asked import Asked
from fundus.reporting.coverage import coverage_report
from fundus.reporting.displays.boundaries import boundaries_of
from fundus.reporting.evaluated import Evaluation
from fundus.reporting.graded import Graded, read_graded, warn_of_oedema
from fundus.reporting.predictions import (
    Predictions,
    averaged,
    names_of_grades,
    out_of_fold_predictions,
    points_of,
    predict_by_folds,
    predict_images,
)
from fundus.reporting.report import make_report
from fundus.reporting.screened import ScreeningReport


def evaluate(
    model: Any,
    data: Any,
    *,
    by: str | Sequence[str] = (),
    prevalence: float | None = None,
    shortcuts: bool = False,
) -> Evaluation:
    """Score a fitted model on graded images that it has not seen.

    Parameters
    ----------
    model : classifier
        Fitted, such as from `fundus.load`; its operating points and its rule for sets are
        scored if it has them.
    data : Bunch or tuple of (X, y)
        Result of `load_image_folder` or `load_image_table`; or images and their labels. A
        frame's columns ``patient`` and ``dme`` are used, as in a Bunch.
    by : str or sequence of str, default=()
        Columns of the frame whose groups are scored each by itself, such as "camera" or "eye".
        Ages are grouped into bands of ten years, other measurements at their quartiles.
    prevalence : float, default=None
        Share of referable disease, in (0, 1), at which predictive values are given.
    shortcuts : bool, default=False
        Whether to measure the photographs for a `shortcut_report`.

    Returns
    -------
    Evaluation

    Raises
    ------
    DataError
        If the scale of the data is not as long as the model's, there is no column `by`, or no
        severity for predictive values.
    InvalidGradeError
        If a label is not on the model's scale.
    InvalidParameterError
        If `prevalence` is not in (0, 1).

    Warns
    -----
    DataWarning
        If macular oedema counted when the operating points were chosen and not here, or the other
        way round; or the severity follows how the photographs were taken.

    See Also
    --------
    evaluate_out_of_fold : Scores an ensemble on the images that it was fitted on.

    Examples
    --------
    >>> import fundus
    >>> model = fundus.load("runs/dr/model")  # doctest: +SKIP
    >>> found = fundus.evaluate(model, fundus.load_image_folder("new"))  # doctest: +SKIP
    >>> found.report.qwk, found.screening.conditions[0].auc.value  # doctest: +SKIP
    """
    graded = read_graded(data, averaged(model).grades_)
    asked = Asked.of(graded, by, prevalence, shortcuts=shortcuts)
    found, of_called = predict_images(model, graded.X), None
    if found.severity is not None and len(graded.called):
        of_called = predict_images(model, graded.called["path"].tolist()).severity
    screening = graded.screening(found.severity, of_called, points_of(model))
    if screening:
        warn_of_oedema(model, with_dme=screening.with_dme)
    return _evaluation(model, graded, found, screening, asked, "Scores")


def evaluate_out_of_fold(
    ensemble: FoldEnsemble,
    data: Any,
    *,
    sensitivity: float = 0.9,
    specificity: float = 0.9,
    by: str | Sequence[str] = (),
    prevalence: float | None = None,
    shortcuts: bool = False,
) -> Evaluation:
    """Score each fold's model on the images it has not seen, and choose operating points.

    Parameters
    ----------
    ensemble : FoldEnsemble
        Fitted.
    data : Bunch or tuple of (X, y)
        Its training data, as in `evaluate`. A photograph that graders called ungradable is
        graded by a model that was not trained on other photographs of its patient.
    sensitivity, specificity : float, default=0.9
        Goals of the operating points.
    by : str or sequence of str, default=()
        As in `evaluate`.
    prevalence : float, default=None
        As in `evaluate`.
    shortcuts : bool, default=False
        As in `evaluate`.

    Returns
    -------
    Evaluation
        With ``fold``; its `keep_with` sets the operating points as attributes of a model.

    Raises
    ------
    DataError
        If the images are not those the ensemble was fitted on, or some were in no test fold.
    """
    graded = read_graded(data, ensemble.grades_)
    asked = Asked.of(graded, by, prevalence, shortcuts=shortcuts)
    fold = ensemble.oof_fold_
    if len(fold) != len(graded.y) or (fold < 0).any():
        raise DataError(
            f"{len(graded.y)} images are scored out of fold, and the ensemble predicted "
            f"{int((fold >= 0).sum())} of {len(fold)} out of fold: give the data it was fitted on, "
            "and folds that test every image."
        )
    found, of_called = out_of_fold_predictions(ensemble), None
    if found.severity is not None and len(graded.called):
        known = {} if graded.who is None else dict(zip(graded.who, fold, strict=True))
        # patients without a graded photograph are assigned to the folds in turn
        n_models, called = len(ensemble.estimators_), graded.called
        folds = [known.get(who, k % n_models) for k, who in enumerate(called["patient"])]
        of_called = predict_by_folds(ensemble, called["path"].tolist(), folds)
    screening = graded.screening(
        found.severity, of_called, None, sensitivity=sensitivity, specificity=specificity
    )
    return _evaluation(ensemble, graded, found, screening, asked, "Out-of-fold scores", fold)


def _evaluation(
    model: Any,
    graded: Graded,
    found: Predictions,
    screening: ScreeningReport | None,
    asked: Asked,
    title: str,
    fold: NDArray[np.intp] | None = None,
) -> Evaluation:
    y, patients, n_grades = graded.y, graded.patients, graded.n_grades
    coverage = None
    if found.sets is not None:
        coverage = coverage_report(y, *found.sets, n_grades=n_grades, groups=patients)
    report = make_report(
        y,
        found.grades,
        n_grades=n_grades,
        class_names=names_of_grades(model, graded.class_names),
        severity=found.severity,
        proba=found.proba,
        groups=patients,
        plugins=True,
    )
    cuts = boundaries_of(model)
    of_model = found, y, graded.names, report, screening, coverage, fold, cuts, title
    by, predictive = asked.by(graded, found, screening), asked.predictive(screening)
    return Evaluation(*of_model, by, predictive, asked.shortcuts(model, graded, found))
