"""The rows of a table as images on their way into a data set."""

from __future__ import annotations

from typing import Any

import pandas as pd

from fundus.data.lookup import ImageFinder
from fundus.data.rows import DataRows
from fundus.data.tables import Columns, dme_codes
from fundus.exceptions import DataError


def table_rows(content: pd.DataFrame, columns: Columns, finder: ImageFinder) -> DataRows:
    """Read the rows of a table, find their images, and note what is wrong."""

    def values(column: str | None) -> list[Any] | None:
        return None if column is None else content[column].tolist()

    used = {columns.path, columns.grade, columns.patient, columns.eye, "path", "patient", "eye"}
    extra = content[[name for name in content.columns if name not in used]]
    dme = [name for name in extra.columns if dme_codes(name) is not None]
    dme = [name for name in dme if name == "dme"] or dme
    if len(dme) > 1:
        raise DataError(f"Columns {dme} could each be macular oedema: name one of them 'dme'.")
    extra = extra.rename(columns={dme[0]: "dme"}) if len(dme) == 1 else extra
    names = content[columns.path].tolist()
    rows = DataRows(
        [""] * len(names),
        values(columns.grade),
        values(columns.patient),
        _eyes(content, columns),
        numbered=True,
        extra=extra,
        given=[str(name) for name in names],
    )
    if len(dme) == 1 and rows.grades is not None:
        rows.dme = _graded_oedema(rows, dme[0], content[dme[0]])
        rows.extra = extra.assign(dme=rows.dme)
    for index, gradable in enumerate(values(columns.gradable) or []):
        if gradable == 0:
            reason = f"the image is marked as ungradable ({columns.gradable} is 0)"
            rows.add_problem(index, "ungradable image", reason)
    for index, name in enumerate(names):
        if pd.isna(name) or not str(name).strip():
            rows.add_problem(index, "unreadable image", f"the column {columns.path!r} is empty")
            continue
        rows.paths[index], problem = finder.find(str(name).strip())
        if problem is not None:
            rows.add_problem(index, "unreadable image", problem)
    return rows


def _eyes(content: pd.DataFrame, columns: Columns) -> list[Any] | None:
    if columns.eye is None:
        return None
    codes: dict[Any, str] = dict(columns.eye_codes or {})
    return [value if pd.isna(value) else codes.get(value, value) for value in content[columns.eye]]


def _graded_oedema(rows: DataRows, name: str, column: pd.Series) -> list[float]:
    """Put macular oedema on IDRiD's scale, and note values that are none; missing is NaN."""
    codes = dme_codes(name)
    assert codes is not None
    numbers = pd.to_numeric(column, errors="coerce")
    graded: list[float] = [codes.get(number, float("nan")) for number in numbers]
    for index, (value, grade) in enumerate(zip(column, graded, strict=True)):
        if pd.isna(grade) and not pd.isna(value):
            expected = f"expected one of {sorted(codes)}, or nothing where it is not known"
            reason = f"the column {name!r} is {value!r}, {expected}"
            rows.add_problem(index, "invalid macular oedema", reason)
    return graded
