"""Figures: what they show, and that pyplot's state is left alone."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from fundus import FoldEnsemble, TransferClassifier
from fundus.exceptions import DataError, InvalidGradeError
from fundus.reporting.displays import SeverityDisplay, plot_confusion


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
    assert low <= -1.5
    assert high >= 6.0


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
    plot_confusion(np.eye(5, dtype=int), [f"class{k}" for k in range(5)])
    assert plt.get_fignums() == before


def test_confusion_counts_images_and_colours_shares():
    confusion = np.array([[90, 10], [1, 4]])
    figure = plot_confusion(confusion, ["healthy", "ill"], title="QWK 0.5")
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.texts] == ["90", "10", "1", "4"]
    np.testing.assert_allclose(ax.images[0].get_array(), [[0.9, 0.1], [0.2, 0.8]])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["healthy", "ill"]
    assert ax.get_title() == "QWK 0.5"


def test_confusion_of_a_grade_without_images(tmp_path):
    figure = plot_confusion(np.array([[3, 0], [0, 0]]), ["a", "b"])
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_lengths_and_grades_are_checked():
    with pytest.raises(DataError, match=r"shapes \(1,\) and \(2,\)"):
        SeverityDisplay.from_predictions([0, 1], [0.5])
    with pytest.raises(DataError, match="2 names for 5 grades"):
        SeverityDisplay.from_predictions([0, 1], [0.5, 1.0], class_names=["a", "b"])
    with pytest.raises(InvalidGradeError, match="row 1"):
        SeverityDisplay.from_predictions([0, 5], [0.5, 1.0])
