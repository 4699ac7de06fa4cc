"""How results look: a line in a console, text in print, tables of HTML in a notebook."""

from __future__ import annotations

import pickle
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from rich.console import Group

from fundus import (
    FoldEnsemble,
    TransferClassifier,
    audit_images,
    compare,
    evaluate_out_of_fold,
    load_images,
    shortcut_report,
)
from fundus.runtime.shown import Shown
from fundus.runtime.terminal import new_table


class Tables(HTMLParser):
    """The cells of all tables, and whether every element is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.cells, self.tables = [], [], 0

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tables += tag == "table"

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.cells.append(data)


def read(html: str) -> Tables:
    found = Tables()
    found.feed(html)
    assert found.open == []
    return found


@pytest.fixture(scope="module")
def results(photographs, tmp_path_factory):
    """One of every kind of result."""
    cache = tmp_path_factory.mktemp("cache")
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)), np.arange(60) % 5
    model = FoldEnsemble(TransferClassifier("precomputed", "ridge"), cv=3, random_state=0)
    evaluation = evaluate_out_of_fold(model.fit(X, y), (X, y))
    return {
        "data": photographs,
        "unlabelled data": load_images(photographs.paths[:3]),
        "plan": TransferClassifier("tiny", "ridge", weights="fixed", cache=cache).plan(
            photographs.frame
        ),
        "audit": audit_images(photographs.paths[:4], cache=cache),
        "evaluation": evaluation,
        "report": evaluation.report,
        "screening": evaluation.screening,
        "comparison": compare(evaluation, evaluation, n_resamples=20),
        "shortcuts": shortcut_report(
            evaluation.predictions.severity, y, measures={"brightness": rng.normal(size=60)}
        ),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["data", "unlabelled data", "plan", "audit", "evaluation", "report", "screening", "comparison",
     "shortcuts"],
)  # fmt: skip
def test_every_result_is_short_in_a_console_and_tables_in_a_notebook(results, name):
    result = results[name]
    assert re.fullmatch(rf"<{type(result).__name__}[: ].+>", repr(result))
    assert len(repr(result)) < 200
    assert "\n" not in repr(result)
    found = read(result._repr_html_())
    assert found.tables >= (name != "unlabelled data")
    assert found.cells
    assert "\n" in str(result) or name == "unlabelled data"


@pytest.mark.slow
def test_what_is_said(results):
    data = results["data"]
    assert repr(data).startswith("<Photographs: 40 photographs of 20 patients")
    cells = read(data._repr_html_()).cells
    counts = np.bincount(data.grades, minlength=5)
    assert all(str(n) in cells for n in counts)
    assert "1 mild NPDR" in cells
    assert repr(results["unlabelled data"]).endswith("of 2 patients, without grades>")
    evaluation = results["evaluation"]
    assert repr(evaluation) == "<Evaluation: Out-of-fold scores: 60 images>"
    assert f"{evaluation.report.qwk:.3f}" in read(evaluation._repr_html_()).cells
    assert "40 images: pooled features" in repr(results["plan"])


def test_names_are_not_read_as_markup():
    class Odd(Shown):
        def to_table(self):
            table = new_table("a <b> title", "name", caption="below & [bold]above[/bold]")
            table.add_row("<script>")
            return Group(table, "a [red]line[/red]")

    html = Odd()._repr_html_()
    assert "<script>" not in html
    found = read(html)
    assert found.cells == ["a <b> title", "name", "<script>", "below & above", "a line"]
    assert repr(Odd()) == "<Odd: a <b> title>"


def test_estimators_show_their_backbone_and_head():
    model = FoldEnsemble(TransferClassifier("tiny", "ridge"), cv=3)
    for shown in (repr(model), model._repr_html_()):
        assert "tiny" in shown
        assert "ridge" in shown


@pytest.mark.slow
def test_data_is_a_bunch_still(results):
    data = results["data"]
    assert data["paths"] is data.paths
    assert isinstance(data.frame, pd.DataFrame)
    assert {"paths", "grades"} <= set(data)


@pytest.mark.slow
def test_a_figure_is_a_picture_in_a_notebook_and_can_be_sent(results):
    figure = results["comparison"].plot().figure_
    for one in (figure, pickle.loads(pickle.dumps(figure))):
        assert one._repr_png_().startswith(b"\x89PNG")
