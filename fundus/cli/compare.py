"""``fundus compare``: scores of runs on the same training images, with paired intervals."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import fundus.cli.options as opt
from fundus.cli.screen import Screen

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fundus.reporting.record import RunRecord

#: The ``kind`` of the JSON document that compare writes.
KIND = "fundus compare"
HEADER = r"run,against,score,a,b,difference,low,high"


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN RUN...",
            help="Folders of two or more trainings on the same images; the first is what the "
            "others are compared with.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File for the differences.", dir_okay=False)
    ] = Path("comparison.csv"),
    seed: Annotated[int, typer.Option(help="Seed of the resamples.", min=0)] = 0,
    force: opt.Force = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Compare out-of-fold predictions of runs, pair by pair of images."""
    if len(runs) < 2:
        raise typer.BadParameter("give two runs or more, to compare.", param_hint="RUN RUN...")
    import pandas as pd

    import fundus.cli.outputs as known
    from fundus.cli.files import write_csv, write_figure, write_json
    from fundus.cli.runs import files_of_run
    from fundus.reporting.compared import compare_predictions
    from fundus.reporting.record import read_record

    screen = Screen(json=json, quiet=quiet)
    records = [read_record(run) for run in runs]
    names = _names(records)
    first = records[0]
    orders = [_order(first, other) for other in records[1:]]
    known.claim_beside(output, "a document and figures")
    figures = [output.with_name(f"{output.stem}-{k}.png") for k in range(1, len(records))]
    outputs: list[tuple[Path, Any]] = [
        (output, known.table(HEADER)),
        (output.with_suffix(".json"), known.document(KIND)),
        *((figure, known.figure) for figure in figures),
    ]
    read = [file for run in runs for file in files_of_run(run)]
    known.claim(outputs, read, screen, force=force)
    predicted = first.predictions
    rows, found = [], []
    for other, name, order in zip(records[1:], names[1:], orders, strict=True):
        proba = other.proba
        comparison = compare_predictions(
            predicted["target"].to_numpy(),
            (predicted["grade"].to_numpy(), other.predictions["grade"].to_numpy()[order]),
            (first.proba, None if proba is None else proba[order]),
            n_grades=len(first.class_names),
            names=(names[0], name),
            groups=_patients(first, other, order),
            random_state=seed,
        )
        found.append(comparison)
        frame = comparison.to_frame()
        frame.insert(0, "run", names[0])
        frame.insert(1, "against", name)
        rows.append(frame)
    # written last: while it is missing, the other files may be of two runs
    Path(os.path.realpath(output.with_suffix(".json"))).unlink(missing_ok=True)
    write_csv(pd.concat(rows), output)
    for figure, comparison in zip(figures, found, strict=True):
        write_figure(comparison.plot().figure_, figure)
    document = {
        "kind": KIND, "results": str(output), "seed": seed,
        "comparisons": [comparison.to_dict() for comparison in found],
        "figures": [figure.name for figure in figures],
    }  # fmt: skip
    write_json(document, output.with_suffix(".json"))
    screen.emit(document)
    screen.show(*(comparison.to_table() for comparison in found))
    screen.show(f"Differences: {output}, {output.with_suffix('.json')}, {figures[0]}")


def _best(rows: list[int], wanted: Any, other: RunRecord) -> int:
    """Which of several identical images is meant: that of the same name, else of the same grade."""
    for column in ("file_name", "target"):
        for place, row in enumerate(rows):
            if other.predictions[column].iloc[row] == wanted[column]:
                return place
    return 0


def _patients(first: RunRecord, other: RunRecord, order: NDArray[np.intp]) -> Any:
    """The patients of the images, from whichever run has kept them."""
    from fundus.exceptions import DataWarning, warn_caller

    if first.patients is not None:
        return first.patients
    if other.patients is not None:
        return other.patients[order]
    if first.metrics["data"].get("n_patients") is not None:
        warn_caller(
            f"{str(first.path)!r} was made by an earlier release, which did not keep the patients "
            "beside the predictions: the intervals are by image, and too narrow. Train again.",
            DataWarning,
        )
    return None


def _names(records: list[RunRecord]) -> list[str]:
    """The names of the folders; their paths where two have the same name."""
    names = [record.name for record in records]
    return names if len(set(names)) == len(names) else [str(record.path) for record in records]


def _order(first: RunRecord, other: RunRecord) -> NDArray[np.intp]:
    """The rows of the other run in the order of the first; refuses other images and grades."""
    import numpy as np

    from fundus.exceptions import DataError

    runs = f"{str(first.path)!r} and {str(other.path)!r}"
    if len(first.class_names) != len(other.class_names):
        raise DataError(
            f"{runs} are on scales of {len(first.class_names)} and {len(other.class_names)} "
            "grades, so their scores do not compare: train both on one scale."
        )
    places: dict[str, list[int]] = {}
    for row, digest in enumerate(other.digests):
        places.setdefault(digest, []).append(row)
    order = []
    for row, digest in enumerate(first.digests):
        rows = places.get(digest)
        if not rows:
            name = first.predictions["file_name"][row]
            raise DataError(
                f"{runs} were trained on other images: {name!r} of the first is not in the second, "
                f"which has {len(other.digests)} images for {len(first.digests)}. Compare runs of "
                "the same table."
            )
        order.append(rows.pop(_best(rows, first.predictions.iloc[row], other)))
    left = sum(map(len, places.values()))
    if left:
        raise DataError(
            f"{runs} were trained on other images: {left} of the second are not in the first. "
            "Compare runs of the same table."
        )
    found = np.array(order)
    targets = [record.predictions["target"].to_numpy() for record in (first, other)]
    unlike = np.flatnonzero(targets[0] != targets[1][found])
    if len(unlike):
        name = first.predictions["file_name"][unlike[0]]
        raise DataError(
            f"{runs} have other true grades of {len(unlike)} of {len(found)} images, such as "
            f"{targets[0][unlike[0]]} and {targets[1][found][unlike[0]]} of {name!r}: train both "
            "on the same grades."
        )
    return found
