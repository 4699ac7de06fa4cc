"""Figures: what they show, and that pyplot's state is left alone."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from fundus import (
    FixedCutpointClassifier,
    FoldEnsemble,
    GradingDisplay,
    SeverityDisplay,
    TransferClassifier,
    evaluate_out_of_fold,
    quadratic_weighted_kappa,
)
from fundus.exceptions import DataError, InvalidGradeError


@pytest.fixture
def severities():
    rng = np.random.default_rng(0)
    true = np.repeat([0, 1, 2, 4], 10)
    return true, true + rng.normal(0, 0.4, 40)


def test_severity_shows_every_image_and_the_medians(severities):
    true, severity = severities
    ax = SeverityDisplay.from_predictions(true, severity).ax_
    dots = [line for line in ax.lines if line.get_marker() == "."]
    shown = np.concatenate([line.get_ydata() for line in dots])
    np.testing.assert_allclose(np.sort(shown), np.sort(severity))
    medians = [line.get_ydata()[0] for line in ax.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(medians, [np.median(severity[true == k]) for k in (0, 1, 2, 4)])
    labels = [text.get_text() for text in ax.get_xticklabels()]
    assert labels[3] == "3\nsevere NPDR\n(n=0)"
    assert labels[4] == "4\nPDR\n(n=10)"


def test_dots_stand_over_their_true_grade(severities):
    ax = SeverityDisplay.from_predictions(*severities).ax_
    for line in ax.lines:
        if line.get_marker() == ".":
            assert len(set(np.round(line.get_xdata()))) == 1


def test_all_severities_are_in_view():
    ax = SeverityDisplay.from_predictions([0, 2], [-1.5, 6.0], n_grades=3).ax_
    low, high = ax.get_ylim()
    assert low < -1.5
    assert high > 6.0


def test_boundaries_are_a_regressors_and_the_legend_names_what_is_drawn(severities):
    true, severity = severities
    ax = SeverityDisplay.from_predictions(true, severity).ax_
    assert not [line for line in ax.lines if line.get_linestyle() == ":"]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["image", "quartiles", "median"]

    X = severity[:, np.newaxis]
    for head, expected in (("ridge", [0.5, 1.5, 2.5, 3.5]), ("logistic", [])):
        one = TransferClassifier("precomputed", head, grades=5)
        for model in (one, FoldEnsemble(one, cv=2, random_state=0)):
            ax = SeverityDisplay.from_estimator(model.fit(X, true), X, true).ax_
            drawn = [line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == ":"]
            assert drawn == expected
            assert len(ax.get_legend().get_texts()) == (4 if expected else 3)


def test_given_axes_are_drawn_on(severities):
    figure = Figure()
    ax = figure.subplots()
    display = SeverityDisplay.from_predictions(*severities, ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is figure


def test_from_estimator_asks_for_the_severity(severities):
    true, severity = severities

    class Model:
        def predict_severity(self, X):
            return severity[X]

    display = SeverityDisplay.from_estimator(Model(), np.arange(40), true, n_grades=5)
    np.testing.assert_array_equal(display.severity, severity)


def test_pyplot_has_no_figure_of_ours(severities):
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    SeverityDisplay.from_predictions(*severities)
    GradingDisplay.from_predictions(range(5), range(5))
    assert plt.get_fignums() == before


def test_cells_say_counts_and_shares_and_the_title_says_kappa():
    true = [0] * 100 + [1] * 5
    pred = [0] * 90 + [1] * 11 + [1] * 4
    pred[100] = 0
    display = GradingDisplay.from_predictions(
        true, pred, n_grades=2, class_names=["healthy", "ill"], title="All"
    )
    found = [[text.get_text() for text in row] for row in display.text_]
    assert found == [["90\n90 %", "10\n10 %"], ["1\n20 %", "4\n80 %"]]
    np.testing.assert_allclose(display.ax_.images[0].get_array(), [[0.9, 0.1], [0.2, 0.8]])
    rows = [text.get_text() for text in display.ax_.get_yticklabels()]
    assert rows == ["healthy\n(n=100)", "ill\n(n=5)"]
    assert display.ax_.get_title(loc="left") == "All"
    kappa = quadratic_weighted_kappa(true, pred, n_grades=2)
    (below,) = [t.get_text() for t in display.ax_.texts if "images" in t.get_text()]
    assert below.startswith(f"105 images, kappa {kappa:.2f} (")


def test_kappa_s_interval_is_by_patient_where_they_are_known():
    rng = np.random.default_rng(0)
    true = np.repeat(rng.integers(0, 5, 30), 4)
    pred = np.clip(true + np.repeat(rng.integers(-1, 2, 30), 4), 0, 4)
    alone, together = (
        GradingDisplay.from_predictions(true, pred, groups=groups).report.measures["qwk"].interval
        for groups in (None, np.repeat(np.arange(30), 4))
    )
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_a_grade_without_images_has_no_shares_and_one_grade_no_kappa(tmp_path):
    display = GradingDisplay.from_predictions([0, 0, 0], [0, 0, 0], n_grades=2)
    display.figure_.savefig(tmp_path / "figure.png")
    assert [text.get_text() for text in display.text_[1]] == ["0", "0"]
    assert any("kappa undefined" in text.get_text() for text in display.ax_.texts)


def test_labels_of_the_estimator_are_named():
    X = np.arange(40.0).reshape(-1, 1)
    y = np.repeat(["none", "some"], 20)
    model = TransferClassifier("precomputed", "logistic", grades=["none", "some"]).fit(X, y)
    display = GradingDisplay.from_estimator(model, X, y)
    assert [text.get_text() for text in display.ax_.get_xticklabels()] == ["none", "some"]
    assert display.report.confusion.sum() == 40
    display = SeverityDisplay.from_estimator(model, X, y)
    assert [t.get_text() for t in display.ax_.get_xticklabels()] == ["none\n(n=20)", "some\n(n=20)"]


def test_fitted_cutpoints_are_drawn_of_every_fold():
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    X = y[:, np.newaxis] + rng.normal(0, 0.3, (90, 1))
    one = FixedCutpointClassifier(
        TransferClassifier("precomputed", "ridge", grades=3), cutpoints=[0.4, 1.7]
    )
    model = FoldEnsemble(one, cv=2, random_state=0).fit(X, y)
    ax = SeverityDisplay.from_estimator(model, X, y).ax_
    dotted = [line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == ":"]
    np.testing.assert_allclose(dotted, [0.4, 1.7])
    thin = [line for line in ax.lines if line.get_linewidth() == 0.7]
    assert len(thin) == 4
    evaluation = evaluate_out_of_fold(model, (X, y))
    np.testing.assert_allclose(evaluation.boundaries, [[0.4, 1.7]] * 2)
    drawn = evaluation.plot()["severity"].axes[0]
    assert sum(line.get_linestyle() == ":" for line in drawn.lines) == 2


def test_a_grade_that_no_severity_reaches_has_no_line():
    ax = SeverityDisplay.from_predictions(
        [0, 1, 2], [0.1, 0.9, 1.2], n_grades=3, boundaries=[0.5, np.inf]
    ).ax_
    assert sum(line.get_linestyle() == ":" for line in ax.lines) == 1


def test_lengths_and_grades_are_checked():
    with pytest.raises(DataError, match=r"shapes \(1,\) and \(2,\)"):
        SeverityDisplay.from_predictions([0, 1], [0.5])
    with pytest.raises(DataError, match="2 names for 5 grades"):
        SeverityDisplay.from_predictions([0, 1], [0.5, 1.0], class_names=["a", "b"])
    with pytest.raises(InvalidGradeError, match="row 1"):
        SeverityDisplay.from_predictions([0, 5], [0.5, 1.0])
