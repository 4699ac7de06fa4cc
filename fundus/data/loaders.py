"""Graded photographs from folders and tables, checked before anything is trained on them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.utils import Bunch

from fundus.data.file_names import UNKNOWN
from fundus.data.folders import (
    class_folders,
    image_files,
    is_image,
    natural_key,
    ungradable_folders,
)
from fundus.data.left_out import no_images, report_odd
from fundus.data.lookup import ImageFinder
from fundus.data.rows import DataRows, check_choice, finish
from fundus.data.scale import Scale, read_scale
from fundus.data.table_files import Cells, read_table
from fundus.data.table_rows import table_rows
from fundus.data.tables import recognise_columns
from fundus.exceptions import DataError, Mention, Message
from fundus.grades.icdr import N_GRADES
from fundus.parameters import invalid, refused

PathLike = str | os.PathLike[str]

_ON_ERROR = ("raise", "skip")


def load_image_folder(
    folder: PathLike,
    *,
    class_names: Sequence[str] | None = None,
    grades: int | Sequence[str] | None = None,
    on_error: str = "raise",
    min_classes: int = 2,
    patients_unknown: str = "warn",
) -> Bunch:
    """Load graded images from one folder per grade.

    Parameters
    ----------
    folder : path-like
        Holds the class folders, ``class0`` … ``class4`` or ``0`` … ``4``, each searched with its
        subfolders. A folder ``ungradable`` beside five grades is set aside into ``ungradable``.
    class_names : sequence of str, default=None
        The same as names in `grades`.
    grades : int or sequence of str, default=None
        Length of the scale, or the names of the class folders in the order of their grades, where
        they are called otherwise. By default that of `class_names`, or 5.
    on_error : {"raise", "skip"}, default="raise"
        Whether files that cannot be used are an error or are set aside into ``skipped``.
    min_classes : int, default=2
        Fewest distinct grades accepted; 1 for images that are only to be scored.
    patients_unknown : {"warn", "ok"}, default="warn"
        "ok" says that nobody knows them: each image whose patient stands in no column is then one
        of its own, without a warning, and no patient is read from headers or guessed from names.

    Returns
    -------
    Bunch
        As `load_image_table` returns it; the rows are ordered by grade and then naturally by
        name (``2_left`` before ``10_left``).

    Raises
    ------
    DataError
        If the folder is missing or empty, its subfolders are not the class folders expected, an
        image lies outside them or twice in them, there are fewer grades than `min_classes`, or
        the names of images tell one patient for all.
    ImageReadError
        If a file is empty, truncated or no image.
    InvalidParameterError
        If a parameter lies outside what is named above.

    Warns
    -----
    DataWarning
        If patients are unknown, files were set aside, files without an image's extension were
        left out, or the folders 0 and 1 stand alone and `grades` does not say how long the scale
        is.

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
    check_choice(name, "patients_unknown", patients_unknown, UNKNOWN)
    folder = os.fspath(folder)
    if grades is not None and not isinstance(grades, int):
        named = read_scale(name, grades).names
        if class_names is not None and read_scale(name, class_names).names != named:
            must = (
                "must not differ from 'grades' where both are names. "
                f"Got {class_names!r} and {grades!r} instead."
            )
            raise refused(name, "class_names", must)
        class_names, grades = list(named), None
    names, found = class_folders(folder, class_names, grades)
    paths: list[str] = []
    labels: list[Any] = []
    odd: list[str] = []
    aside = [(directory, "ungradable") for directory in ungradable_folders(folder, names)]
    for directory, grade in [*found, *aside]:
        images, others = image_files(directory)
        paths += images
        labels += [grade] * len(images)
        odd += others
    stray = [e.path for e in os.scandir(folder) if e.is_file() and is_image(e.name)]
    rows = DataRows(paths + sorted(stray, key=natural_key), labels + [0] * len(stray))
    for index in range(len(paths), len(rows.paths)):
        reason = f"the image lies outside the class folders of {folder!r}"
        rows.add_problem(index, "image outside the class folders", reason)
    if not paths:
        raise DataError(no_images(folder, "the class folders of ", odd))
    data = finish(
        rows,
        scale=Scale(tuple(names)),
        on_error=on_error,
        min_classes=min_classes,
        warn_unknown=True,
        patients_unknown=patients_unknown,
    )
    return report_odd(data, odd)


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
        raise DataError(no_images(given, odd=odd))
    data = finish(
        DataRows(paths, given=names),
        scale=None,
        on_error=on_error,
        min_classes=0,
        warn_unknown=False,
    )
    return report_odd(data, odd)


def load_image_table(
    table: PathLike | pd.DataFrame,
    *,
    image_dir: PathLike | None = None,
    path: str | None = None,
    grade: str | None = None,
    patient: str | None = None,
    eye: str | None = None,
    grades: int | Sequence[str] = N_GRADES,
    labelled: bool = True,
    on_error: str = "raise",
    min_classes: int = 2,
    patients_unknown: str = "warn",
) -> Bunch:
    """Load images and their grades from a table.

    The columns of APTOS 2019 (``id_code``, ``diagnosis``), EyePACS (``image``, ``level``), IDRiD
    (``Image name``, ``Retinopathy grade``), Messidor-2 (``image_id``, ``adjudicated_dr_grade``,
    ``adjudicated_gradable``), BRSET (``image_id``, ``DR_ICDR``, ``exam_eye``) and plain names
    (``path`` or ``file``, ``grade`` or ``label``, ``patient``, ``eye``) are recognised. So are the
    names and grades of a text without a header, such as DDR's ``007-0004-000.jpg 3``.

    Parameters
    ----------
    table : path-like or DataFrame
        A text file (UTF-8, or UTF-16 with its mark) separated by commas, semicolons, tabs, white
        space or what a first line ``sep=`` says; a Parquet file; or the table itself.
    image_dir : path-like, default=None
        Where relative names and ids start; by default the table's own folder (the working
        directory for a DataFrame). Subfolders named images, train and train_images are tried
        for what is not there. An id may lack the extension. What is not found so is looked up in
        all folders below by its name without the extension, whatever its case, and taken where
        one file has it (not for a DataFrame without `image_dir`).
    path, grade, patient, eye : str, default=None
        Names of the columns, where they are not recognised. Patient and eye, if there are no such
        columns, are read from the headers of DICOM files and from names like ``10_left.jpeg``.
    grades : int or sequence of str, default=5
        Length of the scale, of grades in ``range(grades)``; or the names that the table gives the
        grades, lowest first. On a scale of five, grade 5 and the word "ungradable" set a photograph
        aside into ``ungradable``.
    labelled : bool, default=True
        Whether the table must have grades; if not, none are read.
    on_error : {"raise", "skip"}, default="raise"
        Whether rows that cannot be used are an error or are set aside into ``skipped``.
    min_classes : int, default=2
        Fewest distinct grades accepted; 1 for images that are only to be scored.
    patients_unknown : {"warn", "ok"}, default="warn"
        "ok" says that nobody knows them: each image whose patient stands in no column is then one
        of its own, without a warning, and no patient is read from headers or guessed from names.

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
            is known, and those whose grade is "ungradable": path, patient, grade (missing for the
            latter, which count as referable) and dme.
        patients_known : bool
            Whether every patient is known.
        patients_guessed : ndarray of bool, shape (n,)
            Whether a patient is known from the file's name only.

    Raises
    ------
    DataError
        If the table cannot be read or has no rows, a column is ambiguous or not found, a graded
        file stands in two rows, an eye is neither left nor right, macular oedema is off its scale,
        there are fewer grades than `min_classes`, or the names of images tell one patient for all.
    InvalidGradeError
        If a grade is missing, no integer or outside the scale, or an image is marked ungradable.
    ImageReadError
        If a file is missing, empty, truncated or no image, or an id stands for several files.
    InvalidParameterError
        If a parameter lies outside what is named above.

    Warns
    -----
    DataWarning
        If patients are unknown, rows were set aside, among them those graded as ungradable, or
        images were found in another folder or with another extension than the table says.

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
    check_choice(name, "patients_unknown", patients_unknown, UNKNOWN)
    scale = read_scale(name, grades)
    if grade is not None and not labelled:
        raise invalid(name, "grade", "None with labelled=False", grade)
    recognise = partial(
        recognise_columns, path=path, grade=grade, patient=patient, eye=eye, labelled=labelled
    )
    if isinstance(table, pd.DataFrame):
        folder, source, content = "", "the DataFrame", table.reset_index(drop=True)
    else:
        folder, source = os.path.dirname(os.fspath(table)), repr(os.fspath(table))
        named = any(column is not None for column in (path, grade, patient, eye))
        lookup = ImageFinder(folder if image_dir is None else image_dir)
        cells = Cells(lambda text: lookup.find(text)[1] is None, scale.may_be_grade, labelled)
        content = read_table(Path(table), None if named else cells, recognise)
    if image_dir is not None:
        folder = os.fspath(image_dir)
        if not os.path.isdir(folder):
            given = Mention("image_dir", text="image_dir")
            raise DataError(Message(f"There is no folder {folder!r}, given as {given}.", given))
    content = content.rename(columns=str)
    try:
        columns = recognise(content.columns)
    except DataError as error:
        if isinstance(table, pd.DataFrame):
            raise
        (message,) = error.args
        raise DataError(Message(f"{message} The table is {source}.", *message.mentions)) from None
    if content.empty:
        raise DataError(f"The table {source} has no rows: give one with a row per image.")
    # a table lies in a folder that its user chose; nobody chose one for a DataFrame
    is_frame = isinstance(table, pd.DataFrame)
    finder = ImageFinder(folder, search=not is_frame or image_dir is not None)
    rows = table_rows(content, columns, finder)
    finder.warn_of_renamed(len(rows.paths))
    return finish(
        rows,
        scale=scale if labelled else None,
        on_error=on_error,
        min_classes=min_classes,
        warn_unknown=True,
        patients_unknown=patients_unknown,
    )
