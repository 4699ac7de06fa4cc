"""Plain scikeras: the network with a frozen backbone in a grid search, images in memory."""

from __future__ import annotations

import keras
import numpy as np
from scikeras.wrappers import KerasClassifier
from sklearn.metrics import cohen_kappa_score, make_scorer
from sklearn.model_selection import GridSearchCV

from benchmarks.contenders.plain import N_GRADES, frozen_model, images_in_memory
from benchmarks.job import Answer, Job


def run(job: Job) -> Answer:
    keras.utils.set_random_seed(0)
    X, epochs = images_in_memory(job), job.options["epochs"]

    def build(learning_rate: float = 1e-3) -> keras.Model:
        return frozen_model(job, learning_rate)

    search = GridSearchCV(
        KerasClassifier(build, epochs=epochs, batch_size=job.options["batch_size"], verbose=0),
        {"model__learning_rate": job.options["learning_rate"]},
        scoring=make_scorer(cohen_kappa_score, weights="quadratic", labels=np.arange(N_GRADES)),
        cv=job.folds,
        refit=False,
    )
    search.fit(X, job.y)
    candidates = len(search.cv_results_["params"])
    one = sum(epochs * len(train) + len(test) for train, test in job.folds)
    figures = {"candidates": candidates, "best_score": search.best_score_}
    return Answer([], candidates * one, figures)
