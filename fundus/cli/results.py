"""The results of ``fundus train``: written into the run's folder, and shown."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import fundus.cli.runs as runs
from fundus import __version__
from fundus.cli.audited import about_audit, why_of, write_audit
from fundus.cli.data import aside_table, digests_of, guess_of, names_of
from fundus.cli.evaluate import graded_table
from fundus.cli.files import FigureFiles, write_csv, write_figures, write_json
from fundus.cli.sheets import write_sheets
from fundus.exceptions import DataWarning, warn_caller
from fundus.grades.icdr import N_GRADES, REFERABLE_GRADE, grade_labels
from fundus.meta.conformal import OrdinalConformalClassifier
from fundus.meta.conformal_sets import one_less
from fundus.reporting.evaluated import Evaluation
from fundus.reporting.evaluation import evaluate, evaluate_out_of_fold
from fundus.reporting.stress import FEW_KINDS, stress_out_of_fold
from fundus.runtime.terminal import new_table
from fundus.saving.bundle import save

if TYPE_CHECKING:
    from rich.table import Table
    from sklearn.utils import Bunch

    from fundus.cli.settings import Settings
    from fundus.cli.sites import SiteReport
    from fundus.meta.ensemble import FoldEnsemble
    from fundus.reporting.stressed import StressReport


@dataclass(frozen=True, eq=False)
class Results:
    """The results of a training.

    Parameters
    ----------
    run : Path
        The run's folder.
    settings : dict
        JSON values.
    data : dict
        Description of the images, as JSON values.
    folds : dict of str to ndarray
        ``cv_results_`` of the ensemble.
    report : Evaluation
        Evaluation of the out-of-fold predictions.
    validation : Evaluation or None
        Evaluation of the averaged folds on the validation images.
    validation_seen : int or None
        How many of the validation images are training images.
    stress : StressReport or None
        Scores of changed photographs, out of fold; ``None`` without ``--stress``.
    sites : SiteReport or None
        Scores of every site by a model that was trained without it.
    audit : dict or None
        What an audit of the images has found, as `write_audit` returns it; ``None`` without one.
    seconds : float
    files : dict of str to str
        Description of each file in the folder, by its name.
    """

    run: Path
    settings: dict[str, Any]
    data: dict[str, Any]
    folds: dict[str, NDArray[Any]]
    report: Evaluation
    validation: Evaluation | None
    validation_seen: int | None
    stress: StressReport | None
    sites: SiteReport | None
    audit: dict[str, Any] | None
    seconds: float
    files: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return the results as JSON values, for ``--json`` and metrics.json."""
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
            "stress": None if self.stress is None else self.stress.to_dict(),
            "sites": None if self.sites is None else self.sites.to_dict(),
            "audit": self.audit,
            "seconds": round(self.seconds, 1),
            "files": self.files,
        }

    def tables(self) -> list[Any]:
        """Return the results for a terminal."""
        shown: list[Any] = [self._fold_table(), self.report.to_table()]
        if self.stress is not None:
            shown.append(self.stress.to_table())
        if self.validation is not None:
            shown.append(self.validation.to_table("Validation, averaged folds"))
        if self.sites is not None:
            shown.append(self.sites.to_table())
        shown.append(f"Took {self.seconds:.0f} s. Results in {self.run}:")
        if said := about_audit(self.audit):
            shown.insert(-1, said)
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
    sites: SiteReport | None,
    settings: Settings,
    started: float,
) -> Results:
    """Write model, predictions, figures and, last, the scores.

    The model was fitted on the images `graded`, those `held_back` are of ``--validation``, `sites`
    of ``--site-column``, and `started` is ``time.perf_counter()`` at the start.
    """
    data = summary_of(graded)
    report = evaluate_out_of_fold(
        model,
        graded,
        sensitivity=settings.sensitivity,
        specificity=settings.specificity,
        shortcuts=True,
    )
    decided = _with_decisions(model, report, graded, settings)
    shutil.rmtree(run / runs.MODEL, ignore_errors=True)  # of a run that was interrupted here
    digests = digests_of(graded.paths, settings.cache_dir)
    save(
        decided,
        run / runs.MODEL,
        about={"settings": settings.to_dict(), "data": data},
        more={runs.TRAINING_IMAGES: runs.digests_table(digests, model.oof_fold_)},
    )
    files = {f"{runs.MODEL}/": "the models of all folds, and the names of the grades"}
    if (run / runs.LOGS).exists():
        files[f"{runs.LOGS}/"] = "losses by epoch, a folder for each fold"
    write_csv(_with_patients(graded_table(report, graded), graded), run / runs.OOF)
    files[runs.OOF] = "out-of-fold predictions"
    drawn = FigureFiles(lambda name: run / name, settings.figure_format.value, settings.dpi)
    files |= write_figures(report, drawn, title="Out of fold")
    mapped = model if settings.maps else None
    files |= _sheets(report, graded, drawn, "Out of fold", mapped)
    audit = None
    if settings.audit:
        audit, audited = write_audit(model, graded, report, digests, drawn)
        files |= audited
    scored = {"out of fold": report}
    validation = seen = None
    if held_back is not None:
        digests_held = digests_of(held_back.paths, settings.cache_dir)
        names = names_of(held_back.paths, held_back.root)
        seen = runs.warn_of_training_images(names, digests_held, frozenset(digests))
        scored["validation"] = validation = evaluate(decided, held_back)
        write_csv(graded_table(validation, held_back), run / runs.VALIDATION)
        files[runs.VALIDATION] = "predictions of the averaged folds for --validation"
        files |= _validation_sheets(
            validation, held_back, drawn, decided if settings.maps else None
        )
    if sites is not None:
        write_csv(sites.to_frame(), run / runs.SITES)
        files[runs.SITES] = "scores of each site by a model that was trained without it"
    loaded = [graded] if held_back is None else [graded, held_back]
    skipped = [aside_table(part) for part in loaded if len(part.skipped)]
    if skipped:
        write_csv(pd.concat(skipped), run / runs.SKIPPED)
        files[runs.SKIPPED] = "files set aside, and why"
    rows_of = {of: found.scores() for of, found in scored.items()}
    stress = _stress(model, graded, settings) if settings.stress else None
    if stress is not None:
        rows_of["stress"] = stress.to_scores()
        name = drawn.write(stress.plot().figure_, runs.STRESS)
        files[name] = "kappa of the changed photographs"
    rows = pd.concat(rows_of, names=["of"])
    write_csv(rows.reset_index("of"), run / runs.SCORES)
    files[runs.SCORES] = "these scores as a table"
    files[runs.METRICS] = "these scores"
    seconds = time.perf_counter() - started
    results = Results(
        run,
        settings.to_dict(),
        data,
        model.cv_results_,
        report,
        validation,
        seen,
        stress,
        sites,
        audit,
        seconds,
        files,
    )
    write_json(results.to_dict(), run / runs.METRICS)
    return results


def _sheets(
    report: Evaluation, graded: Bunch, drawn: FigureFiles, title: str, model: Any
) -> dict[str, str]:
    """Write contact sheets; if no maps can be made, those without: the training is kept."""
    if model is None:
        return write_sheets(report, graded, drawn, title=title)
    try:
        return write_sheets(report, graded, drawn, title=title, model=model)
    except Exception as error:  # of a photograph that has moved, or of a plugin's layers
        warn_caller(f"The sheets of photographs have no maps: {why_of(error)}", DataWarning)
        return write_sheets(report, graded, drawn, title=title)


def _validation_sheets(
    validation: Evaluation, held_back: Bunch, drawn: FigureFiles, model: Any
) -> dict[str, str]:
    """Write the sheets of the images held back, whose names begin with that of their table."""
    stem = Path(runs.VALIDATION).stem
    beside = replace(drawn, path=lambda name: drawn.path(f"{stem}-{name}"))
    found = _sheets(validation, held_back, beside, "Validation", model)
    return {name: f"of --validation, {about}" for name, about in found.items()}


def _with_patients(table: pd.DataFrame, graded: Bunch) -> pd.DataFrame:
    """Add the patients, where they are known: whoever compares runs resamples them."""
    if graded.patients_known:
        table.insert(list(table).index("file") + 1, "patient", graded.patients)
    return table


def _stress(model: FoldEnsemble, graded: Bunch, settings: Settings) -> StressReport:
    """Score the training images, changed, out of fold: a few kinds, of medium strength."""
    return stress_out_of_fold(
        model,
        list(graded.paths),
        graded.grades,
        kinds=FEW_KINDS,
        strengths=[2],
        groups=graded.patients if graded.patients_known else None,
        referable=REFERABLE_GRADE if graded.n_grades == N_GRADES else None,
        random_state=settings.seed,
    )


def _with_decisions(
    model: FoldEnsemble, report: Evaluation, graded: Bunch, settings: Settings
) -> FoldEnsemble | OrdinalConformalClassifier:
    """Return the model to save: with a rule for sets if there are severities, and attributes."""
    decided: FoldEnsemble | OrdinalConformalClassifier = model
    if report.predictions.severity is not None:
        decided = OrdinalConformalClassifier.from_ensemble(
            model,
            graded.grades,
            groups=graded.patients,
            confidence_level=one_less(settings.alpha),
            random_state=settings.seed,
        )
    report.keep_with(decided)
    return decided


def describe(graded: Bunch) -> str:
    """Describe the images in one line."""
    data = summary_of(graded)
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


def summary_of(graded: Bunch) -> dict[str, Any]:
    """Return how many images, patients and grades there are, as JSON values."""
    known = graded.patients_known
    return {
        "n_images": len(graded.paths),
        "n_patients": len(set(graded.patients)) if known else None,
        "class_names": list(graded.class_names),
        "n_true": np.bincount(graded.grades, minlength=graded.n_grades).tolist(),
        "n_skipped": len(graded.skipped),
        "n_called_ungradable": int(graded.ungradable["grade"].isna().sum()),
    }
