"""``fundus train --resume``: what a run keeps until it is complete, and how it goes on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from fundus.cli.files import write_json
from fundus.cli.runs import INTERRUPTED, METRICS, new_run, remove_if_empty
from fundus.cli.settings import values_by_recipe
from fundus.exceptions import ResumeError
from fundus.recipes.table import RECIPES
from fundus.runtime.locks import held

if TYPE_CHECKING:
    from fundus.cli.settings import Settings

#: The folds, in the folder of an interrupted run; `FoldEnsemble` has it as ``resume_dir``.
FOLDS = "folds"
#: The models that are trained without a site, likewise.
SITES = "sites"
SETTINGS = "settings.json"
#: It holds while the run is trained and written.
LOCK = "train.lock"

#: Settings that may differ, as they do not change results.
_OF_A_RUN = ("out", "jobs", "engine", "scheduler", "cache_dir", "maps", "audit")
#: Options that runs of earlier releases do not know, as they were then.
_NEWER = {
    "stress": False,
    "recipe": "fast",
    "pool_over": "all",
    "stages": None,
    "aperture": "none",
    "warmup_epochs": 0,
    "site_column": None,
    "augment_views": 0,
    "head_alpha": None,
    "view_strength": 0.0,
    "distribution": "empirical",
    "bootstraps": 0,
    "figure_format": "png",
    "dpi": 120,
}
_PATHS = ("data", "validation", "image_dir")


def complete_run(settings: Settings) -> dict[str, Any] | None:
    """Return the results of the run in ``--out``, if ``--resume`` is given and it is complete.

    Raises
    ------
    typer.BadParameter
        If ``--out`` is not given, or the run had other options.
    ResumeError
        If the results cannot be read.
    """
    if not settings.resume:
        return None
    if settings.out is None:
        raise typer.BadParameter(
            "it needs --out, the folder of the run to go on with.", param_hint="--resume"
        )
    metrics = settings.out / METRICS
    if not metrics.is_file():
        return None
    document = _read(metrics)
    # relative paths were told from a folder that may have been another one
    _refuse_others(settings.out, document.get("settings", {}), settings, whole_paths=False)
    _remove(settings.out / INTERRUPTED)
    return document


@contextmanager
def begun(settings: Settings) -> Iterator[Path]:
    """Give the folder of a run, new or interrupted, which no other process works in meanwhile.

    What is kept to go on is removed at the end. After an error it stays where it is of use.

    Raises
    ------
    typer.BadParameter
        If the folder cannot be used, or the run in it was begun with other options.
    ResumeError
        If another process is at work there.
    """
    run = new_run(settings.out, resume=settings.resume)
    kept = run / INTERRUPTED
    try:
        kept.mkdir(exist_ok=True)
        with held(kept / LOCK):
            if (kept / SETTINGS).is_file():
                _refuse_others(run, _read(kept / SETTINGS), settings, whole_paths=True)
            else:
                write_json(_plain(settings), kept / SETTINGS)
            yield run
            _remove(kept)
    except KeyboardInterrupt as end:
        if _is_of_use(kept):
            end.add_note(f"Give the same options with --out {run} --resume to go on.")
        raise
    finally:
        if kept.is_dir() and not _is_of_use(kept):
            _remove(kept)
        remove_if_empty(run)


def _is_of_use(kept: Path) -> bool:
    """Whether there is anything to go on from: a fold, or a network after an epoch."""
    return any(any((kept / part).glob("fold-*/*")) for part in (FOLDS, SITES))


def _plain(settings: Settings) -> dict[str, Any]:
    values = settings.to_dict()
    return values | {k: os.path.abspath(values[k]) for k in _PATHS if values[k] is not None}


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {**found}
    except (OSError, ValueError, TypeError) as error:
        raise ResumeError(
            f"The file {str(path)!r} is damaged ({error}), so it is not known what was trained: "
            "choose another --out to begin anew."
        ) from error


def _refuse_others(
    run: Path, then: dict[str, Any], settings: Settings, *, whole_paths: bool
) -> None:
    """Raise `typer.BadParameter` if a run was begun with other options."""
    now = _plain(settings)
    found = []
    then = _todays(then)
    explained = _by_recipes(then, now)
    for name in sorted({*then, *now} - {*_OF_A_RUN} - explained):
        was, is_ = then.get(name), now.get(name)
        if name in _PATHS and not whole_paths and was is not None and is_ is not None:
            was, is_ = Path(str(was)).name, Path(is_).name
        if was != is_:
            option = "DATA" if name == "data" else f"--{name.replace('_', '-')}"
            found.append(f"{option} was {was!r}, is {is_!r}")
    if found:
        raise typer.BadParameter(
            f"the run in {str(run)!r} was begun with other options: {'; '.join(found)}. Give the "
            "same ones to go on, or another --out to begin anew.",
            param_hint="--resume",
        )


def _todays(then: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of an earlier release as this one has them."""
    warped = "warp" if then.get("augment") else "none"
    known = {name: value for name, value in then.items() if name != "augment"}
    return {**_NEWER, "augmentation": warped, **known}


def _by_recipes(then: dict[str, Any], now: dict[str, Any]) -> set[str]:
    """Options that differ as the recipes do, which is told once."""
    recipes = then["recipe"], now["recipe"]
    if recipes[0] == recipes[1] or not {*recipes} <= {*RECIPES}:
        return set()
    was, is_ = map(values_by_recipe, recipes)
    return {name for name in is_ if (then.get(name), now[name]) == (was[name], is_[name])}


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
