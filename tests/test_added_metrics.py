"""Metrics of plugins: in evaluations and their intervals, as scorers, left out where they fail."""

from __future__ import annotations

import itertools
import math
import pickle

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import matthews_corrcoef
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from fundus import (
    FoldEnsemble,
    FoldsDisplay,
    TransferClassifier,
    evaluate,
    evaluate_out_of_fold,
    metric_scorer,
)
from fundus.documents.card import model_card
from fundus.documents.html import to_html
from fundus.documents.markdown import to_markdown
from fundus.documents.sections import report_document
from fundus.exceptions import DataWarning, PluginError, PluginWarning, UnknownNameError
from fundus.hookspecs import MetricSpec
from fundus.metrics.registered import metric_value
from fundus.plugins import registry
from fundus.plugins.registry import get_registry
from fundus.plugins.spec_fields import field_problem
from fundus.reporting.added_metrics import added_measures
from fundus.reporting.bootstrap import bootstrap_of
from fundus.reporting.report import make_report
from fundus.testing import check_metric
from fundus.testing.toy_run import toy_run

X = np.random.default_rng(0).normal(np.arange(60) % 5, 0.8).reshape(-1, 1)
Y = np.arange(60) % 5

PLUGIN = """
from fundus.hookspecs import MetricSpec, hookimpl

{code}

@hookimpl
def fundus_metrics():
    return [MetricSpec(name="one", function=one, description="One."{more})]
"""
RIGHT = "def one(y_true, y_pred):\n    return (y_true == y_pred).mean()"


@pytest.fixture
def plugin(install):
    """Return a function that installs a plugin, which is then known in this process."""

    def add(name="added", code=RIGHT, more=""):
        install(name, PLUGIN.format(code=code, more=more))
        registry._loaded.cache_clear()

    return add


@pytest.fixture(scope="module")
def model():
    return TransferClassifier("precomputed", "ridge").fit(X, Y)


@pytest.fixture(scope="module")
def giving_proba():
    return TransferClassifier("precomputed", "logistic").fit(X, Y)


def scored(values: np.ndarray, seen: np.ndarray, spec: MetricSpec, **more) -> dict:
    """Measures of one metric, registered by hand."""
    entry = registry.Entry("hand", "dist-hand", spec)
    found = registry.get_registry()
    found.entries["metric"].append(entry)
    try:
        content = np.column_stack([values, seen]).astype(float)
        bootstrap = bootstrap_of(content, None, n_resamples=50, **more)
        return added_measures(values, seen, None, None, bootstrap)
    finally:
        found.entries["metric"].remove(entry)


def test_a_metric_is_in_every_result_of_an_evaluation(plugin, model):
    plugin()
    found = evaluate(model, (X, Y))
    measure = found.report.measures["added/one"]
    assert measure.value == pytest.approx((model.predict(X) == Y).mean())
    accuracy = found.report.measures["accuracy"]
    assert measure.interval.to_dict() == accuracy.interval.to_dict()
    document = found.to_dict()
    assert document["added/one"] == measure.value
    assert document["intervals"]["added/one"]["low"] == measure.interval.low
    assert "added/one" in found.scores()["score"].tolist()
    assert "added/one" in str(found)


@pytest.mark.slow
def test_out_of_fold_it_is_there_too_and_in_reports(plugin, tmp_path):
    plugin()
    ensemble = FoldEnsemble(TransferClassifier("precomputed", "ridge"), cv=3).fit(X, Y)
    found = evaluate_out_of_fold(ensemble, (X, Y)).to_dict()
    value = found["added/one"]
    assert value == pytest.approx((ensemble.oof_prediction_ == Y).mean())
    run = toy_run(tmp_path / "run")
    written = run.metrics["out_of_fold"]
    written["added/one"], written["intervals"]["added/one"] = value, found["intervals"]["added/one"]
    document = report_document(run, versions={})
    shown = to_html(document), to_markdown(document, beside=tmp_path), model_card(run)
    for text in shown:
        assert "added/one" in text
        assert f"{value:.3f}" in text


def test_its_interval_is_that_of_a_loop_over_the_same_resamples():
    rng = np.random.default_rng(1)
    seen = np.where(rng.random(60) < 0.6, Y, (Y + 1) % 5)
    spec = MetricSpec(name="one", function=matthews_corrcoef, description="One.")
    measure = scored(Y, seen, spec, confidence=0.9)["hand/one"]
    bootstrap = bootstrap_of(np.column_stack([Y, seen]).astype(float), None, n_resamples=50)
    values = [
        matthews_corrcoef(Y, seen, sample_weight=row)
        for part in bootstrap.weights()
        for row in part
    ]
    assert (measure.interval.low, measure.interval.high) == pytest.approx(
        np.percentile(values, [5, 95])
    )


@pytest.mark.parametrize(
    ("needs", "code", "expected"),
    [
        ("severity", "return float(found.mean())", lambda m: m.predict_severity(X).mean()),
        ("probabilities", "return float(found[:, 4].mean())",
         lambda m: m.predict_proba(X)[:, 4].mean()),
    ],
)  # fmt: skip
def test_what_a_metric_needs_is_what_it_gets(plugin, giving_proba, needs, code, expected):
    plugin(code=f"def one(y_true, found):\n    {code}", more=f", needs={needs!r}")
    value = evaluate(giving_proba, (X, Y)).report.measures["added/one"].value
    assert value == pytest.approx(expected(giving_proba))
    scorer = metric_scorer("one")
    assert scorer(giving_proba, X, Y) == pytest.approx(value)


def test_a_model_without_probabilities_has_no_score_of_them(plugin):
    plugin(code="def one(y_true, found):\n    return 1.0", more=", needs='probabilities'")
    from sklearn.linear_model import RidgeClassifier

    found = evaluate(RidgeClassifier().fit(X, Y), (X, Y))
    assert "added/one" not in found.report.measures


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def one(a, b):\n    raise SystemExit('no')", "failed with SystemExit: no"),
        ("def one(a, b):\n    return 1 / 0", "failed with ZeroDivisionError: division by zero"),
        ("def one(a, b):\n    return 'good'", "must return a finite number.*Got 'good'"),
        ("def one(a, b):\n    return a == b", "must return a finite number"),
        ("def one(a, b):\n    return float('inf')", "must return a finite number.*Got inf"),
        ("def one(a):\n    return 1.0", "failed with TypeError"),
    ],
)
def test_one_that_fails_is_left_out_and_the_others_stay(plugin, model, monkeypatch, code, told):
    plugin("broken", code)
    plugin("works")
    with pytest.warns(PluginWarning, match=f"'broken/one' of dist-broken {told}.*It is left out"):
        found = evaluate(model, (X, Y))
    assert {"works/one", "qwk"} <= set(found.report.measures)
    assert "broken/one" not in found.report.measures
    monkeypatch.setenv("FUNDUS_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match=told):
        evaluate(model, (X, Y))


def test_it_may_fail_where_a_resample_lacks_a_grade():
    def all_grades(y_true, y_pred):
        if len(set(y_true.tolist())) < 5:
            raise ValueError("a grade is missing")
        return float((y_true == y_pred).mean())

    true = np.array([0, 1, 2, 3, 4, *[0] * 55])
    spec = MetricSpec(name="one", function=all_grades, description="One.")
    with pytest.warns(PluginWarning, match="a grade is missing. So it was on 41 of 50 resamples"):
        measure = scored(true, np.roll(true, 1), spec)["hand/one"]
    assert math.isfinite(measure.value)
    assert math.isnan(measure.interval.low)  # too few resamples have all grades


def test_it_changes_and_prints_nothing(plugin, model, capsys):
    plugin(code="def one(a, b):\n    print('here')\n    a[:] = 0\n    b[:] = 0\n    return 1.0")
    found = evaluate(model, (X, Y))
    assert found.y_true.tolist() == Y.tolist()
    assert found.report.accuracy == pytest.approx((model.predict(X) == Y).mean())
    assert "here" not in capsys.readouterr().out


def test_a_scorer_is_for_searches(plugin):
    off = "def one(a, b):\n    return float(abs(a - b).mean())"
    plugin(code=off, more=", greater_is_better=False")
    scorer = metric_scorer("added/one")
    assert pickle.loads(pickle.dumps(scorer))(
        TransferClassifier("precomputed", "ridge").fit(X, Y), X, Y
    ) == pytest.approx(
        -np.abs(Y - TransferClassifier("precomputed", "ridge").fit(X, Y).predict(X)).mean()
    )
    search = GridSearchCV(
        TransferClassifier("precomputed", "ridge"), {"head": ["ridge", "logistic"]},
        scoring=scorer, cv=2, error_score="raise",
    )  # fmt: skip
    assert search.fit(X, Y).best_score_ <= 0


def test_a_scorer_of_names_follows_their_order(plugin):
    plugin(code="def one(a, b):\n    return float(abs(a - b).sum() + 10 * a.mean())")
    names = np.array(["none", "mild", "severe"])
    y = names[np.arange(60) % 3]
    model = TransferClassifier("precomputed", "logistic", grades=list(names)).fit(X, y)
    seen = np.array([list(names).index(name) for name in model.predict(X)])
    off = np.abs(seen - np.arange(60) % 3).sum()
    assert metric_scorer("one")(model, X, y) == pytest.approx(off + 10)
    with pytest.raises(UnknownNameError, match="no metric called 'two'.*Registered: one"):
        metric_scorer("two")


def test_a_scorer_sees_the_order_of_names_in_a_pipeline(plugin):
    plugin(code="def one(a, b):\n    return float(abs(a - b).sum() + 10 * a.mean())")
    names = ["none", "mild", "severe"]
    y = np.array(names)[np.arange(60) % 3]
    model = TransferClassifier("precomputed", "logistic", grades=names)
    piped = Pipeline([("model", model)]).fit(X, y)
    scorer = metric_scorer("one")
    assert scorer(piped, X, y) == scorer(piped[-1], X, y)
    ordered = metric_scorer("one", grades=names)
    bare = LogisticRegression().fit(X, y)
    seen = np.array([names.index(name) for name in bare.predict(X)])
    assert ordered(bare, X, y) == pytest.approx(np.abs(seen - np.arange(60) % 3).sum() + 10)
    with pytest.warns(DataWarning, match="alphabet"):
        scorer(bare, X, y)


def test_a_scorer_of_numbers_has_the_whole_scale(plugin):
    """Also where a fold's model was trained without a grade."""
    plugin(code="def one(a, b):\n    return float(abs(a - b).max())")
    y = np.where(np.arange(60) % 2, 4, 1)
    model = DummyClassifier(strategy="constant", constant=1).fit(X, y)
    assert metric_scorer("one")(model, X, y) == 3


def test_what_is_masked_is_undefined_and_what_is_huge_is_no_score(plugin):
    plugin(code="import numpy as np\ndef one(a, b):\n    return np.ma.masked")
    entry = get_registry().find("metric", "one")
    assert np.isnan(metric_value(entry, Y, Y))
    entry.spec.__dict__["function"] = lambda a, b: 10**400
    with pytest.raises(PluginError, match="OverflowError"):
        metric_value(entry, Y, Y)


def test_folds_are_drawn_where_a_plugin_has_a_metric(plugin):
    plugin(code="def one(a, b):\n    return float((a == b).mean())")
    model = FoldEnsemble(TransferClassifier("precomputed", "ridge"), cv=2, random_state=0)
    shown = FoldsDisplay.from_estimator(model.fit(X, Y), X, Y)
    assert "qwk" in shown.axes_
    assert not any("one" in name for name in shown.axes_)


def test_failures_on_resamples_are_told(plugin, monkeypatch):
    code = "def one(a, b):\n    if len(set(a.tolist())) < 5:\n        raise ValueError('few')\n"
    plugin(code=code + "    return 0.5")
    rare = np.r_[np.zeros(36, int), 1, 2, 3, 4]
    with pytest.warns(PluginWarning, match=r"few. So it was on \d+ of \d+ resamples"):
        make_report(rare, rare, plugins=True)
    monkeypatch.setenv("FUNDUS_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match="few"):
        make_report(rare, rare, plugins=True)


_numbers = itertools.count()


def sorting(y_true, y_pred):
    value = float((y_true == y_pred).mean())
    y_pred.sort()
    return value


def spec_of(function, **more) -> MetricSpec:
    return MetricSpec(name="one", function=function, description="One.", **more)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (spec_of(lambda a, b: 1.0), "a right grading must have a greater value"),
        (spec_of(matthews_corrcoef, greater_is_better=False), "turn greater_is_better round"),
        (spec_of(lambda a, b: next(_numbers)), "must be the same for the same grading"),
        (spec_of(lambda a, b: float("nan")), "must be a finite number where all grades occur"),
        (spec_of(lambda a, b: None), "must give a number for 60 images on a scale of 2 grades"),
        (spec_of(sorting), "must not change its arguments"),
    ],
)  # fmt: skip
def test_the_kit_says_what_is_wrong(spec, told):
    with pytest.raises(AssertionError, match=told):
        check_metric(spec)


def test_the_kit_takes_each_kind():
    check_metric(spec_of(matthews_corrcoef))
    check_metric(spec_of(lambda a, p: -np.log(p[np.arange(len(a)), a]).mean(),
                         needs="probabilities", greater_is_better=False))  # fmt: skip
    check_metric(spec_of(lambda a, s: np.corrcoef(a, s)[0, 1], needs="severity"))


def test_fields_that_are_wrong_are_told():
    assert "'needs' must be one of 'grades'" in field_problem(spec_of(len, needs="labels"))
    assert "'greater_is_better' must be True" in field_problem(spec_of(len, greater_is_better=1))
