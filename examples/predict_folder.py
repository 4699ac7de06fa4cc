"""Grades of a folder
==================

The chapter's inference script: a folder of photographs to ``results.csv``.

python examples/predict_folder.py photographs/
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from common import arguments, folder_of_photographs, new_photographs
from rich import print

import fundus
from fundus import FoldEnsemble, TransferClassifier, load_image_folder, load_images


def main() -> None:
    options = arguments(__doc__)
    folder = folder_of_photographs(options)

    data = load_image_folder(folder)
    estimator = TransferClassifier(
        options.backbone, "logistic", weights=options.weights, grades=5, random_state=0
    )
    model = FoldEnsemble(estimator, cv=options.folds, random_state=0)
    model.fit(data.frame, data.grades).save(options.out / "model")

    # from here on as in another program, on another day
    model = fundus.load(options.out / "model")
    images = load_images(options.new or new_photographs(options))
    results = pd.DataFrame(
        {
            "id": [Path(path).stem for path in images.paths],
            "class": [f"class{grade}" for grade in model.predict(images.frame)],
            "severity": model.predict_severity(images.frame).round(3),
        }
    )
    results.to_csv(options.out / "results.csv", index=False)
    print(results.head())
    print("written to", options.out / "results.csv")


if __name__ == "__main__":
    main()
