"""Sizes of a benchmark run: the full one, and one that only shows that everything runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Settings:
    """Sizes, networks and grids.

    Parameters
    ----------
    backbone, weights, image_size
        The network of all groups but fine-tuning, which has its own too.
    folds : int
    epochs, chapter_epochs, tuning_epochs, grid_epochs : int
        Of a head on a frozen network, the chapter's loop, fine-tuning, and the scikeras grid.
    finetune : tuple of (str, str or None, int)
        Networks to fine-tune, their weights, and how many images; ``None`` is random weights.
    freeze : tuple of float
        Shares of the layers that are frozen in fine-tuning.
    grid_C : tuple of float
        Penalties of the grid, for `logistic` and `svm` each.
    large : tuple of (int, int, int)
        How many large JPEGs, their width and height in pixels.
    memory : tuple of (int, int)
        How many images the memory is compared at.
    start_ups : int
        Repeats of the commands that only start.
    """

    backbone: str = "efficientnet_lite0"
    weights: str = "imagenet"
    image_size: int = 224
    folds: int = 5
    epochs: int = 20
    chapter_epochs: int = 20
    tuning_epochs: int = 3
    grid_epochs: int = 2
    batch_size: int = 16
    finetune: tuple[tuple[str, str | None, int], ...] = (
        ("efficientnet_lite0", "imagenet", 96),
        ("resnet50", None, 48),
    )
    freeze: tuple[float, ...] = (0.9, 0.75)
    grid_C: tuple[float, ...] = tuple(np.logspace(-5, 0, 12).tolist())
    large: tuple[int, int, int] = (64, 4288, 2848)
    memory: tuple[int, int] = (1_000, 10_000)
    ensemble_rows: int = 120
    start_ups: int = 7


FULL = Settings()

#: The tiny network on few images: every contender runs, and its figures mean nothing.
SMALL = Settings(
    backbone="tiny",
    weights="fixed",
    image_size=32,
    folds=2,
    epochs=2,
    chapter_epochs=1,
    tuning_epochs=2,
    grid_epochs=1,
    finetune=(("tiny", "fixed", 20),),
    freeze=(0.75,),
    grid_C=(1e-3, 1e-2),
    large=(4, 428, 284),
    memory=(8, 16),
    ensemble_rows=30,
    start_ups=2,
)
