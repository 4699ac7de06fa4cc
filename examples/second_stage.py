"""Cutpoints or a second stage
===========================

Do cutpoints, or a second model that knows eyes and image quality, grade better? Nested scores.

Everything is fitted inside the training part of each fold. The interval of each difference is a
paired bootstrap over patients (over images where patients are unknown).

    python examples/second_stage.py train/                # train/class0 … train/class4
    python examples/second_stage.py labels.csv --image-size 320 --seeds 3
"""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
from common import arguments, folder_of_photographs
from rich import print

from fundus import (
    FoldEnsemble,
    RidgeHead,
    SecondStageClassifier,
    TransferClassifier,
    TunedCutpointClassifierCV,
    load_image_folder,
    load_image_table,
)
from fundus.images import ImageRecipe, load_image
from fundus.metrics.resampled import kappa_of

QUALITY = ["brightness", "contrast", "sharpness"]


def quality(path: str) -> list[float]:
    image = cv2.cvtColor(load_image(path, ImageRecipe(256)), cv2.COLOR_RGB2GRAY)
    retina = image[image > 10] if (image > 10).any() else image
    return [retina.mean(), retina.std(), np.log1p(cv2.Laplacian(image, cv2.CV_64F).var())]


def kappa(y, pred):
    return kappa_of(np.bincount(5 * y + pred, minlength=25).reshape(5, 5))


def interval(y, one, two, patients, n_resamples=1000):
    """95 % of the differences in kappa, two minus one, on resampled patients."""
    rng = np.random.default_rng(0)
    rows = [np.flatnonzero(patients == patient) for patient in pd.unique(patients)]
    differences = []
    for _ in range(n_resamples):
        drawn = np.concatenate([rows[k] for k in rng.integers(0, len(rows), len(rows))])
        differences.append(kappa(y[drawn], two[drawn]) - kappa(y[drawn], one[drawn]))
    return np.percentile(differences, [2.5, 97.5])


def main() -> None:
    options = arguments(__doc__, image_size=None, seeds=1)
    source = folder_of_photographs(options, n_fast=120)
    load = load_image_folder if source.is_dir() else load_image_table
    data = load(source)
    X, y = data.frame[[c for c in ("path", "patient", "eye") if c in data.frame]], data.grades
    if not data.patients_known:
        X = X[["path"]]
    X = X.assign(**dict(zip(QUALITY, np.transpose([quality(p) for p in data.paths]), strict=True)))

    for seed in range(options.seeds):
        first = TransferClassifier(
            options.backbone,
            "ridge",
            weights=options.weights,
            image_size=options.image_size,
            pool_over="all",  # as the figures in docs/cutpoints.md were measured
            grades=data.n_grades,
            random_state=0,
        )
        second = SecondStageClassifier(
            first, RidgeHead(alpha=1.0), columns=QUALITY, cv=options.folds, random_state=seed
        )
        models = {
            "one model, nearest grade": first,
            "one model, then cutpoints": TunedCutpointClassifierCV(
                first, cv=options.folds, random_state=seed
            ),
            "second stage, nearest grade": second,
        }
        baseline = None
        for name, model in models.items():
            folds = FoldEnsemble(model, cv=options.folds, random_state=seed).fit(X, y)
            pred = folds.oof_prediction_
            shown = f"seed {seed}: {name:28} kappa {kappa(y, pred):.3f}"
            if baseline is None:
                baseline = pred
            else:
                low, high = interval(y, baseline, pred, data.patients)
                shown += f"  difference to the first {low:+.3f} to {high:+.3f}"
            print(shown)


if __name__ == "__main__":
    main()
