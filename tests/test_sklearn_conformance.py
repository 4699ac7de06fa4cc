"""scikit-learn's own conformance suite, in full, on precomputed features for every head."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import check_estimator

from fundus import (
    LogisticHead,
    ReluHead,
    RidgeHead,
    SoftmaxHead,
    SVMHead,
    TransferClassifier,
)

#: Checks of the suite on a two-dimensional classifier, as of scikit-learn 1.6; later ones add some.
AT_LEAST = 50

INNER_SPLIT = dict.fromkeys(
    (
        "check_sample_weight_equivalence_on_dense_data",
        "check_sample_weight_equivalence_on_sparse_data",
    ),
    "an internal split (early stopping, calibration) is drawn by rows, so weighting a row "
    "and repeating it are not the same",
)


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


CASES = {
    "logistic": (TransferClassifier("precomputed", LogisticHead(C=1.0)), {}),
    "svm": (TransferClassifier("precomputed", SVMHead(C=1.0)), INNER_SPLIT),
    "ridge": (TransferClassifier("precomputed", RidgeHead(alpha=1.0)), {}),
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
