"""Tables of graded images: reading them, knowing their columns, finding the files they name."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from fundus.exceptions import DataError, MissingDependencyError

#: Extensions of image files, in lower case.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")

# Folders beside a table in which the images of the public data sets usually lie.
_USUAL_FOLDERS = ("images", "train", "train_images")

# Names of columns, in lower case with single spaces. Within a role the first group with a match
# counts, and two matches in one group are ambiguous: "file" beats "image" (often a bare id).
_PATH = (
    ("path", "file", "filename", "file name", "filepath", "file path", "image path"),
    ("image", "image id", "image name", "id code", "id"),
)
_GRADE = (
    (
        "grade",
        "level",  # EyePACS
        "diagnosis",  # APTOS 2019
        "retinopathy grade",  # IDRiD
        "adjudicated dr grade",  # Messidor-2
        "dr grade",
        "label",
        "class",
        "target",
    ),
)
_PATIENT = (("patient", "patient id", "subject", "subject id"),)
_EYE = (("eye", "laterality"),)
_GRADABLE = (("adjudicated gradable", "gradable"),)  # Messidor-2
_DME = {"dme": {0: 0, 1: 1, 2: 2}, "risk of macular edema": {0: 0, 1: 1, 2: 2}}  # IDRiD
# Messidor-2 knows referable oedema only: exudates within one disc diameter of the fovea, IDRiD's 2
_DME["adjudicated dme"] = {0: 0, 1: 2}

_RECOGNISED = (
    "path or file, grade (optionally patient, eye); id_code, diagnosis (APTOS); image, level "
    "(EyePACS); Image name, Retinopathy grade (IDRiD); image_id, adjudicated_dr_grade (Messidor-2)"
)


@dataclass(frozen=True)
class Columns:
    """Which column of a table plays which role; None where there is none.

    Parameters
    ----------
    path, grade, patient, eye, gradable : str or None
        Names as the table has them.
    """

    path: str
    grade: str | None
    patient: str | None
    eye: str | None
    gradable: str | None


def recognise_columns(
    columns: Iterable[object],
    *,
    path: str | None = None,
    grade: str | None = None,
    patient: str | None = None,
    eye: str | None = None,
    labelled: bool = True,
) -> Columns:
    """Tell the columns of a table by their names.

    Parameters
    ----------
    columns : iterable of str
        All names. Case, surrounding spaces and underscores do not matter.
    path, grade, patient, eye : str, default=None
        Names given by the caller; they are not guessed then.
    labelled : bool, default=True
        Whether a grade is needed; without, none is looked for unless `grade` is given.

    Returns
    -------
    Columns

    Raises
    ------
    DataError
        If a role that is needed has no column or more than one, or a given name is absent.

    Examples
    --------
    >>> recognise_columns(["Image name", "Retinopathy grade", "Risk of macular edema "])
    Columns(path='Image name', grade='Retinopathy grade', patient=None, eye=None, gradable=None)
    """
    names = [str(name) for name in columns]

    def find(role: str, given: str | None, groups: tuple[tuple[str, ...], ...]) -> str | None:
        if given is not None:
            if given in names:
                return given
            raise DataError(
                f"The table has no column {given!r} for {role}=; its columns are {names}."
            )
        for group in groups:
            hits = [name for name in names if normal_name(name) in group]
            if len(hits) > 1:
                raise DataError(
                    f"Columns {hits} could each be the {role}, of all columns {names}: say which "
                    f"with {role}=."
                )
            if hits:
                return hits[0]
        return None

    path_column = find("path", path, _PATH)
    grade_column = find("grade", grade, _GRADE) if labelled or grade is not None else None
    for role, column in (("path", path_column), ("grade", grade_column)):
        if column is None and (role == "path" or labelled):
            raise DataError(
                f"No column for the {role} of an image among {names}; recognised are "
                f"{_RECOGNISED}: name the column with {role}=."
            )
    assert path_column is not None
    return Columns(
        path_column,
        grade_column,
        find("patient", patient, _PATIENT),
        find("eye", eye, _EYE),
        find("gradable", None, _GRADABLE),
    )


def normal_name(name: object) -> str:
    """Return a column's name in lower case, spaces and underscores made one space."""
    return re.sub(r"[\s_]+", " ", str(name)).strip().lower()


def dme_codes(name: object) -> dict[int, int] | None:
    """Return the values of a column of macular oedema and what each is on IDRiD's scale, 0–2.

    ``None`` where the column is none of macular oedema.
    """
    return _DME.get(normal_name(name))


def read_table(file: Path) -> pd.DataFrame:
    """Read a CSV (also ``;`` or tab separated) or Parquet file.

    Columns that may hold names are read as text, so an id such as ``007`` keeps its zeros.

    Parameters
    ----------
    file : Path
        With the extension .parquet or .pq it is read as Parquet, else as CSV in UTF-8.

    Returns
    -------
    DataFrame

    Raises
    ------
    DataError
        If the file is missing, empty, not UTF-8 or no table.
    MissingDependencyError
        If pyarrow is needed and not installed.
    """
    if not file.is_file():
        raise DataError(f"There is no table {str(file)!r}: give the path of a CSV or Parquet file.")
    try:
        if file.suffix.lower() in (".parquet", ".pq"):
            return pd.read_parquet(file)
        return _read_csv(file)
    except ImportError:
        raise MissingDependencyError(
            f"Reading {str(file)!r} needs pyarrow: pip install 'fundus-zoo[parquet]'."
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"The table {str(file)!r} is not UTF-8 text ({error.reason} at byte {error.start}): "
            "save it as UTF-8 CSV."
        ) from None
    except (pd.errors.EmptyDataError, pd.errors.ParserError, OSError, ValueError) as error:
        raise DataError(f"The table {str(file)!r} cannot be read: {error}.") from None


def _read_csv(file: Path) -> pd.DataFrame:
    with file.open(encoding="utf-8-sig") as stream:
        header = stream.readline()
    separator = max(",;\t", key=header.count)
    names = pd.read_csv(file, sep=separator, encoding="utf-8-sig", nrows=0).columns
    textual = {name for group in (*_PATH, *_PATIENT) for name in group}
    table = pd.read_csv(
        file,
        sep=separator,
        encoding="utf-8-sig",
        dtype={name: str for name in names if normal_name(name) in textual},
    )
    if not isinstance(table.index, pd.RangeIndex):
        raise DataError(
            f"The rows of {str(file)!r} have more fields than its header has columns, "
            f"{list(names)}: give each column a name."
        )
    # IDRiD's tables end in a row of commas, which pandas reads as columns without a name.
    unnamed = [n for n in names if str(n).startswith("Unnamed: ") and table[n].isna().all()]
    return table.drop(columns=unnamed)


class ImageFinder:
    """Find image files by names or bare ids, with one listing for each folder.

    Parameters
    ----------
    folder : path-like
        Where relative names start; its subfolders images, train and train_images are searched
        for what does not lie in the folder itself.

    Examples
    --------
    >>> ImageFinder("nowhere").find("10_left")
    ('nowhere/10_left', "there is no image '10_left' in 'nowhere' or its subfolders images, ...
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = os.fspath(folder)
        self._listings: dict[str, tuple[dict[str, str], dict[str, list[str]]]] = {}

    def find(self, name: str) -> tuple[str, str | None]:
        """Return the path of the image called `name`, and what is wrong with it or None.

        Parameters
        ----------
        name : str
            A file name, a path relative to the folder, an absolute path, or an id that lacks the
            extension.

        Returns
        -------
        path : str
            The file, or where it was expected.
        problem : str or None
        """
        relative = PurePosixPath(name.replace("\\", "/"))
        expected = os.path.join(self.folder, relative)
        hits = self._matches(expected)
        if not hits and not relative.is_absolute():
            for subfolder in _USUAL_FOLDERS:
                hits += self._matches(os.path.join(self.folder, subfolder, relative))
        if len(hits) > 1:
            return expected, f"the id {name!r} stands for several files, {hits}: name one of them"
        if hits:
            return hits[0], None
        if relative.is_absolute():
            return expected, "there is no such image file"
        where = repr(self.folder or ".")
        return expected, (
            f"there is no image {name!r} in {where} or its subfolders {', '.join(_USUAL_FOLDERS)}"
        )

    def _matches(self, path: str) -> list[str]:
        folder, base = os.path.split(path)
        files, stems = self._listing(folder)
        base = unicodedata.normalize("NFC", base)
        names = [files[base]] if base in files else stems.get(base, [])
        return [os.path.join(folder, name) for name in sorted(names)]

    def _listing(self, folder: str) -> tuple[dict[str, str], dict[str, list[str]]]:
        if folder not in self._listings:
            files: dict[str, str] = {}
            stems: dict[str, list[str]] = defaultdict(list)
            names = os.listdir(folder or ".") if os.path.isdir(folder or ".") else []
            for name in names:
                # A table may write an umlaut as one code point and the disc as two.
                normal = unicodedata.normalize("NFC", name)
                files[normal] = name
                stem, suffix = os.path.splitext(normal)
                if suffix.lower() in IMAGE_SUFFIXES:
                    stems[stem].append(name)
            self._listings[folder] = files, stems
        return self._listings[folder]
