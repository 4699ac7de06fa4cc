"""`check_layout`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fundus.data.layouts import roles_of
from fundus.data.tables import eye_codes, recognise_columns
from fundus.hookspecs import LayoutSpec
from fundus.plugins.registry import Entry
from fundus.testing.checks import attempt, expect, registered, run_checks


def check_layout(layout: str | LayoutSpec) -> None:
    """Check that tables of a layout are read as it says.

    Parameters
    ----------
    layout : str or LayoutSpec
        A registered name, or a record.

    Raises
    ------
    AssertionError
        If they are not, such as where the library's own names of columns read them in another way.
    UnknownNameError
        If no layout has the name.

    Examples
    --------
    >>> check_layout(
    ...     LayoutSpec(name="mine", description="Ours.", path="scan", grade="stage of disease")
    ... )
    """
    with registered("layout", LayoutSpec, layout) as entry:
        run_checks(LayoutCase(entry), LAYOUT_CHECKS)


@dataclass
class LayoutCase:
    """A layout under test."""

    entry: Entry

    @property
    def what(self) -> str:
        """Start of messages."""
        return f"The layout {self.entry.spec.name!r}"


def _check_columns(case: LayoutCase) -> None:
    spec, roles = case.entry.spec, roles_of(case.entry.spec)
    expect(
        len(set(roles.values())) == len(roles),
        f"{case.what}: each role must have a column of its own. Got {roles}.",
    )
    for labelled in (True, False):
        columns = [name for role, name in roles.items() if labelled or role != "grade"]
        with attempt(f"{case.what}: a table with the columns {columns}", "Give other columns."):
            found = recognise_columns(columns, labelled=labelled)
        read = {role: getattr(found, role) for role in roles if labelled or role != "grade"}
        wanted = {role: roles[role] for role in read}
        expect(
            read == wanted,
            f"{case.what}: a table with the columns {columns} must be read as {wanted}, but the "
            f"library's own names read it as {read}: users then name the columns themselves.",
        )
    codes = None if spec.eye is None else eye_codes(spec.eye)
    expect(
        codes is None or spec.eye_codes in (None, codes),
        f"{case.what}: numbers in {spec.eye!r} stand for {codes} already: give no 'eye_codes'.",
    )


LAYOUT_CHECKS: dict[str, Callable[[Any], None]] = {"columns": _check_columns}
