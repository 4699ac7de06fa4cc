"""``fundus backbones``, ``heads`` and ``plugins``: lists them without importing Keras."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fundus.cli.options import Json
from fundus.cli.screen import Screen, cell
from fundus.plugins.records import BUILTIN, OWN, PRECOMPUTED
from fundus.runtime.terminal import new_table

if TYPE_CHECKING:
    from fundus.plugins.registry import Entry, PluginStatus

Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show the traceback of what failed to load.")
]

#: Labels of the two kinds of preprocessors.
_LABELS = {"scale": "scale", "photometric": "photometric step"}

_STATE_STYLES = {"loaded": "green", "failed": "bold red", "disabled": "dim"}


def backbones(json: Json = False) -> None:
    """List the backbones, their licences, and whether their weights are on this machine."""
    from fundus.plugins.registry import get_registry

    registry = get_registry()
    screen = Screen(json=json)
    records = [
        _backbone(name, registry.find("backbone", name)) for name in registry.names("backbone")
    ]
    records = sorted([*records, _precomputed()], key=lambda record: record["name"])
    screen.emit({"backbones": records})
    usable = [record for record in records if record["weights_here"]]
    _show_backbones(screen, "Usable here: the weights are on this machine", usable)
    screen.show(
        f"{PRECOMPUTED} is not a network: with it TransferClassifier takes features.",
        "",
    )
    others = [record for record in records if not record["weights_here"]]
    # the built-in ones first, then one table for each package
    for plugin in sorted({r["plugin"] for r in others}, key=lambda name: (name != BUILTIN, name)):
        whose = [record for record in others if record["plugin"] == plugin]
        package = whose[0]["distribution"]
        _show_backbones(screen, f"From {package}: the weights are not on this machine", whose)
    screen.show(
        "With --json: licences in full, papers, and files of weights.",
        "fundus weights list tells where these files can be had.",
    )
    for record in records:
        if record["error"]:
            screen.note(f"{record['name']} of {record['distribution']}: {record['error']}")


def _show_backbones(screen: Screen, title: str, records: list[dict[str, Any]]) -> None:
    """Show backbones, one per line; if the line is too short, only the licence is cut."""
    table = new_table(title)
    for name in ("name", "parameters", "pixels"):
        table.add_column(name, justify="left" if name == "name" else "right", no_wrap=True)
    table.add_column("licence")  # the one column that may shrink
    for record in records:
        size = _in_millions(record["parameters"]) if record["parameters"] else "none"
        licence = cell(record["licence"])
        licence.no_wrap, licence.overflow = True, "ellipsis"
        table.add_row(cell(record["name"]), size, str(record["image_size"] or "none"), licence)
    screen.show(table)


def _precomputed() -> dict[str, Any]:
    """Return the record of precomputed features, which need no network."""
    return {
        "name": PRECOMPUTED,
        "plugin": BUILTIN,
        "distribution": OWN,
        "parameters": 0,
        "image_size": None,
        "licence": "",
        "citation": "",
        "weights": {},
        "weights_here": True,
        "error": "",
    }


def _in_millions(count: object) -> str:
    if not isinstance(count, int):
        return "?"
    return f"{count / 1e6:.1f} M" if count >= 100_000 else f"{count:,}"


def _backbone(name: str, entry: Entry) -> dict[str, Any]:
    from fundus.backbones.weights_files import pretrained_file

    spec = entry.spec
    files: dict[str, str | None] = {}
    error = ""
    try:
        for weights in spec.pretrained:
            found = pretrained_file(spec, weights)
            files[weights] = None if found is None else str(found)
    except (Exception, SystemExit) as failure:  # an error of a plugin must not stop the listing
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
    from fundus.plugins.registry import get_registry

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
    """List the plugins, their entries, and why a plugin was left out."""
    from fundus.plugins.registry import plugin_statuses

    statuses = plugin_statuses()  # the table shows what a warning would say
    screen = Screen(json=json)
    screen.emit({"plugins": [_plugin(status, verbose) for status in statuses]})
    table = new_table("Plugins", "name", "package", "version", "state")
    table.add_column("entries, or the error")
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
    """Return whether a preprocessor of a plugin is a scale or a photometric step."""
    from fundus.plugins.registry import get_registry

    return get_registry().find("preprocessor", f"{status.name}/{name}").spec.kind


def _offers(status: PluginStatus, verbose: bool) -> str:
    """Name the entries of a plugin, or count them if there are many."""
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
