"""Graded photographs from folders and tables, checked before anything is trained on them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.utils import Bunch

from fundus.data.folders import check_scale, class_folders, image_files, is_image, natural_key
from fundus.data.rows import Rows, check_choice, finish, skipped_frame
from fundus.data.tables import (
    IMAGE_SUFFIXES,
    Columns,
    ImageFinder,
    dme_codes,
    read_table,
    recognise_columns,
)
from fundus.exceptions import DataError, DataWarning, InvalidParameterError
from fundus.grades import N_GRADES

PathLike = str | os.PathLike[str]

_ON_ERROR = ("raise", "skip")


def load_image_folder(
    folder: PathLike,
    *,
    class_names: Sequence[str] | None = None,
    grades: int | None = None,
    on_error: str = "raise",
    min_classes: int = 2,
) -> Bunch:
    """Load graded images from one folder per grade.

    Parameters
    ----------
    folder : path-like
        Holds the class folders, ``class0`` … ``class4`` or ``0`` … ``4``, each searched with its
        subfolders.
    class_names : sequence of str, default=None
        Names of the class folders in the order of their grades, where they are called otherwise.
    grades : int, default=None
        Length of the scale; by default that of `class_names`, or 5.
    on_error : {"raise", "skip"}, default="raise"
        Whether files that cannot be used are an error or are set aside into ``skipped``.
    min_classes : int, default=2
        Fewest distinct grades accepted; 1 for images that are only to be scored.

    Returns
    -------
    Bunch
        As `load_image_table` returns it; the rows are ordered by grade and then naturally by
        name (``2_left`` before ``10_left``).

    Raises
    ------
    DataError
        If the folder is missing or empty, its subfolders are not the class folders expected, an
        image lies outside them or twice in them, or there are fewer grades than `min_classes`.
    ImageReadError
        If a file is empty, truncated or no image.
    InvalidParameterError
        If a parameter lies outside what is named above.

    Warns
    -----
    DataWarning
        If patients are unknown, files were set aside, or files without an image's extension were
        left out.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from fundus.data.synthetic import make_fundus
    >>> with TemporaryDirectory() as folder:
    ...     made = make_fundus(20, 64, 0, out_dir=folder)
    ...     data = load_image_folder(folder)
    >>> len(data.paths), sorted(set(data.grades.tolist())), data.patients_known
    (20, [0, 1, 2, 3, 4], True)
    """
    name = "load_image_folder"
    check_choice(name, "on_error", on_error, _ON_ERROR)
    folder = os.fspath(folder)
    scale, found = class_folders(folder, class_names, grades)
    paths: list[str] = []
    labels: list[Any] = []
    odd: list[str] = []
    for directory, grade in found:
        images, others = image_files(directory)
        paths += images
        labels += [grade] * len(images)
        odd += others
    stray = [e.path for e in os.scandir(folder) if e.is_file() and is_image(e.name)]
    rows = Rows(paths + sorted(stray, key=natural_key), labels + [0] * len(stray))
    for index in range(len(paths), len(rows.paths)):
        reason = f"the image lies outside the class folders of {folder!r}"
        rows.add_problem(index, "image outside the class folders", reason)
    if not paths:
        raise DataError(_no_images(folder, "the class folders of "))
    data = finish(
        rows,
        class_names=scale,
        on_error=on_error,
        min_classes=min_classes,
        warn_unknown=True,
    )
    return _report_odd(data, odd)


def load_images(images: PathLike | Iterable[PathLike], *, on_error: str = "raise") -> Bunch:
    """Load unlabelled images, to be graded.

    Parameters
    ----------
    images : path-like or iterable of path-like
        A folder, searched with its subfolders, a file, or several of these.
    on_error : {"raise", "skip"}, default="raise"
        Whether files that cannot be used are an error or are set aside into ``skipped``.

    Returns
    -------
    Bunch
        As `load_image_table` returns it, with ``grades``, ``class_names`` and ``n_grades`` None.
        The files of a folder are ordered naturally by name.

    Raises
    ------
    DataError
        If there is no image.
    ImageReadError
        If a file is missing, empty, truncated or no image.

    Warns
    -----
    DataWarning
        If files were set aside or, lacking an image's extension, left out.

    Examples
    --------
    >>> load_images([])
    Traceback (most recent call last):
    ...
    fundus.exceptions.DataError: There are no images in []...
    """
    check_choice("load_images", "on_error", on_error, _ON_ERROR)
    items = [images] if isinstance(images, (str, os.PathLike)) else images
    given = [os.fspath(item) for item in items]
    paths: list[str] = []
    names: list[str] = []
    odd: list[str] = []
    for item in given:
        if os.path.isdir(item):
            inside, others = image_files(item)
            paths += inside
            # below one folder a name starts there; among several the folder tells them apart
            below = [os.path.relpath(path, item) if len(given) == 1 else path for path in inside]
            names += [name.replace(os.sep, "/") for name in below]
            odd += others
        else:
            paths.append(item)
            names.append(item)
    if not paths:
        raise DataError(_no_images(given))
    data = finish(
        Rows(paths, given=names),
        class_names=None,
        on_error=on_error,
        min_classes=0,
        warn_unknown=False,
    )
    return _report_odd(data, odd)


def load_image_table(
    table: PathLike | pd.DataFrame,
    *,
    image_dir: PathLike | None = None,
    path: str | None = None,
    grade: str | None = None,
    patient: str | None = None,
    eye: str | None = None,
    grades: int = N_GRADES,
    labelled: bool = True,
    on_error: str = "raise",
    min_classes: int = 2,
) -> Bunch:
    """Load images and their grades from a table.

    The columns of APTOS 2019 (``id_code``, ``diagnosis``), EyePACS (``image``, ``level``), IDRiD
    (``Image name``, ``Retinopathy grade``), Messidor-2 (``image_id``, ``adjudicated_dr_grade``,
    ``adjudicated_gradable``) and plain names (``path`` or ``file``, ``grade`` or ``label``,
    ``patient``, ``eye``) are recognised.

    Parameters
    ----------
    table : path-like or DataFrame
        A CSV file (UTF-8; comma, semicolon or tab), a Parquet file, or the table itself.
    image_dir : path-like, default=None
        Where relative names and ids start; by default the table's own folder (the working
        directory for a DataFrame). Subfolders named images, train and train_images are searched
        for what is not there. An id may lack the extension.
    path, grade, patient, eye : str, default=None
        Names of the columns, where they are not recognised. Patient and eye, if there are no such
        columns, are told from names like ``10_left.jpeg``.
    grades : int, default=5
        Length of the scale; grades lie in ``range(grades)``.
    labelled : bool, default=True
        Whether the table must have grades; if not, none are read.
    on_error : {"raise", "skip"}, default="raise"
        Whether rows that cannot be used are an error or are set aside into ``skipped``.
    min_classes : int, default=2
        Fewest distinct grades accepted; 1 for images that are only to be scored.

    Returns
    -------
    Bunch
        A dictionary whose entries are attributes too.

        paths : ndarray of str (object), shape (n,)
            Image files.
        grades : ndarray of int64, shape (n,), or None
            Grades in ``range(n_grades)``.
        patients : ndarray of str (object), shape (n,)
            Patients; one of its own, the path, for each image whose patient is unknown.
        eyes : ndarray (object), shape (n,)
            "left", "right" or None.
        frame : DataFrame of n rows
            Columns path, patient, eye and the further columns of the table, to be used as ``X``.
        class_names : list of str or None
            Name of each grade.
        n_grades : int or None
            Length of the scale.
        dme : ndarray of float, shape (n,), or None
            Risk of macular oedema, 0–2 as in IDRiD (Messidor-2's 1 becomes 2), NaN where it is
            not known; ``None`` without such a column (``dme``, ``Risk of macular edema`` or
            ``adjudicated_dme``).
        given : list of str, or None
            What each image is called in the table, or below the folder.
        given_of : dict of str to str
            The same by path, also of rows set aside.
        skipped : DataFrame
            Rows set aside: path, row (from 1, without the header) and reason.
        ungradable : DataFrame
            Those of them whose image cannot be read or is marked as ungradable, but whose grade
            is known: path, patient, grade and dme.
        patients_known : bool
            Whether every patient is known.

    Raises
    ------
    DataError
        If the table cannot be read or has no rows, a column is ambiguous or not found, a file
        stands in two rows, an eye is neither left nor right, macular oedema is off its scale, or
        there are fewer grades than `min_classes`.
    InvalidGradeError
        If a grade is missing, no integer or outside the scale, or an image is marked ungradable.
    ImageReadError
        If a file is missing, empty, truncated or no image, or an id stands for several files.
    InvalidParameterError
        If a parameter lies outside what is named above.

    Warns
    -----
    DataWarning
        If patients are unknown, or rows were set aside.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from fundus.data.synthetic import make_fundus
    >>> with TemporaryDirectory() as folder:
    ...     made = make_fundus(20, 64, 0, out_dir=folder)
    ...     data = load_image_table(f"{folder}/labels.csv")
    >>> data.frame.columns.tolist(), data.eyes[:2].tolist()
    (['path', 'patient', 'eye'], ['left', 'right'])
    """
    name = "load_image_table"
    check_choice(name, "on_error", on_error, _ON_ERROR)
    check_scale(name, grades)
    if grade is not None and not labelled:
        raise InvalidParameterError(
            f"The 'grade' parameter of {name} must be None with labelled=False. "
            f"Got {grade!r} instead."
        )
    if isinstance(table, pd.DataFrame):
        folder, source, content = "", "the DataFrame", table.reset_index(drop=True)
    else:
        folder, source = os.path.dirname(os.fspath(table)), repr(os.fspath(table))
        content = read_table(Path(table))
    if image_dir is not None:
        folder = os.fspath(image_dir)
        if not os.path.isdir(folder):
            raise DataError(f"There is no folder {folder!r}, given as image_dir.")
    content = content.rename(columns=str)
    columns = recognise_columns(
        content.columns, path=path, grade=grade, patient=patient, eye=eye, labelled=labelled
    )
    if content.empty:
        raise DataError(f"The table {source} has no rows: give one with a row per image.")
    return finish(
        _table_rows(content, columns, ImageFinder(folder)),
        class_names=[f"class{k}" for k in range(grades)] if labelled else None,
        on_error=on_error,
        min_classes=min_classes,
        warn_unknown=True,
    )


def _table_rows(content: pd.DataFrame, columns: Columns, finder: ImageFinder) -> Rows:
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
    rows = Rows(
        [""] * len(names),
        values(columns.grade),
        values(columns.patient),
        values(columns.eye),
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


def _graded_oedema(rows: Rows, name: str, column: pd.Series) -> list[float]:
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


def _no_images(where: object, what: str = "") -> str:
    suffixes = ", ".join(IMAGE_SUFFIXES)
    return f"There are no images in {what}{where!r}; looked for files that end in {suffixes}."


def _report_odd(data: Bunch, odd: list[str]) -> Bunch:
    if odd:
        warnings.warn(
            f"Left out {len(odd)} file(s) without the extension of an image, such as {odd[0]!r}; "
            "the attribute 'skipped' lists them.",
            DataWarning,
            stacklevel=3,
        )
        reason = f"the extension is none of {', '.join(IMAGE_SUFFIXES)}"
        more = skipped_frame([(path, None, reason) for path in odd])
        data.skipped = more if data.skipped.empty else pd.concat([data.skipped, more])
        data.skipped = data.skipped.reset_index(drop=True)
    return data
