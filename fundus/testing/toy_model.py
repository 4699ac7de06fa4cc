"""The grader of a new plugin with a ready grader: fitted on drawings, in a second or two."""

from __future__ import annotations

import functools
import hashlib
import tempfile
from pathlib import Path

import numpy as np

from fundus.data.synthetic import make_fundus
from fundus.metrics.kappa import quadratic_weighted_kappa
from fundus.plugins.models import MANIFEST
from fundus.saving.bundle import save
from fundus.transfer.classifier import TransferClassifier

#: Resamples of the interval.
_RESAMPLES = 500


@functools.cache
def toy_model() -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the files of a saved toy, and what its record says: digest, score and interval."""
    with tempfile.TemporaryDirectory() as place:
        train = make_fundus(60, 64, 0, out_dir=Path(place) / "train")
        test = make_fundus(40, 64, 1, out_dir=Path(place) / "test")
        model = TransferClassifier(
            "tiny", "ridge", weights="fixed", image_size=32, grades=5, random_state=0, cache=False
        )
        predicted = model.fit(train.paths, train.grades).predict(test.paths)
        folder = Path(place) / "model"
        save(model, folder)
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
    rng, true = np.random.default_rng(0), np.asarray(test.grades)
    eyes = np.arange(len(true)).reshape(-1, 2)  # two of each patient
    draws = [eyes[rng.integers(0, len(eyes), len(eyes))].ravel() for _ in range(_RESAMPLES)]
    kappas = [quadratic_weighted_kappa(true[rows], predicted[rows]) for rows in draws]
    ends = np.nanpercentile(kappas, [2.5, 97.5])
    value = quadratic_weighted_kappa(true, predicted)
    numbers = {"low": min(ends[0], value), "value": value, "high": max(ends[1], value)}
    said = {name: f"{number:.3f}" for name, number in numbers.items()}
    return files, said | {"digest": hashlib.sha256(files[MANIFEST]).hexdigest()}
