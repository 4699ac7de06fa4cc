"""One protocol of graders: images are read once, foreign models nest, `predict` takes images."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from fundus import (
    CumulativeCalibratedClassifierCV,
    FixedCutpointClassifier,
    FoldEnsemble,
    OrdinalConformalClassifier,
    PrevalenceCutpointClassifier,
    RidgeHead,
    SecondStageClassifier,
    TransferClassifier,
    TunedCutpointClassifierCV,
    load,
)
from fundus.exceptions import DataError
from fundus.frozen.work import work_done
from fundus.grades.foreign import as_grader, whole_scale
from fundus.grades.grader import Grader, Reading, Votes
from fundus.grades.severity import expected_grade
from fundus.meta.base import MetaGrader

rng = np.random.default_rng(0)
y = rng.choice(5, 200, p=[0.3, 0.15, 0.25, 0.15, 0.15])
X = rng.normal(size=(200, 4))
X[:, :2] += y[:, np.newaxis]
NEW = rng.normal(size=(50, 4)) + rng.choice(5, (50, 1))


class Shifted(MetaGrader):
    """A third party's: its severity is that of another model, and something more."""

    def __init__(self, estimator, by=0.0):
        self.estimator = estimator
        self.by = by

    def _fit(self, data):
        self.estimator_ = clone(self.estimator).fit(data.X, data.target_of(self.estimator))
        self.classes_ = np.unique(data.y)
        self.grades_ = whole_scale(self.estimator_, self.classes_, data.scale)

    def votes_of(self, reading):
        votes = self._inner_votes(reading)
        severity = votes.severity + self.by
        return Votes(votes.proba, severity, np.clip(np.rint(severity), 0, 4).astype(int))


class Nearest(ClassifierMixin, BaseEstimator):
    """A foreign classifier that only looks like one: probabilities by the distance to means."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.means_ = np.stack([X[y == label].mean(axis=0) for label in self.classes_])
        return self

    def predict_proba(self, X):
        weights = np.exp(-np.linalg.norm(X[:, np.newaxis] - self.means_, axis=2))
        return weights / weights.sum(axis=1, keepdims=True)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class Severe(Nearest):
    """One with a severity of its own."""

    def predict_severity(self, X):
        return np.sqrt(self.predict_proba(X) @ np.arange(len(self.classes_)) ** 2)


THIRD_PARTIES = {
    "subclass": Shifted(TransferClassifier("precomputed", RidgeHead(alpha=1.0), grades=5), by=0.1),
    "subclass around a foreign one": Shifted(Nearest(), by=0.1),
    "duck": Nearest(),
    "duck with severity": Severe(),
    "pipeline": make_pipeline(StandardScaler(), Severe()),
    "search": GridSearchCV(Shifted(LogisticRegression()), {"estimator__C": [0.1, 1.0]}, cv=2),
}


def severity(model, rows):
    """What is meant to be a model's severity, asked of nothing of ours."""
    model = getattr(model, "best_estimator_", model)
    if isinstance(model, Shifted):
        return severity(model.estimator_, rows) + model.by
    if hasattr(model, "predict_severity"):
        return model.predict_severity(rows)
    return expected_grade(model.predict_proba(rows), np.arange(5))


@pytest.mark.slow
@pytest.mark.parametrize("name", THIRD_PARTIES)
def test_a_third_partys_grader_nests_in_all_of_ours(name):
    third = THIRD_PARTIES[name]
    own = clone(third).fit(X, y)
    cuts = (0.6, 1.4, 2.6, 3.4)
    fixed = FixedCutpointClassifier(third, cutpoints=cuts).fit(X, y)
    np.testing.assert_allclose(fixed.predict_severity(NEW), severity(own, NEW))
    assert np.array_equal(fixed.predict(NEW), np.digitize(severity(own, NEW), cuts))
    np.testing.assert_allclose(fixed.predict_proba(NEW), own.predict_proba(NEW))

    tuned = TunedCutpointClassifierCV(third, cv=2, random_state=0).fit(X, y)
    expected = np.digitize(severity(own, NEW), tuned.cutpoints_)
    assert np.array_equal(tuned.predict(NEW), expected)

    folds = FoldEnsemble(third, cv=3, random_state=0).fit(X, y)
    mean = np.mean([model.predict_proba(NEW) for model in folds.estimators_], axis=0)
    np.testing.assert_allclose(folds.predict_proba(NEW), mean)
    for k, model in enumerate(folds.estimators_):
        rows = folds.oof_fold_ == k
        np.testing.assert_allclose(folds.oof_proba_[rows], model.predict_proba(X[rows]))
    by_severity = FoldEnsemble(third, cv=3, voting="severity", random_state=0).fit(X, y)
    mean = np.mean([severity(model, NEW) for model in by_severity.estimators_], axis=0)
    np.testing.assert_allclose(by_severity.predict_severity(NEW), mean)

    calibrated = CumulativeCalibratedClassifierCV(third, cv=2, random_state=0).fit(X, y)
    np.testing.assert_allclose(calibrated.predict_proba(NEW).sum(axis=1), 1)

    sets = OrdinalConformalClassifier(third, cv=3, random_state=0).fit(X, y)
    low, high = sets.predict_set(X)
    assert ((low <= y) & (y <= high)).mean() > 0.85
    assert np.array_equal(sets.predict(NEW), folds.predict(NEW))

    shares = np.full(5, 0.2)
    known = PrevalenceCutpointClassifier(third, prevalence=shares, cv=2, random_state=0).fit(X, y)
    expected = np.digitize(severity(own, NEW), known.cutpoints_)
    assert np.array_equal(known.predict(NEW), expected)

    second = SecondStageClassifier(third, cv=2, random_state=0).fit(X, y)
    assert second.second_features_[0] == "severity"
    table = np.column_stack([severity(own, NEW), own.predict_proba(NEW)])
    proba = second.final_estimator_.predict_proba(second.imputer_.transform(table))
    np.testing.assert_allclose(second.predict_proba(NEW), proba)


def test_what_a_subclass_need_not_say():
    model = Shifted(TransferClassifier("precomputed", RidgeHead(alpha=1.0), grades=5), by=1.0)
    assert get_tags(model).classifier_tags.poor_score
    assert model.get_metadata_routing().fit.requests["groups"] is True
    frame = pd.DataFrame(X, columns=list("abcd"))
    model.fit(frame, y)
    assert model.n_features_in_ == 4
    assert model.feature_names_in_.tolist() == list("abcd")
    inner = model.estimator_.predict_severity(frame)
    np.testing.assert_array_equal(model.predict_severity(frame), inner + 1)
    assert not hasattr(Shifted(Ridge()), "predict_proba")
    assert hasattr(Shifted(Ridge()), "predict_severity")
    with pytest.raises(DataError, match="one patient a row"):
        model.fit(frame, y, groups=["a"])
    named = clone(model).fit(X, y)
    assert not hasattr(named, "feature_names_in_")


def test_ours_are_taken_as_they_are_and_others_adapted_once():
    own = TransferClassifier("precomputed", RidgeHead(alpha=1.0)).fit(X, y)
    search = GridSearchCV(own, {"head__alpha": [1.0]}, cv=2).fit(X, y)
    assert as_grader(own) is own
    assert as_grader(FrozenEstimator(own)) is own
    assert as_grader(search) is search.best_estimator_
    assert as_grader(FrozenEstimator(search)) is search.best_estimator_
    ridge = as_grader(Ridge().fit(X, y), np.arange(5))
    assert isinstance(ridge, Grader)
    assert not ridge.knows_labels
    assert not ridge.gives_proba()
    votes = ridge.votes_of(ridge.read_images(NEW))
    np.testing.assert_array_equal(votes.severity, Ridge().fit(X, y).predict(NEW))
    assert votes.best is None
    wider = as_grader(Nearest().fit(X[y != 1], y[y != 1]), np.arange(5))
    expected = wider.model.predict_proba(NEW) @ np.array([0, 2, 3, 4])
    np.testing.assert_allclose(wider.votes_of(Reading(NEW)).severity, expected)


@pytest.mark.parametrize(
    "make",
    [
        FoldEnsemble,
        FixedCutpointClassifier,
        TunedCutpointClassifierCV,
        PrevalenceCutpointClassifier,
        CumulativeCalibratedClassifierCV,
        OrdinalConformalClassifier,
        SecondStageClassifier,
    ],
)
def test_a_frozen_model_stays_as_it_is_in_all_of_ours(make, tmp_path):
    first = TransferClassifier("precomputed", RidgeHead(alpha=1.0), grades=5).fit(X[:100], y[:100])
    model = make(FrozenEstimator(first)).fit(X[100:], y[100:])
    assert all(inner is first for inner in model._models())
    again = clone(model).fit(X[100:], y[100:])
    assert np.array_equal(again.predict_proba(NEW), model.predict_proba(NEW))
    model.save(tmp_path / "model")
    assert np.array_equal(load(tmp_path / "model").predict_proba(NEW), model.predict_proba(NEW))


def test_hard_votes_have_the_mean_severity():
    model = FoldEnsemble(LogisticRegression(), cv=3, voting="hard", random_state=0).fit(X, y)
    each = [m.predict_proba(NEW) @ np.arange(5) for m in model.estimators_]
    np.testing.assert_allclose(model.predict_severity(NEW), np.mean(each, axis=0))
    counts = np.stack([m.predict(NEW) for m in model.estimators_])
    majority = [np.bincount(column, minlength=5).argmax() for column in counts.T]
    assert model.predict(NEW).tolist() == majority


def tiny(head="logistic", **options):
    return TransferClassifier(
        "tiny", head, grades=5, **({"weights": "fixed", "random_state": 0} | options)
    )


def folds(model):
    return FoldEnsemble(model, cv=2, random_state=0)


NESTS = {
    "cutpoints in folds": lambda m: folds(FixedCutpointClassifier(m)),
    "folds in folds": lambda m: folds(folds(m)),
    "second stages in folds": lambda m: folds(SecondStageClassifier(m, cv=2, random_state=0)),
    "calibrated in cutpoints in folds": lambda m: folds(
        FixedCutpointClassifier(CumulativeCalibratedClassifierCV(m, cv=2, random_state=0))
    ),
    "folds of cutpoints in sets": lambda m: OrdinalConformalClassifier(
        FixedCutpointClassifier(folds(m)), cv=2, random_state=0
    ),
    "a third party's in folds in sets": lambda m: OrdinalConformalClassifier(
        folds(Shifted(m)), cv=2, random_state=0
    ),
    "a search in cutpoints in folds": lambda m: folds(
        FixedCutpointClassifier(GridSearchCV(m, {"class_weight": ["balanced"]}, cv=2))
    ),
}


@pytest.mark.parametrize("name", NESTS)
def test_images_are_read_once_however_deep_the_models_are(evenly_graded, tmp_path, name):
    model = NESTS[name](tiny(cache=tmp_path)).fit(evenly_graded.frame, evenly_graded.grades)
    new = evenly_graded.frame[:12]
    expected = model.predict_severity(new)
    readers = model.readers()
    assert len(readers) > 1
    assert len({reader.key for reader in readers}) == 1
    for reader in readers:
        reader.model.set_params(cache=False)  # so that no store hides what is done twice
    methods = ["predict", "predict_proba", "predict_severity"]
    if isinstance(model, OrdinalConformalClassifier):
        methods += ["predict_set", "defer"]
    for method in methods:
        before = work_done.copy()
        getattr(model, method)(new)
        done = work_done - before
        assert (done["decodes"], done["forward_passes"]) == (12, 12), method
    np.testing.assert_allclose(model.predict_severity(new), expected, atol=1e-5)


def test_models_with_other_frozen_layers_read_by_themselves(photographs):
    """Each fold's own mean image is subtracted, so that no two models share their frozen work."""
    model = folds(tiny(photometric="corpus_mean", cache=False))
    model.fit(photographs.paths, photographs.grades)
    assert len({reader.key for reader in model.readers()}) == 2
    assert model.read_images(photographs.paths).sources == {}
    before = work_done.copy()
    proba = model.predict_proba(photographs.paths[:5])
    assert (work_done - before)["decodes"] == 10
    each = [m.predict_proba(photographs.paths[:5]) for m in model.estimators_]
    np.testing.assert_allclose(proba, np.mean(each, axis=0), atol=1e-6)


def test_some_share_and_another_does_not(photographs):
    A, B = photographs.paths, photographs.grades
    models = [tiny(power=power, cache=False).fit(A, B) for power in (None, None, 0.5)]
    ensemble = FoldEnsemble(tiny(), cv=3, voting="soft", random_state=0).fit(A, B)
    ensemble.estimators_ = models
    assert list(ensemble.read_images(A[:5]).sources) == [models[0].readers()[0].key]
    before = work_done.copy()
    proba = ensemble.predict_proba(A[:5])
    assert (work_done - before)["decodes"] == 10
    each = [model.predict_proba(A[:5]) for model in models]
    np.testing.assert_allclose(proba, np.mean(each, axis=0), atol=1e-6)


@pytest.mark.parametrize("make", [lambda m: m, *NESTS.values()], ids=["alone", *NESTS])
def test_public_methods_take_images_only(evenly_graded, tmp_path, make):
    model = make(tiny(cache=tmp_path)).fit(evenly_graded.frame, evenly_graded.grades)
    reading = model.read_images(evenly_graded.frame[:4])
    (source,) = reading.sources.values()
    for what in (reading, source):
        for method in ("predict", "predict_proba", "predict_severity"):
            with pytest.raises(DataError, match="X must be"):
                getattr(model, method)(what)
