"""An audit of the photographs of a training, from what the training has computed already."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fundus.audit.notes import Notes, note_copies, note_labels, note_pairs, note_quality
from fundus.audit.report import Audit

#: What an audit can look at, and the words for it.
LOOKED_AT = {
    "copies": "copies",
    "labels": "labels",
    "near_duplicates": "near duplicates",
    "quality": "light, sharpness and field of view",
}


def audit_of_training(
    names: Sequence[str],
    y: NDArray[np.intp],
    patients: NDArray[np.object_] | None,
    digests: Sequence[str],
    fold: NDArray[np.intp],
    *,
    proba: NDArray[np.float64] | None = None,
    severity: NDArray[np.float64] | None = None,
    measures: pd.DataFrame | None = None,
    pairs: pd.DataFrame | None = None,
) -> Audit:
    """Look for copies, doubtful labels and poor photographs among those that were trained on.

    Nothing is read or fitted: labels are judged by the out-of-fold probabilities of the training
    itself, by the rule of `audit_images`. What is not given is not looked at.

    Parameters
    ----------
    names : sequence of str, shape (n_images,)
    y : ndarray of int, shape (n_images,)
        Grades.
    patients : ndarray, shape (n_images,), or None
    digests : sequence of str, shape (n_images,)
        Of the pixels.
    fold : ndarray of int, shape (n_images,)
        The fold that tested an image.
    proba : ndarray of float, shape (n_images, n_grades), default=None
        Out of fold.
    severity : ndarray of float, shape (n_images,), default=None
        Out of fold.
    measures : DataFrame, default=None
        A row for each image; columns as `Quality` has them.
    pairs : DataFrame, default=None
        As `find_near_duplicates` returns it.

    Examples
    --------
    >>> y, fold = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    >>> names = ["a.png", "b.png", "c.png", "d.png"]
    >>> found = audit_of_training(names, y, None, ["1", "2", "1", "3"], fold)
    >>> found.count("duplicate"), found.count("conflicting_labels")
    (2, 2)
    """
    n = len(names)
    rows, notes = np.arange(n), Notes(n)
    table = pd.DataFrame(
        {
            "path": list(names),
            "grade": pd.array(y, dtype="Int64"),
            "patient": rows if patients is None else patients,
        }
    )
    columns = ["fov_share", "brightness", "sharpness"]
    if measures is None:
        measures = pd.DataFrame(np.nan, rows, columns)
    table = table.join(measures[columns].reset_index(drop=True))
    note_quality(table, notes)
    table["reason"] = None
    note_copies(digests, rows, table, notes)
    if pairs is None:
        pairs = pd.DataFrame(columns=["first", "second", "correlation", "mirrored"])
    note_pairs(pairs, table, notes)
    table["self_confidence"] = np.nan
    table["likely_grade"] = pd.array([None] * n, dtype="Int64")
    table["severity"] = np.nan if severity is None else severity
    if proba is not None:
        shown = np.zeros(n, dtype=bool)
        for k in np.unique(fold):
            test = fold == k
            shown[test] = np.isin(y[test], y[~test])
        note_labels(y, proba, np.arange(proba.shape[1]), shown, rows, table, notes)
    table.insert(3, "issues", notes.text())
    return Audit(table, pairs, patients is not None)
