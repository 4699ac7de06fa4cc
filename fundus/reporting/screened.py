"""Scores of a severity as a screening test, and their report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.metrics.operating_points import OperatingPoint
from fundus.reporting.bootstrap import Measure
from fundus.reporting.tables import screening_table
from fundus.runtime.shown import Shown


@dataclass(frozen=True)
class PointScore:
    """Scores of an operating point.

    Parameters
    ----------
    point : OperatingPoint
    sensitivity, specificity : Measure
    chosen_here : bool
        Whether it was chosen on these images; the intervals then take the choice into account.
    """

    point: OperatingPoint
    sensitivity: Measure
    specificity: Measure
    chosen_here: bool

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "wanted": self.point.wanted,
            "goal": self.point.goal,
            "threshold": self.point.threshold,
            "chosen_here": self.chosen_here,
            "sensitivity": self.sensitivity.to_dict(),
            "specificity": self.specificity.to_dict(),
        }


@dataclass(frozen=True, eq=False)
class Condition:
    """Scores for one condition.

    Parameters
    ----------
    name : str
        "referable" or "sight-threatening".
    n_positive, n_negative : int
        Number of images with and without it.
    auc : Measure
    points : tuple of PointScore
    notes : tuple of str
        Scores that could not be computed, and why.
    curve : tuple of two ndarrays of float, shape (n_thresholds,)
        1 - specificity and sensitivity, rising.
    """

    name: str
    n_positive: int
    n_negative: int
    auc: Measure
    points: tuple[PointScore, ...]
    notes: tuple[str, ...]
    curve: tuple[NDArray[np.float64], NDArray[np.float64]]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, without the curve."""
        return {
            "n_positive": self.n_positive,
            "n_negative": self.n_negative,
            "auc": self.auc.to_dict(),
            "operating_points": [point.to_dict() for point in self.points],
            "notes": list(self.notes),
        }


@dataclass(frozen=True, eq=False, repr=False)
class ScreeningReport(Shown):
    """Scores of a severity as a screening test.

    Parameters
    ----------
    conditions : tuple of Condition
    n_images : int
        Number of images, with those that could not be graded.
    n_patients : int or None
        ``None`` if patients are unknown.
    n_ungradable : int
        Number of images that count as referred, since they could not be graded.
    with_dme : bool
        Whether macular oedema counts.
    n_called_ungradable : int, default=0
        Number of those that graders called ungradable, which count as truly referable.
    by_patient : ScreeningReport, default=None
        The same by patient, where patients are known and some have several images: disease of the
        worse eye, and the highest severity. A patient with an image that could not be graded is
        referred. The operating points are those of the images; where they were chosen here, the
        intervals leave the choice out.
    """

    conditions: tuple[Condition, ...]
    n_images: int
    n_patients: int | None
    n_ungradable: int
    with_dme: bool
    n_called_ungradable: int = 0
    by_patient: ScreeningReport | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values; ``nan`` becomes ``None``."""
        return {
            "n_images": self.n_images,
            "n_patients": self.n_patients,
            "n_ungradable": self.n_ungradable,
            "n_called_ungradable": self.n_called_ungradable,
            "with_dme": self.with_dme,
            **{condition.name: condition.to_dict() for condition in self.conditions},
            "by_patient": None if self.by_patient is None else self.by_patient.to_dict(),
        }

    def operating_points(self) -> dict[str, list[OperatingPoint]]:
        """Return the operating points by condition, to save them with a model."""
        return {c.name: [scored.point for scored in c.points] for c in self.conditions}

    def measures(self, more: str = "") -> dict[str, Measure]:
        """Return every score by its name, to which `more` is added."""
        named: dict[str, Measure] = {}
        for condition in self.conditions:
            named[f"{condition.name} auc{more}"] = condition.auc
            for scored in condition.points:
                point = f"{condition.name} at {scored.point.wanted} {scored.point.goal:g}"
                named[f"{point}: sensitivity{more}"] = scored.sensitivity
                named[f"{point}: specificity{more}"] = scored.specificity
        return named

    def to_table(self) -> Any:
        """Return the report for a terminal."""
        return screening_table(self)
