"""`fundus.evaluate`: the scores of any model, and what a run of ``fundus train`` keeps."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from joblib import Parallel, delayed
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score

import fundus
from fundus.cli.screen import in_words_of_options
from fundus.exceptions import (
    DataError,
    DataWarning,
    InvalidGradeError,
    InvalidParameterError,
    Mention,
    Message,
)
from fundus.metrics.operating_points import OperatingPoint
from fundus.parameters import invalid

OLD_RUN = Path(__file__).parent / "data" / "format2" / "run"


@pytest.fixture(scope="module")
def graded():
    """150 rows of 4 features, two a patient; the grade follows the first."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(150, 4)), columns=list("abcd"))
    y = np.digitize(X["a"] + 0.3 * rng.normal(size=150), [-0.5, 0.3, 0.8, 1.3])
    return X.to_numpy(), y


@pytest.fixture(scope="module")
def ensemble(graded):
    return fundus.FoldEnsemble(LogisticRegression(), cv=3, random_state=0).fit(*graded)


@pytest.fixture(scope="module")
def run_folder(photographs, tmp_path_factory):
    """A finished run of the command line, and its data."""
    from typer.testing import CliRunner

    from fundus.cli import app

    base = tmp_path_factory.mktemp("evaluation")
    folder, others = Path(photographs.paths[0]).parents[1], base / "others"
    fundus.make_fundus(20, 64, 1, out_dir=others)
    options = ["--recipe", "fast", "--backbone", "tiny", "--weights", "fixed"]
    options += ["--image-size", "32", "--folds", "3", "--no-audit", "--no-maps", "--dpi", "30"]
    options += ["--head", "ridge", "--out", str(base / "run"), "--cache-dir", str(base / "cache")]
    for words in (
        ["train", str(folder), *options],
        ["evaluate", str(base / "run"), str(others), "-o", str(base / "e.csv")],
        ["predict", str(base / "run"), str(others), "-o", str(base / "p.csv")],
    ):
        result = CliRunner().invoke(app, [*words, "--quiet"])
        assert result.exit_code == 0, result.output
    return base, folder


def test_evaluate_agrees_with_scikit_learn(graded, ensemble):
    X, y = graded
    found = fundus.evaluate(ensemble, (X, y))
    assert found.report.accuracy == accuracy_score(y, ensemble.predict(X))
    severity = ensemble.predict_severity(X)
    auc = roc_auc_score(y >= 2, severity)
    assert found.screening.conditions[0].auc.value == pytest.approx(auc)
    assert found.coverage is None
    frame = found.to_frame()
    assert list(frame)[:5] == ["file_name", "target", "prediction", "file", "grade"]
    np.testing.assert_array_equal(frame["severity"], severity)
    assert found.screening.conditions[0].points == ()  # none was chosen in training


@pytest.mark.slow
def test_evaluate_out_of_fold_chooses_what_evaluate_applies(graded, ensemble):
    X, y = graded
    out = fundus.evaluate_out_of_fold(ensemble, (X, y), sensitivity=0.8, specificity=0.7)
    np.testing.assert_array_equal(out.predictions.grades, ensemble.oof_prediction_)
    np.testing.assert_array_equal(out.to_frame()["fold"], ensemble.oof_fold_)
    model = fundus.OrdinalConformalClassifier.from_ensemble(ensemble, y, random_state=0)
    out.keep_with(model)
    assert {p.goal for p in model.operating_points_["referable"]} == {0.8, 0.7}
    found = fundus.evaluate(model, (X, y))
    point = model.operating_points_["referable"][0]
    flagged = ensemble.predict_severity(X) >= point.threshold
    np.testing.assert_array_equal(found.predictions.referable, flagged)
    scored = found.screening.conditions[0].points[0]
    assert scored.sensitivity.value == flagged[y >= 2].mean()
    assert not scored.chosen_here
    low, high = model.predict_set(X)
    assert found.coverage.coverage.value == np.mean((low <= y) & (y <= high))
    decided = found.predictions.to_frame()
    np.testing.assert_array_equal(decided["defer"], low != high)
    assert decided["grades_set"][0] == ";".join(map(str, range(low[0], high[0] + 1)))
    model.estimator = LogisticRegression()
    model.set_params(cv=3).fit(X, y)
    assert not hasattr(model, "operating_points_")  # they were of the fit before


def test_an_evaluation_is_told_and_drawn(graded, ensemble):
    found = fundus.evaluate(ensemble, graded)
    assert "quadratic weighted kappa" in str(found)
    assert "Screening by grade" in str(found)
    json.dumps(found.to_dict(), allow_nan=False)
    assert set(found.plot()) == {"confusion", "severity", "reliability", "roc"}
    assert {"qwk", "referable auc"} <= set(found.scores()["score"])


def test_hard_votes_have_neither_severity_nor_screening(graded):
    X, y = graded
    model = fundus.FoldEnsemble(LogisticRegression(), cv=3, voting="hard").fit(X, y)
    out = fundus.evaluate_out_of_fold(model, graded)
    for found in (out, fundus.evaluate(model, graded)):
        assert found.screening is None
        assert found.predictions.severity is None
        assert "severity" not in found.to_frame()
        assert set(found.plot()) == {"confusion"}
    out.keep_with(model)
    assert model.class_names_ == [f"class{k}" for k in range(5)]
    assert not hasattr(model, "operating_points_")


def test_images_of_one_grade_are_scored_and_a_model_of_one_is_refused(graded, ensemble):
    X, y = graded
    mild = y == 1
    found = fundus.evaluate(ensemble, (X[mild], y[mild]))
    assert found.report.accuracy == np.mean(ensemble.predict(X[mild]) == 1)
    assert found.to_dict()["n_true"] == [0, int(mild.sum()), 0, 0, 0]
    assert "no AUC: 0 of" in found.screening.conditions[0].notes[-1]
    short = fundus.FixedCutpointClassifier(LogisticRegression(), cutpoints=[0.5, 1.5])
    assert fundus.evaluate(short.fit(X[y < 3], y[y < 3]), (X[mild], y[mild])).screening is None
    one = DummyClassifier(strategy="constant", constant=0).fit(X, np.zeros(150, int))
    with pytest.raises(InvalidParameterError, match="at least two grades"):
        fundus.evaluate(one, (X, np.zeros(150, int)))


def test_data_on_another_scale_is_refused(graded, ensemble, photographs):
    folder = Path(photographs.paths[0]).parents[1]
    data = fundus.load_image_folder(folder)
    two = fundus.FoldEnsemble(LogisticRegression(), cv=3).fit(graded[0], graded[1] >= 2)
    with pytest.raises(DataError, match="scale of 5 grades, and the model on one of 2"):
        fundus.evaluate(two, data)
    with pytest.raises(InvalidGradeError):
        fundus.evaluate(ensemble, (graded[0][:2], [0, 7]))
    with pytest.raises(DataError, match="2 images are scored out of fold"):
        fundus.evaluate_out_of_fold(ensemble, (graded[0][:2], [0, 1]))


@pytest.mark.slow
def test_a_run_keeps_what_was_decided_in_training(run_folder):
    base, _ = run_folder
    model = fundus.load(base / "run" / "model")
    assert isinstance(model, fundus.OrdinalConformalClassifier)
    assert model.class_names_ == [f"class{k}" for k in range(5)]
    assert model.referable_with_dme_ is False
    assert model.rule_.alpha == 0.1
    metrics = json.loads((base / "run" / "metrics.json").read_text())
    chosen = metrics["out_of_fold"]["screening"]["referable"]["operating_points"]
    points = model.operating_points_["referable"]
    assert all(isinstance(point, OperatingPoint) for point in points)
    assert [p.threshold for p in points] == [p["threshold"] for p in chosen]
    model.save(base / "again")
    again = fundus.load(base / "again")
    assert again.operating_points_ == model.operating_points_
    assert again.class_names_ == model.class_names_


@pytest.mark.slow
def test_evaluate_says_what_the_command_line_says(run_folder):
    base, folder = run_folder
    model, data = fundus.load(base / "run" / "model"), fundus.load_image_folder(base / "others")
    found = fundus.evaluate(model, data, shortcuts=True)
    assert json.loads(json.dumps(found.to_dict())) == json.loads(
        (base / "e.json").read_text()
    )["scores"]  # fmt: skip
    written = pd.read_csv(base / "e.csv")
    frame = found.to_frame()
    assert list(frame) == list(written)
    np.testing.assert_allclose(frame["severity"], written["severity"], atol=1e-6)
    decided = pd.read_csv(base / "p.csv")
    table = found.predictions.to_frame()
    assert table["referable"].tolist() == decided["referable"].tolist()
    assert table["grades_set"].tolist() == decided["grades_set"].astype(str).tolist()
    out = fundus.evaluate_out_of_fold(
        model.ensemble_, fundus.load_image_folder(folder), shortcuts=True
    )
    metrics = json.loads((base / "run" / "metrics.json").read_text())
    assert json.loads(json.dumps(out.to_dict())) == metrics["out_of_fold"]


def test_a_run_of_the_former_release_has_the_same_attributes():
    about = json.loads((OLD_RUN / "model.json").read_text())["about"]
    model = fundus.load(OLD_RUN)
    assert model.class_names_ == about["class_names"]
    assert model.referable_with_dme_ == about["with_dme"]
    assert model.rule_.alpha == about["conformal"]["alpha"]
    for name, points in model.operating_points_.items():
        assert [point.to_dict() for point in points] == about["operating_points"][name]
    low, high = model.predict_set(
        np.load(OLD_RUN.parents[1] / "format1" / "photographs.npz")["images"]
    )
    assert (low <= high).all()


def test_oedema_that_counted_otherwise_is_told(graded, ensemble):
    X, y = graded
    frame = pd.DataFrame(X).assign(dme=np.where(y == 2, 2, 0))
    features = fundus.FoldEnsemble(LogisticRegression(), cv=3, random_state=0)
    features.fit(frame[[0, 1, 2, 3]].to_numpy(), y)
    fundus.evaluate_out_of_fold(features, graded).keep_with(features)
    features.referable_with_dme_ = True
    with pytest.warns(DataWarning, match="chosen with macular oedema"):
        fundus.evaluate(features, graded)


def fail(name):
    raise invalid("TransferClassifier", name, "a number", "fast")


@pytest.mark.parametrize("copy", [lambda e: pickle.loads(pickle.dumps(e)), lambda e: e])
def test_an_error_carries_the_name_of_its_parameter(copy):
    error = copy(invalid("TransferClassifier", "power", "a number", "fast"))
    assert error.parameter == "power"
    expected = "The 'power' parameter of TransferClassifier must be a number. Got 'fast' instead."
    assert str(error) == expected
    assert InvalidParameterError("no one's").parameter is None


def test_the_name_survives_another_process():
    with pytest.raises(InvalidParameterError) as caught:
        Parallel(n_jobs=2)(delayed(fail)(name) for name in ("power", "power"))
    assert caught.value.parameter == "power"


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: fundus.FoldEnsemble(LogisticRegression(), voting="loud").fit([[0], [1]], [0, 1]),
         "voting"),
        (lambda: fundus.TransferClassifier(pooling="mean").fit(["a", "b"], [0, 1]),
         "pooling"),
        (lambda: fundus.make_fundus(0, out_dir="x"), "n"),
        (lambda: fundus.operating_point([0, 1], [0, 1], sensitivity=2), "sensitivity"),
        (lambda: fundus.load_image_folder("x", on_error="ignore"), "on_error"),
        (lambda: fundus.paired_difference("f1", [0], [0], [0]), "metric"),
    ],
)  # fmt: skip
def test_errors_all_over_the_library_carry_it(make, name):
    with pytest.raises(InvalidParameterError) as caught:
        make()
    assert caught.value.parameter == name


@pytest.mark.parametrize(
    ("mention", "python", "option"),
    [
        (Mention("on_error", "skip"), "on_error='skip'", "--on-error skip"),
        (Mention("class_names", ["a", "b"]), "class_names=['a', 'b']", "--grades a,b"),
        (Mention("grades", ...), "grades=[…]", "--grades No_DR,Mild,…"),
        (Mention("grades", 6), "grades=6", "--grades 6"),
        (Mention("path"), "path=", "--path-column"),
        (Mention("cv", text="cv"), "cv", "--folds"),
        (Mention("skipped", text="the attribute 'skipped'"), "the attribute 'skipped'",
         "skipped.csv"),
        (Mention("random_state", owner="X"), "'random_state' parameter of X", "option --seed"),
        (Mention("verbose", 1), "verbose=1", "verbose=1"),
    ],
)  # fmt: skip
def test_what_python_calls_a_parameter_the_command_line_calls_an_option(mention, python, option):
    options = {"--on-error", "--grades", "--path-column", "--folds", "--seed"}
    message = pickle.loads(pickle.dumps(Message(f"Mend it with {mention}.", mention)))
    assert message == f"Mend it with {python}."
    told = message.told(lambda mention: in_words_of_options(mention, options))
    assert told == f"Mend it with {option}."
