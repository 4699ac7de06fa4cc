"""Folders of images: their order, and which of them stand for which grade."""

from __future__ import annotations

import os
import re
import shlex
import unicodedata
import warnings
from collections.abc import Sequence

from fundus.data.dicom_eyes import is_dicom_file
from fundus.data.scale import is_ungradable_name, read_scale
from fundus.data.tables import IMAGE_SUFFIXES
from fundus.exceptions import DataError, DataWarning, Mention, Message
from fundus.grades.icdr import N_GRADES
from fundus.parameters import refused

# Files that often lie beside images; they are left out without a warning.
_SIDECARS = {".csv", ".tsv", ".txt", ".md", ".json", ".xml", ".parquet", ".db", ".ini", ".pdf"}

# The list of a folder of DICOM files, itself one; its name is fixed by the standard.
_DICOM_LIST = "dicomdir"

# Folders that archives, file servers and systems put beside images, in lower case.
_SYSTEM_FOLDERS = {
    "__macosx",
    "@eadir",
    "#recycle",
    "$recycle.bin",
    "system volume information",
    "lost+found",
}

# Names of the parts of a split, in lower case, and what each is for.
_PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Sort key that orders digits by value: ``2_left`` before ``10_left``.

    Examples
    --------
    >>> sorted(["10_left", "9_right", "9_left"], key=natural_key)
    ['9_left', '9_right', '10_left']
    """
    parts: list[str | int] = list(re.split(r"(\d+)", name))
    parts[1::2] = [int(digits) for digits in parts[1::2]]
    return parts, name


def is_system_folder(name: str) -> bool:
    """Whether a folder is hidden or one of the system's, in which no one looks for images.

    Examples
    --------
    >>> [is_system_folder(name) for name in ("__MACOSX", ".git", "class0")]
    [True, True, False]
    """
    return name.startswith(".") or name.lower() in _SYSTEM_FOLDERS


def is_image(name: str) -> bool:
    """Whether a file name has the extension of an image and is not hidden."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".")


def image_files(folder: str) -> tuple[list[str], list[str]]:
    """Return the images below a folder, and the files that are neither image nor sidecar.

    Images are told by their extensions; DICOM files, which often have none, also by their content.
    """
    images: list[str] = []
    odd: list[str] = []
    seen = set()
    for directory, subfolders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(directory)
        if real in seen:  # a link to a folder above it would never end
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = [name for name in subfolders if not is_system_folder(name)]
        for name in files:
            if is_image(name):
                images.append(os.path.join(directory, name))
            elif not name.startswith(".") and os.path.splitext(name)[1].lower() not in _SIDECARS:
                path = os.path.join(directory, name)
                if name.lower() != _DICOM_LIST:
                    (images if is_dicom_file(path) else odd).append(path)
    return sorted(images, key=natural_key), sorted(odd, key=natural_key)


def class_folders(
    folder: str, class_names: Sequence[str] | None, grades: int | None
) -> tuple[list[str], list[tuple[str, int]]]:
    """Return the names of all grades, and the class folders found with the grade of each."""
    if not os.path.isdir(folder):
        raise DataError(f"There is no folder {folder!r}: give one that holds the class folders.")
    entries = [e.name for e in os.scandir(folder) if e.is_dir() and not is_system_folder(e.name)]
    entries.sort(key=natural_key)
    _refuse_parts(folder, entries, class_names)
    if class_names is not None:
        return _named_folders(folder, entries, list(class_names), grades)
    n_grades = N_GRADES if grades is None else grades
    read_scale("load_image_folder", n_grades)
    entries = _graded(entries, n_grades)
    numbers = [re.fullmatch(r"(?:class)?([0-9]+)", name, re.IGNORECASE) for name in entries]
    if not entries:
        raise DataError(
            f"The folder {folder!r} has no folders in it, expected class folders such as "
            f"class0 … class{n_grades - 1}: give the folder that holds them, or a table of grades."
        )
    if not all(numbers):
        names = Mention("class_names", ...)
        text = (
            f"The folders in {folder!r} are {entries}, expected class0 … class{n_grades - 1} or "
            f"0 … {n_grades - 1}: give their names in the order of the grades as {names}."
        )
        raise DataError(Message(text, names))
    scale = [f"class{k}" for k in range(n_grades)]
    found: dict[int, str] = {}
    for name, number in zip(entries, numbers, strict=True):
        assert number is not None
        k = int(number[1])
        if k >= n_grades or k in found:
            fault = (
                f"shares grade {k} with {found[k]!r}" if k in found else "lies outside the scale"
            )
            scale_length = Mention("grades")
            text = (
                f"The folder {name!r} in {folder!r} {fault}, expected one folder for each grade in "
                f"0–{n_grades - 1}: rename it, or pass {scale_length} for "  # noqa: RUF001
                "another scale."
            )
            raise DataError(Message(text, scale_length))
        found[k] = scale[k] = name
    if grades is None and set(found) == {0, 1}:
        _warn_of_two(folder, found, n_grades)
    return scale, [(os.path.join(folder, found[k]), k) for k in sorted(found)]


def _refuse_parts(folder: str, entries: list[str], class_names: Sequence[str] | None) -> None:
    """Raise where folders are the parts of a split: their names are no grades."""
    named = [unicodedata.normalize("NFC", str(name)) for name in class_names or ()]
    parts = {name: _PARTS[name.lower()] for name in entries if name.lower() in _PARTS}
    if not parts or set(parts) & set(named):
        return
    paths = {kind: shlex.quote(os.path.join(folder, name)) for name, kind in parts.items()}
    others = [paths[kind] for kind in ("test", "validation") if kind in paths]
    if "train" not in paths:
        advice = (
            f"move them out of {folder!r}, train on what is left there and score a part with "
            f"`fundus evaluate RUN {others[0]}`"
        )
    elif not others:
        advice = f"train on it with `fundus train {paths['train']}`"
    else:
        advice = (
            f"train on one and score another, with `fundus train {paths['train']} --validation "
            f"{others[-1]}`, or later `fundus evaluate RUN {others[0]}`; in Python load each part "
            "for itself"
        )
    raise DataError(
        f"The folders {list(parts)} in {folder!r} are parts of a split, expected a folder for each "
        f"grade: {advice}."
    )


def _warn_of_two(folder: str, found: dict[int, str], n_grades: int) -> None:
    """Say that two folders are read as the first two grades of a longer scale."""
    two, all_of_them = Mention("grades", 2), Mention("grades", n_grades)
    text = (
        f"{folder!r} holds the folders {found[0]!r} and {found[1]!r} alone, read as the grades 0 "
        f"and 1 of 0–{n_grades - 1}, so the upper grades have no image. If they "  # noqa: RUF001
        f"stand for not referable and referable, pass {two} to make the scale two long; pass "
        f"{all_of_them} if they do not."
    )
    warnings.warn(Message(text, two, all_of_them), DataWarning, stacklevel=4)


def _named_folders(
    folder: str, entries: list[str], class_names: list[str], grades: int | None
) -> tuple[list[str], list[tuple[str, int]]]:
    # The same name may be composed differently on disc (macOS) and on the keyboard.
    order = [unicodedata.normalize("NFC", str(name)) for name in class_names]
    if len(set(order)) < max(2, len(order)) or grades not in (None, len(order)):
        must = (
            "must be at least two different names, one for each grade of the scale. Got "
            f"{class_names!r} with grades={grades!r} instead."
        )
        raise refused("load_image_folder", "class_names", must)
    entries = _graded(entries, len(order), order)
    found = {unicodedata.normalize("NFC", name): name for name in entries}
    unlisted = [name for normal, name in found.items() if normal not in order]
    if unlisted or not found:
        named = Mention("class_names", class_names)
        text = (
            f"The folders in {folder!r} are {entries}, of which {unlisted} are not in "
            f"{named}: list every folder, in the order of the grades."
        )
        raise DataError(Message(text, named))
    present = [(os.path.join(folder, found[n]), k) for k, n in enumerate(order) if n in found]
    return order, present


def ungradable_folders(folder: str, class_names: Sequence[str]) -> list[str]:
    """Return folders of photographs that could not be graded, beside those of the ICDR grades."""
    if not os.path.isdir(folder):
        return []
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    graded = _graded(names, len(class_names), class_names)
    return [os.path.join(folder, name) for name in names if name not in graded]


def _graded(entries: list[str], n_grades: int, names: Sequence[str] = ()) -> list[str]:
    """Leave out folders called ungradable, which are none of the five grades."""
    if n_grades != N_GRADES:
        return entries
    return [name for name in entries if name in names or not is_ungradable_name(name)]
