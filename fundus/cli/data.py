"""Loads DATA and IMAGES of the command line, and names the images."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from fundus.exceptions import DataError, UnknownPatientsWarning

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.utils import Bunch

    from fundus.store import Store

#: Extensions of tables, for files that could be a table or an image.
TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".pq")


@dataclass(frozen=True)
class ColumnOptions:
    """How to read a table.

    Parameters
    ----------
    image_dir : Path or None
        Folder that names are relative to; by default the table's.
    path, grade, patient : str or None
        Names of columns that are not recognised automatically.
    """

    image_dir: Path | None = None
    path: str | None = None
    grade: str | None = None
    patient: str | None = None


def load_graded(
    data: Path,
    *,
    class_names: Sequence[str] | None,
    grades: int | None,
    on_error: str,
    columns: ColumnOptions,
    min_classes: int = 2,
    patients_unknown: str = "warn",
) -> Bunch:
    """Load a folder of class folders, or a table.

    Parameters
    ----------
    class_names : sequence of str or None
        Names of the grades in class folders or a table, lowest first.
    grades : int or None
        Number of grades; 5 if it is not known otherwise.
    columns : ColumnOptions
        For tables; ignored for a folder.

    Returns
    -------
    Bunch
        As from `fundus.load_image_table`, with ``root``, the folder that names are
        relative to.
    """
    from fundus.data.loaders import load_image_folder, load_image_table
    from fundus.grades.icdr import N_GRADES

    how: dict[str, Any] = {
        "on_error": on_error,
        "min_classes": min_classes,
        "patients_unknown": patients_unknown,
    }
    if data.is_dir():
        loaded = load_image_folder(data, class_names=class_names, grades=grades, **how)
        loaded.root = data
        return loaded
    scale = class_names or grades or N_GRADES
    loaded = load_image_table(data, **vars(columns), grades=scale, **how)
    loaded.root = columns.image_dir or data.parent
    return loaded


def refuse_missing(*data: Path | None) -> None:
    """Raise if there is neither a table nor a folder, before anything that is slow to import."""
    for path in data:
        if path is not None and not path.exists():
            raise DataError(
                f"There is no table {str(path)!r}: give the path of a text or Parquet file, or of "
                "a folder."
            )


def load_new(images: Path, *, on_error: str, columns: ColumnOptions) -> Bunch:
    """Load a folder, one file or a table of images to grade, as `load_graded` without grades."""
    from fundus.data.loaders import load_image_table, load_images

    with patients_do_not_matter():
        if images.suffix.lower() in TABLE_SUFFIXES and not images.is_dir():
            loaded = load_image_table(
                images, **vars(columns), labelled=False, on_error=on_error, min_classes=0
            )
            loaded.root = columns.image_dir or images.parent
            return loaded
        loaded = load_images(images, on_error=on_error)
        loaded.root = images if images.is_dir() else images.parent
        return loaded


def load_several(images: Sequence[Path], *, on_error: str, columns: ColumnOptions) -> Bunch:
    """Load images to grade, given as one or several arguments.

    Parameters
    ----------
    images : sequence of Path
        An argument of `load_new`, or several images and folders; one given twice is two rows.
    on_error : {"raise", "skip"}
    columns : ColumnOptions

    Returns
    -------
    Bunch
        As from `load_new`, in the order of the arguments; ``root`` is the innermost folder
        that holds them all.

    Raises
    ------
    typer.BadParameter
        If one of several arguments is a table.
    """
    from fundus.data.loaders import load_images

    if len(images) == 1:
        return load_new(images[0], on_error=on_error, columns=columns)
    tables = [i for i in images if i.suffix.lower() in TABLE_SUFFIXES and not i.is_dir()]
    if tables:
        raise typer.BadParameter(
            f"{str(tables[0])!r} is a table, and {len(images)} IMAGES are given: give a table "
            "alone, or images and folders only."
        )
    loaded = load_images(images, on_error=on_error)
    folders = [os.path.abspath(i if i.is_dir() else i.parent) for i in images]
    one_drive = len({os.path.splitdrive(folder)[0] for folder in folders}) == 1
    loaded.root = Path(os.path.commonpath(folders)) if one_drive else Path()
    return loaded


def check_columns(columns: ColumnOptions, *sources: Path | None) -> None:
    """Refuse options for tables if no source is a table.

    Parameters
    ----------
    columns : ColumnOptions
    *sources : Path or None

    Raises
    ------
    typer.BadParameter
    """
    tables = [source for source in sources if source is not None and not source.is_dir()]
    if columns != ColumnOptions() and not tables:
        raise typer.BadParameter(
            f"--image-dir and the column options are for tables, and {str(sources[0])!r} is a "
            "folder."
        )


@contextmanager
def patients_do_not_matter() -> Iterator[None]:
    """Ignore warnings of unknown patients: without training, nothing is split by patient."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnknownPatientsWarning)
        yield


def guess_of(loaded: Bunch) -> str | None:
    """Describe how many patients are guessed from names, with an example; None if none is."""
    from fundus.data.file_names import guessed_patients

    return guessed_patients(loaded.paths, loaded.patients, loaded.patients_guessed)


def names_of(paths: Sequence[str], root: Path) -> list[str]:
    """Name image files by their paths from a folder, with forward slashes; others keep theirs.

    Examples
    --------
    >>> names_of(["data/class0/1_left.jpeg", "elsewhere/2.png"], Path("data"))
    ['class0/1_left.jpeg', 'elsewhere/2.png']
    """
    base = os.path.join(os.path.abspath(root), "")
    return [
        (full[len(base) :] if (full := os.path.abspath(path)).startswith(base) else path).replace(
            os.sep, "/"
        )
        for path in paths
    ]


def files_of(loaded: Bunch, paths: Sequence[str] | None = None) -> list[str]:
    """Return the user's names of image files, so that results join with the user's table.

    That is the name in the table; for a folder's images, the path from the folder; for an image
    given by itself, its name as given. Without `paths`, those of all used images are returned;
    images that were set aside have names too.
    """
    if paths is None:
        return list(loaded.given or names_of(loaded.paths, loaded.root))
    names = names_of(paths, loaded.root)
    return [loaded.given_of.get(path, name) for path, name in zip(paths, names, strict=True)]


def aside_table(loaded: Bunch) -> pd.DataFrame:
    """Return the images that were set aside: file, path, row and reason."""
    aside = loaded.skipped.copy()
    aside.insert(0, "file", files_of(loaded, aside["path"].tolist()))
    return aside


def ids_of(paths: Sequence[str], root: Path) -> list[str]:
    """Return an id for every image; different files have different ids.

    An id is the stem of the file; if two have the same stem, for all files the path from `root`
    without the extension; if two have the same path, with it.

    Examples
    --------
    >>> ids_of(["x/10_left.jpeg", "x/10_right.jpeg"], Path("x"))
    ['10_left', '10_right']
    >>> ids_of(["x/a/1.png", "x/b/1.png"], Path("x"))
    ['a/1', 'b/1']
    """
    names = names_of(paths, root)
    stripped = [os.path.splitext(name)[0] for name in names]
    n_files = len(set(map(str, paths)))
    for ids in ([name.rsplit("/", 1)[-1] for name in stripped], stripped, names):
        if len(set(ids)) == n_files:
            return ids
    return [str(path) for path in paths]


def folder_options(class_names: Sequence[str]) -> dict[str, Any]:
    """Return ``class_names`` and ``grades`` of `load_graded` for the names of a run.

    Names that are the grades' numbers allow any such class folders, ``class3`` or ``3``.
    """
    from fundus.grades.icdr import are_numbers

    names = None if are_numbers(class_names) else list(class_names)
    return {"class_names": names, "grades": len(class_names)}


def open_cache(cache_dir: Path | None) -> Store:
    """Open the store of ``--cache-dir``."""
    from fundus.store import open_store

    store = open_store(True if cache_dir is None else cache_dir)
    assert store is not None
    return store


def digests_of(paths: Sequence[str], cache_dir: Path | None) -> list[str]:
    """SHA-256 of every image's pixels."""
    from fundus.data.inputs import as_images
    from fundus.frozen.pixel_digests import pixel_digests

    return pixel_digests(as_images(list(paths)), open_cache(cache_dir))
