"""The scale that a data set is graded on: its length, or the names of its grades in order."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from fundus.exceptions import Mention
from fundus.grades.icdr import N_GRADES
from fundus.parameters import invalid

#: Stands for the grade of a photograph that its graders found ungradable.
UNGRADABLE_GRADE = -1

_UNGRADABLE_NAME = re.compile(r"un-?grad(?:e)?able", re.IGNORECASE)


@dataclass(frozen=True)
class Scale:
    """Grades from the lowest to the highest.

    If they are `named`, a data set gives grades by these names; if not, by numbers from 0.
    """

    names: tuple[str, ...]
    named: bool = False

    @property
    def is_icdr(self) -> bool:
        """Whether these may be the five grades in which screening is reported."""
        return len(self.names) == N_GRADES

    def may_be_grade(self, text: object) -> bool:
        """Whether a cell of a table may be a grade."""
        number = _integer(text)
        if self.named and _normal(text) in self.names:
            return True
        most = len(self.names) + self.is_icdr
        return is_ungradable_name(text) or (number is not None and 0 <= number < most)


def read_scale(function: str, grades: int | Sequence[str]) -> Scale:
    """Check the ``grades`` of a loader: length of the scale, or names of its grades, lowest first.

    Raises
    ------
    InvalidParameterError
        If it is neither an int of at least 2 nor at least two different names.

    Examples
    --------
    >>> read_scale("load_image_table", 3).names
    ('class0', 'class1', 'class2')
    >>> read_scale("load_image_table", ["none", "mild"]).named
    True
    """
    if isinstance(grades, int) and not isinstance(grades, bool) and grades >= 2:
        return Scale(tuple(f"class{k}" for k in range(grades)))
    names: list[str] = []
    if not isinstance(grades, (str, bytes)) and isinstance(grades, Iterable):
        # The same name may be composed differently in a table and on the keyboard.
        names = [_normal(name) for name in grades]
    if len(names) < 2 or len(set(names)) < len(names) or not all(names):
        expected = (
            "an int of at least 2, the length of the scale, or at least two different "
            "names of grades, lowest first"
        )
        raise invalid(function, "grades", expected, grades)
    return Scale(tuple(names), named=True)


def read_grades_column(values: Iterable[Any], scale: Scale) -> list[int | str]:
    """Read grades as positions on the scale, `UNGRADABLE_GRADE`, or a text of what is wrong.

    A table has numbers from 0, or names of the scale. Grade 5 of the ICDR scale's 0-4 and the word
    "ungradable" stand for a photograph that could not be graded.

    Examples
    --------
    >>> read_grades_column([0, "4", 5, "Ungradable"], read_scale("load_image_table", 5))
    [0, 4, -1, -1]
    >>> read_grades_column(["mild", "none"], read_scale("load_image_table", ["none", "mild"]))
    [1, 0]
    """
    cells = list(values)
    numbers = [_integer(value) for value in cells]
    if scale.named:
        texts = [_normal(value) if number is None else str(number)
                 for value, number in zip(cells, numbers, strict=True)]  # fmt: skip
        # numbers in place of names are positions on the scale, unless some name is a number
        numbered = any(_integer(name) is not None for name in scale.names)
        if numbered or any(text in scale.names for text in texts):
            return [_named(*pair, scale) for pair in zip(cells, texts, strict=True)]
    counted_from_1 = N_GRADES in numbers and 0 not in numbers
    return [
        _numbered(value, number, scale, counted_from_1)
        for value, number in zip(cells, numbers, strict=True)
    ]


def _named(value: Any, text: str, scale: Scale) -> int | str:
    if pd.isna(value):
        return "the grade is missing (NaN)"
    if text in scale.names:
        return scale.names.index(text)
    if scale.is_icdr and is_ungradable_name(value):
        return UNGRADABLE_GRADE
    return f"the grade is {value!r}, expected one of {', '.join(map(repr, scale.names))}"


def _numbered(value: Any, number: int | None, scale: Scale, counted_from_1: bool) -> int | str:
    if pd.isna(value):
        return "the grade is missing (NaN)"
    n_grades = len(scale.names)
    if number is not None and 0 <= number < n_grades:
        return number
    ungradable = scale.is_icdr and (number == n_grades or is_ungradable_name(value))
    if ungradable and not (number == n_grades and counted_from_1):
        return UNGRADABLE_GRADE
    expected = f"expected an integer in 0–{n_grades - 1}"  # noqa: RUF001
    if ungradable:
        # a scale of 1 to 5 read as one of 0 to 4 and "ungradable" would shift every grade
        expected += ", and no row has grade 0: subtract 1 if the grades are counted from 1"
    elif number is None and not isinstance(value, float) and _number(value) is None:
        expected += ": for names, list them from the lowest to the highest as "
        expected += str(Mention("grades", ...))
    return f"the grade is {value!r}, {expected}"


def is_ungradable_name(value: object) -> bool:
    """Whether a grade is the word "ungradable" or "ungradeable", in any case."""
    return _UNGRADABLE_NAME.fullmatch(str(value).strip()) is not None


def _normal(value: object) -> str:
    return unicodedata.normalize("NFC", str(value).strip())


def _number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def _integer(value: object) -> int | None:
    number = _number(value)
    return None if number is None or not number.is_integer() else int(number)
