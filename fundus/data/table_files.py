"""The file of a table: what kind it is, how its text is coded and separated, and its header."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from fundus.data.tables import (
    IMAGE_SUFFIXES,
    Columns,
    is_header,
    is_text_column,
    recognise_columns,
)
from fundus.exceptions import DataError, MissingDependencyError
from fundus.images.foreign import PARQUET, foreign_file
from fundus.images.formats import image_kind

_SEPARATORS = ",;\t"
_SEP_LINE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # Excel's first line
_QUOTED = re.compile(r'"[^"]*"|\S+')
# A name may hold spaces, but what follows its extension is the next cell.
_NAME_FIRST = re.compile(
    r"(.+?(?:" + "|".join(map(re.escape, IMAGE_SUFFIXES)) + r"))\s+(\S.*)", re.IGNORECASE
)
#: Byte order marks, the longer ones first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


#: Tells which columns of a header play which role.
Recognise = Callable[[list[str]], Columns]


@dataclass(frozen=True)
class Cells:
    """How the cells of a table without a header are recognised.

    Parameters
    ----------
    is_image : callable
        Whether a text names an image that is there, in whatever way.
    is_grade : callable
        Whether a text may be a grade.
    labelled : bool, default=True
        Whether there must be a grade.
    """

    is_image: Callable[[str], bool]
    is_grade: Callable[[str], bool]
    labelled: bool = True

    def image_at(self, row: list[str]) -> int | None:
        """Place of the image in a row that is no header; ``None`` in one that may be a header."""
        if is_header(row, labelled=self.labelled):
            return None
        graded = [k for k, cell in enumerate(row) if self.is_grade(cell)]
        if self.labelled and not graded:
            return None
        for k, cell in enumerate(row):
            if cell.lower().endswith(IMAGE_SUFFIXES):
                others = len(graded) - (k in graded)
                return k if others or not self.labelled else None
        if not graded:  # a list of ids looks like a header and its column
            return None
        others_of = [k for k, cell in enumerate(row) if k not in graded and self.is_image(cell)]
        return others_of[0] if others_of else None


def read_table(
    file: Path, cells: Cells | None = None, recognise: Recognise = recognise_columns
) -> pd.DataFrame:
    """Read a table of text or a Parquet file.

    With the extension .parquet or .pq it is read as Parquet, else as text, UTF-8 or with the byte
    order mark of UTF-16, separated by commas, semicolons, tabs, white space, or what a first line
    ``sep=`` says. Columns that may hold names are read as text, so an id such as ``007`` keeps its
    zeros. Without `cells`, the first row is taken for a header; the columns of a table that lacks
    one are "file", "grade" and "column 3", …; `recognise` tells which columns of a header a
    plugin's layout reads.

    Raises
    ------
    DataError
        If the file is missing, empty, no text or no table.
    MissingDependencyError
        If pyarrow is needed and not installed.
    """
    if not file.is_file():
        raise DataError(
            f"There is no table {str(file)!r}: give the path of a text or Parquet file."
        )
    parquet = file.suffix.lower() in (".parquet", ".pq")
    try:
        if parquet or foreign_file(file) == PARQUET:
            return _read_parquet(file)
        _refuse_foreign(file)
        return _read_text(file, cells, recognise)
    except ImportError:
        raise MissingDependencyError(
            f"Reading {str(file)!r} needs pyarrow: pip install 'fundus-zoo[parquet]'."
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"The table {str(file)!r} is not UTF-8 text ({error.reason} at byte {error.start}): "
            "save it as UTF-8 CSV."
        ) from None
    except DataError:
        raise
    except (pd.errors.EmptyDataError, pd.errors.ParserError, OSError, ValueError) as error:
        raise DataError(f"The table {str(file)!r} cannot be read: {error}.") from None


def _refuse_foreign(file: Path) -> None:
    """Raise for a file that is no table, and say what it is."""
    expected = "expected a table as CSV text or Parquet"
    foreign = foreign_file(file)
    if foreign is not None:
        raise DataError(
            f"Cannot read the table {str(file)!r}: {expected}, found {foreign.what}; "
            f"{foreign.advice}."
        )
    with file.open("rb") as stream:
        image = image_kind(stream.read(16))
    if image in ("JPEG", "PNG", "TIFF", "WebP"):  # the others' signatures may begin a text
        raise DataError(
            f"Cannot read the table {str(file)!r}: {expected}, found a {image} image; give the "
            "folder that holds its class folders, or a table with its name and grade."
        )


def _read_parquet(file: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(file)
    except (ImportError, MemoryError):
        raise
    except Exception as error:  # of many types: pyarrow's, and pandas' on damaged notes of its own
        what = f"{type(error).__name__}: {error}"
        raise DataError(f"The table {str(file)!r} cannot be read as Parquet: {what}.") from None


def _read_text(file: Path, cells: Cells | None, recognise: Recognise) -> pd.DataFrame:
    data = file.read_bytes()
    text = data.decode(_coding(data))
    first, separator = _first_line(text), None
    marked = _SEP_LINE.fullmatch(first)
    if marked:
        separator = marked[1]
        text = text.split(first, 1)[1].lstrip("\r\n")
        first = _first_line(text)
    separator = separator or max(_SEPARATORS, key=first.count)
    row = _cells_of(first, separator)
    if cells is not None:
        known = partial(is_header, labelled=cells.labelled)
        if separator not in first and marked is None and not known([first]):
            blank = _blank_cells(first)
            headed = known(blank)
            if len(blank) > 1 and (headed or cells.image_at(blank) is not None):
                text, separator, row = _with_commas(text, file), ",", blank
        image = cells.image_at(row)
        if image is not None:
            return _read_headless(text, separator, row, image, cells, file)
    names = list(pd.read_csv(io.StringIO(text), sep=separator, nrows=0).columns)
    texts = _text_columns(names, recognise)
    table = pd.read_csv(io.StringIO(text), sep=separator, dtype=dict.fromkeys(texts, str))
    if not isinstance(table.index, pd.RangeIndex):
        raise DataError(
            f"The rows of {str(file)!r} have more fields than its header has columns, "
            f"{names}: give each column a name."
        )
    return _without_empty(table)


def _text_columns(names: list[str], recognise: Recognise) -> list[str]:
    """Columns that keep their leading zeros: by their own names, and of the layout that reads."""
    try:
        named = recognise(names).named
    except DataError:  # who wants the columns asks again, and is told
        named = ()
    return [name for name in names if is_text_column(name) or name in named]


def _coding(data: bytes) -> str:
    marked = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    if marked is not None or not data[1:200]:
        return marked or "utf-8"
    if not any(data[1:200:2]):  # letters of English with a zero byte after each, or before it
        return "utf-16-le"
    return "utf-8" if any(data[0:200:2]) else "utf-16-be"


def _without_empty(table: pd.DataFrame) -> pd.DataFrame:
    # IDRiD's tables end in a row of commas, which pandas reads as columns without a name.
    unnamed = [n for n in table if str(n).startswith("Unnamed: ") and table[n].isna().all()]
    return table.drop(columns=unnamed)


def _first_line(text: str) -> str:
    return next((line for line in re.split(r"\r\n|\r|\n", text) if line.strip()), "").strip(" ")


def _cells_of(line: str, separator: str) -> list[str]:
    (row,) = list(csv.reader([line], delimiter=separator)) or [[]]
    return [cell.strip() for cell in row]


def _blank_cells(line: str) -> list[str]:
    """Cells of a line that are separated by white space."""
    if '"' in line:
        return [part.strip('"') for part in _QUOTED.findall(line)]
    named = _NAME_FIRST.fullmatch(line.strip())
    return [named[1], *named[2].split()] if named else line.split()


def _with_commas(text: str, file: Path) -> str:
    """Write a table that is separated by white space with commas."""
    lines = [line for line in re.split(r"\r\n|\r|\n", text) if line.strip()]
    rows = [_blank_cells(line) for line in lines]
    for number, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise DataError(
                f"Row {number + 1} of the table {str(file)!r} must have {len(rows[0])} cells, as "
                f"the first one has, separated by white space. Got {lines[number]!r} instead: "
                "put commas between the cells."
            )
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    return written.getvalue()


def _read_headless(
    text: str, separator: str, row: list[str], image: int, cells: Cells, file: Path
) -> pd.DataFrame:
    names = [f"column {k + 1}" for k in range(len(row))]
    names[image] = "file"
    table = pd.read_csv(
        io.StringIO(text),
        sep=separator,
        header=None,
        names=names,
        dtype=str,
        skipinitialspace=True,
    )
    if not isinstance(table.index, pd.RangeIndex):
        raise DataError(
            f"The rows of {str(file)!r} have more cells than the first one, {row}: write as many "
            "in each."
        )
    table = table[[name for name in names if not table[name].isna().all()]]
    if cells.labelled:
        graded = [k for k in range(len(row)) if k != image and cells.is_grade(row[k])]
        if len(graded) > 1:
            whole = [k for k in graded if table[names[k]].dropna().map(cells.is_grade).all()]
            graded = whole or graded
        if len(graded) > 1:
            columns = " and ".join(str(k + 1) for k in graded)
            raise DataError(
                f"The table {str(file)!r} has no header, and its columns {columns} could each be "
                f"the grade (the first row is {row}): put a line with a name for each column "
                "before it, such as file,grade."
            )
        table = table.rename(columns={names[graded[0]]: "grade"})
    for name in table.columns.drop(["file", "grade"], errors="ignore"):
        numbers = pd.to_numeric(table[name], errors="coerce")
        if numbers.notna().equals(table[name].notna()):
            table[name] = numbers
    return table
