"""A grid on frozen features
=========================

A grid over SVM and logistic heads on frozen features, which are computed once.

The score of the best candidate is optimistic, since it was chosen by that score; the nested one
is honest.

    python examples/frozen_grid.py train/
"""

from __future__ import annotations

import pandas as pd
from common import arguments, folder_of_photographs
from rich import print
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold

from fundus import (
    FoldEnsemble,
    LogisticHead,
    SVMHead,
    TransferClassifier,
    kappa_scorer,
    load_image_folder,
)


def main() -> None:
    options = arguments(__doc__)
    data = load_image_folder(folder_of_photographs(options))

    search = GridSearchCV(
        TransferClassifier(
            options.backbone, weights=options.weights, grades=data.n_grades, random_state=0
        ),
        [
            {"head": [LogisticHead()], "head__C": [1e-4, 1e-3, 1e-2]},
            {"head": [SVMHead()], "head__C": [1e-4, 1e-3, 1e-2]},
        ],
        scoring=kappa_scorer,
        cv=StratifiedGroupKFold(options.folds, shuffle=True, random_state=0),
    )
    search.fit(data.paths, data.grades, groups=data.patients)
    columns = ["param_head", "param_head__C", "mean_test_score", "std_test_score"]
    print(pd.DataFrame(search.cv_results_)[columns].to_string(index=False))

    nested = FoldEnsemble(search.set_params(cv=options.folds), cv=options.folds, random_state=1)
    nested.fit(data.frame, data.grades)
    print("best in the search:", round(search.best_score_, 3))
    print("nested, by fold:   ", nested.cv_results_["test_kappa"].round(3))


if __name__ == "__main__":
    main()
