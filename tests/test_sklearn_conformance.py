"""scikit-learn's own conformance suite on precomputed features.

It runs in full for every head of scikit-learn and every meta-estimator. Neural heads share all of
it but the training of a network, so that the structural checks suffice for every run; the full
suite, a minute and more each, is left to `make zoo`.
"""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator

from fundus import (
    CoralHead,
    CornHead,
    FixedCutpointClassifier,
    LogisticHead,
    OrdinalLogisticHead,
    OrdinalLogisticRegression,
    OrdinalRidge,
    OrdinalRidgeHead,
    PrevalenceCutpointClassifier,
    ReluHead,
    RidgeHead,
    SecondStageClassifier,
    SoftLabelHead,
    SoftmaxHead,
    SVMHead,
    TransferClassifier,
    TunedCutpointClassifierCV,
    ViewStandardScaler,
)

#: Checks of the suite on a two-dimensional classifier, as of scikit-learn 1.8; later ones add some.
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

LEFT_OUT_ROW = dict.fromkeys(
    INNER_SPLIT,
    "leaving out one of two equal rows is not leaving out one row of twice the weight",
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


LOGISTIC = TransferClassifier("precomputed", LogisticHead(C=1.0))
RIDGE = TransferClassifier("precomputed", RidgeHead(alpha=1.0))

NEURAL = {
    "softmax": SoftmaxHead,
    "relu": ReluHead,
    "corn": CornHead,
    "coral": CoralHead,
    "soft_labels": SoftLabelHead,
}

CASES = {
    "logistic": (LOGISTIC, {}),
    "svm": (TransferClassifier("precomputed", SVMHead(C=1.0)), INNER_SPLIT),
    "ridge": (RIDGE, {}),
    "tuned cutpoints": (
        TunedCutpointClassifierCV(LOGISTIC, cv=2, random_state=0),
        INNER_SPLIT | CUT_ELSEWHERE,
    ),
    "fixed cutpoints": (FixedCutpointClassifier(RIDGE), {}),
    "prevalence": (
        PrevalenceCutpointClassifier(RIDGE, cv=2, random_state=0),
        INNER_SPLIT | CUT_ELSEWHERE,
    ),
    "second stage": (SecondStageClassifier(LOGISTIC, cv=2, random_state=0), INNER_SPLIT),
    "ordinal_logistic": (TransferClassifier("precomputed", OrdinalLogisticHead(C=1.0)), {}),
    "ordinal_ridge": (TransferClassifier("precomputed", OrdinalRidgeHead()), LEFT_OUT_ROW),
    "OrdinalLogisticRegression": (OrdinalLogisticRegression(), {}),
    "OrdinalRidge": (OrdinalRidge(), LEFT_OUT_ROW),
    **{
        name: (neural(head(units=16, layers=1, dropout=0.0)), INNER_SPLIT)
        for name, head in NEURAL.items()
    },
}

#: Checks that fit little or nothing.
STRUCTURE = {
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_do_not_raise_errors_in_init_or_set_param",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
    "check_mixin_order",
    "check_estimators_unfitted",
    "check_dict_unchanged",
    "check_classifiers_one_label",
}

#: Those of them that train a network, as two heads do; the others have no code of their own for it.
TRAIN = {"check_dict_unchanged", "check_classifiers_one_label"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.zoo) if n in NEURAL else n for n in CASES]
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")  # told in the records
# some of the checks train on labels that are drawn, of which nothing can be learned
@pytest.mark.filterwarnings("ignore::fundus.exceptions.UnlearnedWarning")
def test_check_estimator(name):
    model, expected = CASES[name]
    records = check_estimator(model, expected_failed_checks=expected, on_fail=None)
    failed = [f"{r['check_name']}: {r['exception']!r}" for r in records if r["status"] == "failed"]
    assert failed == []
    passed = [r["check_name"] for r in records if r["status"] == "passed"]
    assert len(passed) >= AT_LEAST, passed


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_check_transformer():
    records = check_estimator(ViewStandardScaler(), on_fail=None)
    failed = [f"{r['check_name']}: {r['exception']!r}" for r in records if r["status"] == "failed"]
    assert failed == []
    passed = {r["check_name"] for r in records if r["status"] == "passed"}
    assert len(passed) >= 35, passed
    assert "check_sample_weight_equivalence_on_dense_data" in passed
    assert "check_transformer_preserve_dtypes" in passed


@pytest.mark.slow
@pytest.mark.parametrize("name", NEURAL)
def test_structure(name):
    """The checks of the suite that cost nothing, for heads whose full suite is long."""
    model, _ = CASES[name]
    wanted = STRUCTURE if name in ("softmax", "relu") else STRUCTURE - TRAIN
    seen = set()
    for estimator, check in estimator_checks_generator(model):
        if check.func.__name__ in wanted:
            check(estimator)
            seen.add(check.func.__name__)
    assert len(seen) >= 10, seen
