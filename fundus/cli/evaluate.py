"""``fundus evaluate``: score a trained run on graded images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import fundus.cli.options as opt
from fundus.cli.screen import Screen

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.utils import Bunch

    from fundus.cli.data import ColumnOptions
    from fundus.cli.files import FigureFiles
    from fundus.cli.runs import Run
    from fundus.reporting.evaluated import Evaluation

#: The ``kind`` of the JSON document that evaluate writes.
KIND = "fundus evaluation"
HEADER = r"file_name,target,prediction,file,grade(,severity(,probability_\d+)+)?"


def evaluate(
    run: opt.Run,
    data: opt.Data,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File for the predictions.", dir_okay=False)
    ] = Path("evaluation.csv"),
    grades: Annotated[
        str | None,
        typer.Option(
            help="Names of the grades in class folders or a table, lowest first, separated by "
            "commas, or how many if they are numbers; by default those of the run.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="Column of the table whose groups are scored each by itself, such as camera; "
            "may be repeated.",
            show_default=False,
        ),
    ] = None,
    prevalence: Annotated[
        float | None,
        typer.Option(
            help="Share of referable disease, in (0, 1), at which predictive values are given.",
            show_default=False,
        ),
    ] = None,
    maps: Annotated[
        bool,
        opt.option(
            "Put beside each photograph of the contact sheets the map of the severity, where maps "
            "are exact; some seconds more.",
            opt.FIGURES,
            "--maps/--no-maps",
        ),
    ] = False,
    figure_format: opt.FigureFormatOption = opt.FigureFormat.PNG,
    dpi: opt.Dpi = opt.DPI,
    image_dir: opt.ImageDir = None,
    path_column: opt.PathColumn = None,
    grade_column: opt.GradeColumn = None,
    patient_column: opt.PatientColumn = None,
    patients_unknown: opt.PatientsUnknownOption = opt.PatientsUnknown.WARN,
    on_error: opt.OnErrorOption = opt.OnError.RAISE,
    force: opt.Force = False,
    plain_text: opt.PlainText = False,
    cache_dir: opt.CacheDir = None,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Score a run's averaged folds, or a ready grader, on graded images that it has not seen."""
    from fundus.cli.data import ColumnOptions, aside_table, digests_of, names_of
    from fundus.cli.files import FigureFiles, write_csv, write_figures, write_json
    from fundus.cli.outputs import claim, claim_beside, read_of
    from fundus.cli.runs import SKIPPED, files_of_run, warn_of_training_images
    from fundus.cli.sheets import write_sheets
    from fundus.reporting import evaluation

    screen = Screen(json=json, quiet=quiet)
    columns = ColumnOptions(image_dir, path_column, grade_column, patient_column)
    trained, graded = open_with_data(
        run, data, grades, columns, on_error, patients_unknown, cache_dir, screen
    )
    names = names_of(graded.paths, graded.root)
    claim_beside(output, "scores and figures")
    skip = on_error is opt.OnError.SKIP or len(graded.skipped) > 0
    drawn = FigureFiles(
        lambda name: output.with_name(f"{output.stem}-{name}"), figure_format.value, dpi
    )
    outputs = _outputs(output, drawn, skip=skip)
    claim(outputs, read_of([data], graded, *files_of_run(run)), screen, force=force)
    digests = digests_of(graded.paths, cache_dir)
    seen = warn_of_training_images(names, digests, trained.digests)
    adapted = warn_of_training_images(
        names, digests, trained.adapted_on, "HAVE SET THE CUTPOINTS of this adapted model"
    )
    found = evaluation.evaluate(
        trained.model, graded, by=by or (), prevalence=prevalence, shortcuts=True
    )
    # written last: while it is missing, the other files may be of two runs
    Path(os.path.realpath(output.with_suffix(".json"))).unlink(missing_ok=True)
    write_csv(graded_table(found, graded), output, plain_text=plain_text)
    document: dict[str, Any] = {"kind": KIND, "results": str(output), "skipped": None}
    if skip:
        document["skipped"] = str(output.with_name(SKIPPED))
        write_csv(aside_table(graded), document["skipped"], plain_text=plain_text)
    scored = _name_of(trained.model)
    figures = write_figures(found, drawn, title=scored)
    sheets = write_sheets(
        found,
        graded,
        drawn,
        title=scored,
        model=trained.model if maps else None,
        plain_text=plain_text,
    )
    scores = found.scores()
    scores.insert(0, "of", "evaluation")
    write_csv(scores, output.with_name(f"{output.stem}-scores.csv"))
    document |= {"training_images": seen, "adapting_images": adapted}
    document |= {"scores": found.to_dict(), "figures": list(figures)}
    document["sheets"] = sheets
    write_json(document, output.with_suffix(".json"))
    screen.emit(document)
    screen.show(found.to_table(f"Scores of the {scored.lower()}"), f"Predictions: {output}")
    screen.show(f"Scores and figures: {output.with_suffix('.json')}, {output.stem}-*")


def _name_of(model: Any) -> str:
    """Return what is scored: an ensemble, or one model."""
    from fundus.meta.ensemble import FoldEnsemble
    from fundus.reporting.predictions import averaged

    return "Averaged folds" if isinstance(averaged(model), FoldEnsemble) else "Model"


def open_with_data(
    run: Path,
    data: Path,
    grades: str | None,
    columns: ColumnOptions,
    on_error: opt.OnError,
    patients_unknown: opt.PatientsUnknown,
    cache_dir: Path | None,
    screen: Screen,
) -> tuple[Run, Bunch]:
    """Load a run, and graded images for it; the parameters are options of ``fundus evaluate``."""
    from fundus.cli.data import (
        check_columns,
        folder_options,
        guess_of,
        load_graded,
        patients_do_not_matter,
    )
    from fundus.cli.runs import open_run

    trained = open_run(run, cache_dir, verbose=not screen.silent)
    check_columns(columns, data)
    with patients_do_not_matter():
        graded = load_graded(
            data,
            **folder_options(names_of_grades_in(grades, trained.class_names)),
            on_error=on_error.value,
            columns=columns,
            min_classes=1,
            patients_unknown=patients_unknown.value,
        )
    if guess := guess_of(graded):
        screen.note(guess)
    return trained, graded


def names_of_grades_in(grades: str | None, of_run: list[str]) -> list[str]:
    """Return the names of the grades in the data; the run's names without ``--grades``."""
    if grades is None:
        return of_run
    scale = opt.as_scale(grades, None)
    if scale["grades"] != len(of_run):
        raise typer.BadParameter(
            f"the run has {len(of_run)} grades, {', '.join(of_run)}: name as many. Got {grades!r}.",
            param_hint="--grades",
        )
    return list(scale["class_names"] or map(str, range(len(of_run))))


def _outputs(output: Path, drawn: FigureFiles, *, skip: bool) -> list[tuple[Path, Any]]:
    """Every file that the command may write, and how its own files are recognised."""
    import fundus.cli.outputs as known
    import fundus.cli.runs as runs
    from fundus.cli.sheets import HEADER as SHEET_HEADER
    from fundus.reporting.evaluated import FIGURES
    from fundus.reporting.ranking import RANKINGS

    scores = output.with_name(f"{output.stem}-{runs.SCORES}")
    outputs: list[tuple[Path, Any]] = [
        (output, known.table(HEADER)),
        (output.with_suffix(".json"), known.document(KIND)),
        (scores, known.table(r"of,score,value,low,high(,\w+)*")),
    ]
    names = [*FIGURES, *RANKINGS]
    outputs += [(drawn.path(f"{name}.{drawn.suffix}"), known.figure) for name in names]
    outputs += [(drawn.path(f"{name}.csv"), known.table(SHEET_HEADER)) for name in RANKINGS]
    if skip:
        outputs.append((output.with_name(runs.SKIPPED), known.table(runs.SKIPPED_HEADER)))
    return outputs


def graded_table(found: Evaluation, graded: Bunch) -> pd.DataFrame:
    """Return the predictions for graded images, with file names relative to the data's folder."""
    from fundus.cli.data import files_of, names_of

    names = names_of(graded.paths, graded.root)
    return found.to_frame().assign(file_name=names, file=files_of(graded))
