"""Plain Keras as a transformer in a scikit-learn pipeline, in a grid search; nothing is kept."""

from __future__ import annotations

from functools import cache

import keras
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score, make_scorer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from benchmarks.contenders.plain import N_GRADES, images_in_memory
from benchmarks.job import Answer, Job

answer = Answer()


@cache
def extractor(file: str) -> keras.Model:
    """Load the network once; clones of the transformer share it."""
    base = keras.models.load_model(file)
    return keras.Model(base.input, keras.layers.GlobalAveragePooling2D()(base.output))


class KerasExtractor(TransformerMixin, BaseEstimator):
    """Images in memory to pooled features."""

    def __init__(self, file: str = "") -> None:
        self.file = file

    def fit(self, X, y=None):
        """Learn nothing."""
        return self

    def transform(self, X):
        """Run the network."""
        answer.forward_passes += len(X)
        return extractor(self.file).predict(X, verbose=0)

    def __sklearn_is_fitted__(self) -> bool:
        return True


def classifier(name: str):
    if name == "logistic":
        return LogisticRegression(max_iter=1000, class_weight="balanced"), "classify__C"
    machine = SVC(kernel="linear", class_weight="balanced")
    return CalibratedClassifierCV(machine, ensemble=False), "classify__estimator__C"


def run(job: Job) -> Answer:
    keras.utils.set_random_seed(0)
    X = images_in_memory(job)
    steps = [("extract", KerasExtractor(job.backbone_file)), ("scale", StandardScaler())]
    grid = []
    for part in job.options["grid"]:
        model, name = classifier(part["head"])
        grid.append({"classify": [model], name: part["head__C"]})
    kappa = make_scorer(cohen_kappa_score, weights="quadratic", labels=np.arange(N_GRADES))
    search = GridSearchCV(
        Pipeline([*steps, ("classify", LogisticRegression())]),
        grid,
        scoring=kappa,
        cv=job.folds,
        refit=False,
    )
    search.fit(X, job.y)
    answer.figures = {
        "candidates": len(search.cv_results_["params"]),
        "best_score": search.best_score_,
    }
    return answer
