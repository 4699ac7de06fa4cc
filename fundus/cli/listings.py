"""``fundus backbones``, ``heads`` and ``plugins``: what there is, without importing Keras."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fundus.cli.options import Json
from fundus.cli.screen import Screen, cell, new_table

if TYPE_CHECKING:
    from fundus.plugins import Entry, PluginStatus

Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show the traceback of what failed to load.")
]

#: What the two kinds of preprocessors are called.
_LABELS = {"scale": "scale", "photometric": "photometric step"}

_STATE_STYLES = {"loaded": "green", "failed": "bold red", "disabled": "dim"}


def backbones(json: Json = False) -> None:
    """List the backbones, their licences, and whether their weights are on this machine."""
    from fundus.plugins import get_registry

    registry = get_registry()
    screen = Screen(json=json)
    records = [
        _backbone(name, registry.find("backbone", name)) for name in registry.names("backbone")
    ]
    screen.emit({"backbones": records})
    table = new_table("Backbones")
    table.add_column("name", no_wrap=True)
    table.add_column("plugin")
    table.add_column("parameters", justify="right")
    table.add_column("size", justify="right")
    table.add_column("licence")
    table.add_column("weights here")
    for record in records:
        here = record["weights_here"]
        table.add_row(
            cell(record["name"]),
            cell(record["plugin"]),
            cell(_in_millions(record["parameters"])),
            cell(record["image_size"]),
            cell(record["licence"]),
            cell({True: "yes", False: "no", None: "?"}[here], "green" if here else ""),
        )
    screen.show(table)
    for record in records:
        if record["error"]:
            screen.note(f"{record['name']} of {record['distribution']}: {record['error']}")


def _in_millions(count: object) -> str:
    if not isinstance(count, int):
        return "?"
    return f"{count / 1e6:.1f} M" if count >= 100_000 else f"{count:,}"


def _backbone(name: str, entry: Entry) -> dict[str, Any]:
    spec = entry.spec
    files: dict[str, str | None] = {}
    error = ""
    try:
        for weights in spec.pretrained:
            found = None if spec.weights_path is None else spec.weights_path(weights)
            files[weights] = None if found is None else str(found)
    except (Exception, SystemExit) as failure:  # a plugin's fault must not take the list down
        error = f"{type(failure).__name__}: {failure}"
    return {
        "name": name,
        "plugin": entry.plugin,
        "distribution": entry.distribution,
        "parameters": spec.parameters,
        "image_size": spec.image_size,
        "licence": spec.licence,
        "citation": spec.citation,
        "weights": files,
        "weights_here": None if error else any(files.values()),
        "error": error,
    }


def heads(json: Json = False) -> None:
    """List the heads."""
    from fundus.plugins import get_registry

    registry = get_registry()
    screen = Screen(json=json)
    entries = {name: registry.find("head", name) for name in registry.names("head")}
    records = [
        {
            "name": name,
            "plugin": entry.plugin,
            "distribution": entry.distribution,
            "description": entry.spec.description,
        }
        for name, entry in entries.items()
    ]
    screen.emit({"heads": records})
    table = new_table("Heads", "name", "plugin", "description")
    for record in records:
        table.add_row(*(cell(record[key]) for key in ("name", "plugin", "description")))
    screen.show(table)


def plugins(verbose: Verbose = False, json: Json = False) -> None:
    """List the plugins, what they offer, and why one was left out."""
    from fundus.plugins import plugin_statuses

    statuses = plugin_statuses()  # the table tells what a warning would
    screen = Screen(json=json)
    screen.emit({"plugins": [_plugin(status, verbose) for status in statuses]})
    table = new_table("Plugins", "name", "package", "version", "state")
    table.add_column("offers, or what went wrong")
    for status in statuses:
        table.add_row(
            cell(status.name),
            cell(status.distribution),
            cell(status.version),
            cell(status.state, _STATE_STYLES[status.state]),
            cell(status.error or _offers(status, verbose)),
        )
    screen.show(table)
    if verbose:
        for status in statuses:
            if status.details:
                screen.show(f"\n{status.name}:", status.details)


def _plugin(status: PluginStatus, verbose: bool) -> dict[str, Any]:
    record: dict[str, Any] = {
        "name": status.name,
        "distribution": status.distribution,
        "version": status.version,
        "state": status.state,
        "error": status.error,
        "offers": list(status.offers),
        "preprocessor_kinds": {
            name: _preprocessor_kind(status, name)
            for kind, name in (offer.split(":", 1) for offer in status.offers)
            if kind == "preprocessor"
        },
    }
    return {**record, "details": status.details} if verbose else record


def _preprocessor_kind(status: PluginStatus, name: str) -> str:
    """Tell whether a preprocessor of a plugin is a scale or a photometric step."""
    from fundus.plugins import get_registry

    return get_registry().find("preprocessor", f"{status.name}/{name}").spec.kind


def _offers(status: PluginStatus, verbose: bool) -> str:
    """Name what a plugin offers, or count it where it is much."""
    by_kind: dict[str, list[str]] = {}
    for offer in status.offers:
        kind, name = offer.split(":", 1)
        if kind == "preprocessor":
            kind = _LABELS[_preprocessor_kind(status, name)]
        by_kind.setdefault(kind, []).append(name)
    return "; ".join(
        f"{len(names)} {kind}s" if len(names) > 3 and not verbose else f"{kind} {', '.join(names)}"
        for kind, names in by_kind.items()
    )
