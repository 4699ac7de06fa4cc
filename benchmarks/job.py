"""What a contender is told, and how it answers: two JSON files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Job:
    """The work of one contender.

    Parameters
    ----------
    contender : str
        Module in `benchmarks.contenders`.
    paths : list of str
        Images.
    grades : list of int
        Their grades; empty where none are needed.
    fold_rows : list of [train rows, test rows]
        The folds, the same for all contenders.
    backbone, weights, image_size
        As `fundus.TransferClassifier` takes them.
    backbone_file : str
        The same network, saved by Keras, for those who do not use `fundus`.
    options : dict
        What else the contender needs.
    """

    contender: str
    paths: list[str]
    grades: list[int] = field(default_factory=list)
    fold_rows: list[Any] = field(default_factory=list)
    backbone: str = "efficientnet_lite0"
    weights: str | None = "imagenet"
    image_size: int = 224
    backbone_file: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def y(self) -> NDArray[np.intp]:
        """The grades, shape (n,)."""
        return np.array(self.grades, dtype=np.intp)

    @property
    def folds(self) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Training and test rows of every fold."""
        return [(np.array(train), np.array(test)) for train, test in self.fold_rows]

    @property
    def network(self) -> dict[str, Any]:
        """Arguments that name the backbone, pooled as the other contenders pool it."""
        return {
            "backbone": self.backbone,
            "weights": self.weights,
            "image_size": self.image_size,
            "pool_over": "all",
        }

    def write(self, path: Path) -> None:
        """Write the job for another process."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Job:
        """Read what `write` wrote."""
        return cls(**json.loads(path.read_text()))


@dataclass
class Answer:
    """What a contender found; it does not score or time itself as a whole.

    Parameters
    ----------
    predictions : list of int
        Out-of-fold grades in the order of the paths; empty where it made none.
    forward_passes : int
        Images that went through the backbone.
    figures : dict of str to float
        Parts that only the contender can time, such as an epoch.
    """

    predictions: list[int] = field(default_factory=list)
    forward_passes: int = 0
    figures: dict[str, float] = field(default_factory=dict)
