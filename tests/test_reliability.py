"""The page of promises says what the tests do."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from docs.make_reliability import END, FIELDS, PAGE, START, Row, conditions, rows_in, rows_of, table

TESTS = Path(__file__).resolve().parent

REPORT = """<testsuites><testsuite name="pytest" time="1234.5" timestamp="2026-01-02T03:04:05">
<testcase classname="tests.test_attacked_b" name="test_two[9000]"><properties>
<property name="promise" value="Two."/><property name="did" value="a | b"/>
<property name="times" value="9000"/><property name="outcome" value="all told"/></properties>
</testcase><testcase classname="tests.test_attacked_a" name="test_one[5]"><properties>
<property name="promise" value="One."/><property name="did" value="x"/>
<property name="times" value="5"/><property name="outcome" value="3 of 5"/></properties>
<failure message="no"/></testcase>
<testcase classname="tests.test_other" name="test_zero"/></testsuite></testsuites>"""


def promised() -> dict[tuple[str, str], tuple[str | None, set[int]]]:
    """Promise and long counts of each test that keeps one, by topic and name, from its code."""
    found = {}
    for path in sorted(TESTS.glob("test_attacked_*.py")):
        topic = path.stem.removeprefix("test_attacked_")
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
                continue
            said = [
                call.args[1].value
                for call in ast.walk(node)
                if isinstance(call, ast.Call)
                and getattr(call.func, "id", "") == "record_property"
                and getattr(call.args[0], "value", "") == "promise"
                and isinstance(call.args[1], ast.Constant)
            ]
            counts = {
                int(call.args[0].value)
                for decorator in node.decorator_list
                for call in ast.walk(decorator)
                if isinstance(call, ast.Call)
                and getattr(call.func, "attr", "") == "param"
                and "soak" in ast.unparse(call)
            }
            found[topic, node.name] = (said[0] if said else None, counts)
    return found


def test_every_row_is_that_of_a_test_and_every_promise_has_a_row():
    tests = promised()
    page = PAGE.read_text(encoding="utf-8")
    rows = {(row.topic, row.test): row for row in rows_in(page)}
    assert set(rows) == {key for key, (_, counts) in tests.items() if counts}
    for key, row in rows.items():
        said, counts = tests[key]
        assert said in (None, row.promise), key
        assert row.times >= max(counts), key  # kills come in groups
        assert "(failed)" not in row.outcome


def test_the_table_is_read_from_the_report(tmp_path):
    report = tmp_path / "soak.xml"
    report.write_text(REPORT)
    rows = rows_of(report)
    assert rows == [
        Row("a", "One.", "x", 5, "3 of 5 **(failed)**", "test_one"),
        Row("b", "Two.", "a | b", 9000, "all told", "test_two"),
    ]
    assert rows_in(f"{START}\n{table(rows)}{END}") == rows
    assert "2026-01-02" in conditions(report)
    assert "in 21 minutes" in conditions(report)


@pytest.mark.parametrize("field", FIELDS)
def test_a_test_that_records_too_little_is_refused(tmp_path, field):
    report = tmp_path / "soak.xml"
    report.write_text(REPORT.replace(f'name="{field}"', 'name="other"'))
    with pytest.raises(ValueError, match=rf"'{field}'"):
        rows_of(report)


def test_one_promise_is_made_once(tmp_path):
    report = tmp_path / "soak.xml"
    report.write_text(REPORT.replace("Two.", "One."))
    with pytest.raises(ValueError, match="same promise"):
        rows_of(report)
