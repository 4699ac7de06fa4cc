"""``fundus explain``: map on photographs what raises and what lowers the severity of a run."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import fundus.cli.options as opt
from fundus.cli.screen import Screen, cell
from fundus.runtime.terminal import new_table

if TYPE_CHECKING:
    from fundus.cli.runs import Run
    from fundus.explain.explanation import Explanation

#: The table beside the maps, and its header row.
TABLE = "explained.csv"
HEADER = r"id,file,severity,of,value,bias,method,map(,disagreement)?(,arrays)?"
#: Photographs that are explained at a time, so that memory holds few maps.
AT_ONCE = 32


class Method(StrEnum):
    """How maps are made."""

    AUTO = "auto"
    EXACT = "exact"
    HIRESCAM = "hirescam"
    OCCLUSION = "occlusion"


def explain(
    run: opt.Run,
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGES...",
            help="Folder of images, one or more images, or a table of them: text or Parquet.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the maps.", file_okay=False)
    ] = Path("maps"),
    grade: Annotated[
        str | None,
        typer.Option(
            help="Name or number of a grade, to map the evidence for it; by default the severity.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        Method,
        typer.Option(
            help="auto is exact for linear heads on frozen features, hirescam for other networks "
            "and occlusion for the rest."
        ),
    ] = Method.AUTO,
    arrays: Annotated[
        bool, typer.Option("--arrays", help="Write the numbers of each map too, as NPZ.")
    ] = False,
    image_dir: opt.ImageDir = None,
    path_column: opt.PathColumn = None,
    on_error: opt.OnErrorOption = opt.OnError.RAISE,
    force: opt.Force = False,
    plain_text: opt.PlainText = False,
    cache_dir: opt.CacheDir = None,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Draw on each photograph where a run sees what it grades by.

    Maps show what the model uses, not where disease is. Orange raises the severity, blue lowers it.
    """
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
    from fundus.cli.outputs import claim, figure, read_of, table
    from fundus.cli.runs import SKIPPED, SKIPPED_HEADER, files_of_run, open_run
    from fundus.explain.explanation import files_of_maps, is_arrays
    from fundus.explain.models import explain_images, parts_of
    from fundus.explain.targets import knows
    from fundus.runtime.progress import track

    screen = Screen(json=json, quiet=quiet)
    trained = open_run(run, cache_dir, verbose=False)
    label = _label(grade, trained)  # before the images, as it is quick
    columns = ColumnOptions(image_dir, path_column)
    check_columns(columns, *images)
    new = load_several(images, on_error=on_error.value, columns=columns)
    ids = ids_of(new.paths, new.root)
    several = sum(knows(part, label) for part in parts_of(trained.model)) > 1
    skip = on_error is opt.OnError.SKIP
    inside = _names_inside(ids, new.paths)
    files = [files_of_maps(out, name, several=several, arrays=arrays) for name in inside]
    outputs: list[tuple[Path, Any]] = [(out / TABLE, table(HEADER))]
    if skip:
        outputs.append((out / SKIPPED, table(SKIPPED_HEADER)))
    outputs += [
        (path, is_arrays if path.suffix == ".npz" else figure) for each in files for path in each
    ]
    claim(outputs, read_of(images, new, *files_of_run(run)), screen, force=force, option="--out")
    rows: list[dict[str, Any]] = []
    starts = range(0, len(ids), AT_ONCE)
    parts = ([*range(start, min(start + AT_ONCE, len(ids)))] for start in starts)
    shown = track(
        ((part, None, None) for part in parts),
        total=len(ids),
        what="Explaining photographs",
        show=int(not screen.silent),
    )
    for part, *_ in shown:
        found = explain_images(
            trained.model, [new.paths[k] for k in part], grade=label, method=method.value
        )
        # written last: while it is missing, the maps may be of two runs
        Path(os.path.realpath(out / TABLE)).unlink(missing_ok=True)
        found.save(out, [inside[k] for k in part], arrays=arrays)
        rows += [_row(found, place) for place in range(len(part))]
    results = pd.DataFrame(rows)
    results.insert(0, "id", ids)
    results.insert(1, "file", files_of(new))
    names = [[path.relative_to(out).as_posix() for path in each] for each in files]
    for column, paths in zip(
        _columns(several=several, arrays=arrays), zip(*names, strict=True), strict=True
    ):
        results[column] = paths
    document: dict[str, Any] = {
        "results": str(out / TABLE),
        "n_images": len(ids),
        "of": rows[0]["of"],
        "methods": dict(Counter(row["method"] for row in rows)),
        "n_skipped": len(new.skipped),
        "skipped": str(out / SKIPPED) if skip else None,
    }
    if skip:
        write_csv(aside_table(new), out / SKIPPED, plain_text=plain_text)
    write_csv(results, out / TABLE, plain_text=plain_text)
    screen.emit(document)
    screen.show(_summary(document), f"Maps: {out}")
    if len(new.skipped):
        screen.show(f"Files set aside: {document['skipped']}")


def _names_inside(ids: list[str], paths: Sequence[str]) -> list[str]:
    """Names of maps, each inside the folder for them and each once."""
    names = ids
    if any(os.path.isabs(name) or ".." in Path(name).parts for name in ids):
        full = [os.path.abspath(path) for path in paths]
        root = os.path.commonpath([os.path.dirname(path) for path in full])
        names = [Path(os.path.relpath(path, root)).with_suffix("").as_posix() for path in full]
    seen: Counter[str] = Counter()
    given = set(names)
    once = []
    for name in names:
        seen[name] += 1
        other = name if seen[name] == 1 else f"{name}-{seen[name]}"
        while other != name and other in given:
            seen[name] += 1
            other = f"{name}-{seen[name]}"
        once.append(other)
    return once


def _label(grade: str | None, trained: Run) -> Any:
    """The label of a grade that is given by its name or its number."""
    if grade is None:
        return None
    from fundus.grades.foreign import as_grader

    names = trained.class_names
    places = [k for k, name in enumerate(names) if grade == name]
    places = places or [k for k in range(len(names)) if grade == str(k)]
    if not places:
        known = ", ".join(f"{k} ({name})" for k, name in enumerate(names))
        raise typer.BadParameter(
            f"there is no grade {grade!r}: give one of {known}.", param_hint="--grade"
        )
    return as_grader(trained.model).grades_[places[0]]


def _columns(*, several: bool, arrays: bool) -> list[str]:
    """Columns of the table with the names of files."""
    return ["map", *["disagreement"] * several, *["arrays"] * arrays]


def _row(found: Explanation, row: int) -> dict[str, Any]:
    return {
        "severity": found.severity[row],
        "of": found.of,
        "value": found.value[row],
        "bias": found.bias[row],
        "method": found.method,
    }


def _summary(document: dict[str, Any]) -> object:
    title = f"Maps of the {document['of']} on {document['n_images']} photographs"
    table = new_table(title, "method")
    table.add_column("photographs", justify="right")
    for method, count in document["methods"].items():
        table.add_row(cell(method), str(count))
    return table
