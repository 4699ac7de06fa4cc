"""The arguments of ``fundus train``, as one record."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import fundus.cli.options as opt


@dataclass(frozen=True)
class Settings:
    """The arguments of `train`, which documents them."""

    data: Path
    backbone: str
    head: str
    weights: str
    image_size: int | None
    crop: opt.Crop
    photometric: str
    freeze: str
    pooling: str
    power: float | None
    learning_rate: str
    batch_size: int
    epochs: int
    augment: bool
    class_weight: opt.ClassWeight
    sampling: opt.Sampling | None
    folds: int
    calibrate: opt.Calibrate
    cutpoints: bool
    sensitivity: float
    specificity: float
    alpha: float
    seed: int
    jobs: int
    class_folders: str | None
    grades: str | None
    validation: Path | None
    image_dir: Path | None
    path_column: str | None
    grade_column: str | None
    patient_column: str | None
    patients_unknown: opt.PatientsUnknown
    on_error: opt.OnError
    out: Path | None
    cache_dir: Path | None
    json: bool
    quiet: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values."""

        def plain(value: Any) -> Any:
            if isinstance(value, Enum):
                return value.value
            return str(value) if isinstance(value, Path) else value

        of_the_screen = ("json", "quiet")
        plain_values = {k: plain(v) for k, v in asdict(self).items() if k not in of_the_screen}
        return plain_values | {"grades": opt.as_grades(self.grades)}
