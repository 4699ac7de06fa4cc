"""Class folders and a softmax head
================================

The chapter's first script: class folders, a softmax head, 5 folds, averaged models.

python examples/softmax_on_folders.py train/          # train/class0 … train/class4
python examples/softmax_on_folders.py                 # a synthetic set
"""

from __future__ import annotations

from common import arguments, folder_of_photographs
from rich import print

from fundus import FoldEnsemble, TransferClassifier, load_image_folder, quadratic_weighted_kappa


def main() -> None:
    options = arguments(__doc__)
    data = load_image_folder(folder_of_photographs(options))

    model = FoldEnsemble(
        TransferClassifier(
            options.backbone,
            "softmax",
            weights=options.weights,
            grades=data.n_grades,
            epochs=options.epochs,
            random_state=0,
        ),
        cv=options.folds,
        random_state=0,
    )
    model.fit(data.frame, data.grades)  # the frame brings the patients, who stay in one fold

    kappa = quadratic_weighted_kappa(data.grades, model.oof_prediction_)
    accuracy = (data.grades == model.oof_prediction_).mean()
    print(f"out of fold, {len(data.grades)} images: kappa {kappa:.3f}, accuracy {accuracy:.3f}")

    model.save(options.out / "softmax")
    print("saved to", options.out / "softmax")


if __name__ == "__main__":
    main()
