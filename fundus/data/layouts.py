"""Layouts of tables that plugins bring, for tables that the library's own names do not tell."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from fundus.exceptions import DataError, Mention, Message
from fundus.hookspecs import LayoutSpec
from fundus.plugins.registry import Entry, get_registry


def normal_name(name: object) -> str:
    """Return a column's name in lower case, spaces and underscores made one space.

    Examples
    --------
    >>> normal_name(" Image_name ")
    'image name'
    """
    return re.sub(r"[\s_]+", " ", str(name)).strip().lower()


@dataclass(frozen=True)
class Found:
    """What a plugin's layout says about one table.

    Parameters
    ----------
    roles : dict of str to str
        Columns of the table by role: "path", "grade", "patient" and "eye".
    eye_codes : dict of int to str, or None
        What numbers in the column of eyes stand for.
    """

    roles: dict[str, str]
    eye_codes: dict[int, str] | None


def layout_for(columns: Collection[str], *, labelled: bool = True) -> Found | None:
    """Return how the one layout of a plugin that has all of its columns here reads a table.

    Parameters
    ----------
    columns : collection of str
        Names of the table's columns.
    labelled : bool, default=True
        Whether the table must have the layout's column of grades.

    Returns
    -------
    Found or None
        ``None`` where no layout has all of its columns here.

    Raises
    ------
    DataError
        If two layouts would read the table in different ways, or two of its columns could each be
        one of the layout's.
    """
    found = [
        (entry, _found(entry, wanted, columns))
        for entry, wanted in _matching(columns, labelled=labelled)
    ]
    if any(other != found[0][1] for _, other in found):
        names = " and ".join(repr(entry.qualified_name) for entry, _ in found)
        path, grade = Mention("path"), Mention("grade")
        raise DataError(
            Message(
                f"The layouts {names} would each read the table with columns {list(columns)} in "
                f"their own way: name the columns with {path} and {grade}.",
                path,
                grade,
            )
        )
    return found[0][1] if found else None


def is_header_of_a_layout(cells: Collection[str], *, labelled: bool = True) -> bool:
    """Return whether a row names all columns of a plugin's layout."""
    return any(True for _ in _matching(cells, labelled=labelled))


def _matching(
    columns: Collection[str], *, labelled: bool
) -> Iterator[tuple[Entry, dict[str, str]]]:
    """Layouts that have all of their columns here, with the columns that they need by role."""
    there = set(map(normal_name, columns))
    for entry in get_registry().entries["layout"]:
        wanted = roles_of(entry.spec)
        if not labelled:
            wanted.pop("grade")
        if all(normal_name(name) in there for name in wanted.values()):
            yield entry, wanted


def _found(entry: Entry, wanted: dict[str, str], columns: Collection[str]) -> Found:
    roles = {}
    for role, name in wanted.items():
        hits = [column for column in columns if normal_name(column) == normal_name(name)]
        if len(hits) > 1:
            about = Mention(role)
            raise DataError(
                Message(
                    f"Columns {hits} could each be {name!r}, the {role} of the layout "
                    f"{entry.qualified_name!r}: say which with {about}, or rename one.",
                    about,
                )
            )
        roles[role] = hits[0]
    return Found(roles, entry.spec.eye_codes)


def roles_of(layout: LayoutSpec) -> dict[str, str]:
    """Return the columns of a layout by role."""
    roles = {"path": layout.path, "grade": layout.grade}
    others = {"patient": layout.patient, "eye": layout.eye}
    return roles | {role: name for role, name in others.items() if name is not None}
