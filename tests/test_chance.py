"""Permuted grades: every estimator, out of fold, must score as chance does.

Features and grades have nothing to do with each other, so whatever reaches a model from its own
test fold shows as a kappa above 0. The interval is the null's: four standard errors of the mean
over permutations.
"""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV

from fundus import (
    CoralHead,
    CornHead,
    CumulativeCalibratedClassifierCV,
    FixedCutpointClassifier,
    FoldEnsemble,
    LogisticHead,
    OrdinalConformalClassifier,
    OrdinalLogisticHead,
    OrdinalRidgeHead,
    ReluHead,
    RidgeHead,
    SoftLabelHead,
    SoftmaxHead,
    SVMHead,
    TransferClassifier,
    TunedCutpointClassifierCV,
    kappa_scorer,
    quadratic_weighted_kappa,
)


def graded_by(head, **options):
    return TransferClassifier("precomputed", head, grades=5, random_state=0, **options)


def neural(head):
    small = head(units=16, layers=1, dropout=0.0)
    # 10 of 50 images are held out, so that a regressor needs no inner folds for its residuals;
    # without an early stop, which would hide most of a leak
    return graded_by(
        small, epochs=6, learning_rate=0.1, batch_size=25, validation_fraction=0.2, patience=None
    )


ESTIMATORS = {
    "logistic": graded_by(LogisticHead(C=100.0)),
    "svm": graded_by(SVMHead(C=1.0)),
    "ridge": graded_by(RidgeHead(alpha=1.0)),
    "ordinal_logistic": graded_by(OrdinalLogisticHead(C=10.0)),
    "ordinal_ridge": graded_by(OrdinalRidgeHead()),
    "softmax": neural(SoftmaxHead),
    "relu": neural(ReluHead),
    "corn": neural(CornHead),
    "coral": neural(CoralHead),
    "soft_labels": neural(SoftLabelHead),
    "tuned cutpoints": TunedCutpointClassifierCV(
        graded_by(RidgeHead(alpha=1.0)), cv=3, random_state=0
    ),
    "tuned cutpoints of Ridge": TunedCutpointClassifierCV(Ridge(), cv=3, random_state=0),
    "fixed cutpoints": FixedCutpointClassifier(
        graded_by(RidgeHead(alpha=1.0)), cutpoints=(0.5, 1.5, 2.5, 3.5)
    ),
    "calibrated": CumulativeCalibratedClassifierCV(
        graded_by(LogisticHead(C=100.0)), cv=3, random_state=0
    ),
    "conformal": OrdinalConformalClassifier(graded_by(LogisticHead(C=100.0)), cv=3, random_state=0),
    "searched": GridSearchCV(
        TunedCutpointClassifierCV(graded_by(RidgeHead()), cv=2, random_state=0),
        {"estimator__head__alpha": [1.0, 1e3]},
        scoring=kappa_scorer,
        cv=2,
    ),
}


def permuted(seed, n_features=12):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(100, n_features)).astype(np.float32)
    return X, rng.permutation(np.arange(100) % 5)


#: Networks that differ from the softmax head in their loss alone; left to `make zoo`.
ALIKE = ("corn", "coral", "soft_labels")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.zoo) if n in ALIKE else n for n in ESTIMATORS]
)
def test_permuted_grades_score_as_chance(name):
    kappas = []
    for seed in range(6):
        X, y = permuted(seed)
        model = FoldEnsemble(ESTIMATORS[name], cv=2, random_state=seed).fit(X, y)
        kappas.append(quadratic_weighted_kappa(y, model.oof_prediction_))
    error = np.std(kappas, ddof=1) / np.sqrt(len(kappas))
    assert abs(np.mean(kappas)) < 4 * error
    assert error < 0.08, "the interval must be narrow enough to show a leak"


def test_a_leak_would_show():
    X, y = permuted(0, n_features=60)
    model = ESTIMATORS["logistic"].fit(X, y)
    assert quadratic_weighted_kappa(y, model.predict(X)) > 4 * 0.08
