"""The rows of a data set while it is loaded: what is wrong with each, and the Bunch of the rest."""

from __future__ import annotations

import os
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

from fundus.data.dicom_eyes import from_headers, refuse_one_id
from fundus.data.file_names import (
    EYES,
    from_name,
    guessed_patients,
    refuse_one_patient,
    warn_of_unknown,
)
from fundus.data.official import Photographs
from fundus.data.patient_key import hidden
from fundus.data.scale import UNGRADABLE_GRADE, Scale, read_grades_column
from fundus.data.ungradable import tell_ungradable, ungradable_frame
from fundus.exceptions import (
    DataError,
    ImageReadError,
    InvalidGradeError,
    Mention,
    Message,
    SetAsideWarning,
)
from fundus.images import verify
from fundus.parameters import invalid

#: What lists the images that were set aside.
SKIPPED = Mention("skipped", text="the attribute 'skipped'")

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
class DataRows:
    """Images on their way into a data set.

    Parameters
    ----------
    paths : list of str
    grades : list or None
        As read, to be checked; None for unlabelled images.
    patients, eyes : list or None
        As read, missing where unknown; None to tell them from headers (DICOM) and file names.
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
    ungradable : dict
        Reason by index of rows whose graders found the photograph ungradable, which is no fault.
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
    ungradable: dict[int, str] = field(default_factory=dict)

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


def check_files(paths: Sequence[str], *, decode: bool = False) -> dict[int, str]:
    """Check that files are whole images; return what is wrong by index.

    JPEG and PNG are checked by their structure, and only with `decode` also decoded: some that
    look whole cannot be.

    Examples
    --------
    >>> list(check_files(["no/such/file.jpeg"]))
    [0]
    """

    def fault(path: str) -> str | None:
        try:
            verify(path, decode=decode)
        except ImageReadError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(min(16, 4 * (os.cpu_count() or 1))) as pool:
        faults = pool.map(fault, paths)
        return {index: reason for index, reason in enumerate(faults) if reason is not None}


def check_grades(rows: DataRows, scale: Scale) -> None:
    """Make the grades positions on the scale; note bad ones, and photographs called ungradable."""
    assert rows.grades is not None
    for index, found in enumerate(read_grades_column(rows.grades, scale)):
        if isinstance(found, str):
            rows.add_problem(index, "invalid grade", found)
        elif found == UNGRADABLE_GRADE:
            rows.ungradable[index] = f"it is graded as ungradable ({rows.grades[index]!r})"
        else:
            rows.grades[index] = found


def check_listed_once(rows: DataRows) -> None:
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


def tell_eyes(rows: DataRows, *, guess: bool = True) -> tuple[list[bool], list[bool]]:
    """Complete patients and eyes; return which patients are known, and which by names alone.

    What the header of a DICOM file says stands above its name, and both below a table.

    Unknown patients get one id per image, its path. Eyes become "left", "right" or None.
    """
    names = [from_name(path) for path in rows.paths]
    headers: list[tuple[str | None, str | None]] = [(None, None)] * len(names)
    if rows.eyes is None or (rows.patients is None and guess):
        headers = from_headers(rows.paths)
    if rows.eyes is None:
        told = zip(headers, names, strict=True)
        rows.eyes = [in_header or in_name for (_, in_header), (_, in_name) in told]
    else:
        for index, value in enumerate(rows.eyes):
            eye = None if pd.isna(value) else EYES.get(str(value).strip().lower())
            if eye is None and not pd.isna(value):
                rows.add_problem(
                    index, "invalid eye", f"the eye is {value!r}, expected 'left' or 'right'"
                )
            rows.eyes[index] = eye
    by_name = [rows.patients is None and guess and who is None for who, _ in headers]
    if rows.patients is None:
        told = zip(headers, names, strict=True)
        rows.patients = [
            (who or (guessed and hidden(guessed))) if guess else None
            for (who, _), (guessed, _) in told
        ]
        if guess and rows.grades is not None:
            refuse_one_id([who for who, _ in headers])
    patients = [None if pd.isna(value) else _identifier(value) for value in rows.patients]
    known = [patient is not None for patient in patients]
    rows.patients = [p or path for p, path in zip(patients, rows.paths, strict=True)]
    return known, [all(both) for both in zip(by_name, known, strict=True)]


def _identifier(value: Any) -> str | None:
    # A column of integers with a gap arrives as floats.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() or None


def settle(rows: DataRows, on_error: str) -> tuple[list[int], pd.DataFrame]:
    """Raise for the first problem, or set the rows that have one aside.

    Parameters
    ----------
    rows : DataRows
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

    Warns
    -----
    SetAsideWarning
        If rows were set aside.
    """
    bad = sorted(rows.problems)
    aside = sorted(set(rows.ungradable) - set(bad))
    kept = sorted(set(range(len(rows.paths))) - set(bad) - set(aside))
    noun = "row" if rows.numbered else "file"
    if bad and (on_error == "raise" or not kept):
        rest = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        skip, names = Mention("on_error", "skip"), Mention("grades", ...)
        remedy = f"mend it, or pass {skip} to set such {noun}s aside"
        if on_error == "skip":
            remedy = f"no {noun} is left to use"
        error = KINDS[rows.problems[bad[0]][0]]
        text = f"{rows.describe(bad[0]).rstrip('.')}{rest}; {remedy}."
        raise error(Message(text, skip, names))
    if bad:
        counts = Counter(rows.problems[index][0] for index in bad)
        kinds = ", ".join(f"{n} {kind}{'s' if n > 1 else ''}" for kind, n in counts.items())
        text = (
            f"Set aside {len(bad)} of {len(rows.paths)} {noun}s ({kinds}), the first being "
            f"{rows.describe(bad[0]).rstrip('.')}; {SKIPPED} lists them."
        )
        warnings.warn(Message(text, SKIPPED, Mention("grades", ...)), SetAsideWarning, stacklevel=4)
    if aside:
        tell_ungradable(rows, aside, len(kept))
    reasons = rows.ungradable | {index: reason for index, (_, reason) in rows.problems.items()}
    return kept, skipped_frame(
        [(rows.paths[i], i + 1 if rows.numbered else None, reasons[i]) for i in sorted(reasons)]
    )


def skipped_frame(records: list[tuple[str, int | None, str]]) -> pd.DataFrame:
    """Make the frame of rows set aside: path, row and reason."""
    frame = pd.DataFrame(records, columns=["path", "row", "reason"])
    return frame.astype({"path": object, "row": "Int64", "reason": object})


def finish(
    rows: DataRows,
    *,
    scale: Scale | None,
    on_error: str,
    min_classes: int,
    warn_unknown: bool,
    patients_unknown: str = "warn",
) -> Bunch:
    """Check the rows, set bad ones aside or raise, and make the data set of the others.

    Unlabelled images have no `scale`. The other parameters and the result are those of
    `load_image_table`; without `warn_unknown` nothing is said of unknown patients.
    """
    if scale is not None:
        check_grades(rows, scale)
    known, guessed = tell_eyes(rows, guess=patients_unknown != "ok")
    to_check = [index for index in range(len(rows.paths)) if index not in rows.problems]
    # one that cannot be decoded would end a later step, which has no way to set it aside
    decode = on_error == "skip"
    faults = check_files([rows.paths[index] for index in to_check], decode=decode)
    for position, reason in faults.items():
        rows.add_problem(to_check[position], "unreadable image", reason)
    if scale is not None:  # to grade one twice does no harm
        check_listed_once(rows)
    kept, skipped = settle(rows, on_error)
    grades = None
    if scale is not None:
        assert rows.grades is not None
        grades = np.array([rows.grades[index] for index in kept], dtype=np.int64)
        _check_classes(grades, min_classes)
    by_name = np.array([guessed[index] for index in kept], dtype=bool)
    if warn_unknown and patients_unknown != "ok":
        _check_patients(rows, kept, by_name, graded=scale is not None)
    columns = {"path": rows.paths, "patient": rows.patients, "eye": rows.eyes}
    frame = pd.DataFrame(columns, dtype=object).iloc[kept].reset_index(drop=True)
    paths, patients, eyes = (frame[name].to_numpy(copy=True) for name in columns)
    if rows.extra is not None:
        frame = frame.join(rows.extra.iloc[kept].reset_index(drop=True))
    return Photographs(
        paths=paths,
        grades=grades,
        patients=patients,
        eyes=eyes,
        frame=frame,
        class_names=None if scale is None else list(scale.names),
        n_grades=None if scale is None else len(scale.names),
        dme=None if rows.dme is None else np.array([rows.dme[i] for i in kept], dtype=np.float64),
        given=None if rows.given is None else [rows.given[index] for index in kept],
        given_of=dict(zip(rows.paths, rows.given or (), strict=False)),
        skipped=skipped,
        ungradable=ungradable_frame(rows, 0 if scale is None else len(scale.names)),
        patients_known=all(known),
        patients_guessed=by_name,
    )


def _check_classes(grades: NDArray[np.int64], min_classes: int) -> None:
    found = np.unique(grades).tolist()
    if len(found) < min_classes:
        score = Mention("only_scored", text="pass min_classes=1 if they are only to be scored")
        text = (
            f"All {len(grades)} images have the grade {found[0]}, expected at least {min_classes} "
            f"distinct grades to learn from: add images of other grades, or {score}."
            if len(found) == 1
            else f"The images have the grades {found} only, expected at least {min_classes} "
            "distinct ones: add images, or lower min_classes."
        )
        raise DataError(Message(text, score))


def _check_patients(
    rows: DataRows, kept: list[int], guessed: NDArray[np.bool_], *, graded: bool
) -> None:
    """Warn of unknown patients, and refuse a guess that gives one patient for all."""
    assert rows.patients is not None
    paths = [rows.paths[index] for index in kept]
    patients = [rows.patients[index] for index in kept]
    if graded:
        refuse_one_patient(paths, patients, guessed.tolist())
    unknown = sum(patient == path for patient, path in zip(patients, paths, strict=True))
    if unknown:
        guess = guessed_patients(paths, patients, guessed.tolist())
        warn_of_unknown(unknown, guess, len(kept), stacklevel=5)


def check_choice(function: str, name: str, value: object, choices: tuple[object, ...]) -> None:
    """Raise `InvalidParameterError` unless a parameter has one of its values."""
    if value not in choices:
        listed = " or ".join(repr(choice) for choice in choices)
        raise invalid(function, name, listed, value)
