"""``fundus stress``: score a trained run on changed photographs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

import fundus.cli.options as opt
from fundus.cli.screen import Screen

#: The ``kind`` of the JSON document that stress writes.
KIND = "fundus stress"
HEADER = r"kind,strength,n_images,qwk,qwk_low,qwk_high(,\w+)*"
#: Names of `degradations`, which are in the help, where numpy is not imported.
KINDS = (
    *("tone", "contrast", "gains", "light", "hole", "halo", "spot", "blur", "sharpness"),
    *("resolution", "noise", "jpeg", "rotation", "shift", "zoom"),
)


def stress(
    run: opt.Run,
    data: opt.Data,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File for the scores.", dir_okay=False)
    ] = Path("stress.csv"),
    kinds: Annotated[
        str | None,
        typer.Option(
            help=f"Kinds of change, separated by commas, out of {', '.join(KINDS)}; by default "
            "all.",
            show_default=False,
        ),
    ] = None,
    strengths: Annotated[
        str, typer.Option(help="Strengths, separated by commas: 1 mild, 2 medium, 3 strong.")
    ] = "1,2,3",
    seed: Annotated[int, typer.Option(help="Seed of changes and of resamples.", min=0)] = 0,
    grades: Annotated[
        str | None,
        typer.Option(
            help="Names of the grades in class folders or a table, lowest first, separated by "
            "commas, or how many if they are numbers; by default those of the run.",
            show_default=False,
        ),
    ] = None,
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
    """Score a run on graded images that it has not seen, changed one kind at a time.

    The network runs once for each image, kind and strength, the first time.
    """
    chosen, steps = _kinds(kinds), _strengths(strengths)
    from fundus.cli.data import ColumnOptions, aside_table, digests_of, names_of
    from fundus.cli.evaluate import open_with_data
    from fundus.cli.files import write_csv, write_figure, write_json
    from fundus.cli.outputs import claim, claim_beside, read_of
    from fundus.cli.runs import SKIPPED, files_of_run, warn_of_training_images
    from fundus.grades.icdr import N_GRADES, REFERABLE_GRADE
    from fundus.reporting.graded import read_graded
    from fundus.reporting.predictions import averaged
    from fundus.reporting.stress import stress_report

    screen = Screen(json=json, quiet=quiet)
    columns = ColumnOptions(image_dir, path_column, grade_column, patient_column)
    trained, graded = open_with_data(
        run, data, grades, columns, on_error, patients_unknown, cache_dir, screen
    )
    claim_beside(output, "a document and a figure")
    skip = on_error is opt.OnError.SKIP or len(graded.skipped) > 0
    figure = output.with_suffix(f".{figure_format.value}")
    outputs = _outputs(output, figure, skip=skip)
    claim(outputs, read_of([data], graded, *files_of_run(run)), screen, force=force)
    names = names_of(graded.paths, graded.root)
    digests = digests_of(graded.paths, cache_dir)
    seen = warn_of_training_images(names, digests, trained.digests)
    adapted = warn_of_training_images(
        names, digests, trained.adapted_on, "HAVE SET THE CUTPOINTS of this adapted model"
    )
    n_views = len(chosen) * len(steps)
    screen.note(f"{n_views} changes of each of {len(names)} images; those that are kept are read.")
    scale = averaged(trained.model).grades_
    known = read_graded(graded, scale)
    found = stress_report(
        trained.model,
        list(graded.paths),
        scale[known.y],
        kinds=chosen,
        strengths=steps,
        groups=known.patients,
        referable=REFERABLE_GRADE if graded.n_grades == N_GRADES else None,
        random_state=seed,
    )
    # written last: while it is missing, the other files may be of two runs
    Path(os.path.realpath(output.with_suffix(".json"))).unlink(missing_ok=True)
    write_csv(found.to_frame(), output)
    document: dict[str, Any] = {"kind": KIND, "results": str(output), "skipped": None}
    if skip:
        document["skipped"] = str(output.with_name(SKIPPED))
        write_csv(aside_table(graded), document["skipped"], plain_text=plain_text)
    write_figure(found.plot().figure_, figure, dpi=dpi)
    document |= {"training_images": seen, "adapting_images": adapted, "seed": seed}
    document["scores"] = found.to_dict()
    document["figures"] = [figure.name]
    write_json(document, output.with_suffix(".json"))
    screen.emit(document)
    screen.show(found.to_table(), f"Scores: {output}, {output.with_suffix('.json')}, {figure}")


def _kinds(text: str | None) -> tuple[str, ...]:
    """Read ``--kinds``."""
    if text is None:
        return KINDS
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in KINDS:
            raise typer.BadParameter(
                f"there is no kind {name!r}: give some of {', '.join(KINDS)}, separated by commas.",
                param_hint="--kinds",
            )
    return names


def _strengths(text: str) -> tuple[int, ...]:
    """Read ``--strengths``."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part in ("1", "2", "3") for part in parts):
        raise typer.BadParameter(
            f"they must be some of 1, 2 and 3, separated by commas. Got {text!r}.",
            param_hint="--strengths",
        )
    return tuple(sorted({int(part) for part in parts}))


def _outputs(output: Path, figure: Path, *, skip: bool) -> list[tuple[Path, Any]]:
    """Every file that the command may write, and how its own files are recognised."""
    import fundus.cli.outputs as known
    import fundus.cli.runs as runs

    outputs: list[tuple[Path, Any]] = [
        (output, known.table(HEADER)),
        (output.with_suffix(".json"), known.document(KIND)),
        (figure, known.figure),
    ]
    if skip:
        outputs.append((output.with_name(runs.SKIPPED), known.table(runs.SKIPPED_HEADER)))
    return outputs
