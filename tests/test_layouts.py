"""Layouts of tables that plugins bring."""

from __future__ import annotations

import pandas as pd
import pytest

from fundus import load_image_table
from fundus.data.layouts import layout_for
from fundus.data.tables import recognise_columns
from fundus.exceptions import DataError, PluginWarning
from fundus.hookspecs import LayoutSpec
from fundus.plugins import registry
from fundus.plugins.spec_fields import field_problem
from fundus.testing import check_layout

PLUGIN = """
from fundus.hookspecs import LayoutSpec, hookimpl

@hookimpl
def fundus_layouts():
    return [LayoutSpec(name="clinic", description="A clinic.", {fields})]
"""
FIELDS = "path='scan', grade='stage', patient='person', eye='side'"
FIELDS += ", eye_codes={0: 'left', 1: 'right'}"


@pytest.fixture
def plugin(install):
    """Return a function that installs a plugin, which is then known in this process."""

    def add(name, code):
        install(name, code)
        registry._loaded.cache_clear()

    return add


def clinic(fields: str = FIELDS) -> str:
    return PLUGIN.replace("{fields}", fields)


def write(folder, photographs, header="Scan,STAGE,Person,side") -> object:
    rows = [
        f"{path},{grade},{k // 2:03d},{k % 2}"
        for k, (path, grade) in enumerate(zip(photographs.paths, photographs.grades, strict=True))
    ]
    table = folder / "labels.csv"
    table.write_text("\n".join([header, *rows]))
    return table


def test_a_table_of_a_plugin_s_layout_is_read(plugin, photographs, tmp_path):
    table = write(tmp_path, photographs)
    with pytest.raises(DataError, match="No column for the path"):
        load_image_table(table)
    plugin("clinic", clinic())
    data = load_image_table(table)
    assert data.grades.tolist() == photographs.grades.tolist()
    assert list(data.patients[:3]) == ["000", "000", "001"]  # with their zeros
    assert data.frame["eye"].tolist()[:2] == ["left", "right"]
    frame = load_image_table(pd.read_csv(table, dtype={"Person": str}))
    assert frame.grades.tolist() == data.grades.tolist()


def test_a_broken_plugin_is_named_and_the_layout_of_another_is_read(plugin, photographs, tmp_path):
    plugin("broken", "1 / 0")
    plugin("half", clinic("path='scan', grade=''"))
    plugin("clinic", clinic())
    with pytest.warns(PluginWarning) as caught:
        data = load_image_table(write(tmp_path, photographs))
    told = " ".join(str(warning.message) for warning in caught)
    assert "'broken' of dist-broken was left out: ZeroDivisionError" in told
    assert "'grade' must be a str that is not empty. Got '' instead" in told
    assert len(data.grades) == len(photographs.grades)


def test_a_layout_is_not_asked_about_tables_that_are_read_without_it(plugin):
    table = ["file", "grade", "scan", "stage", "person", "side"]
    before = recognise_columns(table)
    plugin("clinic", clinic())
    assert recognise_columns(table) == before
    assert before.path == "file"


def test_columns_that_the_user_names_come_first(plugin):
    plugin("clinic", clinic())
    table = ["scan", "stage", "person", "side", "second stage"]
    assert recognise_columns(table).grade == "stage"
    assert recognise_columns(table, grade="second stage").grade == "second stage"
    with pytest.raises(DataError, match="no column 'third'"):
        recognise_columns(table, grade="third")


def test_a_layout_needs_all_of_its_columns(plugin):
    plugin("clinic", clinic())
    with pytest.raises(DataError, match="No column for the path"):
        recognise_columns(["scan", "stage", "person"])
    assert recognise_columns(["scan", "person", "side"], labelled=False).path == "scan"


def test_two_layouts_that_differ_are_told(plugin):
    plugin("clinic", clinic())
    plugin("other", clinic("path='scan', grade='level of disease'").replace("clinic", "other"))
    table = ["scan", "stage", "person", "side", "level of disease"]
    with pytest.raises(DataError, match="layouts 'clinic/clinic' and 'other/other' would each"):
        recognise_columns(table)
    assert recognise_columns(table[:4]).grade == "stage"
    # both without grades, and each with other columns
    with pytest.raises(DataError, match="would each read"):
        layout_for(table, labelled=False)


def test_two_layouts_that_agree_are_no_conflict(plugin):
    plugin("clinic", clinic("path='scan', grade='stage'"))
    plugin("other", clinic("path='Scan', grade='Stage'").replace("clinic", "other"))
    found = layout_for(["scan", "stage"])
    assert found.roles == {"path": "scan", "grade": "stage"}
    # the same columns, and other eyes: no order of plugins decides
    eyes = "path='scan', grade='stage', eye='side', eye_codes={0: 'right', 1: 'left'}"
    plugin("third", clinic(eyes).replace("clinic", "third"))
    plugin("fourth", clinic(eyes.replace("{0: 'right', 1: 'left'}", "None")))
    with pytest.raises(DataError, match="would each read"):
        layout_for(["scan", "stage", "side"])


SWAPPED = "path='slide', grade='level of disease', eye='side', eye_codes={0: 'right', 1: 'left'}"


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_eyes_are_read_as_the_layout_of_this_table_says(plugin, photographs, tmp_path, names):
    """Not as another layout says, whose column of eyes has the same name."""
    plugin(names[0], clinic())
    plugin(names[1], clinic(SWAPPED).replace("clinic", "other"))
    data = load_image_table(write(tmp_path, photographs))
    assert data.frame["eye"].tolist()[:2] == ["left", "right"]
    data = load_image_table(write(tmp_path, photographs, "slide,level of disease,Person,side"))
    assert data.frame["eye"].tolist()[:2] == ["right", "left"]


def test_a_layout_changes_no_table_that_is_not_its_own(plugin, photographs, tmp_path):
    other = "path='scan', grade='stage', patient='age', eye='eye', eye_codes={0: 'left'}"
    plugin("other", clinic(other))
    table = write(tmp_path, photographs, "image,grade,age,note")
    assert load_image_table(table).frame["age"].tolist()[:3] == [0, 0, 1]
    table = write(tmp_path, photographs, "image,grade,patient,eye")
    with pytest.raises(DataError, match="left.*right"):
        load_image_table(table)
    # all of its columns beside the library's own, or columns that the caller names
    rows = table.read_text().splitlines()[1:]
    whole = "scan,stage,age,eye,image,grade"
    table.write_text(
        "\n".join([whole, *(f"{r[:-1]}left,{','.join(r.split(',')[:2])}" for r in rows)])
    )
    assert load_image_table(table).frame["age"].tolist()[:3] == [0, 0, 1]


def test_two_columns_that_could_be_one_of_the_layout_are_told(plugin):
    plugin("clinic", clinic())
    table = ["scan", "Scan ", "stage", "person", "side"]
    with pytest.raises(
        DataError, match=r"Columns \['scan', 'Scan '\] could each be 'scan', the path"
    ):
        recognise_columns(table)
    assert recognise_columns([*table[:1], *table[2:]]).path == "scan"


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"patient": ""}, "'patient' must be the name of a column"),
        ({"eye": "side", "eye_codes": {0: "L"}}, "'eye_codes' must be a dict of int to 'left'"),
        ({"eye": "side", "eye_codes": {"0": "left"}}, "'eye_codes' must be a dict of int"),
        ({"eye_codes": {0: "left"}}, "'eye' must name the column that 'eye_codes' is of"),
        ({"name": "My layout"}, "'name' must be lower case"),
        ({}, ""),
    ],
)
def test_fields_that_cannot_be_used_are_told(fields, problem):
    given = {"name": "mine", "description": "Ours.", "path": "scan", "grade": "stage", **fields}
    found = field_problem(LayoutSpec(**given))
    assert problem in found
    assert bool(found) == bool(problem)


def test_the_kit_checks_that_the_layout_is_asked(plugin):
    good = LayoutSpec(name="mine", description="Ours.", path="scan", grade="stage")
    check_layout(good)
    never = LayoutSpec(name="mine", description="Ours.", path="file", grade="grade", patient="who")
    with pytest.raises(AssertionError, match="must be read as .*'who'.* own names read it as"):
        check_layout(never)
    with pytest.raises(AssertionError, match="each role must have a column of its own"):
        check_layout(LayoutSpec(name="mine", description="Ours.", path="scan", grade="scan"))
    brset = {"eye": "exam_eye", "eye_codes": {1: "left", 2: "right"}}
    with pytest.raises(AssertionError, match="stand for .*1: 'right'.* already"):
        check_layout(
            LayoutSpec(name="mine", description="Ours.", path="scan", grade="stage", **brset)
        )
    plugin("clinic", clinic())
    check_layout("clinic")
