"""``fundus plugins``: lists the plugins, and starts a new one."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fundus.cli import listings
from fundus.cli.options import Json
from fundus.cli.screen import CommandGroup, Screen

app = typer.Typer(
    cls=CommandGroup,
    help="List the plugins, their entries, and why one was left out; or start a new one.",
)


class Kind(StrEnum):
    """What the entry of a new plugin is."""

    BACKBONE = "backbone"
    HEAD = "head"
    PREPROCESSOR = "preprocessor"
    LAYOUT = "layout"
    MODEL = "model"
    METRIC = "metric"
    REPORT_SECTION = "report-section"


Name = Annotated[
    str, typer.Argument(help="Name of its distribution, such as fundus-iris.", show_default=False)
]
OfKind = Annotated[
    Kind,
    typer.Option(
        "--kind",
        help="What its entry is: a preprocessor is a photometric step, a layout one of tables, a "
        "model a ready grader.",
    ),
]
Folder = Annotated[
    Path | None,
    typer.Option(help="A folder that does not exist yet; by default the name, here."),
]


@app.callback(invoke_without_command=True)
def list_plugins(
    context: typer.Context, verbose: listings.Verbose = False, json: Json = False
) -> None:
    """Show the table, unless a command follows."""
    if context.invoked_subcommand is None:
        listings.plugins(verbose=verbose, json=json)
    elif verbose or json:
        raise typer.BadParameter(
            f"it is of the list: give it after {context.invoked_subcommand!r} if that takes it.",
            param_hint="--verbose" if verbose else "--json",
        )


@app.command()
def new(
    name: Name, kind: OfKind = Kind.BACKBONE, folder: Folder = None, json: Json = False
) -> None:
    """Write a plugin that works and passes its own tests, to be changed into one's own."""
    from fundus.testing.starter import new_plugin

    made = new_plugin(name, kind=kind.value, folder=folder)
    screen = Screen(json=json)
    files = sorted(str(path.relative_to(made)) for path in made.rglob("*") if path.is_file())
    screen.emit({"folder": str(made), "files": files})
    quoted = shlex.quote(str(made))
    screen.show(
        f"{made}: {', '.join(files)}",
        "Next:",
        f"  pip install -e {quoted}",
        "  fundus plugins",
        f"  python -m pytest {quoted}",
        f"Then change what is marked with Change in {made}.",
    )
