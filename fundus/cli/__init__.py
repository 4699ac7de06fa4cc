"""The command line; each command imports slow modules only when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from fundus import __version__
from fundus.cli import (
    adapt,
    audit,
    cache,
    compare,
    demo,
    evaluate,
    explain,
    export,
    listings,
    models,
    plan,
    plugins,
    predict,
    push,
    report,
    serve,
    stress,
    train,
    verify,
    weights,
)
from fundus.cli.screen import PROGRAM, CommandGroup
from fundus.runtime.tensorflow_noise import hush_tensorflow

app = typer.Typer(
    cls=CommandGroup,
    help=(
        "Grade retinal fundus photographs for diabetic retinopathy by transfer learning. "
        "Research software, not a medical device."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("audit")(audit.audit)
app.command("train")(train.train)
app.command("plan")(plan.plan)
app.command("evaluate")(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("report")(report.report)
app.command("stress")(stress.stress)
app.command("predict")(predict.predict)
app.command("explain")(explain.explain)
app.command("export")(export.export)
app.command("push")(push.push)
app.command("serve")(serve.serve)
app.command("adapt")(adapt.adapt)
app.command("verify")(verify.verify)
app.command("backbones")(listings.backbones)
app.command("heads")(listings.heads)
app.command("models")(models.models)
app.command("demo")(demo.demo)
app.add_typer(cache.app, name="cache")
app.add_typer(plugins.app, name="plugins")
app.add_typer(weights.app, name="weights")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fundus-zoo {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Grade retinal fundus photographs; the help of the group is given above."""


def main() -> None:
    """Run the command line of this process."""
    hush_tensorflow()
    app(obj=PROGRAM)
