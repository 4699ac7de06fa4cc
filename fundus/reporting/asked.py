"""What an evaluation holds only if it is asked for: groups, predictive values, shortcuts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fundus.data.grouping import Grouping, group_images
from fundus.data.inputs import is_image_data
from fundus.exceptions import DataError
from fundus.grades.foreign import as_grader
from fundus.grades.icdr import N_GRADES, REFERABLE_GRADE, is_referable
from fundus.metrics.predictive import check_prevalence
from fundus.reporting.by_group import GroupReport, Referral, group_report
from fundus.reporting.graded import Graded
from fundus.reporting.predictions import Predictions
from fundus.reporting.predictive import PredictiveReport, predictive_report
from fundus.reporting.screened import ScreeningReport
from fundus.reporting.shortcuts import ShortcutReport, shortcut_report


@dataclass(frozen=True, eq=False)
class Asked:
    """What is asked for, checked before anything is predicted.

    Parameters
    ----------
    groupings : tuple of Grouping
    prevalence : float or None
    wants_shortcuts : bool
    """

    groupings: tuple[Grouping, ...]
    prevalence: float | None
    wants_shortcuts: bool

    @classmethod
    def of(
        cls, graded: Graded, by: str | Sequence[str], prevalence: float | None, *, shortcuts: bool
    ) -> Asked:
        """Read the parameters of `evaluate`.

        Raises
        ------
        DataError
            If there is no such column, or shortcuts are wanted of data that are no images.
        InvalidParameterError
            If `prevalence` is not in (0, 1).
        """
        if prevalence is not None:
            check_prevalence("evaluate", prevalence)
        if shortcuts and not is_image_data(graded.X):
            raise DataError("shortcuts=True measures photographs, and X holds features.")
        columns = dict.fromkeys([by] if isinstance(by, str) else by)
        found = tuple(group_images(graded.X, column) for column in columns)
        return cls(found, prevalence, shortcuts)

    def by(
        self, graded: Graded, found: Predictions, screening: ScreeningReport | None
    ) -> tuple[GroupReport, ...]:
        """Score every group of every column."""
        if not self.groupings:
            return ()
        referral = referral_of(graded, found, screening)
        return tuple(
            group_report(
                graded.y,
                found.grades,
                grouping,
                n_grades=graded.n_grades,
                referral=referral,
                groups=graded.patients,
            )
            for grouping in self.groupings
        )

    def predictive(self, screening: ScreeningReport | None) -> PredictiveReport | None:
        """Give predictive values, if a prevalence is given."""
        return None if self.prevalence is None else predictive_report(screening, self.prevalence)

    def shortcuts(self, model: Any, graded: Graded, found: Predictions) -> ShortcutReport | None:
        """Measure the photographs, if that is wanted and the model gives severities."""
        if not self.wants_shortcuts or found.severity is None:
            return None
        X = graded.X
        if graded.patients is None and isinstance(X, pd.DataFrame):
            X = X.drop(columns="patient", errors="ignore")  # a loader's own name for each image
        caches = [reader.model.cache for reader in as_grader(model).readers()]
        return shortcut_report(
            found.severity,
            graded.y,
            X,
            groups=graded.patients,
            n_grades=graded.n_grades,
            cache=caches[0] if caches else True,
        )


def referral_of(
    graded: Graded, found: Predictions, screening: ScreeningReport | None
) -> Referral | None:
    """Return who is to be referred and who is, on the scale of five grades.

    The first operating point for referable disease decides, if there is one, else the predicted
    grade.
    """
    if graded.n_grades != N_GRADES:
        return None
    # screening has told where oedema is not known
    truth = is_referable(graded.y, None if graded.dme is None else np.nan_to_num(graded.dme))
    points = () if screening is None else screening.conditions[0].points
    if not points or found.severity is None:
        rule = f"predicted grade {REFERABLE_GRADE} or more"
        return Referral(truth, found.grades >= REFERABLE_GRADE, rule)
    point = points[0].point
    rule = f"severity ≥ {point.threshold:.3f}, the point for {point.wanted} {point.goal:g}"
    return Referral(truth, found.severity >= point.threshold, rule)
