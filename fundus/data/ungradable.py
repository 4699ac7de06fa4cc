"""Photographs that cannot be graded: the warning about them, and what is kept."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fundus.data.scale import is_ungradable_name
from fundus.exceptions import InvalidGradeError, Mention, Message, SetAsideWarning
from fundus.grades.icdr import N_GRADES

if TYPE_CHECKING:
    from fundus.data.rows import DataRows

#: Kinds of problems of the image itself: a screening programme refers such a patient.
UNGRADABLE = ("unreadable image", "ungradable image")


def tell_ungradable(rows: DataRows, aside: list[int], n_kept: int) -> None:
    """Warn of rows that are set aside because they are graded as ungradable.

    Parameters
    ----------
    rows : DataRows
    aside : list of int
        Their indices, at least one.
    n_kept : int
        How many rows are left.

    Raises
    ------
    InvalidGradeError
        If no row is left.

    Warns
    -----
    SetAsideWarning
        If some are.
    """
    assert rows.grades is not None
    values = ", ".join(repr(v) for v in dict.fromkeys(rows.grades[index] for index in aside))
    noun = "row" if rows.numbered else "file"
    if not n_kept:
        raise InvalidGradeError(
            f"All {len(aside)} {noun}s left are graded as ungradable ({values}): add images with "
            "grades."
        )
    # for numbers only: the word is no grade of a longer scale
    numbered = any(not is_ungradable_name(rows.grades[index]) for index in aside)
    aside_list = Mention("ungradable", text="the attribute 'ungradable'")
    six = Mention("grades", N_GRADES + 1)
    longer = f" If {N_GRADES} is a grade like the others, pass {six}." if numbered else ""
    text = (
        f"Set aside {len(aside)} of {len(rows.paths)} {noun}s whose photograph is graded as "
        f"ungradable ({values}), the first being {rows.where(aside[0])}: they are not trained on, "
        f"and count as referable in screening; {aside_list} lists them.{longer}"
    )
    warnings.warn(Message(text, aside_list, six), SetAsideWarning, stacklevel=5)


def ungradable_frame(rows: DataRows, n_grades: int) -> pd.DataFrame:
    """Return rows whose image is there: unusable with a known grade, or graded as ungradable.

    The columns are path, patient, grade (missing where the graders gave none) and dme.
    """
    grades = rows.grades or [None] * len(rows.paths)
    known = {
        index: grades[index]
        for index, (kind, _) in rows.problems.items()
        if kind in UNGRADABLE and index not in rows.ungradable and grades[index] in range(n_grades)
        if os.path.isfile(rows.paths[index])
    }
    known |= {index: None for index in rows.ungradable if index not in rows.problems}
    records = [
        (
            rows.paths[index],
            rows.patients[index] if rows.patients is not None else None,
            known[index],
            float("nan") if rows.dme is None else rows.dme[index],
        )
        for index in sorted(known)
    ]
    frame = pd.DataFrame(records, columns=["path", "patient", "grade", "dme"])
    return frame.astype({"grade": "Int64" if None in known.values() else np.int64, "dme": float})
