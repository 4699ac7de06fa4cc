"""Users' own names in figures are drawn as they are, whatever mathematics would make of them."""

from __future__ import annotations

import io
import warnings

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser
from matplotlib.text import Text
from PIL import Image

import fundus
from fundus import (
    AugmentationDisplay,
    ComparisonDisplay,
    ContactSheetDisplay,
    FoldEnsemble,
    FoldsDisplay,
    GradingDisplay,
    HistoryDisplay,
    PreprocessingDisplay,
    ReliabilityDisplay,
    RocDisplay,
    SaliencyDisplay,
    SeverityDisplay,
    TransferClassifier,
    audit_images,
    compare,
    evaluate_out_of_fold,
    shortcut_report,
)
from fundus.reporting.bootstrap import Interval, Measure
from fundus.reporting.stressed import StressReport, StressScore
from fundus.runtime.figures import as_written

#: Of grades, columns, files and runs. Mathematics would refuse the first, and draw the second.
BROKEN, NAME = r"$\frac_{$", r"$a_1$ ^ \$b\$"
PHOTOGRAPH = np.random.default_rng(0).integers(40, 200, (48, 48, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("names")
    found = []
    for k in range(6):
        path = folder / f"{NAME.replace(chr(92), '_')}{k}.png"
        Image.fromarray(np.roll(PHOTOGRAPH, 7 * k, axis=1)).save(path)
        found.append(str(path))
    return found


@pytest.fixture(scope="module")
def evaluation():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)), np.arange(60) % 5
    model = FoldEnsemble(TransferClassifier("precomputed", "ridge"), cv=3, random_state=0).fit(X, y)
    model.class_names_ = [BROKEN, NAME, "class2", "class_3", "d"]
    return evaluate_out_of_fold(model, (X, y))


@pytest.fixture(scope="module")
def fitted(paths):
    model = TransferClassifier("tiny", "ridge", weights="fixed", cache=False, grades=3)
    return model.fit(paths, np.arange(6) % 3)


def stress() -> StressReport:
    def score(kind, strength):
        return StressScore(kind, strength, {"qwk": Measure(0.7, Interval(0.6, 0.8, 0.95, True))})

    kinds = tuple(score(kind, 2) for kind in (BROKEN, NAME))
    return StressReport(score("unchanged", 0), kinds, {2: score("mean", 2)}, 9, None, None)


def audit_sheet(ax, paths):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fundus.exceptions.DataWarning)
        extractor = fundus.FeatureExtractor("tiny", weights="fixed", cache=False)
        found = audit_images(paths, extractor=extractor, cache=False)
    return ContactSheetDisplay.from_audit(found, paths, title=BROKEN, ax=ax)


def reliability(ax, found):
    return ReliabilityDisplay.from_predictions(
        found.y_true, found.predictions.proba, title=NAME, ax=ax
    )


def severity(ax, found):
    return SeverityDisplay.from_predictions(
        found.y_true, found.predictions.severity, class_names=found.report.class_names,
        title=BROKEN, ax=ax,
    )  # fmt: skip


def shortcuts(found):
    return shortcut_report(
        found.predictions.severity, found.y_true,
        measures={NAME: np.sin(np.arange(60)), BROKEN: [f"$c_{k % 3}$" for k in range(60)]},
    )  # fmt: skip


#: How to draw each public display with such names, on given axes or None, and which it writes.
DISPLAYS = {
    "AugmentationDisplay": lambda ax, of: AugmentationDisplay(
        [[PHOTOGRAPH, PHOTOGRAPH]], [NAME]).plot(ax),
    "ComparisonDisplay": lambda ax, of: ComparisonDisplay(
        compare(of["evaluation"], of["evaluation"], n_resamples=20).differences,
        names=(BROKEN, NAME)).plot(ax),
    "ContactSheetDisplay": lambda ax, of: ContactSheetDisplay(
        [PHOTOGRAPH, BROKEN], [f"{NAME}\n{BROKEN}", NAME], title=NAME, note=BROKEN).plot(ax),
    "FoldsDisplay": lambda ax, of: FoldsDisplay(of["evaluation"]).plot(ax),
    "GradingDisplay": lambda ax, of: GradingDisplay(
        of["evaluation"].report, title=NAME).plot(ax),
    "HistoryDisplay": lambda ax, of: HistoryDisplay(
        [{"loss": [1.0, 0.5], NAME: [0.1, 0.2]}], title=BROKEN).plot(ax),
    "PreprocessingDisplay": lambda ax, of: PreprocessingDisplay(
        [[PHOTOGRAPH]], [[BROKEN]]).plot(ax),
    "ReliabilityDisplay": lambda ax, of: reliability(ax, of["evaluation"]),
    "RocDisplay": lambda ax, of: RocDisplay(of["evaluation"].screening, title=BROKEN).plot(ax),
    "SaliencyDisplay": lambda ax, of: SaliencyDisplay.from_estimator(
        of["fitted"], of["paths"][:1], ax=ax),
    "SeverityDisplay": lambda ax, of: severity(ax, of["evaluation"]),
    "of an audit": lambda ax, of: audit_sheet(ax, of["paths"]),
    "shortcuts": lambda ax, of: shortcuts(of["evaluation"]).plot(),
    "stress": lambda ax, of: stress().plot(ax),
}  # fmt: skip


def figure_of(drawn) -> Figure:
    return getattr(drawn, "figure_", drawn)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text)]


@pytest.fixture
def parsed(monkeypatch):
    """What is read as mathematics from now on."""
    found = []
    parse = MathTextParser.parse
    monkeypatch.setattr(
        MathTextParser, "parse",
        lambda self, s, *rest, **more: found.append(s) or parse(self, s, *rest, **more),
    )  # fmt: skip
    return found


def test_every_public_display_is_drawn_here():
    public = {name for name in fundus.__all__ if name.endswith("Display")}
    assert public <= set(DISPLAYS)


@pytest.mark.parametrize("name", DISPLAYS)
def test_names_are_drawn_as_they_are(name, evaluation, fitted, paths, parsed):
    of = {"evaluation": evaluation, "fitted": fitted, "paths": paths}
    with warnings.catch_warnings():
        if name == "shortcuts":  # noise that is correlated, or not
            warnings.simplefilter("ignore", fundus.exceptions.DataWarning)
        figure = figure_of(DISPLAYS[name](None, of))
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    assert parsed == []
    written = "".join(texts(figure)).replace("\n", "").replace(" ", "")
    if name not in ("FoldsDisplay", "of an audit"):
        assert "$a_1$" in written or r"$\frac_{$" in written


@pytest.mark.parametrize("name", [n for n in DISPLAYS if n != "shortcuts"])
def test_text_on_given_axes_stays_its_makers(name, evaluation, fitted, paths, parsed):
    of = {"evaluation": evaluation, "fitted": fitted, "paths": paths}
    own = Figure((9, 9))
    left, right = own.subplots(1, 2)
    left.text(0.5, 0.5, "$q$")
    right.set_title("$r$")
    DISPLAYS[name](left, of)
    own.savefig(io.BytesIO(), format="png", dpi=40)
    assert set(parsed) == {"$q$", "$r$"}


def test_numbers_beside_ticks_stay_those_of_matplotlib(evaluation, parsed):
    with mpl.rc_context({"axes.formatter.use_mathtext": True}):
        figure = severity(None, evaluation).figure_
        for ax in figure.axes:
            ax.xaxis.get_ticklabels()
        figure.savefig(io.BytesIO(), format="png")
    numbers = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert numbers == parsed[-len(numbers) :] or set(numbers) <= set(parsed)
    assert not any("a_1" in text for text in parsed)


def test_categories_are_names_and_no_numbers():
    @as_written
    def draw():
        figure = Figure()
        figure.subplots().bar(["$a_1$", "b"], [1, 2])
        return figure

    (ax,) = draw().axes
    ax.figure.canvas.draw()
    assert [t.get_text() for t in ax.get_xticklabels()] == ["$a_1$", "b"]
    assert not any(t.get_parse_math() for t in ax.get_xticklabels())


def test_no_text_of_ours_goes_through_latex(evaluation):
    with mpl.rc_context({"text.usetex": True}):
        figure = GradingDisplay(evaluation.report, title="95 % of $x_1$").plot().figure_
    assert not any(text.get_usetex() for text in figure.findobj(Text) if text.get_text())
