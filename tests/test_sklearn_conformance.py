"""scikit-learn's own conformance suite, in full, on precomputed features for every head."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import check_estimator

from fundus import (
    FixedCutpointClassifier,
    LogisticHead,
    ReluHead,
    RidgeHead,
    SecondStageClassifier,
    SoftmaxHead,
    SVMHead,
    TransferClassifier,
    TunedCutpointClassifierCV,
)

#: Checks of the suite on a two-dimensional classifier, as of scikit-learn 1.6; later ones add some.
AT_LEAST = 50

INNER_SPLIT = dict.fromkeys(
    (
        "check_sample_weight_equivalence_on_dense_data",
        "check_sample_weight_equivalence_on_sparse_data",
    ),
    "an internal split (early stopping, calibration, out-of-fold scores) is drawn by rows, so "
    "weighting a row and repeating it are not the same",
)

#: scikit-learn's own TunedThresholdClassifierCV has this expected failure too.
CUT_ELSEWHERE = {
    "check_classifiers_train": "the check wants the most probable class, which cutpoints need not "
    "predict"
}


def neural(head):
    return TransferClassifier(
        "precomputed",
        head,
        learning_rate=0.01,
        epochs=20,
        batch_size=8,
        validation_fraction=0.0,
        patience=None,
        random_state=0,
    )


LOGISTIC = TransferClassifier("precomputed", LogisticHead(C=1.0))
RIDGE = TransferClassifier("precomputed", RidgeHead(alpha=1.0))

CASES = {
    "logistic": (LOGISTIC, {}),
    "svm": (TransferClassifier("precomputed", SVMHead(C=1.0)), INNER_SPLIT),
    "ridge": (RIDGE, {}),
    "tuned cutpoints": (
        TunedCutpointClassifierCV(LOGISTIC, cv=2, random_state=0),
        INNER_SPLIT | CUT_ELSEWHERE,
    ),
    "fixed cutpoints": (FixedCutpointClassifier(RIDGE), {}),
    "second stage": (SecondStageClassifier(LOGISTIC, cv=2, random_state=0), INNER_SPLIT),
    "softmax": (neural(SoftmaxHead(units=16, layers=1, dropout=0.0)), INNER_SPLIT),
    "relu": (neural(ReluHead(units=16, layers=1, dropout=0.0)), INNER_SPLIT),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")  # told in the records
def test_check_estimator(name):
    model, expected = CASES[name]
    records = check_estimator(model, expected_failed_checks=expected, on_fail=None)
    failed = [f"{r['check_name']}: {r['exception']!r}" for r in records if r["status"] == "failed"]
    assert failed == []
    passed = [r["check_name"] for r in records if r["status"] == "passed"]
    assert len(passed) >= AT_LEAST, passed
