"""``fundus export``: a run's model as a folder that runs without this library."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import fundus.cli.options as opt
from fundus.cli.screen import Screen


class To(StrEnum):
    """Formats of models."""

    ONNX = "onnx"
    KERAS = "keras"
    TFLITE = "tflite"


def export(
    run: opt.Run,
    out: Annotated[
        Path, typer.Option("--out", help="Folder to write: new, empty, or an earlier export.")
    ],
    to: Annotated[
        To, typer.Option("--to", help="Format; all but keras need the extra of their name.")
    ] = To.ONNX,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
    cache_dir: opt.CacheDir = None,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Write a run's model as a folder that runs without this library.

    The folder holds the model, a model card, and a script that grades photographs with it. What was
    written is opened again and compared with the model on drawn photographs.
    """
    from fundus.cli.runs import files_of_run, open_run
    from fundus.export.folder import CARD, RUN, export_model
    from fundus.export.formats import format_of

    screen = Screen(json=json, quiet=quiet)
    format_of(to.value)  # refused before the model is loaded
    for path in files_of_run(run):
        if out.resolve() == path.resolve() or path.resolve() in out.resolve().parents:
            raise typer.BadParameter(
                f"{str(out)!r} is in what the command reads, {str(path)!r}: choose another folder.",
                param_hint="--out",
            )
    trained = open_run(run, cache_dir, verbose=not screen.silent)
    away = export_model(trained.model, out, to=to.value, overwrite=force, more=_card_of(run))
    screen.emit({"kind": "fundus export", "folder": str(out), "to": to.value, "differences": away})
    told = ", ".join(f"{name} {value:.1e}" for name, value in away.items() if name != "grade")
    screen.show(f"Exported: {out} (largest differences from the model: {told}; no grade differs)")
    screen.show(f"Grade with it: python {out / RUN} PHOTOGRAPH...; model card: {out / CARD}")


def _card_of(run: Path) -> str:
    """The card of a ready grader or of a training; of a saved model, which has none, nothing."""
    from fundus.documents.card import model_card
    from fundus.documents.ready import ready_card
    from fundus.plugins.models import ready_model
    from fundus.reporting.record import read_record
    from fundus.reporting.run_files import METRICS

    entry = ready_model(run)
    if entry is not None:
        return _below(ready_card(entry.spec), "The grader")
    if not (run / METRICS).is_file():
        return ""
    return _below(model_card(read_record(run)), "The training")


def _below(card: str, what: str) -> str:
    """A card as a section of another."""
    return card.replace("\n#", "\n##").replace("# ", f"## {what}: ", 1)
