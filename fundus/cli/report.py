"""``fundus report``: a run as one HTML file to send, with Markdown, JSON and a model card."""

from __future__ import annotations

import json as json_format
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer

import fundus.cli.options as opt
from fundus.cli.screen import Screen
from fundus.exceptions import BundleError
from fundus.reporting.run_files import METRICS

#: The ``kind`` of the JSON document that report writes.
KIND = "fundus report"
CARD = "model_card.md"
#: Libraries whose releases a report names.
LIBRARIES = ("fundus-zoo", "keras", "tensorflow", "scikit-learn", "numpy", "opencv-python")


def report(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a training that has ended.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="HTML file of the report.", dir_okay=False)
    ] = Path("report.html"),
    force: opt.Force = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Write what a run found as one HTML file that needs nothing else, to send.

    The same as Markdown and as JSON, and a model card, lie beside it. Nothing is computed anew,
    and no photograph is read: sheets, maps and the audit are those that train has made.
    """
    import fundus.cli.outputs as known
    from fundus.cli.files import write_json
    from fundus.cli.runs import files_of_run
    from fundus.documents.card import model_card
    from fundus.documents.html import to_html
    from fundus.documents.markdown import to_markdown
    from fundus.documents.sections import report_document
    from fundus.reporting.record import read_record
    from fundus.runtime.whole import whole_file

    screen = Screen(json=json, quiet=quiet)
    if output.suffix != ".html":
        raise typer.BadParameter(
            f"the report is a file whose name ends with .html. Got {str(output)!r}.",
            param_hint="--output",
        )
    record = read_record(run)
    known.claim_beside(output, "Markdown, JSON and a model card")
    text, data, card = (
        output.with_suffix(".md"), output.with_suffix(".json"), output.with_name(CARD),
    )  # fmt: skip
    outputs: list[tuple[Path, Any]] = [
        (output, _is_ours), (text, _is_ours), (data, known.document(KIND)), (card, _is_ours),
    ]  # fmt: skip
    known.claim(outputs, files_of_run(run), screen, force=force)
    versions = {name: release for name in LIBRARIES if (release := _release(name))}
    try:
        document = report_document(record, versions=versions)
    except KeyError as error:
        raise BundleError(
            f"{str(run / METRICS)!r} lacks {error}, as that of another release: make the report "
            f"with fundus-zoo {record.metrics.get('fundus', 'of then')}, or train again."
        ) from error
    for path, content in (
        (output, to_html(document)),
        (text, MARK + to_markdown(document, beside=output.parent)),
        (card, MARK + model_card(record)),
    ):
        with whole_file(path) as part:
            # names of files that are no UTF-8 are shown with a mark for what cannot be read
            part.write_bytes(content.encode("utf-8", "replace"))
    described = {"kind": KIND, "run": str(run), "report": document.to_dict(), "versions": versions}
    write_json(json_format.loads(json_format.dumps(described)), data)
    files = {"report": str(output), "markdown": str(text), "json": str(data), "card": str(card)}
    screen.emit({"kind": KIND, **files})
    screen.show(f"Report: {output} ({output.stat().st_size / 1e6:.1f} MB)")
    screen.show(f"The same as text and as data: {text}, {data}; model card: {card}")


def _release(name: str) -> str:
    """The release of a library; nothing where another distribution holds its modules."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


#: First line of the Markdown that this command writes, by which it is recognised.
MARK = "<!-- written by fundus report -->\n"


def _is_ours(path: Path) -> bool:
    with path.open("rb") as stream:
        head = stream.read(4096)
    return head.startswith(MARK.encode()) or b"<title>Grading report: " in head
