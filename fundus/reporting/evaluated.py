"""The scores of a model on graded images, as one object: tables, figures and JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fundus.reporting.coverage import CoverageReport
from fundus.reporting.displays.grading import GradingDisplay
from fundus.reporting.displays.reliability import ReliabilityDisplay
from fundus.reporting.displays.roc import RocDisplay
from fundus.reporting.displays.severity import SeverityDisplay
from fundus.reporting.predictions import Predictions
from fundus.reporting.ranking import ranked_images
from fundus.reporting.report import Report
from fundus.reporting.screened import ScreeningReport
from fundus.runtime.shown import Shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fundus.reporting.bootstrap import Measure
    from fundus.reporting.by_group import GroupReport
    from fundus.reporting.predictive import PredictiveReport
    from fundus.reporting.shortcuts import ShortcutReport

#: Description of each figure of an evaluation, by its name.
FIGURES = {
    "confusion": "confusion matrix",
    "severity": "severity by true grade",
    "reliability": "predicted probabilities by how often they hold",
    "roc": "ROC curves and operating points",
    "shortcuts": "what the severity follows within a grade",
}


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(Shown):
    """Predictions for graded images, and their scores; `evaluate` makes it.

    Parameters
    ----------
    predictions : Predictions
    y_true : ndarray of int, shape (n_images,)
        True grades, as positions on the scale.
    names : tuple of str, shape (n_images,)
        Names of the images in the data: from their table, else their paths.
    report : Report
        Agreement with the true grades, with intervals.
    screening : ScreeningReport or None
        ``None`` without severities, or on a scale that does not have five grades.
    coverage : CoverageReport, default=None
        Of the model's sets of grades; ``None`` if it makes none, or the images calibrated them.
    fold : ndarray of int, shape (n_images,), default=None
        The fold whose model predicted an image, for out-of-fold predictions.
    boundaries : ndarray of float, shape (n_models, n_grades - 1), default=None
        Severities at which the predicted grade changes, by fold; no rows where it is the most
        probable one.
    title : str, default="Scores"
        Title of tables and figures.
    by : tuple of GroupReport, default=()
        Scores by the groups of columns.
    predictive : PredictiveReport, default=None
        Predictive values at a given prevalence.
    shortcuts : ShortcutReport, default=None
        What the severity follows among images of one grade.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from fundus import evaluate
    >>> X, y = [[0.0], [0.2], [1.0], [1.1], [2.0], [2.3]], [0, 0, 1, 1, 2, 2]
    >>> found = evaluate(LogisticRegression().fit(X, y), (X, y))
    >>> found.report.accuracy, list(found.to_frame())[:3]
    (1.0, ['file_name', 'target', 'prediction'])
    >>> print(str(found).splitlines()[0])
    Scores: 6 images
    """

    predictions: Predictions
    y_true: NDArray[np.intp]
    names: tuple[str, ...]
    report: Report
    screening: ScreeningReport | None
    coverage: CoverageReport | None = None
    fold: NDArray[np.intp] | None = None
    boundaries: NDArray[np.float64] | None = None
    title: str = "Scores"
    by: tuple[GroupReport, ...] = ()
    predictive: PredictiveReport | None = None
    shortcuts: ShortcutReport | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as JSON values; ``nan`` becomes ``None``."""
        asked = {"predictive_values": self.predictive, "shortcuts": self.shortcuts}
        return {
            **self.report.to_dict(),
            "screening": None if self.screening is None else self.screening.to_dict(),
            "coverage": None if self.coverage is None else self.coverage.to_dict(),
            **({"by": {part.column: part.to_dict() for part in self.by}} if self.by else {}),
            **{name: part.to_dict() for name, part in asked.items() if part is not None},
        }

    def to_frame(self) -> pd.DataFrame:
        """Return the predictions, one row per image.

        Returns
        -------
        DataFrame
            Columns ``file_name``, ``target``, ``prediction``, ``fold`` (out of fold only),
            ``file``, ``grade`` and, where there are any, ``severity`` and ``probability_0`` …
            ``target``, ``prediction`` and ``grade`` are positions on the scale.
        """
        predicted = self.predictions.to_frame(decisions=False)
        first = {"file_name": self.names, "target": self.y_true, "prediction": predicted["grade"]}
        if self.fold is not None:
            first["fold"] = self.fold
        return pd.concat([pd.DataFrame({**first, "file": self.names}), predicted], axis=1)

    def ranked(self, by: str = "errors") -> pd.DataFrame:
        """Return the images that are graded worst, or all, the least certain first.

        Parameters
        ----------
        by : {"errors", "uncertain"}, default="errors"
            "errors": images whose grade is wrong, by how many grades, and among equals by how far
            the severity lies from the true grade. "uncertain": all images, by ``margin``.

        Returns
        -------
        DataFrame
            Columns ``row``, in the evaluation; ``file``; ``target``, ``prediction`` and ``error``,
            their distance, in positions on the scale; and, where there are any, ``severity``,
            ``severity_error``, ``margin``, ``fold`` and ``grades_set``. Where the model cuts its
            severity into grades, ``margin`` is the distance from it to the nearest boundary, of
            the fold's own model out of fold, since probabilities have no part in the decision;
            else the probability of the likeliest grade less that of the second.

        Raises
        ------
        DataError
            If the model gives nothing that tells how certain it is.
        InvalidParameterError
            If `by` is neither.

        See Also
        --------
        ContactSheetDisplay : The photographs of the first of them.

        Examples
        --------
        >>> from fundus import TransferClassifier, evaluate
        >>> X, y = np.arange(10.0).reshape(-1, 1), np.arange(10) % 5
        >>> model = TransferClassifier("precomputed", "ridge").fit(X, y)
        >>> evaluate(model, (X, y)).ranked("errors")["error"].tolist()
        [2, 2, 2, 2, 1, 1, 1, 1]
        """
        return ranked_images(self, by)

    def scores(self) -> pd.DataFrame:
        """Return a row for each score: score, value, low, high, and the method of the interval."""
        named: dict[str, Measure] = dict(self.report.measures)
        for k, measure in enumerate(self.report.sensitivities):
            named[f"sensitivity_of_grade_{k}"] = measure
        if self.screening is not None:
            named |= self.screening.measures()
            if self.screening.by_patient is not None:
                named |= self.screening.by_patient.measures(" by patient")
        for part in (*self.by, self.predictive, self.shortcuts):
            named |= {} if part is None else part.measures()
        if self.coverage is not None:
            named |= {"coverage": self.coverage.coverage, "set_size": self.coverage.size}
            named["deferred"] = self.coverage.deferred
            if self.coverage.undecided is not None:
                named["undecided"] = self.coverage.undecided
            for k, measure in enumerate(self.coverage.by_grade):
                named[f"coverage_of_grade_{k}"] = measure
        return pd.DataFrame(
            [{"score": name, **measure.to_dict()} for name, measure in named.items()]
        )

    def to_table(self, title: str | None = None) -> Any:
        """Return the scores for a terminal.

        Parameters
        ----------
        title : str, default=None
            By default that of the evaluation.

        Returns
        -------
        rich.console.Group
        """
        from rich.console import Group

        parts = (self.screening, self.predictive, self.coverage, *self.by, self.shortcuts)
        more = [part.to_table() for part in parts if part is not None]
        return Group(self.report.to_table(title or self.title), *more)

    def plot(self, title: str | None = None) -> dict[str, Figure]:
        """Draw the figures, without pyplot's global state.

        Parameters
        ----------
        title : str, default=None
            By default that of the evaluation.

        Returns
        -------
        dict of matplotlib.figure.Figure
            "confusion"; "severity" and "reliability" where there are any; "roc" and "shortcuts"
            where there is such a report.
        """
        title, report = title or self.title, self.report
        n_grades, predicted = len(report.class_names), self.predictions
        figures: dict[str, Any] = {}
        figures["confusion"] = GradingDisplay(report, title=title).plot().figure_
        if predicted.severity is not None:
            figures["severity"] = SeverityDisplay.from_predictions(
                self.y_true,
                predicted.severity,
                n_grades=n_grades,
                class_names=report.class_names,
                boundaries=() if self.boundaries is None else self.boundaries,
                title=f"{title}: severity by true grade",
            ).figure_
        if predicted.proba is not None:
            figures["reliability"] = ReliabilityDisplay.from_predictions(
                self.y_true, predicted.proba, n_grades=n_grades, title=f"{title}: calibration"
            ).figure_
        if self.screening is not None:
            display = RocDisplay(self.screening, title=f"{title}: screening")
            figures["roc"] = display.plot().figure_
        if self.shortcuts is not None:
            figures["shortcuts"] = self.shortcuts.plot()
        return figures

    def keep_with(self, model: Any) -> None:
        """Set names and operating points as fitted attributes of a model, to be saved with it.

        Parameters
        ----------
        model : FoldEnsemble or OrdinalConformalClassifier
            Gets ``class_names_`` and, if there is a screening report, ``operating_points_`` and
            ``referable_with_dme_``.
        """
        model.class_names_ = list(self.report.class_names)
        if self.screening is not None:
            model.operating_points_ = self.screening.operating_points()
            model.referable_with_dme_ = self.screening.with_dme
