"""The rows of a data set while it is loaded: what is wrong with each, and the Bunch of the rest."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils import Bunch

from fundus.data.official import Photographs
from fundus.exceptions import (
    DataError,
    DataWarning,
    ImageReadError,
    InvalidGradeError,
    InvalidParameterError,
)
from fundus.images import verify

# 10_left.jpeg (EyePACS), 12_OD.png, 1_l1.jpg (DeepDRiD: patient, eye, number of the photograph)
_LATERALITY = re.compile(
    r"(?P<patient>.+)[ _-](?P<eye>left|right|od|os|l|r)(?:[ _-]?\d{1,2})?", re.IGNORECASE
)
_EYES = {"left": "left", "l": "left", "os": "left", "right": "right", "r": "right", "od": "right"}

#: Kinds of problems of the image itself: a screening programme refers such a patient.
UNGRADABLE = ("unreadable image", "ungradable image")

#: Kinds of problems, in the singular, and the error each becomes.
KINDS: dict[str, type[DataError] | type[ImageReadError]] = {
    "unreadable image": ImageReadError,
    "invalid grade": InvalidGradeError,
    "ungradable image": InvalidGradeError,
    "duplicate": DataError,
    "invalid eye": DataError,
    "invalid macular oedema": DataError,
    "image outside the class folders": DataError,
}


@dataclass
class Rows:
    """Images on their way into a data set.

    Parameters
    ----------
    paths : list of str
    grades : list or None
        As read, to be checked; None for unlabelled images.
    patients, eyes : list or None
        As read, missing where unknown; None to tell them from the file names.
    numbered : bool, default=False
        Whether the rows have numbers a user knows, those of a table (from 1).
    extra : DataFrame, default=None
        Further columns.
    dme : list of float, default=None
        Risk of macular oedema, 0–2, NaN where it is not known.
    given : list of str, default=None
        What the user calls each image.
    problems : dict
        Kind and reason by index of the row.
    """

    paths: list[str]
    grades: list[Any] | None = None
    patients: list[Any] | None = None
    eyes: list[Any] | None = None
    numbered: bool = False
    extra: pd.DataFrame | None = None
    dme: list[float] | None = None
    given: list[str] | None = None
    problems: dict[int, tuple[str, str]] = field(default_factory=dict)

    def where(self, index: int) -> str:
        """Name a row in a message."""
        path = repr(self.paths[index])
        return f"row {index + 1} ({path})" if self.numbered else path

    def add_problem(self, index: int, kind: str, reason: str) -> None:
        """Note why a row cannot be used; the first reason stands."""
        self.problems.setdefault(index, (kind, reason))

    def describe(self, index: int) -> str:
        """Say what is wrong with a row."""
        reason = self.problems[index][1]
        if self.paths[index] not in reason:
            return f"{self.where(index)}: {reason}"
        return f"row {index + 1}: {reason}" if self.numbered else reason


def check_files(paths: Sequence[str]) -> dict[int, str]:
    """Check that files are there and are whole images, without decoding them.

    Parameters
    ----------
    paths : sequence of str

    Returns
    -------
    dict
        What is wrong, by index; empty if nothing is.

    Examples
    --------
    >>> list(check_files(["no/such/file.jpeg"]))
    [0]
    """

    def fault(path: str) -> str | None:
        try:
            verify(path)
        except ImageReadError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(min(16, 4 * (os.cpu_count() or 1))) as pool:
        faults = pool.map(fault, paths)
        return {index: reason for index, reason in enumerate(faults) if reason is not None}


def check_grades(rows: Rows, n_grades: int) -> None:
    """Make the grades integers and note those that are missing or outside ``range(n_grades)``."""
    assert rows.grades is not None
    for index, value in enumerate(rows.grades):
        if pd.isna(value):
            rows.add_problem(index, "invalid grade", "the grade is missing (NaN)")
            continue
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if number.is_integer() and 0 <= number < n_grades:
            rows.grades[index] = int(number)
        else:
            expected = f"expected an integer in 0–{n_grades - 1}"  # noqa: RUF001
            rows.add_problem(index, "invalid grade", f"the grade is {value!r}, {expected}")


def check_duplicates(rows: Rows) -> None:
    """Note rows that name one file twice: all of them if their grades differ, else the later."""
    same: dict[str, list[int]] = defaultdict(list)
    for index, path in enumerate(rows.paths):
        if index not in rows.problems:
            same[os.path.normcase(os.path.realpath(path))].append(index)
    for indices in same.values():
        first, *others = indices
        grades = [] if rows.grades is None else [rows.grades[i] for i in indices]
        if len(set(grades)) > 1:
            names = ", ".join(rows.where(i) for i in indices)
            for index in indices:
                reason = f"one file stands in {names} with the grades {grades}"
                rows.add_problem(index, "duplicate", reason)
            continue
        for index in others:
            rows.add_problem(index, "duplicate", f"it is the same file as {rows.where(first)}")


def tell_eyes(rows: Rows) -> bool:
    """Complete patients and eyes; return whether all patients are known.

    Unknown patients get one id per image, its path. Eyes become "left", "right" or None.
    """
    names = [_LATERALITY.fullmatch(os.path.splitext(os.path.basename(p))[0]) for p in rows.paths]
    if rows.eyes is None:
        rows.eyes = [name and _EYES[name["eye"].lower()] for name in names]
    else:
        for index, value in enumerate(rows.eyes):
            eye = None if pd.isna(value) else _EYES.get(str(value).strip().lower())
            if eye is None and not pd.isna(value):
                rows.add_problem(
                    index, "invalid eye", f"the eye is {value!r}, expected 'left' or 'right'"
                )
            rows.eyes[index] = eye
    if rows.patients is None:
        rows.patients = [name and name["patient"] for name in names]
    patients = [None if pd.isna(value) else _identifier(value) for value in rows.patients]
    known = [patient is not None for patient in patients]
    rows.patients = [p or path for p, path in zip(patients, rows.paths, strict=True)]
    return all(known)


def _identifier(value: Any) -> str | None:
    # A column of integers with a gap arrives as floats.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() or None


def settle(rows: Rows, on_error: str) -> tuple[list[int], pd.DataFrame]:
    """Raise for the first problem, or set the rows that have one aside.

    Parameters
    ----------
    rows : Rows
    on_error : {"raise", "skip"}

    Returns
    -------
    kept : list of int
        Indices of the rows without a problem.
    skipped : DataFrame
        Columns path, row (from 1, missing where rows have no number) and reason.

    Raises
    ------
    ImageReadError, InvalidGradeError, DataError
        For the first problem if `on_error` is "raise", or if no row is without one; the message
        counts the others.
    """
    bad = sorted(rows.problems)
    kept = [index for index in range(len(rows.paths)) if index not in rows.problems]
    noun = "row" if rows.numbered else "file"
    if bad and (on_error == "raise" or not kept):
        rest = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        remedy = f"mend it, or pass on_error='skip' to set such {noun}s aside"
        if on_error == "skip":
            remedy = f"no {noun} is left to use"
        error = KINDS[rows.problems[bad[0]][0]]
        raise error(f"{rows.describe(bad[0]).rstrip('.')}{rest}; {remedy}.")
    if bad:
        counts = Counter(rows.problems[index][0] for index in bad)
        kinds = ", ".join(f"{n} {kind}{'s' if n > 1 else ''}" for kind, n in counts.items())
        warnings.warn(
            f"Set aside {len(bad)} of {len(rows.paths)} {noun}s ({kinds}), the first being "
            f"{rows.describe(bad[0]).rstrip('.')}; the attribute 'skipped' lists them.",
            DataWarning,
            stacklevel=4,
        )
    return kept, skipped_frame(
        [(rows.paths[i], i + 1 if rows.numbered else None, rows.problems[i][1]) for i in bad]
    )


def skipped_frame(records: list[tuple[str, int | None, str]]) -> pd.DataFrame:
    """Make the frame of rows set aside: path, row and reason."""
    frame = pd.DataFrame(records, columns=["path", "row", "reason"])
    return frame.astype({"path": object, "row": "Int64", "reason": object})


def finish(
    rows: Rows,
    *,
    class_names: list[str] | None,
    on_error: str,
    min_classes: int,
    warn_unknown: bool,
) -> Bunch:
    """Check the rows, set bad ones aside or raise, and make the data set of the others.

    Parameters
    ----------
    rows : Rows
    class_names : list of str or None
        Name of each grade, which fixes the scale; None for unlabelled images.
    on_error : {"raise", "skip"}
    min_classes : int
        Fewest distinct grades accepted.
    warn_unknown : bool
        Whether to warn of unknown patients, and to refuse one file twice.

    Returns
    -------
    Bunch
        As `load_image_table` documents it.
    """
    if class_names is not None:
        check_grades(rows, len(class_names))
    known = tell_eyes(rows)
    to_check = [index for index in range(len(rows.paths)) if index not in rows.problems]
    faults = check_files([rows.paths[index] for index in to_check])
    for position, reason in faults.items():
        rows.add_problem(to_check[position], "unreadable image", reason)
    if warn_unknown:
        check_duplicates(rows)
    kept, skipped = settle(rows, on_error)
    grades = None
    if class_names is not None:
        assert rows.grades is not None
        grades = np.array([rows.grades[index] for index in kept], dtype=np.int64)
        _check_classes(grades, min_classes)
    if warn_unknown and not known:
        _warn_unknown(rows, kept)
    columns = {
        name: _objects([values[index] for index in kept])
        for name, values in (("path", rows.paths), ("patient", rows.patients), ("eye", rows.eyes))
        if values is not None
    }
    frame = pd.DataFrame({name: pd.Series(v, dtype=object) for name, v in columns.items()})
    if rows.extra is not None:
        frame = frame.join(rows.extra.iloc[kept].reset_index(drop=True))
    return Photographs(
        paths=columns["path"],
        grades=grades,
        patients=columns["patient"],
        eyes=columns["eye"],
        frame=frame,
        class_names=class_names,
        n_grades=None if class_names is None else len(class_names),
        dme=None if rows.dme is None else np.array([rows.dme[i] for i in kept], dtype=np.float64),
        given=None if rows.given is None else [rows.given[index] for index in kept],
        given_of=dict(zip(rows.paths, rows.given or (), strict=False)),
        skipped=skipped,
        ungradable=_ungradable(rows, len(class_names or ())),
        patients_known=known,
    )


def _ungradable(rows: Rows, n_grades: int) -> pd.DataFrame:
    """Rows whose image is there and cannot be used, but whose grade is known."""
    grades = rows.grades or [None] * len(rows.paths)
    records = [
        (
            rows.paths[index],
            rows.patients[index] if rows.patients is not None else None,
            grades[index],
            float("nan") if rows.dme is None else rows.dme[index],
        )
        for index, (kind, _) in sorted(rows.problems.items())
        if kind in UNGRADABLE and grades[index] in range(n_grades)
        if os.path.isfile(rows.paths[index])
    ]
    frame = pd.DataFrame(records, columns=["path", "patient", "grade", "dme"])
    return frame.astype({"grade": np.int64, "dme": np.float64})


def _objects(values: list[Any]) -> NDArray[Any]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _check_classes(grades: NDArray[np.int64], min_classes: int) -> None:
    found = np.unique(grades).tolist()
    if len(found) < min_classes:
        raise DataError(
            f"All {len(grades)} images have the grade {found[0]}, expected at least {min_classes} "
            "distinct grades to learn from: add images of other grades, or pass min_classes=1 if "
            "they are only to be scored."
            if len(found) == 1
            else f"The images have the grades {found} only, expected at least {min_classes} "
            "distinct ones: add images, or lower min_classes."
        )


def _warn_unknown(rows: Rows, kept: list[int]) -> None:
    assert rows.patients is not None
    unknown = sum(rows.patients[index] == rows.paths[index] for index in kept)
    if unknown:
        warnings.warn(
            f"The patients of {unknown} of {len(kept)} images are unknown, so each counts as a "
            "patient of its own and two eyes of one person may end up on both sides of a split: "
            "add a column 'patient', or name files like 10_left.jpeg and 10_right.jpeg.",
            DataWarning,
            stacklevel=4,
        )


def check_choice(function: str, name: str, value: object, choices: tuple[object, ...]) -> None:
    """Raise `InvalidParameterError` unless a parameter has one of its values."""
    if value not in choices:
        listed = " or ".join(repr(choice) for choice in choices)
        raise InvalidParameterError(
            f"The {name!r} parameter of {function} must be {listed}. Got {value!r} instead."
        )
