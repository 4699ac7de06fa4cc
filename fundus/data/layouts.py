"""Layouts of tables that plugins bring, for tables that the library's own names do not tell."""

from __future__ import annotations

import re
from collections.abc import Collection

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


def layout_for(columns: Collection[str], *, labelled: bool = True) -> dict[str, str]:
    """Return the roles of a table's columns by the one layout of a plugin that has them all.

    Parameters
    ----------
    columns : collection of str
        Names of the table's columns.
    labelled : bool, default=True
        Whether the table must have the layout's column of grades.

    Returns
    -------
    dict of str to str
        Columns of the table by role, "path", "grade", "patient" and "eye"; empty where no layout
        has all of its columns here.

    Raises
    ------
    DataError
        If two layouts would read the table in different ways.
    """
    there = {normal_name(name): name for name in columns}
    found: list[tuple[Entry, dict[str, str]]] = []
    for entry in get_registry().entries["layout"]:
        wanted = roles_of(entry.spec)
        if not labelled:
            wanted.pop("grade")
        if all(normal_name(name) in there for name in wanted.values()):
            roles = {role: there[normal_name(name)] for role, name in wanted.items()}
            found.append((entry, roles))
    if any(roles != found[0][1] for _, roles in found):
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
    return found[0][1] if found else {}


def roles_of(layout: LayoutSpec) -> dict[str, str]:
    """Return the columns of a layout by role."""
    roles = {"path": layout.path, "grade": layout.grade}
    others = {"patient": layout.patient, "eye": layout.eye}
    return roles | {role: name for role, name in others.items() if name is not None}


def is_column_of_a_layout(name: object, roles: Collection[str]) -> bool:
    """Return whether a column has one of these roles in a layout of a plugin."""
    normal = normal_name(name)
    return any(
        normal_name(column) == normal
        for entry in get_registry().entries["layout"]
        for role, column in roles_of(entry.spec).items()
        if role in roles
    )


def eye_codes_of_layouts(name: object) -> dict[float, str] | None:
    """Return what numbers in a column of eyes stand for in a layout of a plugin; else ``None``."""
    normal = normal_name(name)
    for entry in get_registry().entries["layout"]:
        eye, codes = entry.spec.eye, entry.spec.eye_codes
        if eye is not None and codes is not None and normal_name(eye) == normal:
            return dict(codes)
    return None
