"""What a model says of images, on the whole scale of its grades."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fundus.grades.foreign import as_grader
from fundus.grades.grader import Votes
from fundus.grades.icdr import N_GRADES
from fundus.grades.labels import to_positions
from fundus.reporting.coverage import CoverageReport, coverage_report
from fundus.reporting.report import Report, make_report
from fundus.reporting.screening import OperatingPoint, ScreeningReport, screening_report

if TYPE_CHECKING:
    from sklearn.utils import Bunch


@dataclass(frozen=True)
class Scores:
    """Predictions for n images.

    Parameters
    ----------
    grades : ndarray of int, shape (n,)
        Places on the scale.
    severity : ndarray of float, shape (n,), or None
    proba : ndarray of float, shape (n, n_grades), or None
        ``None``, as the severity, where the head gives no probabilities.
    members : list of Votes, default=None
        What each model of an ensemble says, with a column for each of its classes.
    of_ungradable : ndarray of float, shape (n_ungradable,), default=None
        Severities of the photographs that graders called ungradable, as `with_ungradable` adds.
    """

    grades: NDArray[np.intp]
    severity: NDArray[np.float64] | None
    proba: NDArray[np.float64] | None
    members: list[Votes] | None = None
    of_ungradable: NDArray[np.float64] | None = None

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return severity and probabilities as columns of a table, where there are any."""
        if self.severity is None or self.proba is None:
            return {}
        named = {f"probability_{k}": self.proba[:, k] for k in range(self.proba.shape[1])}
        return {"severity": self.severity, **named}

    def report(self, data: Bunch, class_names: Sequence[str]) -> Report:
        """Compare with the grades of a data set."""
        return make_report(
            data.grades,
            self.grades,
            n_grades=len(class_names),
            class_names=class_names,
            severity=self.severity,
            proba=self.proba,
            patients=data.patients if data.patients_known else None,
        )

    def screening(self, data: Bunch, **options: Any) -> ScreeningReport | None:
        """Score as a screening test, where there are severities on the scale of five grades.

        Parameters
        ----------
        data : Bunch
            Its ungradable images count as referred; those that graders called so are truly
            referable, and the model's severity decides whether it refers them.
        **options
            Of `screening_report`.

        Returns
        -------
        ScreeningReport or None
        """
        if self.severity is None or data.n_grades != N_GRADES:
            return None
        failed = data.ungradable
        called = failed["grade"].isna().to_numpy()
        asked = np.full(len(failed), np.nan)
        if self.of_ungradable is not None:
            asked[called] = self.of_ungradable
        none = np.zeros(len(self.severity), bool)
        dme = None
        if data.dme is not None:
            dme = np.concatenate([data.dme, failed["dme"].to_numpy(dtype=float)])
        patients = None
        if data.patients_known:
            patients = np.concatenate([data.patients, failed["patient"].to_numpy()])
        return screening_report(
            np.concatenate([data.grades, failed["grade"].fillna(0).to_numpy(dtype=int)]),
            np.concatenate([self.severity, asked]),
            dme=dme,
            patients=patients,
            ungradable=np.concatenate([none, np.isnan(asked)]),
            called_ungradable=np.concatenate([none, called]),
            **options,
        )

    def coverage(self, data: Bunch, conformal: Any) -> CoverageReport | None:
        """Score the sets of a conformal rule, where there is one."""
        ends = self.sets(conformal)
        if ends is None:
            return None
        low, high = ends
        return coverage_report(
            data.grades,
            low,
            high,
            n_grades=len(conformal.ballot_.scale),
            patients=data.patients if data.patients_known else None,
        )

    def sets(self, conformal: Any) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
        """Return the lowest and highest grade of each image's set, where there is a rule."""
        if conformal is None or self.members is None:
            return None
        scale = conformal.ballot_.scale
        low, high = conformal.sets_of(self.members)
        return to_positions(low, scale), to_positions(high, scale)

    def decisions(self, points: dict[str, Any] | None, conformal: Any) -> dict[str, Any]:
        """Return what follows from the rules stored with a run, as columns of a table.

        Parameters
        ----------
        points : dict or None
            Operating points as they were saved; the first of ``referable``, the one that was
            chosen for a sensitivity where it could be, decides.
        conformal : OrdinalConformalClassifier or None

        Returns
        -------
        dict
            ``referable``, and ``grades_set`` and ``defer``, where there is a rule for them.
        """
        found: dict[str, Any] = {}
        referable = read_points(points).get("referable")
        if referable and self.severity is not None:
            found["referable"] = self.severity >= referable[0].threshold
        ends = self.sets(conformal)
        if ends is not None:
            low, high = ends
            found["grades_set"] = [
                ";".join(map(str, range(a, b + 1))) for a, b in zip(low, high, strict=True)
            ]
            found["defer"] = low != high
        return found


def read_points(record: dict[str, Any] | None) -> dict[str, list[OperatingPoint]]:
    """Read operating points that were saved with a model."""
    return {
        name: [OperatingPoint(**point) for point in points]
        for name, points in (record or {}).items()
    }


def score_images(model: Any, X: Any, scale: NDArray[Any]) -> Scores:
    """Run a fitted model on images, once where it gives probabilities.

    Parameters
    ----------
    model : FoldEnsemble or TransferClassifier
    X : images
    scale : ndarray, shape (n_grades,)
        Labels, lowest first.

    Returns
    -------
    Scores
    """
    grader = as_grader(model, scale)
    reading = grader.read_images(X)
    if not grader.gives_proba():
        return Scores(to_positions(grader.labels_of(reading), scale), None, None)
    members = grader.members(reading)
    votes = grader.average(members)
    labels = grader.classes_[votes.best]
    assert votes.proba is not None
    scores = _on_scale(labels, votes.severity, votes.proba, grader.classes_, scale)
    return replace(scores, members=members)


def with_ungradable(
    scores: Scores, model: Any, data: Bunch, scale: NDArray[Any], *, trained_on_data: bool = False
) -> Scores:
    """Ask a model about the photographs that graders called ungradable.

    Parameters
    ----------
    scores : Scores
        Of the other images of `data`.
    model : FoldEnsemble or TransferClassifier
    data : Bunch
    scale : ndarray, shape (n_grades,)
        Labels, lowest first.
    trained_on_data : bool, default=False
        Whether `model` is an ensemble that was fitted on `data`. Each photograph is then graded
        by one of its models that knows no other photograph of the patient, as the images were.

    Returns
    -------
    Scores
    """
    aside = data.ungradable[data.ungradable["grade"].isna()]
    if aside.empty or scores.severity is None or data.n_grades != N_GRADES:
        return scores
    found = score_images(model, aside["path"].tolist(), scale)
    severity = found.severity
    if trained_on_data:
        assert found.members is not None
        fold_of = dict(zip(data.patients, model.oof_fold_, strict=True))
        # patients without a graded photograph are dealt to the folds in turn
        folds = [fold_of.get(p, k % len(found.members)) for k, p in enumerate(aside["patient"])]
        severity = np.array([found.members[f].severity[k] for k, f in enumerate(folds)])
    return replace(scores, of_ungradable=severity)


def out_of_fold(model: Any, scale: NDArray[Any]) -> Scores:
    """Return what each fold's model said of the images it has not seen.

    Parameters
    ----------
    model : FoldEnsemble
        Fitted, every image in one test fold.
    scale : ndarray, shape (n_grades,)

    Returns
    -------
    Scores
    """
    if not model.gives_proba():
        return Scores(to_positions(model.oof_prediction_, scale), None, None)
    return _on_scale(
        model.oof_prediction_, model.oof_severity_, model.oof_proba_, model.classes_, scale
    )


def _on_scale(
    labels: NDArray[Any],
    severity: NDArray[np.float64] | None,
    proba: NDArray[np.float64] | None,
    classes: NDArray[Any],
    scale: NDArray[Any],
) -> Scores:
    assert proba is not None
    full = np.zeros((len(proba), len(scale)))
    full[:, to_positions(classes, scale)] = proba
    return Scores(to_positions(labels, scale), severity, full)
