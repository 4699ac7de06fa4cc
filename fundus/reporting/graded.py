"""Graded images for an evaluation, from a loader's Bunch or from ``(X, y)``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fundus.exceptions import DataError, DataWarning, Mention, Message, warn_caller
from fundus.grades.icdr import N_GRADES
from fundus.grades.labels import to_positions
from fundus.grades.patients import known_patients
from fundus.metrics.operating_points import OperatingPoint
from fundus.reporting.screened import ScreeningReport
from fundus.reporting.screening import screening_report


@dataclass(frozen=True, eq=False)
class Graded:
    """Graded images.

    Parameters
    ----------
    X : images or array-like
        Input of the model.
    y : ndarray of int, shape (n_images,)
        Positions on the scale.
    n_grades : int
    names : tuple of str
        Name of each image.
    class_names : list of str or None
    patients : ndarray, shape (n_images,), or None
        Known patients.
    who : ndarray, shape (n_images,), or None
        Patients with guesses; an image of an unknown patient is a patient of its own.
    dme : ndarray of float, shape (n_images,), or None
    ungradable : DataFrame
        Photographs that were set aside: columns path, patient, grade and dme.
    """

    X: Any
    y: NDArray[np.intp]
    n_grades: int
    names: tuple[str, ...]
    class_names: list[str] | None
    patients: NDArray[Any] | None
    who: NDArray[Any] | None
    dme: NDArray[np.float64] | None
    ungradable: pd.DataFrame

    @property
    def called(self) -> pd.DataFrame:
        """The photographs that graders called ungradable, if screening counts them."""
        called = self.ungradable["grade"].isna() & (self.n_grades == N_GRADES)
        return self.ungradable[called]

    def screening(
        self,
        severity: NDArray[np.float64] | None,
        of_called: NDArray[np.float64] | None,
        points: Mapping[str, Sequence[OperatingPoint]] | None,
        *,
        sensitivity: float | None = None,
        specificity: float | None = None,
    ) -> ScreeningReport | None:
        """Score as a screening test, if there are severities on the scale of five grades.

        Images that could not be used count as referred; those that graders called ungradable are
        truly referable, and the model's severity for them, `of_called`, decides whether it refers
        them.
        """
        if severity is None or self.n_grades != N_GRADES:
            return None
        failed = self.ungradable
        called = failed["grade"].isna().to_numpy()
        asked = np.full(len(failed), np.nan)
        if of_called is not None:
            asked[called] = of_called
        none = np.zeros(len(severity), bool)
        dme = patients = None
        if self.dme is not None:
            dme = np.concatenate([self.dme, failed["dme"].to_numpy(dtype=float)])
        if self.patients is not None:
            patients = np.concatenate([self.patients, failed["patient"].to_numpy()])
        return screening_report(
            np.concatenate([self.y, failed["grade"].fillna(0).to_numpy(dtype=int)]),
            np.concatenate([severity, asked]),
            dme=dme,
            groups=patients,
            ungradable=np.concatenate([none, np.isnan(asked)]),
            called_ungradable=np.concatenate([none, called]),
            operating_points=points,
            sensitivity=sensitivity,
            specificity=specificity,
        )


def read_graded(data: Any, scale: NDArray[Any]) -> Graded:
    """Read graded images for the evaluation of a model.

    Parameters
    ----------
    data : Bunch or tuple of (X, y)
    scale : ndarray, shape (n_grades,)
        The model's grades in order.

    Raises
    ------
    DataError
        If the scale of the data is not as long as the model's.
    InvalidGradeError
        If a label is not on the model's scale.
    """
    if isinstance(data, tuple):
        X, y = data
        frame = X if isinstance(X, pd.DataFrame) else pd.DataFrame(index=range(len(X)))
        named = frame["path"] if "path" in frame.columns else range(len(frame))
        patients = known_patients(frame)
        dme = frame["dme"].to_numpy(dtype=float) if "dme" in frame.columns else None
        none = pd.DataFrame(columns=["path", "patient", "grade", "dme"])
        y = to_positions(y, scale, name="y")
        names = tuple(map(str, named))
        return Graded(X, y, len(scale), names, None, patients, patients, dme, none)
    if data.n_grades != len(scale):
        same = Mention("grades", len(scale))
        text = (
            f"The data is on a scale of {data.n_grades} grades, and the model on one of "
            f"{len(scale)}, {', '.join(map(str, scale))}: load the data with {same}, or with the "
            "names of as many grades."
        )
        raise DataError(Message(text, same))
    return Graded(
        data.frame,
        np.asarray(data.grades),
        data.n_grades,
        tuple(data.given or data.paths),
        list(data.class_names),
        data.patients if data.patients_known else None,
        data.patients,
        data.dme,
        data.ungradable,
    )


def warn_of_oedema(model: Any, *, with_dme: bool) -> None:
    """Warn if macular oedema counts now, and did not for a model's operating points, or vice versa.

    Warns
    -----
    DataWarning
    """
    then_with = getattr(model, "referable_with_dme_", None)
    if then_with is None or then_with == with_dme:
        return
    then, now = ("with", "without") if then_with else ("without", "with")
    warn_caller(
        f"The operating points were chosen {then} macular oedema, and these images are scored "
        f"{now} it, so they do not match: give both tables a column 'dme', or none.",
        DataWarning,
    )
