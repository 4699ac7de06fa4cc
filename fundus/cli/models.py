"""``fundus models``: lists the ready graders, or shows the card of one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fundus.cli.options import Json
from fundus.cli.screen import Screen, cell
from fundus.runtime.terminal import new_table

if TYPE_CHECKING:
    from fundus.plugins.registry import Entry

Name = Annotated[
    str | None,
    typer.Argument(metavar="[NAME]", help="Show the card of this one.", show_default=False),
]


def models(name: Name = None, json: Json = False) -> None:
    """List the ready graders, which commands take instead of a run; or show the card of one."""
    from fundus.plugins.registry import get_registry

    registry, screen = get_registry(), Screen(json=json)
    if name is not None:
        entry = registry.find("model", name)
        screen.emit(_record(name, entry))
        from fundus.documents.ready import ready_card

        screen.show(ready_card(entry.spec), f"Folder: {entry.spec.folder}")
        return
    records = [_record(name, registry.find("model", name)) for name in registry.names("model")]
    screen.emit({"models": records})
    if not records:
        from fundus.plugins.models import models_here

        screen.show(f"{models_here()} docs/ready-graders.md says how one is made.")
        return
    table = new_table("Ready graders", "name", "package")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("what it is", overflow="fold")
    for record in records:
        size = f"{record['n_bytes'] / 1000:,.0f} kB" if record["here"] else "NOT HERE"
        shown = (record["name"], record["distribution"], size, record["description"])
        table.add_row(*map(cell, shown))
    screen.show(
        table,
        "fundus predict NAME photographs/ grades with one; fundus models NAME shows its card:",
        "what it is worth, and what it is not for.",
    )


def _record(name: str, entry: Entry) -> dict[str, Any]:
    from fundus.plugins.models import MANIFEST, size_of

    spec, folder = entry.spec, Path(entry.spec.folder)
    here = (folder / MANIFEST).is_file()
    return {
        **asdict(spec),
        "name": name,
        "plugin": entry.plugin,
        "distribution": entry.distribution,
        "folder": str(folder),
        "here": here,
        "n_bytes": size_of(folder) if here else 0,
    }
