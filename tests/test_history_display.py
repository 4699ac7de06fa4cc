"""`HistoryDisplay`, `FoldsDisplay` and `ComparisonDisplay`: what they draw, of which models."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from fundus import (
    ComparisonDisplay,
    FoldEnsemble,
    FoldsDisplay,
    HistoryDisplay,
    TransferClassifier,
    TunedCutpointClassifierCV,
    evaluate,
    evaluate_out_of_fold,
    paired_difference,
)
from fundus.exceptions import DataError
from fundus.reporting.report import make_report, score_values

HISTORY = {
    "loss": [1.0, 0.5, 0.4],
    "val_loss": [1.1, 0.7, 0.9],
    "accuracy": [0.2, 0.5, 0.7],
    "val_accuracy": [0.3, 0.4, 0.6],
    "learning_rate": [0.1, 0.1, 0.1],
}


def test_every_quantity_has_a_panel_and_a_dot_at_the_best_epoch():
    display = HistoryDisplay([HISTORY, HISTORY]).plot()
    assert [ax.get_ylabel() for ax in display.axes_] == ["loss", "accuracy"]
    for ax, best in zip(display.axes_, (0.7, 0.4), strict=True):
        dots = [line for line in ax.lines if line.get_marker() == "o"]
        assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in dots] == [(2, best)] * 2
        assert [list(line.get_ydata()) for line in ax.lines if line.get_linestyle() == "--"] == [
            HISTORY[ax.get_ylabel()]
        ] * 2
    named = [text.get_text() for text in display.axes_[-1].get_legend().get_texts()]
    assert named == ["trained on", "held out", "fold 0", "fold 1"]


def test_one_epoch_without_held_out_photographs_is_seen():
    display = HistoryDisplay([{"loss": [1.0]}]).plot()
    (line,) = display.ax_.lines
    assert line.get_marker() == "."


@pytest.mark.slow
def test_the_networks_inside_any_estimator_are_found(blobs):
    X, y = blobs
    net = TransferClassifier("precomputed", "softmax", epochs=2, random_state=0)
    tuned = TunedCutpointClassifierCV(net, cv=2, random_state=0)
    model = FoldEnsemble(tuned, cv=2, random_state=0).fit(X, y)
    display = HistoryDisplay.from_estimator(model)
    assert len(display.histories) == 2
    for history, fold in zip(display.histories, model.estimators_, strict=True):
        assert history == fold.estimator_.history_
    frozen = TransferClassifier("precomputed", "ridge", grades=3).fit(X, y)
    with pytest.raises(DataError, match="TransferClassifier holds no network .* by epochs"):
        HistoryDisplay.from_estimator(frozen)
    with pytest.raises(DataError, match=r"'loss' among them. Got \[\['accuracy'\]\]"):
        HistoryDisplay([{"accuracy": [1.0]}]).plot()


@pytest.fixture(scope="module")
def by_folds(blobs):
    X, y = blobs
    model = FoldEnsemble(
        TransferClassifier("precomputed", "ridge", grades=3), cv=3, random_state=0
    ).fit(X[:, :2], y)
    return model, X[:, :2], y


def test_dots_are_the_scores_of_each_fold(by_folds):
    model, X, y = by_folds
    evaluation = evaluate_out_of_fold(model, (X, y))
    display = FoldsDisplay(evaluation).plot()
    assert set(display.axes_) == set(evaluation.report.measures)
    np.testing.assert_allclose(display.values_["qwk"], model.cv_results_["test_kappa"])
    for k in range(3):
        test = model.oof_fold_ == k
        assert display.values_["accuracy"][k] == (model.oof_prediction_[test] == y[test]).mean()
    ax = display.axes_["macro_auc"]
    (dots,) = [line for line in ax.lines if line.get_marker() == "o"]
    np.testing.assert_array_equal(dots.get_xdata(), display.values_["macro_auc"])
    assert evaluation.report.measures["macro_auc"].span in ax.get_title(loc="left")


def test_values_are_those_of_a_report(by_folds):
    model, _, y = by_folds
    proba, severity = model.oof_proba_, model.oof_severity_
    pred = model.oof_prediction_
    report = make_report(y, pred, n_grades=3, severity=severity, proba=proba, n_resamples=50)
    found = score_values(y, pred, n_grades=3, severity=severity, proba=proba)
    assert found == pytest.approx({name: m.value for name, m in report.measures.items()})


def test_new_images_have_no_folds():
    X, y = np.arange(30.0).reshape(-1, 1), np.arange(30) // 10
    evaluation = evaluate(LogisticRegression().fit(X, y), (X, y))
    with pytest.raises(DataError, match="new images has no folds"):
        FoldsDisplay(evaluation).plot()


def test_the_better_model_stands_on_its_side_also_for_losses():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 5, 200)
    good = np.where(rng.random(200) < 0.9, y, 2)
    poor = rng.integers(0, 5, 200)
    found = {
        name: paired_difference(name, y, good, poor, n_resamples=200)
        for name in ("qwk", "accuracy", "mean_absolute_error")
    }
    display = ComparisonDisplay(found, names=("good", "poor"), n_images=200).plot()
    dots = [line for line in display.ax_.lines if line.get_marker() == "o"]
    assert all(line.get_xdata()[0] > 0 for line in dots)
    assert found["mean_absolute_error"].difference.value < 0
    low, high = display.ax_.get_xlim()
    assert low == -high
    assert display.ax_.get_title(loc="left") == "good and poor"
    left, _, right = display.ax_.get_xlabel().split("  ")[::2]  # a dot on the right: good is better
    assert (left, right) == ("poor better", "good better")
    backwards = {name: paired_difference(name, y, poor, good, n_resamples=200) for name in found}
    dots = [m for m in ComparisonDisplay(backwards).plot().ax_.lines if m.get_marker() == "o"]
    assert all(line.get_xdata()[0] < 0 for line in dots)
    with pytest.raises(DataError, match="at least one score"):
        ComparisonDisplay({}).plot()


def test_what_is_not_told_apart_is_grey():
    y = np.arange(50) % 5
    same = paired_difference("qwk", y, y, y, n_resamples=50)
    display = ComparisonDisplay({"qwk": same}).plot()
    (dot,) = [line for line in display.ax_.lines if line.get_marker() == "o"]
    assert dot.get_color() == "#5f6368"
    assert dot.get_xdata()[0] == 0
