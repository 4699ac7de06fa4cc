"""`fundus` in scikit-learn's grid search."""

from __future__ import annotations

from sklearn.model_selection import GridSearchCV

from benchmarks.job import Answer, Job
from fundus import LogisticHead, SVMHead, TransferClassifier, kappa_scorer
from fundus.frozen.work import work_done

HEADS = {"logistic": LogisticHead, "svm": SVMHead}


def run(job: Job) -> Answer:
    options = dict(job.options)
    grid = [
        {**part, "head": [HEADS[part["head"]]()]} if "head" in part else part
        for part in options.pop("grid")
    ]
    search = GridSearchCV(
        TransferClassifier(**job.network, **options, grades=5, random_state=0),
        grid,
        scoring=kappa_scorer,
        cv=job.folds,
        refit=False,
    )
    search.fit(job.paths, job.y)
    figures = {"candidates": len(search.cv_results_["params"]), "best_score": search.best_score_}
    return Answer([], work_done["forward_passes"], figures)
