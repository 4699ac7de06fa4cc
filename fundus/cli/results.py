"""The results of ``fundus train``: what is written into the run's folder, and shown."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import fundus.cli.runs as runs
from fundus import __version__
from fundus.cli.data import aside_table, digests_of, files_of, guess_of, names_of
from fundus.cli.evaluate import graded_table
from fundus.cli.files import write_csv, write_json
from fundus.cli.scored import Scored, warn_of_other_criterion
from fundus.cli.scoring import out_of_fold, read_points, score_images, with_ungradable
from fundus.cli.screen import new_table
from fundus.meta.conformal import OrdinalConformalClassifier
from fundus.meta.conformal_sets import one_less
from fundus.reporting.report import grade_labels
from fundus.saving.bundle import save

if TYPE_CHECKING:
    from rich.table import Table
    from sklearn.utils import Bunch

    from fundus.cli.settings import Settings
    from fundus.meta.ensemble import FoldEnsemble


@dataclass(frozen=True, eq=False)
class Results:
    """What came of a training.

    Parameters
    ----------
    run : Path
        The run's folder.
    settings : dict
        JSON values.
    data : dict
        What the images are, as JSON values.
    folds : dict of str to ndarray
        ``cv_results_`` of the ensemble.
    report : Scored
        Of the out-of-fold predictions.
    validation : Scored or None
        Of the averaged folds on the images held back.
    validation_seen : int or None
        How many of these are training images.
    seconds : float
    files : dict of str to str
        What each file in the folder holds, by its name.
    """

    run: Path
    settings: dict[str, Any]
    data: dict[str, Any]
    folds: dict[str, NDArray[Any]]
    report: Scored
    validation: Scored | None
    validation_seen: int | None
    seconds: float
    files: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return the results as JSON values: the document of ``--json`` and of metrics.json."""
        kappas = [None if np.isnan(k) else float(k) for k in self.folds["test_kappa"]]
        return {
            "fundus": __version__,
            "run": str(self.run),
            "settings": self.settings,
            "data": self.data,
            "folds": [
                {"fold": k, "n_images": int(n), "qwk": kappa}
                for k, (n, kappa) in enumerate(zip(self.folds["n_test"], kappas, strict=True))
            ],
            "out_of_fold": self.report.to_dict(),
            "validation": None
            if self.validation is None
            else {**self.validation.to_dict(), "training_images": self.validation_seen},
            "seconds": round(self.seconds, 1),
            "files": self.files,
        }

    def tables(self) -> list[Any]:
        """Return the results for a terminal."""
        shown: list[Any] = [self._fold_table(), *self.report.tables("Out-of-fold scores")]
        if self.validation is not None:
            shown += self.validation.tables("Validation, averaged folds")
        shown.append(f"Took {self.seconds:.0f} s. Results in {self.run}:")
        width = max(map(len, self.files))
        shown += [f"  {name.ljust(width)}  {what}" for name, what in self.files.items()]
        shown.append(f"Grade new images: fundus predict {self.run} IMAGES -o results.csv")
        return shown

    def _fold_table(self) -> Table:
        table = new_table("Folds")
        for column in ("fold", "trained on", "tested on", "QWK"):
            table.add_column(column, justify="right")
        columns = (self.folds[name] for name in ("n_train", "n_test", "test_kappa"))
        for k, (n_train, n_test, kappa) in enumerate(zip(*columns, strict=True)):
            table.add_row(str(k), str(n_train), str(n_test), f"{kappa:.3f}")
        return table


def write_run(
    run: Path,
    model: FoldEnsemble,
    graded: Bunch,
    held_back: Bunch | None,
    settings: Settings,
    started: float,
) -> Results:
    """Write model, predictions, figures and, last of all, the scores.

    Parameters
    ----------
    run : Path
        The run's folder.
    model : FoldEnsemble
        Fitted.
    graded : Bunch
        The images it was fitted on.
    held_back : Bunch or None
        Those of ``--validation``.
    settings : Settings
    started : float
        ``time.perf_counter()`` at the start.

    Returns
    -------
    Results
    """
    names, scale = graded.class_names, model.grades_
    data = _summary(graded)
    scores = with_ungradable(out_of_fold(model, scale), model, graded, scale, trained_on_data=True)
    goals = {"sensitivity": settings.sensitivity, "specificity": settings.specificity}
    report = Scored(scores.report(graded, names), scores.screening(graded, **goals))
    points = None if report.screening is None else report.screening.operating_points()
    conformal = None
    if scores.severity is not None:
        conformal = OrdinalConformalClassifier.from_ensemble(
            model,
            graded.grades,
            groups=graded.patients,
            confidence_level=one_less(settings.alpha),
            random_state=settings.seed,
        )
    about = {
        "class_names": names,
        "settings": settings.to_dict(),
        "data": data,
        "operating_points": points,
        "with_dme": None if report.screening is None else report.screening.with_dme,
        "conformal": None if conformal is None else runs.write_rule(conformal.rule_),
    }
    save(model, run / runs.MODEL, about=about)
    digests = digests_of(graded.paths, settings.cache_dir)
    runs.write_digests(digests, model.oof_fold_, run / runs.MODEL / runs.TRAINING_IMAGES)
    files = {f"{runs.MODEL}/": "the models of all folds, and the names of the grades"}
    if (run / runs.LOGS).exists():
        files[f"{runs.LOGS}/"] = "losses by epoch, a folder for each fold"

    table = graded_table(
        names_of(graded.paths, graded.root),
        graded,
        scores,
        fold=model.oof_fold_,
        file=files_of(graded),
        grade=scores.grades,
    )
    write_csv(table, run / runs.OOF)
    files[runs.OOF] = "out-of-fold predictions"
    regressor = model.rounds_severity
    files |= report.draw(
        scores, graded, lambda name: run / name, title="Out of fold", regressor=regressor
    )
    rows = [report.rows("out of fold")]
    validation = seen = None
    if held_back is not None:
        seen, table, validation = _validate(
            model, held_back, settings, names, points, conformal, frozenset(digests)
        )
        if report.screening is not None:
            warn_of_other_criterion(report.screening.with_dme, validation.screening)
        rows.append(validation.rows("validation"))
        write_csv(table, run / runs.VALIDATION)
        files[runs.VALIDATION] = "predictions of the averaged folds for --validation"
    loaded = [graded] if held_back is None else [graded, held_back]
    skipped = [aside_table(part) for part in loaded if len(part.skipped)]
    if skipped:
        write_csv(pd.concat(skipped), run / runs.SKIPPED)
        files[runs.SKIPPED] = "files set aside, and why"
    write_csv(pd.concat(rows), run / runs.SCORES)
    files[runs.SCORES] = "these scores as a table"
    files[runs.METRICS] = "these scores"
    seconds = time.perf_counter() - started
    results = Results(
        run, settings.to_dict(), data, model.cv_results_, report, validation, seen, seconds, files
    )
    write_json(results.to_dict(), run / runs.METRICS)
    return results


def _validate(
    model: FoldEnsemble,
    held_back: Bunch,
    settings: Settings,
    names: list[str],
    points: Any,
    conformal: OrdinalConformalClassifier | None,
    trained_on: frozenset[str],
) -> tuple[Any, pd.DataFrame, Scored]:
    """Score the averaged folds on images held back: how many were trained on, grades, scores."""
    held_names = names_of(held_back.paths, held_back.root)
    digests = digests_of(held_back.paths, settings.cache_dir)
    seen = runs.warn_of_training_images(held_names, digests, trained_on)
    scale = model.grades_
    scores = with_ungradable(score_images(model, held_back.frame, scale), model, held_back, scale)
    scored = Scored(
        scores.report(held_back, names),
        scores.screening(held_back, operating_points=read_points(points)),
        scores.coverage(held_back, conformal),
    )
    table = graded_table(
        held_names, held_back, scores, file=files_of(held_back), grade=scores.grades
    )
    return seen, table, scored


def describe(graded: Bunch) -> str:
    """Say in a line what the images are."""
    data = _summary(graded)
    counts = ", ".join(
        f"{label}: {n}"
        for label, n in zip(grade_labels(graded.class_names), data["n_true"], strict=True)
    )
    who = "patients unknown" if data["n_patients"] is None else f"{data['n_patients']} patients"
    if graded.patients_known:
        who = guess_of(graded) or who
    aside = data["n_called_ungradable"]
    more = f"; {aside} more, graded as ungradable, are set aside" * bool(aside)
    return f"{data['n_images']} images, {who} ({counts}){more}"


def _summary(graded: Bunch) -> dict[str, Any]:
    known = graded.patients_known
    return {
        "n_images": len(graded.paths),
        "n_patients": len(set(graded.patients)) if known else None,
        "class_names": list(graded.class_names),
        "n_true": np.bincount(graded.grades, minlength=graded.n_grades).tolist(),
        "n_skipped": len(graded.skipped),
        "n_called_ungradable": int(graded.ungradable["grade"].isna().sum()),
    }
