"""Sections that plugins add to reports: escaped by the library, checked, left out where broken."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fundus.cli import app
from fundus.documents.blocks import Command, Points, Table, Text
from fundus.documents.html import to_html
from fundus.documents.markdown import to_markdown
from fundus.documents.sections import report_document
from fundus.exceptions import PluginError, PluginWarning
from fundus.hookspecs import ReportSectionSpec
from fundus.plugins import registry
from fundus.testing import check_report_section
from fundus.testing.toy_run import toy_run

PLUGIN = """
from fundus.documents.blocks import Picture, Points, Table, Text
from fundus.hookspecs import ReportSectionSpec, hookimpl

def make(run):
    {code}

@hookimpl
def fundus_report_sections():
    return [ReportSectionSpec(name="one", title="One <& *two*", make=make, description="One.")]
"""
EVIL = "<script>alert(1)</script> *bold* [a](http://b) |"
ALL = (
    f"return [Text({EVIL!r}, strong=True), Points([{EVIL!r}]), "
    f"Table({EVIL!r}, ('a', {EVIL!r}), [('1', {EVIL!r})], {EVIL!r}), "
    f"Picture(run.path / 'here.png', {EVIL!r}, {EVIL!r})]"
)


@pytest.fixture
def plugin(install):
    """Return a function that installs a plugin, which is then known in this process."""

    def add(code, name="added"):
        install(name, PLUGIN.format(code=code))
        registry._loaded.cache_clear()

    return add


@pytest.fixture
def run(tmp_path):
    found = toy_run(tmp_path / "run")
    (found.path / "here.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return found


def sections(run) -> dict:
    return {one.name: one for one in report_document(run, versions={}).sections}


def test_a_section_is_in_all_three_documents(plugin, run, tmp_path):
    plugin(ALL)
    out = tmp_path / "report.html"
    said = CliRunner().invoke(app, ["report", str(run.path), "-o", str(out)])
    assert said.exit_code == 0, said.output
    document = json.loads(out.with_suffix(".json").read_text())["report"]
    (section,) = [one for one in document["sections"] if one["name"] == "by-added-one"]
    assert section["title"] == "One <& *two*"
    kinds = [block["kind"] for block in section["blocks"]]
    assert kinds == ["text", "points", "table", "picture", "text"]
    assert section["blocks"][-1]["text"] == (
        "This section is by the plugin added, of dist-added 1.0."
    )
    assert section["blocks"][2]["rows"] == [["1", EVIL]]
    html, text = out.read_text(), out.with_suffix(".md").read_text()
    assert "<script>alert" not in html
    assert html.count("&lt;script&gt;alert(1)") >= 6
    assert "One &lt;&amp; *two*" in html
    assert "<script>" not in text.replace("\\<", "")
    assert "## One \\<& \\*two\\*" in text
    assert "\\[a](http://b) \\|" in text


def test_it_stands_before_what_the_library_says_of_the_training(plugin, run):
    plugin("return [Text('Hello')]")
    names = list(sections(run))
    assert names.index("by-added-one") == names.index("plan") - 1


def test_without_records_there_is_no_section(plugin, run):
    plugin("return []")
    assert "by-added-one" not in sections(run)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("raise SystemExit('no')", "failed with SystemExit: no"),
        ("return run.metrics['nothing']", "failed with KeyError: 'nothing'"),
        ("return '<b>bold</b>'", "must return a sequence of Text, Points, .* Got str"),
        ("return None", "must return a sequence .* Got NoneType"),
        ("return ['<b>bold</b>']", "str is none of Text, Points, Table and Picture"),
        ("return [Text(3)]", "text must be a str. Got 3"),
        ("return [Points('ab')]", "items must be a sequence of str. Got 'ab'"),
        ("return [Points([None])]", "what is in items must be a str. Got None"),
        ("return [Table('a', ('b',), [('c', 'd')])]", "as many cells in each row as in its header"),
        ("return [Table('a', ('b',), [(1,)])]", "what is in a row must be a str. Got 1"),
        ("return [Picture('/etc/passwd', 'a', 'b')]", "must be the Path of a PNG or SVG"),
        ("return [Picture(run.path.parent / 'out.png', 'a', 'b')]", "a file in the run's folder"),
        ("return [Picture(run.path / 'away.png', 'a', 'b')]", "a file in the run's folder"),
    ],
)
def test_one_that_fails_is_left_out_and_the_others_stay(plugin, run, monkeypatch, code, told):
    (run.path.parent / "out.png").write_bytes(b"\x89PNG")
    (run.path / "away.png").symlink_to(run.path.parent / "out.png")
    plugin(code, "broken")
    plugin("return [Text('Hello')]", "works")
    with pytest.warns(PluginWarning, match=f"'broken/one' of dist-broken .*{told}.* left out of"):
        found = sections(run)
    assert "by-works-one" in found
    assert "by-broken-one" not in found
    monkeypatch.setenv("FUNDUS_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match=told):
        sections(run)


def test_a_plugin_cannot_change_what_the_library_says(plugin, run, capsys):
    plugin("print('here'); run.metrics['out_of_fold']['qwk'] = 1.0; return [Text('Hello')]")
    before = report_document(run, versions={}).to_dict()
    assert report_document(run, versions={}).to_dict() == before
    assert run.metrics["out_of_fold"]["qwk"] != 1.0
    assert "here" not in capsys.readouterr().out


def spec_of(make) -> ReportSectionSpec:
    return ReportSectionSpec(name="one", title="One", make=make, description="One.")


def _writes(run):
    (run.path / "mine.txt").write_text("x")
    return [Text("a")]


_counter = itertools.count()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda run: [Command("rm -r")], "Command is none of Text, Points, Table and Picture"),
        (lambda run: [Text(str(next(_counter)))], "must be the same for the same run"),
        (_writes, "must write nothing into the run's folder.*mine.txt"),
        (lambda run: [Text(run.metrics["out_of_fold"]["screening"]["referable"]["auc"]["by"])],
         "must work for a run of 5 grades.*KeyError.*Return an empty list"),
    ],
)  # fmt: skip
def test_the_kit_says_what_is_wrong(make, told):
    with pytest.raises(AssertionError, match=told):
        check_report_section(spec_of(make))


def test_a_toy_run_is_one_that_reports_take(tmp_path):
    for n_grades in (5, 3):
        run = toy_run(Path(tmp_path / str(n_grades)), n_grades=n_grades)
        document = report_document(run, versions={})
        assert "40 photographs of 20 patients" in to_html(document) + to_markdown(
            document, beside=tmp_path
        )
    check_report_section(spec_of(lambda run: [Table("a", ("b",), [("c",)]), Points(["d"])]))
    check_report_section(spec_of(lambda run: [] if run.patients is None else [Text("e")]))
