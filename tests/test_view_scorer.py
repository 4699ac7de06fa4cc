"""`make_view_scorer`: a score of changed views, in searches."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_validate

from fundus import (
    Augmentation,
    RidgeHead,
    TransferClassifier,
    kappa_scorer,
    make_view_scorer,
    quadratic_weighted_kappa,
)
from fundus.data.inputs import as_images
from fundus.exceptions import DataError, InvalidParameterError
from fundus.frozen.views import with_views
from fundus.frozen.work import work_done


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return TransferClassifier("tiny", RidgeHead(alpha=0.01), weights="fixed", grades=5, cache=cache)


@pytest.fixture(scope="module")
def fitted(model, photographs):
    return clone(model).fit(photographs.paths[:24], photographs.grades[:24])


def test_the_score_is_the_mean_over_the_views(fitted, photographs):
    paths, y = photographs.paths[24:], photographs.grades[24:]
    views = with_views(as_images(paths), Augmentation.cameras(), 3, 2)
    grades = fitted.predict(views).reshape(-1, 3)
    kappas = [quadratic_weighted_kappa(y, grades[:, k]) for k in (1, 2)]
    before = work_done.copy()
    score = make_view_scorer("qwk", random_state=3)(fitted, paths, y)
    assert work_done == before  # the views of a fit with the same seed are the same entries
    assert score == pytest.approx(np.mean(kappas))
    frame = photographs.frame[24:]
    assert make_view_scorer(kappa_scorer, random_state=3)(fitted, frame, y) == score
    assert make_view_scorer(random_state=4)(fitted, paths, y) != score
    still = Augmentation(0, 0, (1, 1), flip_horizontal=False, flip_vertical=False)
    plain = make_view_scorer("accuracy", views=1, augmentation=still)(fitted, paths, y)
    assert plain == np.mean(fitted.predict(paths) == y)
    weights = np.arange(len(y)) + 1.0
    weighted = make_view_scorer("accuracy", views=1, augmentation=still)
    assert weighted(fitted, paths, y, sample_weight=weights) == pytest.approx(
        np.average(fitted.predict(paths) == y, weights=weights)
    )


def test_in_searches_with_two_jobs_and_cloned(model, photographs):
    scorer = make_view_scorer("qwk", views=1)
    assert pickle.loads(pickle.dumps(scorer)) == scorer
    search = GridSearchCV(model, {"head__alpha": [0.01, 10.0]}, scoring=scorer, cv=2)
    frame, y = photographs.frame, photographs.grades
    alone = clone(search).fit(frame, y)
    before = work_done.copy()
    with parallel_config("threading"):
        pair = clone(search).set_params(n_jobs=2).fit(frame, y)
    assert work_done == before
    scores = pair.cv_results_["mean_test_score"]
    np.testing.assert_array_equal(scores, alone.cv_results_["mean_test_score"])
    assert len(set(scores)) == 2
    both = cross_validate(model, frame, y, cv=2, scoring={"here": kappa_scorer, "there": scorer})
    assert np.isfinite(both["test_there"]).all()
    assert not np.array_equal(both["test_here"], both["test_there"])


def test_features_have_no_views(blobs):
    estimator = LogisticRegression().fit(*blobs)
    with pytest.raises(DataError, match="X holds features, of which there are no views"):
        make_view_scorer()(estimator, *blobs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "kapa"}, "'metric' parameter of make_view_scorer must be 'qwk', a scorer"),
        ({"metric": 3}, "'metric' parameter"),
        ({"views": 0}, "'views' parameter of make_view_scorer must be an int of at least 1"),
        ({"views": True}, "'views' parameter"),
        ({"random_state": None}, "'random_state' parameter"),
        ({"augmentation": "cameras"}, "'augmentation' parameter"),
        ({"augmentation": Augmentation(jpeg=(0, 5))}, "'jpeg' parameter of Augmentation"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(InvalidParameterError, match=message):
        make_view_scorer(**options)
