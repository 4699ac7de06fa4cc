"""``fundus demo``: the main job from end to end on synthetic photographs, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fundus.cli.options import CacheDir
from fundus.cli.predict import predict
from fundus.cli.screen import Screen
from fundus.cli.settings import Settings
from fundus.cli.train import run_training

#: Edge of the synthetic photographs, in pixels.
EDGE = 256


def demo(
    out: Annotated[
        Path | None,
        typer.Option(
            help="New or empty folder for everything; by default runs/<time>.",
            show_default=False,
            file_okay=False,
        ),
    ] = None,
    images: Annotated[int, typer.Option(help="Synthetic photographs to train on.", min=30)] = 120,
    cache_dir: CacheDir = None,
) -> None:
    """Draw synthetic photographs, cross-validate a fast model, and grade new ones."""
    from fundus.cli.runs import new_run
    from fundus.data.synthetic import make_fundus

    screen = Screen()
    folder = new_run(out)
    train_on, new, results = folder / "images", folder / "new-images", folder / "results.csv"
    screen.note(f"Drawing {images} synthetic photographs into {train_on}")
    make_fundus(images, EDGE, random_state=0, out_dir=train_on)
    # the network of the default recipe has ten times the work: five pictures of one, and each of
    # twice the pixels
    run_training(Settings(train_on, "fast", out=folder / "run", cache_dir=cache_dir))
    make_fundus(20, EDGE, random_state=1, out_dir=new)
    predict(folder / "run", [new], output=results, cache_dir=cache_dir)
    screen.show(
        "",
        f"Everything is in {folder}: images/, run/ with the model and its scores, new-images/ "
        "and results.csv.",
        "The photographs are synthetic, so the scores show only that the pipeline works.",
    )
