"""`adapt`: new thresholds from a site's own photographs, and scores that no photograph has set."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.utils import Bunch

import fundus
from fundus import (
    FixedCutpointClassifier,
    FoldEnsemble,
    OrdinalConformalClassifier,
    RidgeHead,
    TransferClassifier,
    TunedCutpointClassifierCV,
    adapt,
    optimal_cutpoints,
    quadratic_weighted_kappa,
)
from fundus.exceptions import (
    DataError,
    DataWarning,
    InvalidGradeError,
    InvalidParameterError,
    SplitError,
)
from fundus.grades.cutpoints import grades_at
from fundus.grades.icdr import is_referable
from fundus.meta.conformal_sets import nonconformity_of_severity, one_image_each
from fundus.metrics.operating_points import operating_point
from fundus.model_selection.splits import GuardedSplit
from fundus.reporting.cross_fitting import crossed_referrals, patient_folds

CUTS = [0.0, 0.4, 1.0, 1.4]


def draw(n, seed, shift=0.0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    y = np.digitize(X[:, 0] + 0.4 * rng.normal(size=n), CUTS)
    X[:, 0] += shift
    return X, y


PATIENTS = np.arange(160) // 2


def first(site, n):
    """The photographs of n patients, among them several of each grade."""
    X, y = site
    rare = [PATIENTS[y == k][:3] for k in (3, 4, 1, 2, 0)]
    chosen = pd.unique(np.concatenate([*rare, np.arange(80)]))[:n]
    rows = np.isin(PATIENTS, chosen)
    return (X[rows], y[rows]), PATIENTS[rows]


@pytest.fixture(scope="module")
def site():
    """160 rows of 80 patients: another camera, where every severity is higher."""
    return draw(160, 1, 0.8)


def ridge(**options):
    return TransferClassifier("precomputed", RidgeHead(alpha=1.0), **({"grades": 5} | options))


@pytest.fixture(scope="module")
def trained():
    """As `fundus train` leaves it: folds, sets of grades and operating points."""
    X, y = draw(150, 0)
    folds = FoldEnsemble(ridge(), cv=3, random_state=0).fit(X, y)
    found = fundus.evaluate_out_of_fold(folds, (X, y), sensitivity=0.8, specificity=0.95)
    model = OrdinalConformalClassifier.from_ensemble(folds, y, confidence_level=0.8, random_state=0)
    found.keep_with(model)
    return model


@pytest.fixture(scope="module")
def adapted(trained, site):
    return adapt(trained, site, groups=PATIENTS, n_bootstraps=0)


def test_the_model_that_is_given_stays_as_it_is(trained, site, adapted):
    new = adapted.model
    assert new is not trained
    assert new.ensemble_.estimator_ is trained.ensemble_, "the same networks and heads"
    for model in (new, trained):
        assert model.predict_severity(site[0]) == pytest.approx(
            trained.ensemble_.predict_severity(site[0])
        )
    assert new.predict_proba(site[0]) == pytest.approx(trained.predict_proba(site[0]))
    nearest = np.clip(np.rint(trained.predict_severity(site[0])), 0, 4)
    assert np.array_equal(trained.predict(site[0]), nearest)
    assert (new.predict(site[0]) != nearest).mean() > 0.2
    assert trained.operating_points_["referable"][0].goal == 0.8


def test_the_saved_thresholds_are_those_of_all_photographs(trained, site, adapted):
    X, y = site
    severity = trained.predict_severity(X)
    cutpoints = optimal_cutpoints(severity, y)[0]
    assert np.array_equal(adapted.model.ensemble_.cutpoints_, cutpoints)
    assert np.array_equal(adapted.model.predict(X), grades_at(severity, cutpoints))
    assert adapted.cutpoints[0] is None
    for wanted, goal, point in zip(
        ("sensitivity", "specificity"), (0.8, 0.95), adapted.model.operating_points_["referable"],
        strict=True,
    ):  # fmt: skip
        assert point == operating_point(severity, is_referable(y), **{wanted: goal})
    assert {p.goal for p in adapted.model.operating_points_["sight-threatening"]} == {0.8, 0.95}
    assert adapted.model.class_names_ == trained.class_names_
    more = adapt(trained, site, groups=PATIENTS, sensitivity=0.7, n_bootstraps=20)
    assert [p.goal for p in more.model.operating_points_["referable"]] == [0.7, 0.95]
    assert more.model.ensemble_.cutpoint_samples_.shape == (20, 4)


def test_no_photograph_sets_what_it_is_scored_by(trained, site, adapted):
    X, y = site
    severity, frame = trained.predict_severity(X), adapted.to_frame()
    assert list(frame) == ["file_name", "target", "prediction", "fold", "severity", "before"]
    assert frame["severity"].to_numpy() == pytest.approx(severity)
    assert (frame.groupby(PATIENTS)["fold"].nunique() == 1).all()
    flags = {0.8: np.zeros(160, bool), 0.95: np.zeros(160, bool)}
    for k in range(5):
        test = frame["fold"].to_numpy() == k
        cutpoints = optimal_cutpoints(severity[~test], y[~test])[0]
        assert np.array_equal(frame["prediction"][test], grades_at(severity[test], cutpoints))
        for wanted, goal in (("sensitivity", 0.8), ("specificity", 0.95)):
            rows = (severity[~test], is_referable(y[~test]))
            flags[goal][test] = severity[test] >= operating_point(*rows, **{wanted: goal}).threshold
    kappa = adapted.changes["qwk"]
    assert kappa.after.value == pytest.approx(quadratic_weighted_kappa(y, frame["prediction"]))
    assert kappa.before.value == pytest.approx(quadratic_weighted_kappa(y, trained.predict(X)))
    assert kappa.difference.value == pytest.approx(kappa.after.value - kappa.before.value)
    assert kappa.difference.interval.by_patient
    true, old = is_referable(y), trained.operating_points_["referable"]
    for rule, was, now in (
        ("by grade", trained.predict(X) >= 2, frame["prediction"] >= 2),
        ("at sensitivity 0.8", severity >= old[0].threshold, flags[0.8]),
        ("at specificity 0.95", severity >= old[1].threshold, flags[0.95]),
    ):
        for of, among, sign in (("sensitivity", true, 1), ("specificity", ~true, 0)):
            change = adapted.changes[f"referable {rule}: {of}"]
            assert change.before.value == pytest.approx((was == sign)[among].mean())
            assert change.after.value == pytest.approx((now == sign)[among].mean())
    assert len(adapted.changes) == 7


@pytest.mark.filterwarnings("ignore:Adapting LOWERS")
def test_chance_is_told_as_chance():
    """Grades that have nothing to do with the photographs: no kappa where nothing was looked up."""
    X, y = draw(150, 0)
    model = FoldEnsemble(ridge(), cv=3, random_state=0).fit(X, y)
    after, inside = [], []
    for seed in range(6):
        own, grades = draw(100, 10 + seed)
        grades = np.random.default_rng(seed).permutation(grades)
        found = adapt(model, (own, grades), n_bootstraps=0, random_state=seed)
        after.append(found.changes["qwk"].after.value)
        inside.append(found.model.best_score_)
    assert np.mean(inside) > 0.1
    assert abs(np.mean(after)) < 0.06


@pytest.mark.slow
def test_sets_are_made_again(trained, site, adapted, tmp_path):
    new = adapted.model
    assert new.rule_.alpha == trained.rule_.alpha
    assert new.n_calibration_ == 80, "one photograph of each patient"
    rows = one_image_each(PATIENTS, 160, 0)
    away = nonconformity_of_severity(new.predict_severity(site[0]), np.arange(5))
    (scores,) = new.rule_.scores
    assert scores == pytest.approx(np.sort(away[rows, site[1][rows]]))
    X, y = draw(400, 2, 0.8)
    low, high = new.predict_set(X)
    assert ((low <= y) & (y <= high)).mean() > 0.77
    new.save(tmp_path / "model")
    loaded = fundus.load(tmp_path / "model")
    assert np.array_equal(loaded.predict(X), new.predict(X))
    assert np.array_equal(loaded.predict_set(X), new.predict_set(X))
    assert loaded.operating_points_ == new.operating_points_
    assert fundus.evaluate(loaded, (X, y)).screening is not None


def test_it_can_be_adapted_again(trained, adapted):
    X, y = draw(160, 3, -0.5)
    twice = adapt(adapted.model, (X, y), groups=PATIENTS, n_bootstraps=0)
    once = adapt(trained, (X, y), groups=PATIENTS, n_bootstraps=0)
    assert twice.model.ensemble_.estimator_ is trained.ensemble_, "no model around a model"
    assert np.array_equal(twice.model.predict(X), once.model.predict(X))
    assert np.array_equal(twice.cutpoints[0], adapted.model.ensemble_.cutpoints_)


@pytest.mark.parametrize(
    "make",
    [
        lambda X, y: ridge().fit(X, y),
        lambda X, y: LogisticRegression().fit(X, y),
        lambda X, y: FoldEnsemble(LogisticRegression(), cv=2).fit(X, y),
        lambda X, y: FoldEnsemble(TunedCutpointClassifierCV(ridge(), cv=2), cv=2).fit(X, y),
        lambda X, y: TunedCutpointClassifierCV(Ridge(), cv=2).fit(X, y),
        lambda X, y: FixedCutpointClassifier(FrozenEstimator(Ridge().fit(X, y))).fit(X, y),
        lambda X, y: FrozenEstimator(ridge().fit(X, y)),
    ],
    ids=["regressor", "probabilities", "soft", "cutpoints in folds", "tuned", "fixed", "frozen"],
)
def test_every_model_with_a_severity(make, site, tmp_path):
    X, y = draw(150, 0)
    model = make(X, y)
    found = adapt(model, site, groups=PATIENTS, n_bootstraps=3)
    assert found.changes["qwk"].difference.value > 0.1
    assert (found.cutpoints[0] is not None) == hasattr(fundus_of(model), "cutpoints_") or (
        isinstance(model, FoldEnsemble)
    )
    severity = found.model.predict_severity(site[0])
    assert np.array_equal(found.model.predict(site[0]), grades_at(severity, found.cutpoints[1]))
    found.model.save(tmp_path / "model")
    assert np.array_equal(fundus.load(tmp_path / "model").predict(X), found.model.predict(X))


def fundus_of(model):
    return model.estimator if isinstance(model, FrozenEstimator) else model


def test_models_that_cannot_be_cut(site):
    X, y = draw(150, 0)
    with pytest.raises(InvalidParameterError, match="severity to cut, and RidgeClassifier has"):
        adapt(RidgeClassifier().fit(X, y), site)
    with pytest.raises(InvalidParameterError, match="severity to cut, and FoldEnsemble has"):
        adapt(FoldEnsemble(RidgeClassifier(), cv=2).fit(X, y), site)
    with pytest.raises(InvalidParameterError, match="Ridge predicts numbers and knows no grades"):
        adapt(Ridge().fit(X, y), site)
    with pytest.raises(ValueError, match="not fitted"):
        adapt(ridge(), site)


@pytest.mark.filterwarnings("ignore:Adapting LOWERS")
def test_the_table_says_all(adapted, site):
    text = str(adapted)
    assert text.startswith("Adapted on 160 images of 80 patients")
    for words in ("quadratic weighted kappa", "referable at sensitivity 0.8: specificity",
                  "difference", "by patient", "1 mild NPDR", "80 patients are few"):  # fmt: skip
        assert words in text
    assert max(map(len, text.splitlines())) <= 80
    document = adapted.to_dict()
    assert (document["n_images"], document["n_patients"], document["n_folds"]) == (160, 80, 5)
    assert document["changes"]["qwk"]["before"]["low"] < document["changes"]["qwk"]["after"]["low"]
    assert len(document["cutpoints"]["after"]) == 4
    scores = adapted.scores()
    assert set(scores["of"]) == {"before", "after", "difference"}
    assert len(scores) == 21
    many = adapt(adapted.model, draw(250, 5), groups=np.arange(250) // 2, n_bootstraps=0)
    assert not [note for note in many.notes if "few" in note]
    unknown = adapt(adapted.model, site, n_bootstraps=0)
    assert unknown.n_patients is None
    assert "likely too narrow" in str(unknown)


def test_too_few_or_too_little(trained, site):
    X, y = site
    with pytest.raises(DataError, match=r"^1 patients are too few .* at least 20 .* patients\.$"):
        adapt(trained, site, groups=np.zeros(160, int))
    few, who = first(site, 19)
    with pytest.raises(DataError, match="19 patients are too few .* 100 .* min_patients=19"):
        adapt(trained, few, groups=who)
    with pytest.raises(DataError, match="0 photographs are too few"):
        adapt(trained, (X[:0], y[:0]))
    assert adapt(trained, few, groups=who, min_patients=19, n_bootstraps=2).n_patients == 19
    three = y == 3
    with pytest.raises(DataError, match="No photograph has grade 3 severe NPDR, and .*'never'"):
        adapt(trained, (X[~three], y[~three]), groups=PATIENTS[~three])
    one = ~three | (np.arange(160) == np.flatnonzero(three)[0])
    for missing_grades in ("raise", "never"):
        with pytest.raises(DataError, match="Only one patient has grade 3 severe NPDR"):
            adapt(trained, (X[one], y[one]), groups=PATIENTS[one], missing_grades=missing_grades)
    with pytest.raises(DataError, match=r"grade 1 mild NPDR, 2 .*, 4 PDR, and .* add some\.$"):
        adapt(trained, (X[y == 0], y[y == 0]), missing_grades="never")


def test_a_grade_that_is_not_predicted_any_more(trained, site):
    X, y = site
    rows = y != 3
    found = adapt(
        trained, (X[rows], y[rows]), groups=PATIENTS[rows], missing_grades="never", n_bootstraps=0
    )
    assert set(found.model.predict(X)) == {0, 1, 2, 4}
    assert set(found.to_frame()["prediction"]) == {0, 1, 2, 4}
    mild = y < 2
    found = adapt(
        trained, (X[mild], y[mild]), groups=PATIENTS[mild], missing_grades="never", n_bootstraps=0
    )
    assert found.model.operating_points_ == {"referable": [], "sight-threatening": []}
    assert [n for n in found.notes if n.startswith("referable: no operating point: 0 of")]
    assert found.changes["referable at sensitivity 0.8: sensitivity"].after is None
    assert found.changes["referable at sensitivity 0.8: specificity"].before is not None
    assert "  after" in str(found)
    found.to_dict()


def test_labels_that_cannot_be(trained, site):
    X, y = site
    for wrong in (np.nan, 5, -1, 1.5):
        with pytest.raises(InvalidGradeError, match=r"y must hold grades out of .* in row 7"):
            adapt(trained, (X, np.where(np.arange(160) == 7, wrong, y)))
    with pytest.raises(InvalidGradeError, match="Got 'mild' in row 0"):
        adapt(trained, (X, np.full(160, "mild")))
    with pytest.raises(DataError, match="on a scale of 3 grades, and the model on one of 5"):
        adapt(trained, Bunch(n_grades=3))
    with pytest.raises(DataError, match="one grade a row. Got 160 for 150 rows"):
        adapt(trained, (X[:150], y))
    with pytest.raises(DataError, match="one patient a row. Got 3 for 160 rows"):
        adapt(trained, site, groups=[1, 2, 3])
    A, b = draw(150, 0)
    with pytest.raises(DataError, match="not trained on grade 3 severe NPDR, which row"):
        adapt(ridge().fit(A[b != 3], b[b != 3]), site)


def test_parameters_that_cannot_be(trained, site):
    for name, value in (
        ("cv", 1), ("cv", GuardedSplit(2)), ("n_bootstraps", -1), ("min_patients", 1),
        ("missing_grades", "keep"), ("sensitivity", 0.0), ("specificity", 1.1),
        ("scoring", "accuracy"), ("scoring", np.eye(3)),
    ):  # fmt: skip
        with pytest.raises(InvalidParameterError, match=f"'{name}' parameter"):
            adapt(trained, site, **{name: value})
    few, who = first(site, 20)
    with pytest.raises(SplitError, match="30 folds need at least 30 patients. Got 20"):
        adapt(trained, few, groups=who, cv=30)


def test_other_scales_have_kappa_alone():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 1))
    y = np.array(["well", "ill", "worse"])[np.digitize(X[:, 0], [-0.5, 0.5])]
    order = ["well", "ill", "worse"]
    model = ridge(grades=order).fit(X[:60], y[:60])
    found = adapt(model, (X[60:] + 1, y[60:]), n_bootstraps=2)
    assert list(found.changes) == ["qwk"]
    assert found.class_names == tuple(order)
    assert not hasattr(found.model, "operating_points_")
    assert found.changes["qwk"].after.value > 0.8
    cost = abs(np.subtract.outer(np.arange(3), np.arange(3)))
    by_cost = adapt(model, (X[60:] + 1, y[60:]), n_bootstraps=2, scoring=cost)
    assert by_cost.model.best_score_ <= 0


def test_what_gets_worse_is_told():
    X, y = draw(400, 0)
    model = TunedCutpointClassifierCV(ridge(), cv=3, random_state=0).fit(X, y)
    own, grades = draw(400, 4)
    rows = np.concatenate([np.flatnonzero(grades == k)[:5] for k in range(5)])
    with pytest.warns(
        DataWarning, match="Adapting LOWERS kappa .* cross-fitted; .* yours to decide"
    ):
        found = adapt(model, (own[rows], grades[rows]), n_bootstraps=0)
    assert found.changes["qwk"].difference.value < 0
    assert found.model.predict(own).shape == (400,)


def test_oedema_counts_as_in_the_data():
    A, b = draw(150, 0)
    X, y = draw(160, 1, 0.8)
    model = FoldEnsemble(LogisticRegression(), cv=2).fit(A, b)
    model.referable_with_dme_ = False
    dme = np.where(y == 1, 2.0, 0.0)
    data = Bunch(
        n_grades=5, frame=X, grades=y, given=None, paths=[str(k) for k in range(160)],
        class_names=list("abcde"), patients_known=False, patients=None, dme=dme, ungradable=None,
    )  # fmt: skip
    told = "chosen without macular oedema, and .* scored with it"
    with pytest.warns(DataWarning, match=told):
        found = adapt(model, data, n_bootstraps=0)
    assert found.class_names == tuple("abcde")
    with pytest.raises(InvalidParameterError, match="'groups' .* left out for a Bunch"):
        adapt(model, data, groups=np.arange(160))
    assert found.model.referable_with_dme_ is True
    severity = found.model.predict_severity(X)
    truth = is_referable(y, dme)
    assert truth.sum() == (y >= 1).sum()
    point = operating_point(severity, truth, sensitivity=0.9)
    assert found.model.operating_points_["referable"][0] == point


def test_folds_hold_whole_patients_and_leave_every_grade():
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(40), 2)
    y = rng.choice([0, 2], 80)
    y[[0, 30]] = 4  # two patients have it
    for seed in range(8):
        folds = patient_folds(np.zeros((80, 1)), y, who, 5, cache=False, random_state=seed)
        for train, test in folds:
            assert not set(who[train]) & set(who[test])
            assert set(y[train]) == {0, 2, 4}
        assert sorted(np.concatenate([test for _, test in folds])) == list(range(80))
    lone = np.where(np.arange(80) < 78, y, 3)
    with pytest.raises(DataError, match="No 2 folds were found .* lower cv"):
        patient_folds(np.zeros((80, 1)), lone, who, 2, cache=False, random_state=None)


def test_a_point_that_some_folds_cannot_reach():
    severity = np.concatenate([np.zeros(10), [1.0, 0.0]])
    truth = np.arange(12) >= 10
    folds = [(np.arange(12) != k, np.arange(12) == k) for k in range(12)]
    flags, note = crossed_referrals(severity, truth, folds, "sensitivity", 1.0)
    assert flags is None
    assert note.startswith("not cross-fitted at sensitivity 1: ")
    flags, note = crossed_referrals(severity, truth, folds[:10], "sensitivity", 0.5)
    assert (flags[:10].any(), note) == (False, "")
