"""What labels mean: their order, their weights, and their shape, in everything that reads them."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import cohen_kappa_score
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight

import fundus
from fundus import (
    CumulativeCalibratedClassifierCV,
    FixedCutpointClassifier,
    FoldEnsemble,
    LogisticHead,
    OrdinalConformalClassifier,
    OrdinalLogisticRegression,
    OrdinalRidge,
    RidgeHead,
    SecondStageClassifier,
    TransferClassifier,
    TunedCutpointClassifierCV,
    adjacent_accuracy,
    inverse_frequency_weights,
    kappa_scorer,
    make_kappa_scorer,
    optimal_cutpoints,
    quadratic_weighted_kappa,
)
from fundus.exceptions import DataWarning, InvalidGradeError, InvalidParameterError
from fundus.metrics import class_sample_weight
from fundus.model_selection.splits import check_split

NAMES = ["No_DR", "Mild", "Moderate", "Severe", "Proliferate_DR"]
ORDERED = pd.CategoricalDtype(NAMES, ordered=True)

rng = np.random.default_rng(0)
y = np.repeat(np.arange(5), 24)
X = np.column_stack([y + rng.normal(size=120), rng.normal(size=(120, 3))])
as_text = np.array(NAMES)[y]


def ridge(**kwargs):
    return TransferClassifier("precomputed", RidgeHead(alpha=1.0), random_state=0, **kwargs)


FORMS = {
    "ordered Series": pd.Series(as_text, index=np.arange(120)[::-1], dtype=ORDERED),
    "Categorical": pd.Categorical(as_text, NAMES, ordered=True),
    "categories in an order of their own": pd.Series(as_text, dtype=pd.CategoricalDtype(NAMES)),
}

MODELS = {
    "TransferClassifier": ridge,
    "Pipeline": lambda: make_pipeline(StandardScaler(), ridge()),
    "GridSearchCV": lambda: GridSearchCV(
        ridge(), {"head__alpha": [1.0, 100.0]}, scoring=kappa_scorer, cv=3
    ),
    "FoldEnsemble": lambda: FoldEnsemble(ridge(), cv=3, random_state=0),
    "FoldEnsemble of a stranger": lambda: FoldEnsemble(LogisticRegression(), cv=3, random_state=0),
    "FoldEnsemble of a search": lambda: FoldEnsemble(
        GridSearchCV(ridge(), {"head__alpha": [1.0, 100.0]}, scoring=kappa_scorer, cv=3),
        cv=3,
        random_state=0,
    ),
    "tuned cutpoints": lambda: TunedCutpointClassifierCV(ridge(), cv=3, random_state=0),
    "cutpoints of a regressor": lambda: TunedCutpointClassifierCV(Ridge(), cv=3, random_state=0),
    "fixed cutpoints": lambda: FixedCutpointClassifier(Ridge()),
    "calibration": lambda: CumulativeCalibratedClassifierCV(ridge(), cv=3, random_state=0),
    "conformal": lambda: OrdinalConformalClassifier(ridge(), cv=3, random_state=0),
    "second stage": lambda: SecondStageClassifier(ridge(), cv=3, random_state=0),
    "OrdinalLogisticRegression": OrdinalLogisticRegression,
    "OrdinalRidge": OrdinalRidge,
}


def places(labels):
    return np.array([NAMES.index(label) for label in np.asarray(labels).tolist()])


def severity_or_proba(model, names):
    """Severities, or probabilities in the order of the grades."""
    model = getattr(model, "best_estimator_", model)
    if hasattr(model, "predict_severity"):
        return model.predict_severity(X)
    columns = np.argsort(places(model.classes_)) if names else np.arange(len(model.classes_))
    return model.predict_proba(X)[:, columns]


@pytest.mark.parametrize("name", MODELS)
def test_a_categorical_counts_like_its_numbers(name):
    by_number, by_name = MODELS[name]().fit(X, y), MODELS[name]().fit(X, FORMS["ordered Series"])
    assert by_name.classes_.tolist() == sorted(NAMES)
    assert (places(by_name.predict(X)) == by_number.predict(X)).all()
    a, b = severity_or_proba(by_number, False), severity_or_proba(by_name, True)
    np.testing.assert_allclose(b, a, atol=1e-6)
    last = by_name.steps[-1][1] if name == "Pipeline" else by_name
    assert getattr(last, "best_estimator_", last).grades_.tolist() == NAMES
    if hasattr(by_name, "predict_proba") and by_number.predict_proba(X).shape[1] == 5:
        columns = by_name.predict_proba(X)[:, np.argsort(places(by_name.classes_))]
        np.testing.assert_allclose(columns, by_number.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_a_categorical(form):
    assert ridge().fit(X, FORMS[form]).grades_.tolist() == NAMES
    search = GridSearchCV(ridge(), {"head__alpha": [1.0, 100.0]}, scoring=kappa_scorer, cv=3)
    scores = search.fit(X, FORMS[form]).cv_results_["mean_test_score"]
    assert scores == pytest.approx(search.fit(X, y).cv_results_["mean_test_score"])


def test_the_reported_kappa_is_of_the_categorical_order():
    for head in (RidgeHead(alpha=1.0), LogisticHead(C=1.0)):
        model = TransferClassifier("precomputed", head, random_state=0)
        ensemble = FoldEnsemble(model, cv=3, random_state=0).fit(X, FORMS["Categorical"])
        for k, reported in enumerate(ensemble.cv_results_["test_kappa"]):
            test = ensemble.oof_fold_ == k
            kappa = cohen_kappa_score(
                y[test],
                places(ensemble.oof_prediction_[test]),
                labels=range(5),
                weights="quadratic",
            )
            assert reported == pytest.approx(kappa)


def test_an_unused_category_is_a_grade_without_images():
    keep = y != 3
    target = FORMS["ordered Series"][keep]
    by_name = ridge().fit(X[keep], target)
    assert by_name.grades_.tolist() == NAMES
    assert by_name.classes_.tolist() == sorted(set(NAMES) - {"Severe"})
    by_number = ridge(grades=5).fit(X[keep], y[keep])
    np.testing.assert_allclose(by_name.predict_severity(X), by_number.predict_severity(X))
    ensemble = FoldEnsemble(LogisticRegression(), cv=3, random_state=0).fit(X[keep], target)
    assert ensemble.grades_.tolist() == NAMES
    given = places(ensemble.oof_prediction_)
    kappas = [
        quadratic_weighted_kappa(y[keep][ensemble.oof_fold_ == k], given[ensemble.oof_fold_ == k])
        for k in range(3)
    ]
    assert ensemble.cv_results_["test_kappa"] == pytest.approx(kappas)
    regression = OrdinalRidge().fit(X[keep], target)
    assert regression.grades_.tolist() == NAMES
    assert regression.thresholds_.shape == (3,)
    assert regression.predict_proba(X).shape == (120, 4)


def test_every_fold_knows_the_whole_scale():
    """A fold that trains without a grade has its place nevertheless."""
    rows = np.arange(120)
    tests = [(y == 2) & (rows % 2 == 0) | (rows % 8 == 0), (y == 4) & (rows % 8 != 0)]
    tests[1] |= rows % 8 == 1
    folds = [
        (rows[~test & (y != lacking)], rows[test])
        for test, lacking in zip(tests, (2, 4), strict=True)
    ]
    ensemble = FoldEnsemble(ridge(), cv=folds).fit(X, FORMS["ordered Series"])
    assert [model.grades_.tolist() for model in ensemble.estimators_] == [NAMES, NAMES]
    by_number = FoldEnsemble(ridge(grades=5), cv=folds).fit(X, y)
    np.testing.assert_allclose(ensemble.predict_severity(X), by_number.predict_severity(X))


def test_a_saved_ensemble_keeps_the_order_of_the_labels(tmp_path):
    model = FoldEnsemble(LogisticRegression(), cv=3, random_state=0)
    model.fit(X, FORMS["ordered Series"]).save(tmp_path / "model")
    loaded = fundus.load(tmp_path / "model")
    assert loaded.grades_.tolist() == NAMES
    np.testing.assert_allclose(loaded.predict_severity(X), model.predict_severity(X))


def test_models_that_were_fitted_elsewhere_get_the_order_of_the_labels():
    target = FORMS["ordered Series"]
    results = cross_validate(
        LogisticRegression(), X, target, cv=3, return_estimator=True, return_indices=True
    )
    ensemble = FoldEnsemble.from_cv_results(results, X, target)
    assert ensemble.grades_.tolist() == NAMES
    numbers = ensemble.predict_proba(X)[:, np.argsort(places(ensemble.classes_))] @ np.arange(5)
    np.testing.assert_allclose(ensemble.predict_severity(X), numbers)
    with pytest.warns(DataWarning, match="alphabet"):
        FoldEnsemble.from_cv_results(results, X, as_text)
    fitted = LogisticRegression().fit(X, as_text)
    sets = OrdinalConformalClassifier(FrozenEstimator(fitted)).fit(X, target)
    assert sets.grades_.tolist() == NAMES
    numbers = FrozenEstimator(LogisticRegression().fit(X, y))
    by_number = OrdinalConformalClassifier(numbers).fit(X, y)
    for named, number in zip(sets.predict_set(X), by_number.predict_set(X), strict=True):
        assert (places(named) == number).all()
    with pytest.warns(DataWarning, match="alphabet"):
        OrdinalConformalClassifier(FrozenEstimator(fitted)).fit(X, as_text)


def test_cutpoints_around_a_fitted_model_take_its_scale():
    fitted = FrozenEstimator(ridge(grades=NAMES).fit(X, as_text))
    model = FixedCutpointClassifier(fitted).fit(X, as_text)
    assert model.grades_.tolist() == NAMES


def told(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [w for w in caught if "order" in str(w.message)]


@pytest.mark.parametrize("name", MODELS)
def test_names_without_an_order_warn(name):
    caught = told(lambda: MODELS[name]().fit(X, as_text))
    assert {w.category for w in caught} == {DataWarning}
    assert "grades=[…]" in str(caught[0].message)
    assert str(sorted(NAMES)) in str(caught[0].message)
    assert "y.cat.codes" in str(caught[0].message)
    if name != "GridSearchCV":  # scikit-learn's, each of whose fits is a call of its own
        assert len(caught) == 1
    if name not in ("GridSearchCV", "Pipeline"):
        assert caught[0].filename == __file__  # the line that a user can mend


def test_names_that_need_no_warning():
    assert not told(lambda: ridge(grades=NAMES).fit(X, as_text))
    assert not told(lambda: FoldEnsemble(ridge(grades=NAMES), cv=3).fit(X, as_text))
    piped = FoldEnsemble(make_pipeline(StandardScaler(), ridge(grades=NAMES)), cv=3)
    assert not told(lambda: piped.fit(X, as_text))
    assert piped.grades_.tolist() == NAMES
    two = np.where(y >= 2, "RDR", "NRDR")
    assert not told(lambda: FoldEnsemble(ridge(), cv=3).fit(X, two))
    assert quadratic_weighted_kappa(two, two) == 1


def test_an_unordered_categorical_in_the_order_of_the_alphabet_is_no_order():
    plain = pd.Series(as_text).astype("category")
    with pytest.warns(DataWarning, match="alphabet"):
        assert ridge().fit(X, plain).grades_.tolist() == sorted(NAMES)
    assert not told(lambda: ridge().fit(X, pd.Series(y).astype("category")))


def test_grades_count_more_than_categories_and_say_so():
    reverse = pd.Categorical(as_text, NAMES[::-1], ordered=True)
    for model in (ridge(grades=NAMES), FoldEnsemble(ridge(grades=NAMES), cv=3, random_state=0)):
        with pytest.warns(DataWarning, match="another order") as caught:
            assert model.fit(X, reverse).grades_.tolist() == NAMES
        assert len(caught) == 1


def test_scores_take_the_order_of_a_categorical():
    pred = np.clip(y + rng.integers(-1, 3, 120), 0, 4)
    names = np.array(NAMES)[pred]
    want = quadratic_weighted_kappa(y, pred)
    for form in FORMS.values():
        assert quadratic_weighted_kappa(form, names) == pytest.approx(want)
        assert adjacent_accuracy(form, names) == pytest.approx(adjacent_accuracy(y, pred))
        cuts, score = optimal_cutpoints(X[:, 0], form)
        by_number = optimal_cutpoints(X[:, 0], y)
        assert (cuts == by_number[0]).all()
        assert score == by_number[1]
    with pytest.warns(DataWarning, match=r"grades=\[…\]"):
        alphabetical = quadratic_weighted_kappa(as_text, names)
    code = {name: k for k, name in enumerate(sorted(NAMES))}
    by_alphabet = [[code[n] for n in column] for column in (as_text.tolist(), names.tolist())]
    assert alphabetical == pytest.approx(cohen_kappa_score(*by_alphabet, weights="quadratic"))
    with pytest.warns(DataWarning, match=r"grades=\[…\]"):
        optimal_cutpoints(X[:, 0], as_text)
    # numbers keep their distances, whatever pandas calls them
    part = y != 2
    assert quadratic_weighted_kappa(
        pd.Series(y[part]).astype("category"), pred[part]
    ) == pytest.approx(quadratic_weighted_kappa(y[part], pred[part]))


def test_the_scorer_takes_the_order_of_the_estimator():
    by_number = cross_val_score(ridge(), X, y, cv=3, scoring=kappa_scorer)
    for model, target, scorer in (
        (ridge(grades=NAMES), as_text, kappa_scorer),
        (make_pipeline(StandardScaler(), ridge(grades=NAMES)), as_text, kappa_scorer),
        (ridge(), FORMS["Categorical"], kappa_scorer),
        (ridge(grades=NAMES), as_text, make_kappa_scorer(NAMES)),
    ):
        scores = cross_val_score(model, X, target, cv=3, scoring=scorer)
        assert scores == pytest.approx(by_number)
    stranger = LogisticRegression()
    scores = cross_val_score(stranger, X, FORMS["ordered Series"], cv=3, scoring=kappa_scorer)
    assert scores == pytest.approx(cross_val_score(stranger, X, y, cv=3, scoring=kappa_scorer))
    with pytest.warns(DataWarning, match=r"grades=\[…\]"):
        kappa_scorer(stranger.fit(X, as_text), X, as_text)


def test_several_scorers_share_one_prediction():
    calls = []

    class Counted(LogisticRegression):
        def predict(self, X):
            calls.append(len(X))
            return super().predict(X)

    scoring = {"kappa": kappa_scorer, "accuracy": "accuracy"}
    cross_validate(Counted(), X, FORMS["ordered Series"], cv=3, scoring=scoring)
    assert len(calls) == 3


@pytest.mark.parametrize("wrap", [VotingClassifier, StackingClassifier])
def test_names_inside_an_ensemble_that_numbers_them(wrap):
    model = wrap([("a", ridge(grades=NAMES))])
    with pytest.raises(InvalidGradeError, match=r"encode labels alphabetically.*y\.cat\.codes"):
        model.fit(X, as_text)
    codes = FORMS["ordered Series"].cat.codes.to_numpy()
    encoded = wrap([("a", ridge())]).fit(X, codes)
    kappa = quadratic_weighted_kappa(y, encoded.predict(X))
    assert kappa == pytest.approx(
        quadratic_weighted_kappa(y, ridge().fit(X, y).predict(X)), abs=0.1
    )


def test_an_ordered_categorical_around_an_ensemble_that_numbers_it():
    inside = VotingClassifier([("a", ridge())])
    with pytest.warns(DataWarning, match=r"VotingClassifier encodes labels.*y\.cat\.codes"):
        FoldEnsemble(inside, cv=3).fit(X, FORMS["ordered Series"])
    assert not told(lambda: FoldEnsemble(inside, cv=3).fit(X, pd.Series(y).astype("category")))
    strangers = FoldEnsemble(VotingClassifier([("a", LogisticRegression())]), cv=3)
    assert not told(lambda: strangers.fit(X, FORMS["ordered Series"]))


def test_names_where_the_scale_has_numbers():
    with pytest.raises(InvalidGradeError, match=r"Got the names .* grades=\[…\]"):
        ridge(grades=5).fit(X, as_text)


WEIGHTS = {0: 0.01, 1: 0.01, 2: 0.01, 3: 0.01, 4: 50.0}


@pytest.mark.parametrize(
    ("weights", "hint"),
    [
        (json.loads(json.dumps(WEIGHTS)), r"json\.loads.*int\(key\)"),
        ({k + 1: w for k, w in WEIGHTS.items()}, "count from 1, the labels from 0"),
        ({"NRDR": 1.0, "RDR": 5.0}, "VotingClassifier"),
        ({0: 1.0, 7: 2.0}, "whole scale as 'grades'"),
    ],
)
def test_keys_of_class_weight_that_are_no_labels(weights, hint):
    with pytest.raises(ValueError) as theirs:
        compute_class_weight(weights, classes=np.arange(5), y=y)
    with pytest.raises(InvalidParameterError, match=hint) as ours:
        TransferClassifier("precomputed", "logistic", class_weight=weights).fit(X, y)
    assert "'class_weight' parameter" in str(ours.value)
    assert str(theirs.value) in str(ours.value)  # "The classes, [...], are not in class_weight"


def test_weights_by_name_inside_an_ensemble_that_numbers_them():
    two = np.where(y >= 2, "RDR", "NRDR")
    model = TransferClassifier("precomputed", "logistic", class_weight={"NRDR": 1.0, "RDR": 9.0})
    model.fit(X, two)
    with pytest.raises(InvalidParameterError, match=r"The classes, \[0, 1\].*encode y first"):
        VotingClassifier([("a", model)]).fit(X, two)


def test_a_fold_that_lacks_a_grade_is_fine_with_weights():
    rows = np.arange(120)
    folds = [(rows[y != 4], rows[y == 4])]
    for weights, grades in ((WEIGHTS, None), ({4: 50.0}, 5)):
        model = TransferClassifier("precomputed", "logistic", grades=grades, class_weight=weights)
        FoldEnsemble(model, cv=folds).fit(X, y)
    model = TransferClassifier("precomputed", "logistic", class_weight={"Proliferate_DR": 9.0})
    FoldEnsemble(model, cv=folds).fit(X, FORMS["ordered Series"])
    # a label without a weight has 1, as long as every key is a label
    assert class_sample_weight({4: 50.0}, y).tolist() == np.where(y == 4, 50.0, 1.0).tolist()
    spare = class_sample_weight({**WEIGHTS, 9: 1.0}, y)
    assert spare.tolist() == [WEIGHTS[k] for k in y.tolist()]


ONE_HOT = np.eye(5)[y]
READERS = {
    **{name: (lambda target, make=make: make().fit(X, target)) for name, make in MODELS.items()
       if name not in ("GridSearchCV", "Pipeline", "FoldEnsemble of a search")},
    "fit_all": lambda target: FoldEnsemble(ridge(), cv=3).fit(X, y).fit_all(X, target),
    "kappa": lambda target: quadratic_weighted_kappa(target, y),
    "kappa of a prediction": lambda target: quadratic_weighted_kappa(y, target),
    "adjacent_accuracy": lambda target: adjacent_accuracy(target, y),
    "scorer": lambda target: kappa_scorer(ridge().fit(X, y), X, target),
    "optimal_cutpoints": lambda target: optimal_cutpoints(X[:, 0], target),
    "brier_score": lambda target: fundus.brier_score(target, ONE_HOT),
    "inverse_frequency_weights": inverse_frequency_weights,
    "check_split": lambda target: check_split(3, X, target),
    "frozen": lambda target: OrdinalConformalClassifier(FrozenEstimator(ridge().fit(X, y))).fit(
        X, target
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("form", [ONE_HOT, ONE_HOT.astype(int), pd.get_dummies(pd.Series(y))])
def test_one_hot_labels_name_argmax(name, form):
    with pytest.raises(InvalidGradeError, match=r"\(120, 5\).*argmax\(axis=1\)"):
        READERS[name](form)


def test_other_shapes_are_not_called_one_hot():
    with pytest.raises(InvalidGradeError, match="one grade a row") as error:
        ridge().fit(X, np.arange(240).reshape(120, 2))
    assert "argmax" not in str(error.value)
