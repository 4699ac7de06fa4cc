"""`shortcut_report`: what the severity follows among images of one grade."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kruskal, spearmanr

import fundus
from fundus.exceptions import DataError, DataWarning
from fundus.metrics.rank_correlation import MidRanks, Within, kruskal_wallis, spearman
from fundus.reporting.shortcuts import shortcut_report

FEW = {"n_resamples": 200}


@pytest.fixture(scope="module")
def graded():
    """120 images of 60 patients: grades, severities and a measure that nothing follows."""
    rng = np.random.default_rng(0)
    y = np.repeat(rng.integers(0, 3, 60), 2)
    return y, y + rng.normal(size=120), rng.normal(size=120), np.repeat(np.arange(60), 2)


def test_spearman_is_that_of_scipy_also_where_images_are_drawn_several_times():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 6, 30).astype(float), rng.normal(size=30)
    times = rng.integers(0, 4, 30)
    found = spearman(np.array([np.ones(30), times]), MidRanks(a), MidRanks(b))
    repeated = np.repeat(a, times), np.repeat(b, times)
    wanted = [spearmanr(a, b).statistic, spearmanr(*repeated).statistic]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_h_is_that_of_scipy_also_where_a_category_is_not_drawn():
    rng = np.random.default_rng(1)
    a, category = rng.integers(0, 6, 40).astype(float), rng.integers(0, 3, 40)
    times = rng.integers(0, 4, 40) * (category != 1)
    h, n, k = kruskal_wallis(np.array([np.ones(40), times]), MidRanks(a), category)
    drawn, of = np.repeat(a, times), np.repeat(category, times)
    wanted = [
        kruskal(*(a[category == c] for c in range(3))).statistic,
        kruskal(drawn[of == 0], drawn[of == 2]).statistic,
    ]
    np.testing.assert_allclose(h, wanted, rtol=1e-12)
    assert (n.tolist(), k.tolist()) == ([40, times.sum()], [3, 2])


def test_grades_are_pooled_by_their_numbers_of_images(graded):
    y, severity, other, _ = graded
    found = shortcut_report(severity, y, measures={"other": other}, n_grades=4, **FEW)
    (one,) = found.shortcuts
    each = [spearmanr(severity[y == k], other[y == k]).statistic for k in range(3)]
    sizes = [(y == k).sum() - 1 for k in range(3)]
    assert one.pooled.value == pytest.approx(np.average(each, weights=sizes))
    assert [m.value for m in one.by_grade[:3]] == pytest.approx(each)
    assert np.isnan(one.by_grade[3].value)  # no image has it
    assert (found.strong, found.n_patients) == ((), None)


def test_a_shortcut_is_not_the_grade_itself(graded):
    y, severity, _, who = graded
    found = shortcut_report(severity, y, measures={"grade": y + 0.0}, groups=who, n_grades=3)
    assert np.isnan(found.shortcuts[0].pooled.value)
    assert not found.strong
    assert found.n_patients == 60


def test_a_strong_shortcut_is_warned_of_by_name(graded):
    y, severity, other, who = graded
    frame = pd.DataFrame({"patient": who, "camera": np.where(other > 0, "Ω-1", "Δ-2")})
    with pytest.warns(DataWarning, match=r"follows camera \(eta squ.*light \(rank correlation"):
        found = shortcut_report(
            severity + other, y, frame, measures={"light": other}, n_grades=3, **FEW
        )
    assert found.strong == ("camera", "light")
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert json.loads(text)["shortcuts"]["camera"]["kind"] == "eta squared"


def test_a_perfect_correlation_is_strong_though_it_has_no_interval():
    light = np.random.default_rng(0).normal(size=60)
    y = np.arange(60) % 3
    with pytest.warns(DataWarning, match="follows light"):
        found = shortcut_report(y - light, y, measures={"light": light}, n_grades=3, **FEW)
    assert found.shortcuts[0].pooled.value == pytest.approx(-1)
    few = shortcut_report(light[:5], [0] * 5, measures={"m": light[:5]}, n_grades=3, **FEW)
    assert few.strong == ()


@pytest.mark.filterwarnings("error")
def test_few_images_are_no_reason_to_warn():
    rng = np.random.default_rng(3)
    y = np.zeros(6, int)
    found = shortcut_report(rng.normal(size=6), y, measures={"m": [1, 3, 2, 6, 5, 4]}, n_grades=2)
    assert abs(found.shortcuts[0].pooled.value) > 0.3  # by chance
    assert found.strong == ()


def test_categories_without_a_difference_explain_nothing_on_average():
    rng, values = np.random.default_rng(0), []
    for _ in range(200):
        score, category = rng.normal(size=40), rng.integers(0, 4, 40)
        values.append(Within(score, np.zeros(40, int), 1).explained(np.ones((1, 40)), category)[0])
    assert abs(np.mean(values)) < 0.02  # not 3 / 39, as the plain share of variance would be


def test_unknown_values_are_left_out(graded):
    y, severity, other, _ = graded
    gaps = np.where(np.arange(120) % 3 == 0, np.nan, other)
    frame = pd.DataFrame({"site": ["a", None, "b"] * 40})
    found = shortcut_report(severity, y, frame, measures={"gaps": gaps}, n_grades=3, **FEW)
    assert [s.n_images for s in found.shortcuts] == [80, 80]
    known = np.isfinite(gaps)
    same = shortcut_report(
        severity[known], y[known], measures={"gaps": gaps[known]}, n_grades=3, **FEW
    )
    assert found.shortcuts[1].pooled.value == pytest.approx(same.shortcuts[0].pooled.value)


def test_the_order_of_rows_does_not_matter(graded):
    y, severity, other, who = graded
    order = np.random.default_rng(5).permutation(120)
    how = {"n_grades": 3, **FEW}
    first = shortcut_report(severity, y, measures={"m": other}, groups=who, **how)
    again = shortcut_report(
        severity[order], y[order], measures={"m": other[order]}, groups=who[order], **how
    )
    one, two = (found.shortcuts[0].pooled.interval for found in (first, again))
    assert (one.low, one.high) == pytest.approx((two.low, two.high))


@pytest.mark.parametrize("sites", [[f"site {k}" for k in range(120)], ["  "] * 120])
def test_a_column_that_nobody_named_is_left_out_where_it_makes_no_groups(graded, sites):
    y, severity, other, _ = graded
    frame = pd.DataFrame({"site": sites})
    how = {"measures": {"m": other}, "n_grades": 3, **FEW}
    with pytest.warns(DataWarning, match=r"column 'site' .* left out of the shortcut report"):
        found = shortcut_report(severity, y, frame, **how)
    assert [shortcut.name for shortcut in found.shortcuts] == ["m"]
    with pytest.raises(DataError, match="column 'site'"):
        shortcut_report(severity, y, frame, columns=["site"], **how)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"measures": None}, "Got none"),
        ({"measures": {"m": [1.0]}}, "'m' must have one value for each of 120"),
        ({"severity": np.full(120, np.nan)}, "120 are not finite"),
        ({"X": pd.DataFrame({"site": [1] * 120}), "columns": ["lens"]}, "'lens'.*are 'site'"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(graded, change, message):
    y, severity, other, _ = graded
    arguments = {"severity": severity, "y": y, "measures": {"m": other}, "n_grades": 3} | change
    with pytest.raises(DataError, match=message):
        shortcut_report(**arguments)


def test_table_and_figure_show_every_measure(graded):
    y, severity, other, who = graded
    frame = pd.DataFrame({"camera": ["x", "[y]"] * 60})
    found = shortcut_report(
        severity, y, frame, measures={"[red]": other}, groups=who, n_grades=3, **FEW
    )
    table = found.to_table()
    assert list(table.columns[0].cells) == ["camera (η²)", r"\[red]"]
    labels = [tick.get_text() for tick in found.plot().axes[0].get_yticklabels()]
    assert labels == ["camera (η²)", "[red]"]


def test_the_figure_has_each_value_in_its_row(graded):
    from matplotlib.colors import same_color

    y, severity, other, who = graded
    frame = pd.DataFrame({"camera": np.where(other > 0.3, "x", "y")})
    measures = {"fov_share": -other, "flat": np.ones(120)}
    with pytest.warns(DataWarning):
        found = shortcut_report(
            severity + other, y, frame, measures=measures, groups=who, n_grades=3, **FEW
        )
    ax = found.plot().axes[0]
    labels = [tick.get_text() for tick in ax.get_yticklabels()]
    assert labels == ["camera (η²)", "field of view", "flat"]
    bands = {round(bar.get_y() + bar.get_height() / 2): bar for bar in ax.patches}
    assert [bands[row].get_x() for row in (0, 1)] == pytest.approx([-0.09, -0.3])
    assert [bands[row].get_width() for row in (0, 1)] == pytest.approx([0.18, 0.6])
    at = {(*line.get_xdata(), *line.get_ydata()): line.get_color() for line in ax.lines}
    for row, shortcut in enumerate(found.shortcuts[:2]):
        ends = shortcut.pooled.interval
        assert same_color(at[shortcut.pooled.value, row], at[ends.low, ends.high, row, row])
        assert same_color(at[shortcut.pooled.value, row], "#d7301f") == shortcut.strong
        within = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 3]
        assert [*within[row]] == [measure.value for measure in shortcut.by_grade]
    assert [text.get_text() for text in ax.texts] == ["does not vary within a grade"]
    from rich.console import Console

    console = Console(width=80, color_system=None)
    with console.capture() as text:
        console.print(found.to_table())
    rows = [line.split() for line in text.get().splitlines()]
    assert [line[:3] for line in rows if line[:1] == ["camera"]] == [["camera", "(η²)", "*"]]
    assert "field of view *" in text.get()
    assert "* strong" in text.get()


def test_photographs_are_measured_once(photographs, tmp_path):
    from fundus.frozen.loading import work_done

    severity = np.random.default_rng(0).normal(size=len(photographs.paths))
    before = work_done["decodes"]
    how = {"cache": tmp_path, **FEW}
    first = fundus.shortcut_report(severity, photographs.grades, photographs.frame, **how)
    made = work_done["decodes"] - before
    again = fundus.shortcut_report(severity, photographs.grades, photographs.frame, **how)
    assert (made, work_done["decodes"] - before) == (len(severity), made)
    assert [s.name for s in first.shortcuts] == [
        *("fov_share", "brightness", "sharpness", "jpeg_quality", "pixels")
    ]
    assert first.to_dict() == again.to_dict()
    assert first.n_patients == photographs.frame["patient"].nunique()
