"""A regressor on streamed photographs
===================================

The chapter's third script: a ReLU regressor on augmented images streamed from disk.

The last quarter of the network is trained too, so augmented batches run through all of it; memory
does not grow with the number of images.

    python examples/streaming_regression.py train/
"""

from __future__ import annotations

from common import arguments, folder_of_photographs
from rich import print

from fundus import (
    Augmentation,
    FoldEnsemble,
    TransferClassifier,
    load_image_folder,
    quadratic_weighted_kappa,
)


def main() -> None:
    options = arguments(__doc__)
    data = load_image_folder(folder_of_photographs(options))

    regressor = TransferClassifier(
        options.backbone,
        "relu",
        weights=options.weights,
        grades=data.n_grades,
        freeze=0.75,
        learning_rate=1e-4,
        augment=Augmentation(rotation=20, shift=0.1, zoom=(0.8, 1.2)),
        epochs=min(options.epochs, 5),
        random_state=0,
        verbose=1,
    )
    model = FoldEnsemble(regressor, cv=2, random_state=0).fit(data.frame, data.grades)

    kappa = quadratic_weighted_kappa(data.grades, model.oof_prediction_)
    print(f"out of fold, {len(data.grades)} images: kappa {kappa:.3f}")
    print("severities of the first images:", model.oof_severity_[:5].round(2))


if __name__ == "__main__":
    main()
