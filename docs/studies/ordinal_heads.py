"""Out-of-fold scores of all built-in heads on frozen features; docs/ordinal-heads.md has a table.

python docs/studies/ordinal_heads.py labels.csv --seeds 0 1 2
python docs/studies/ordinal_heads.py labels.csv --choose      # hyperparameters, by inner folds
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from sklearn.metrics import accuracy_score, mean_absolute_error
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict

from fundus import (
    FeatureExtractor,
    OrdinalLogisticHead,
    SoftLabelHead,
    TransferClassifier,
    kappa_scorer,
    list_heads,
    load_image_table,
    quadratic_weighted_kappa,
)

SEARCHES = {
    "ordinal_logistic": (OrdinalLogisticHead(), {"head__C": [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2]}),
    "soft_labels": (SoftLabelHead(), {"head__sigma": [0.35, 0.5, 0.7, 1.0]}),
}


def folds(seed, n=5):
    return StratifiedKFold(n, shuffle=True, random_state=seed)


def scores(head, X, y, seed):
    model = TransferClassifier("precomputed", head, grades=5, random_state=seed)
    proba = cross_val_predict(model, X, y, cv=folds(seed), method="predict_proba")
    best = proba.argmax(axis=1)
    return [
        quadratic_weighted_kappa(y, best),
        accuracy_score(y, best),
        mean_absolute_error(y, best),
        -np.log(np.clip(proba[np.arange(len(y)), y], 1e-6, 1)).mean(),
    ]


def choices(name, X, y, seeds, n_outer):
    """What a search inside each outer training part chooses; its test folds are not looked at."""
    head, grid = SEARCHES[name]
    for seed in seeds:
        for k, (train, _) in enumerate(folds(seed).split(X, y)):
            if k == n_outer:
                break
            model = TransferClassifier("precomputed", head, grades=5, random_state=seed)
            search = GridSearchCV(model, grid, scoring=kappa_scorer, cv=folds(seed, 3))
            search.fit(X[train], y[train])
            mean = dict(
                zip(*grid.values(), search.cv_results_["mean_test_score"].round(3), strict=True)
            )
            print(f"{name} seed {seed} fold {k}: {search.best_params_} of {mean}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("labels")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--heads", nargs="+", default=sorted(list_heads()))
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--outer", type=int, default=5, help="outer folds to search in")
    args = parser.parse_args()
    data = load_image_table(args.labels)
    X, y = FeatureExtractor(pool_over="all").fit_transform(data.paths), np.asarray(data.grades)
    if args.choose:
        for name in [name for name in SEARCHES if name in args.heads]:
            choices(name, X, y, args.seeds, args.outer)
        return
    found: dict[str, list] = {head: [] for head in args.heads}
    for seed in args.seeds:
        for head in args.heads:
            found[head].append(scores(head, X, y, seed))
            print(head, seed, *(f"{v:.3f}" for v in found[head][-1]), file=sys.stderr, flush=True)
    print("| head | QWK | accuracy | mean absolute error | log loss |")
    print("|---|---|---|---|---|")
    for head in sorted(found, key=lambda head: -np.mean(found[head], axis=0)[0]):
        kappa, *rest = np.mean(found[head], axis=0)
        kappas = [row[0] for row in found[head]]
        others = " | ".join(f"{value:.3f}" for value in rest)
        print(
            f"| `{head}` | {kappa:.3f} ({min(kappas):.3f}\N{EN DASH}{max(kappas):.3f}) | {others} |"
        )


if __name__ == "__main__":
    main()
