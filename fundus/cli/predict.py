"""``fundus predict``: grade new images with a trained run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import fundus.cli.options as opt
from fundus.cli.screen import Screen, cell
from fundus.runtime.terminal import new_table

if TYPE_CHECKING:
    from fundus.cli.outputs import Ours
    from fundus.reporting.predictions import Predictions

#: Header row of the results; columns that a model does not have are left out.
HEADER = r"id,class,file,grade(,severity(,probability_\d+)+)?(,referable)?(,grades_set,defer)?"


def predict(
    run: opt.Run,
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGES...",
            help="Folder of images, one or more images, or a table of them: text or Parquet.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File for the grades.", dir_okay=False)
    ] = Path("results.csv"),
    image_dir: opt.ImageDir = None,
    path_column: opt.PathColumn = None,
    on_error: opt.OnErrorOption = opt.OnError.RAISE,
    dicom_sr: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Also write each grade as a DICOM Structured Report here; images in DICOM only.",
            file_okay=False,
        ),
    ] = None,
    force: opt.Force = False,
    plain_text: opt.PlainText = False,
    cache_dir: opt.CacheDir = None,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Grade new images with a run's averaged folds or a ready grader; write one row per image."""
    import numpy as np
    import pandas as pd

    from fundus.cli.data import (
        ColumnOptions,
        aside_table,
        check_columns,
        files_of,
        ids_of,
        load_several,
    )
    from fundus.cli.files import write_csv
    from fundus.cli.outputs import claim, claim_beside, read_of, table
    from fundus.cli.runs import SKIPPED, SKIPPED_HEADER, files_of_run, open_run
    from fundus.reporting.predictions import predict_images

    screen = Screen(json=json, quiet=quiet)
    trained = open_run(run, cache_dir, verbose=not screen.silent)
    columns = ColumnOptions(image_dir, path_column)
    check_columns(columns, *images)
    new = load_several(images, on_error=on_error.value, columns=columns)
    outputs = [(output, table(HEADER))]
    if on_error is opt.OnError.SKIP:
        claim_beside(output, "the files set aside")
        outputs.append((output.with_name(SKIPPED), table(SKIPPED_HEADER)))
    ids = ids_of(new.paths, new.root)
    reports = None if dicom_sr is None else _reports(dicom_sr, new.paths, ids, outputs)
    claim(outputs, read_of(images, new, *files_of_run(run)), screen, force=force)
    found = predict_images(trained.model, new.paths)
    classes = [trained.class_names[grade] for grade in found.grades]
    named = {"id": ids, "class": classes, "file": files_of(new)}
    results = pd.concat([pd.DataFrame(named), found.to_frame()], axis=1)
    write_csv(results, output, plain_text=plain_text)
    if reports is not None:
        reports(found, trained.class_names, run.resolve().name)
    counts = np.bincount(found.grades, minlength=len(trained.class_names)).tolist()
    document = {
        "results": str(output),
        "n_images": len(new.paths),
        "n_predicted": dict(zip(trained.class_names, counts, strict=True)),
        "n_skipped": len(new.skipped),
        "skipped": None,
        "dicom_sr": None if dicom_sr is None else str(dicom_sr),
    }
    if on_error is opt.OnError.SKIP:
        document["skipped"] = str(output.with_name(SKIPPED))
        write_csv(aside_table(new), output.with_name(SKIPPED), plain_text=plain_text)
    screen.emit(document)
    screen.show(_summary(trained.class_names, counts), f"Grades: {output}")
    if dicom_sr is not None:
        screen.show(f"DICOM reports: {dicom_sr}")
    if len(new.skipped) and document["skipped"]:
        screen.show(f"Files set aside: {document['skipped']}")


def _reports(
    folder: Path, paths: Sequence[str], ids: Sequence[str], outputs: list[tuple[Path, Ours]]
) -> Callable[[Predictions, list[str], str], None]:
    """Read what reports need before anything is graded; add their files to the outputs."""
    from fundus.cli.outputs import holding
    from fundus.documents.structured_report import (
        MANUFACTURER,
        REPORT_CLASS,
        examined,
        structured_reports,
        write_report,
    )

    photographs = examined(paths)
    files = [folder / f"{_below(name)}.sr.dcm" for name in ids]
    outputs += [(file, holding(REPORT_CLASS, MANUFACTURER)) for file in files]

    def write(found: Predictions, class_names: list[str], model: str) -> None:
        reports = structured_reports(photographs, found, class_names, model)
        for file, report in zip(files, reports, strict=True):
            write_report(report, file)

    return write


def _below(name: str) -> Path:
    """The id of an image as a path within a folder, wherever the image is."""
    path = Path(name)
    return Path(*(part for part in path.parts if part not in (path.anchor, "..")))


def _summary(class_names: list[str], counts: list[int]) -> object:
    from fundus.grades.icdr import grade_labels

    table = new_table(f"Graded {sum(counts)} images", "class", "grade")
    table.add_column("images", justify="right")
    for name, label, count in zip(class_names, grade_labels(class_names), counts, strict=True):
        table.add_row(cell(name), cell(label), str(count))
    return table
