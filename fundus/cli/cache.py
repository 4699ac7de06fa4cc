"""``fundus cache``: shows, checks and clears the cache of frozen work."""

from __future__ import annotations

from typing import Any

import typer

from fundus.cli.options import CacheDir, Json
from fundus.cli.screen import CommandGroup, Screen, cell
from fundus.runtime.terminal import new_table

app = typer.Typer(
    cls=CommandGroup, no_args_is_help=True, help="Show, check or clear the cache of frozen work."
)


@app.command()
def info(cache_dir: CacheDir = None, json: Json = False) -> None:
    """Show where the cache is, how much is in it, and what made its entries."""
    from fundus.cli.data import open_cache
    from fundus.store.folder import age

    store = open_cache(cache_dir)
    screen = Screen(json=json)
    infos = store.infos()
    records: list[dict[str, Any]] = [
        {"name": i.name, "bytes": i.n_bytes, "unused_seconds": round(age(i)), "made_by": i.about}
        for i in infos
    ]
    total = sum(i.n_bytes for i in infos)
    screen.emit(
        {"folder": str(store.path), "limit": store.limit, "bytes": total, "segments": records}
    )
    table = new_table(
        f"{store.path}: {_in_megabytes(total)} of {_in_megabytes(store.limit)}",
        "segment",
        "made by",
        "size",
        "last used",
    )
    for record in records:
        made_by = " ".join(str(v) for v in record["made_by"].values() if v is not None)
        table.add_row(
            cell(record["name"][:8]),
            cell(made_by),
            cell(_in_megabytes(record["bytes"])),
            cell(_ago(record["unused_seconds"])),
        )
    screen.show(table)


@app.command()
def clear(cache_dir: CacheDir = None, json: Json = False) -> None:
    """Remove all entries; they are computed again when they are needed."""
    from fundus.store import Cache
    from fundus.store.removal import clear as clear_folder

    folder = Cache(cache_dir).path()
    freed = clear_folder(folder)  # opens nothing, so that damage does not matter
    screen = Screen(json=json)
    screen.emit({"folder": str(folder), "freed_bytes": freed})
    screen.show(f"Removed {_in_megabytes(freed)} from {folder}.")


@app.command()
def verify(cache_dir: CacheDir = None, json: Json = False) -> None:
    """Check every entry against its checksum, and remove the damaged ones."""
    from fundus.cli.data import open_cache

    store = open_cache(cache_dir)
    found = store.verify()
    entries = sum(n for n, _ in found.values())
    damaged = sum(n for _, n in found.values())
    screen = Screen(json=json)
    screen.emit({"folder": str(store.path), "entries": entries, "damaged": damaged})
    screen.show(f"Checked {entries} entries in {store.path}: {damaged} damaged ones removed.")


def _in_megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.1f} MB"


def _ago(seconds: int) -> str:
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit} ago"
    return "just now"
