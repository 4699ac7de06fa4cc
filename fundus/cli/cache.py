"""``fundus cache``: shows, checks, moves and clears the cache of frozen work."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from fundus.cli.options import CacheDir, Json
from fundus.cli.screen import CommandGroup, Screen, cell
from fundus.runtime.terminal import new_table

app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    help="Show, check, move or clear the cache of frozen work.",
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


@app.command("export")
def export_cache(
    file: Annotated[Path, typer.Argument(help="File to write.", show_default=False)],
    segment: Annotated[
        list[str] | None,
        typer.Option(
            help="Beginning of the name of a segment that 'fundus cache info' lists; give it "
            "several times for several. By default all are written.",
            show_default=False,
        ),
    ] = None,
    cache_dir: CacheDir = None,
    json: Json = False,
) -> None:
    """Write the entries of the cache into one file, for 'fundus cache import' elsewhere."""
    from fundus.cli.data import open_cache
    from fundus.store.moving import export_entries

    moved = export_entries(open_cache(cache_dir), file, names=tuple(segment or ()))
    screen = Screen(json=json)
    screen.emit({"file": str(file), **asdict(moved)})
    left_out = f" {moved.damaged} damaged ones are left out." if moved.damaged else ""
    screen.show(
        f"Wrote {moved.entries} entries ({_in_megabytes(moved.n_bytes)}) to {file}.{left_out}"
    )


@app.command("import")
def import_cache(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Files that 'fundus cache export' has written, or folders of other caches.",
            show_default=False,
        ),
    ],
    cache_dir: CacheDir = None,
    json: Json = False,
) -> None:
    """Add the entries of files or other caches; import only what you trust."""
    from fundus.cli.data import open_cache
    from fundus.store.moving import import_entries

    store, screen = open_cache(cache_dir), Screen(json=json)
    moved = {str(source): import_entries(store, source) for source in sources}
    screen.emit(
        {"folder": str(store.path), "sources": {name: asdict(m) for name, m in moved.items()}}
    )
    for name, m in moved.items():
        left_out = f", {m.damaged} damaged ones left out" if m.damaged else ""
        screen.show(
            f"Added {m.entries} entries ({_in_megabytes(m.n_bytes)}) of {name}; {m.known} were "
            f"there already{left_out}."
        )


def _in_megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.1f} MB"


def _ago(seconds: int) -> str:
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit} ago"
    return "just now"
