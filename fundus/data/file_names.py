"""Patient and eye of a photograph, read from its file's name."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

from fundus.exceptions import DataError, Mention, Message, UnknownPatientsWarning

# 10_left.jpeg (EyePACS), 12_OD.png, 1_l1.jpg (DeepDRiD: patient, eye, number of the photograph)
_NAME = re.compile(
    r"(?P<patient>.+)[ _-](?P<eye>left|right|od|os|l|r)(?:[ _-]?\d{1,2})?", re.IGNORECASE
)

#: Which eye a word means, in lower case.
EYES = {"left": "left", "l": "left", "os": "left", "right": "right", "r": "right", "od": "right"}

#: What to do about unknown patients.
UNKNOWN = ("warn", "ok")

# A patient has two eyes: so many images of one alone do not show that names mean something else.
_EYES_OF_ONE = 2


def from_name(path: str) -> tuple[str | None, str | None]:
    """Read patient and eye, "left" or "right", from the name of a file; None where it has none.

    Examples
    --------
    >>> from_name("train/10_left.jpeg"), from_name("IDRiD_001.jpg")
    (('10', 'left'), (None, None))
    """
    told = _NAME.fullmatch(os.path.splitext(os.path.basename(path))[0])
    return (None, None) if told is None else (told["patient"], EYES[told["eye"].lower()])


_NOBODY_KNOWS = Mention("patients_unknown", "ok")


def guessed_patients(
    paths: Sequence[str], patients: Sequence[Any], guessed: Sequence[bool]
) -> str | None:
    """Say how many patients are `guessed`, known from names alone; None where none is.

    The example is of the patient with the most images, the one most likely to be no patient.

    Examples
    --------
    >>> paths = ["1_left.jpg", "10_left.jpg", "10_right.jpg"]
    >>> guessed_patients(paths, ["1", "10", "10"], [True] * 3)
    "2 patients guessed from 3 file names, such as '10_left.jpg' -> '10'"
    """
    told = [
        (path, who) for path, who, by_name in zip(paths, patients, guessed, strict=True) if by_name
    ]
    if not told:
        return None
    images = Counter(who for _, who in told)
    largest = images.most_common(1)[0][0]
    example = next(path for path, who in told if who == largest)
    return (
        f"{_count(len(images), 'patient')} guessed from {_count(len(told), 'file name')}, such as "
        f"{os.path.basename(example)!r} -> {largest!r}"
    )


def refuse_one_patient(
    paths: Sequence[str], patients: Sequence[Any], guessed: Sequence[bool]
) -> None:
    """Raise `DataError` where by the names most images would be of one and the same patient."""
    told = {who for who, by_name in zip(patients, guessed, strict=True) if by_name}
    n = sum(guessed)
    if len(told) != 1 or n <= _EYES_OF_ONE or 2 * n < len(paths):
        return
    example = next(path for path, by_name in zip(paths, guessed, strict=True) if by_name)
    text = (
        f"The names of {n} of {len(paths)} images seem to tell one and the same patient, "
        f"{next(iter(told))!r}, as {os.path.basename(example)!r} does, expected names like "
        "10_left.jpeg and 10_right.jpeg: add a column 'patient' to a table of the images, or pass "
        f"{_NOBODY_KNOWS} to count each image as a patient of its own."
    )
    raise DataError(Message(text, _NOBODY_KNOWS))


def warn_of_unknown(unknown: int, guess: str | None, n_images: int, *, stacklevel: int) -> None:
    """Warn of `unknown` images without a patient; `guessed_patients` says `guess` of the others.

    The `stacklevel` counts from here.
    """
    others = f"; of the others, {guess}" if guess else ""
    text = (
        f"The patients of {unknown} of {n_images} images are unknown, so each counts as a "
        "patient of its own and two eyes of one person may end up on both sides of a split: "
        "add a column 'patient', name files like 10_left.jpeg and 10_right.jpeg, or pass "
        f"{_NOBODY_KNOWS} if nobody knows them{others}."
    )
    warnings.warn(Message(text, _NOBODY_KNOWS), UnknownPatientsWarning, stacklevel=stacklevel)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
