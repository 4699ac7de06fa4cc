"""Inner folds divide images: the rows of an image stay together."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    ShuffleSplit,
    StratifiedKFold,
    check_cv,
)

from fundus.exceptions import DataError
from fundus.heads.view_folds import ViewFolds

Y = np.array([0, 1, 2] * 6)
GROUPS = np.repeat(np.arange(6), 3)
MASKS = [(Y != 0, Y == 0), (Y != 1, Y == 1)]


@pytest.mark.parametrize("each", [2, 3])
@pytest.mark.parametrize("classifier", [False, True])
@pytest.mark.parametrize(
    "cv",
    [None, 3, KFold(4, shuffle=True, random_state=0), StratifiedKFold(2), GroupKFold(3),
     ShuffleSplit(3, random_state=0), MASKS],
    ids=str,
)  # fmt: skip
def test_they_are_those_of_the_images(cv, classifier, each):
    X = np.arange(18)[:, np.newaxis]
    folds = ViewFolds(cv, each, classifier)
    groups = GROUPS if isinstance(cv, GroupKFold) else None  # others say that they ignore them
    many = [None if part is None else np.repeat(part, each, axis=0) for part in (X, Y, groups)]
    plain = check_cv(cv, Y, classifier=classifier)
    assert folds.get_n_splits(*many) == plain.get_n_splits(X, Y, groups)
    found = list(folds.split(*many))
    assert len(found) == folds.get_n_splits(*many)
    for rows, images in zip(found, plain.split(X, Y, groups), strict=True):
        for got, want in zip(rows, images, strict=True):
            want = np.flatnonzero(want) if want.dtype == bool else want
            assert got.dtype.kind == "i"
            assert_array_equal(got // each, np.repeat(want, each))
            assert_array_equal(got % each, np.tile(np.arange(each), len(want)))


def test_rows_that_are_not_of_whole_images_are_refused():
    X = np.zeros((18, 1))
    for rows in (X[:-1], X):
        with pytest.raises(DataError, match=r"all 3 rows of every image.*draws rows"):
            list(ViewFolds(2, 3, True).split(rows, Y[: len(rows)]))


def test_folds_inside_folds():
    """Training parts of the outer folds are whole images for the inner ones."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(40) % 2, 3)
    X = rng.normal(size=(40, 2)).repeat(3, axis=0) + y[:, np.newaxis]
    inner = CalibratedClassifierCV(LogisticRegression(), cv=ViewFolds(2, 3, True))
    outer = CalibratedClassifierCV(inner, cv=ViewFolds(2, 3, True), ensemble=True)
    model = outer.fit(X, y, sample_weight=np.full(120, 1 / 3))
    plain = CalibratedClassifierCV(
        CalibratedClassifierCV(LogisticRegression(), cv=2), cv=2, ensemble=True
    ).fit(X[::3], y[::3])
    np.testing.assert_allclose(model.predict_proba(X), plain.predict_proba(X), atol=1e-4)


def test_it_is_pickled():
    folds = pickle.loads(pickle.dumps(ViewFolds(StratifiedKFold(3), 2, True)))
    assert (folds.cv.n_splits, folds.each, folds.classifier) == (3, 2, True)
