"""``fundus adapt``: a run with cutpoints and operating points from a site's own photographs."""

from __future__ import annotations

import os
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import fundus.cli.options as opt
from fundus.cli.options import option
from fundus.cli.screen import Screen

if TYPE_CHECKING:
    from sklearn.utils import Bunch

    from fundus.cli.runs import Run
    from fundus.reporting.adapted import Adaptation


class MissingGrades(StrEnum):
    """Handling of grades without a photograph."""

    RAISE = "raise"
    NEVER = "never"


def adapt(
    run: opt.Run,
    data: opt.Data,
    out: Annotated[
        Path | None,
        option(
            "New or empty folder for the adapted run; by default runs/<time>.",
            show_default=False,
            file_okay=False,
        ),
    ] = None,
    grades: Annotated[
        str | None,
        option(
            "Names of the grades in class folders or a table, lowest first, separated by "
            "commas, or how many if they are numbers; by default those of the run.",
            show_default=False,
        ),
    ] = None,
    folds: Annotated[
        int, option("Folds of patients: each is scored by thresholds of the others.", min=2)
    ] = 5,
    distribution: Annotated[
        opt.Distribution | None,
        option(
            "What the cutpoints are best for: normal distributions fitted to the severities of "
            "each grade, which is steadier, or the severities; by default as in the run.",
            show_default=False,
        ),
    ] = None,
    n_bootstraps: Annotated[
        int,
        option(
            "Take the median of the cutpoints of so many resamples of the patients; 0 takes the "
            "best ones.",
            min=0,
        ),
    ] = 100,
    sensitivity: Annotated[
        float | None,
        option(
            "Choose an operating point of this sensitivity; by default that of the run, or 0.9.",
            min=0.01,
            max=1.0,
            show_default=False,
        ),
    ] = None,
    specificity: Annotated[
        float | None,
        option(
            "Choose an operating point of this specificity; by default that of the run, or 0.9.",
            min=0.01,
            max=1.0,
            show_default=False,
        ),
    ] = None,
    min_patients: Annotated[
        int,
        option("Fewer patients are refused; photographs, where patients are unknown.", min=2),
    ] = 20,
    missing_grades: Annotated[
        MissingGrades,
        option("Whether a grade without a photograph is an error, or not predicted any more."),
    ] = MissingGrades.RAISE,
    seed: Annotated[int, option("Seed of all random choices.", min=0)] = 0,
    image_dir: opt.ImageDir = None,
    path_column: opt.PathColumn = None,
    grade_column: opt.GradeColumn = None,
    patient_column: opt.PatientColumn = None,
    patients_unknown: opt.PatientsUnknownOption = opt.PatientsUnknown.WARN,
    on_error: opt.OnErrorOption = opt.OnError.RAISE,
    cache_dir: opt.CacheDir = None,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Fit a run's cutpoints and operating points anew on a site's own graded photographs.

    Networks and heads stay as they are, and RUN too: the adapted run is written into --out.
    """
    settings = {name: _plain(value) for name, value in locals().items()}
    from fundus.cli.data import ColumnOptions, check_columns, folder_options, load_graded
    from fundus.cli.evaluate import names_of_grades_in
    from fundus.cli.results import describe
    from fundus.cli.runs import folder_of_model, open_run
    from fundus.reporting.adaptation import adapt as adapted
    from fundus.runtime.whole import whole_folder

    started = time.perf_counter()
    screen = Screen(json=json, quiet=quiet)
    target = _target(out, run, folder_of_model(run))
    trained = open_run(run, cache_dir, verbose=not screen.silent)
    columns = ColumnOptions(image_dir, path_column, grade_column, patient_column)
    check_columns(columns, data)
    with whole_folder(target) as part:
        graded = load_graded(
            data,
            **folder_options(names_of_grades_in(grades, trained.class_names)),
            on_error=on_error.value,
            columns=columns,
            min_classes=1,
            patients_unknown=patients_unknown.value,
        )
        screen.note(describe(graded))
        digests = _digests(graded, trained, cache_dir)
        found = adapted(
            trained.model,
            graded,
            cv=folds,
            distribution=None if distribution is None else distribution.value,
            n_bootstraps=n_bootstraps,
            sensitivity=sensitivity,
            specificity=specificity,
            min_patients=min_patients,
            missing_grades=missing_grades.value,
            random_state=seed,
        )
        of_the_screen = ("json", "quiet")
        settings = {k: v for k, v in settings.items() if k not in of_the_screen}
        settings |= {"out": str(target), "grades": opt.as_grades(grades)}
        document = _write(part, found, graded, run, settings, digests, started)
    screen.emit(document)
    screen.show(found.to_table(), f"The adapted run is in {target}:")
    width = max(map(len, document["files"]))
    screen.show(*(f"  {name.ljust(width)}  {what}" for name, what in document["files"].items()))
    screen.show(f"Grade new images: fundus predict {target} IMAGES -o results.csv")


def _plain(value: Any) -> Any:
    """Return an option as a JSON value."""
    if isinstance(value, StrEnum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def _target(out: Path | None, run: Path, model: Path) -> Path:
    """Return the folder of the adapted run, which is not made yet.

    Raises
    ------
    typer.BadParameter
        If it is the run itself, a file, or a folder with files in it.
    """
    from fundus.cli.runs import RUNS, refuse_taken

    if out is None:
        stem, number = Path(RUNS) / time.strftime("%Y%m%d-%H%M%S"), 1
        out = stem
        while os.path.lexists(out):
            number += 1
            out = stem.with_name(f"{stem.name}-{number}")
        return out
    place, own = Path(os.path.realpath(out)), Path(os.path.realpath(model))
    if place == Path(os.path.realpath(run)) or place.is_relative_to(own):
        raise typer.BadParameter(
            f"{str(out)!r} is the run that is adapted, which stays as it is: choose another.",
            param_hint="--out",
        )
    refuse_taken(out)
    return out


def _digests(graded: Bunch, trained: Run, cache_dir: Path | None) -> list[str]:
    """Return the digests of the photographs, and warn of those that the model was trained on."""
    from fundus.cli.data import digests_of, names_of
    from fundus.cli.runs import warn_of_training_images

    digests = digests_of(graded.paths, cache_dir)
    names = names_of(graded.paths, graded.root)
    advice = (
        "its severities for them are better than for others, which these thresholds will not suit. "
        "Adapt on other images"
    )
    warn_of_training_images(names, digests, trained.digests, advice=advice)
    return digests


def _write(
    part: Path,
    found: Adaptation,
    graded: Bunch,
    run: Path,
    settings: dict[str, Any],
    digests: list[str],
    started: float,
) -> dict[str, Any]:
    """Write the adapted run into a folder, and return the document about it."""
    import hashlib
    from datetime import datetime

    import numpy as np

    import fundus.cli.runs as runs
    from fundus import __version__
    from fundus.cli.data import aside_table, files_of, names_of
    from fundus.cli.files import write_csv, write_json
    from fundus.cli.results import summary_of
    from fundus.hub.address import name_of
    from fundus.saving.bundle import MANIFEST, open_bundle, read_more, read_record, save

    data, folder = summary_of(graded), runs.folder_of_model(run)
    where = open_bundle(folder).folder
    source = {
        "run": name_of(run),
        "manifest_sha256": hashlib.sha256((where / MANIFEST).read_bytes()).hexdigest(),
        "about": read_record(folder)["about"],
    }
    provenance = {
        "from": source,
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "n_images": found.n_images,
        "n_patients": found.n_patients,
    }
    frame = found.to_frame()
    fold = frame["fold"].to_numpy()
    more = {runs.ADAPTING_IMAGES: runs.digests_table(digests, fold)}
    if (trained_on := read_more(folder, runs.TRAINING_IMAGES)) is not None:
        more[runs.TRAINING_IMAGES] = trained_on[0]
    about = {"settings": settings, "data": data, "adapted": provenance}
    save(found.model, part / runs.MODEL, about=about, more=more)
    files = {f"{runs.MODEL}/": "the same networks and heads, with this site's thresholds"}
    frame = frame.assign(file_name=names_of(graded.paths, graded.root), file=files_of(graded))
    write_csv(frame, part / runs.OOF)
    files[runs.OOF] = "grades by cutpoints that other patients have set, and those before"
    if len(graded.skipped):
        write_csv(aside_table(graded), part / runs.SKIPPED)
        files[runs.SKIPPED] = "files set aside, and why"
    write_csv(found.scores(), part / runs.SCORES)
    files[runs.SCORES] = "scores before and after, as a table"
    files[runs.METRICS] = "these scores, and what the run was adapted from"
    document = {
        "fundus": __version__,
        "run": settings["out"],
        "settings": settings,
        "data": data,
        "folds": [
            {"fold": k, "n_images": int(n)} for k, n in enumerate(np.bincount(fold).tolist())
        ],
        "adapted": provenance,
        **found.to_dict(),
        "seconds": round(time.perf_counter() - started, 1),
        "files": files,
    }
    write_json(document, part / runs.METRICS)
    return document
