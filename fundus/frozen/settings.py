"""The parameters of `FeatureExtractor` and `TransferClassifier` for frozen work, as a record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fundus.parameters import Settings


@dataclass(frozen=True, kw_only=True)
class FrozenSettings(Settings):
    """Parameters of frozen work, as they were given; the estimators document them."""

    backbone: Any
    weights: Any
    image_size: int | None
    crop: str | None
    aperture: str | None
    photometric: Any
    normalise: Any
    pooling: str
    pool_over: str
    stages: Any
    power: float | None
    cache: Any
    n_jobs: int | None
    verbose: int
    freeze: Any = "all"
