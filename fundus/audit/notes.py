"""The issues of images, from measures, digests, pairs and predictions that are there already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fundus.audit.report import ISSUES, SUSPECT_SHARE

#: Thresholds, with what they did to the 369 IDRiD photographs. All of those are above
#: DARK (the darkest has 25), and 95 % of them fall below it when their values are divided by 5.
DARK = 20.0
#: Two are below it, one obscured and one hazy; nearly all are after a Gaussian blur of 3 pixels in
#: 512, and most after one of 2 pixels.
BLURRED = 1.0
#: IDRiD's field of view is 0.46 of the padded square.
LEAST_FOV = 0.15


class Notes:
    """The issues of every image.

    Parameters
    ----------
    n : int
        Number of images.
    """

    def __init__(self, n: int) -> None:
        self._of: list[set[str]] = [set() for _ in range(n)]

    def add(self, issue: str, rows: Any) -> None:
        """Note an issue of some images."""
        for row in rows:
            self._of[int(row)].add(issue)

    def text(self) -> list[str]:
        """Return the issues of every image, separated by semicolons."""
        return [";".join(issue for issue in ISSUES if issue in found) for found in self._of]


def note_quality(measures: pd.DataFrame, notes: Notes) -> None:
    """Note poor photographs.

    Parameters
    ----------
    measures : DataFrame
        Columns as `Quality` has them; ``nan`` where nothing was measured.
    notes : Notes
    """
    notes.add("no_field_of_view", np.flatnonzero(measures["fov_share"] < LEAST_FOV))
    notes.add("dark", np.flatnonzero(measures["brightness"] < DARK))
    notes.add("blurred", np.flatnonzero(measures["sharpness"] < BLURRED))


def note_copies(
    digests: Sequence[str], rows: NDArray[np.intp], table: pd.DataFrame, notes: Notes
) -> NDArray[np.intp]:
    """Add of which image each is a copy.

    Parameters
    ----------
    digests : sequence of str
        Of the pixels of the images `rows`.
    rows : ndarray of int
    table : DataFrame
        All images, with ``path`` and ``grade``; gets ``duplicate_of``.
    notes : Notes

    Returns
    -------
    ndarray of int, shape (n_images,)
        A number for each picture; -1 for images that are not among `rows`.
    """
    codes = np.full(len(table), -1, dtype=np.intp)
    codes[rows] = pd.factorize(np.array(digests))[0]
    table["duplicate_of"] = None
    for same in pd.Series(rows).groupby(codes[rows]).agg(list):
        if len(same) < 2:
            continue
        notes.add("duplicate", same)
        table.loc[same[1:], "duplicate_of"] = table.loc[same[0], "path"]
        if table.loc[same, "grade"].nunique() > 1:
            notes.add("conflicting_labels", same)
    return codes


def note_pairs(pairs: pd.DataFrame, table: pd.DataFrame, notes: Notes) -> None:
    """Add of which image each is a near duplicate.

    Parameters
    ----------
    pairs : DataFrame
        As `find_near_duplicates` returns it.
    table : DataFrame
        Gets ``near_duplicate_of`` and ``correlation``.
    notes : Notes
    """
    table["near_duplicate_of"], table["correlation"] = None, np.nan
    for first, second, correlation, _ in pairs.itertuples(index=False):
        notes.add("near_duplicate", (first, second))
        if table.loc[[first, second], "grade"].nunique() > 1:
            notes.add("conflicting_labels", (first, second))
        for row, other in ((first, second), (second, first)):
            if table.loc[row, "near_duplicate_of"] is None:  # the most alike comes first
                table.loc[row, "near_duplicate_of"] = table.loc[other, "path"]
                table.loc[row, "correlation"] = correlation


def note_labels(
    y: NDArray[np.intp],
    proba: NDArray[np.float64],
    grades: NDArray[np.intp],
    shown: NDArray[np.bool_],
    rows: NDArray[np.intp],
    table: pd.DataFrame,
    notes: Notes,
) -> None:
    """Add what models that have not seen an image say of its grade.

    Parameters
    ----------
    y : ndarray of int, shape (n_rows,)
        Grades of the images `rows`.
    proba : ndarray of float, shape (n_rows, n_grades)
        Out of fold.
    grades : ndarray of int, shape (n_grades,)
        Of the columns of `proba`, rising; all of `y` are among them.
    shown : ndarray of bool, shape (n_rows,)
        Whether the model of an image was shown its grade.
    rows : ndarray of int, shape (n_rows,)
    table : DataFrame
        Gets ``self_confidence`` and ``likely_grade``.
    notes : Notes
    """
    own = np.where(shown, proba[np.arange(len(y)), np.searchsorted(grades, y)], np.nan)
    usual = np.array(
        [
            np.nanmean(own[y == grade]) if np.isfinite(own[y == grade]).any() else np.inf
            for grade in grades
        ]
    )
    sure = np.where(proba >= usual, proba, -1.0)
    likely = np.where(sure.max(axis=1) >= 0, grades[sure.argmax(axis=1)], -1)
    table.loc[rows, "self_confidence"] = own
    table.loc[rows[likely >= 0], "likely_grade"] = likely[likely >= 0]
    doubted = (likely >= 0) & (likely != y) & np.isfinite(own)
    least = pd.Series(own).rank(method="first") <= round(SUSPECT_SHARE * np.isfinite(own).sum())
    notes.add("label_suspect", rows[doubted & least.to_numpy()])
