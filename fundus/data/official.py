"""Data sets as the loaders return them, and the split into train and test that came with one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from fundus.data.tables import normal_name
from fundus.exceptions import DataError
from fundus.grades.icdr import grade_labels
from fundus.runtime.shown import Shown
from fundus.runtime.terminal import new_table

if TYPE_CHECKING:
    from rich.table import Table
    from sklearn.model_selection import PredefinedSplit

_NAMES = ("split", "official split", "set", "subset", "usage", "partition")
_PARTS = {"train": -1, "training": -1, "test": 0, "testing": 0}


class Photographs(Shown, Bunch):
    """Graded photographs: the `Bunch` that `load_image_table` documents, with the official split.

    Parameters
    ----------
    **kwargs
        The entries.
    """

    def to_table(self) -> Table:
        """Return how many photographs there are of each grade, for a terminal."""
        from rich.markup import escape

        frame, grades = self.frame, self.get("grades")
        known = self.get("patients_known", False)
        of = f" of {frame['patient'].nunique():,} patients" if known else ", patients unknown"
        aside = len(self.get("skipped", ()))
        more = f"; {aside:,} files set aside" if aside else ""
        title = f"{len(frame):,} photographs{of}{more}"
        if grades is None:
            return new_table(f"{title}, without grades")
        table = new_table(title, "grade")
        table.add_column("photographs", justify="right")
        counts = np.bincount(grades, minlength=self.n_grades)
        for label, count in zip(grade_labels(self.class_names), counts, strict=True):
            table.add_row(escape(label), f"{count:,}")
        return table

    def predefined_split(self, column: str | None = None) -> PredefinedSplit:
        """Return the split into train and test that a table names, as a splitter.

        Parameters
        ----------
        column : str, default=None
            Column that says train (or training) or test (or testing) in every row; by default the
            one called split, set, subset, usage or partition.

        Returns
        -------
        sklearn.model_selection.PredefinedSplit
            One fold, whose test part is the official one. `check_split` and `FoldEnsemble` take it
            as ``cv``, and refuse it where it separates the eyes of a patient.

        Raises
        ------
        DataError
            If there is no such column, a row says something else, or a part is empty.

        Examples
        --------
        >>> frame = pd.DataFrame({"path": ["a", "b", "c"], "split": ["train", "test", "train"]})
        >>> next(Photographs(frame=frame).predefined_split().split())[1]
        array([1])
        """
        from sklearn.model_selection import PredefinedSplit

        names = [str(name) for name in self.frame.columns]
        found = [name for name in names if normal_name(name) in _NAMES]
        if column is None and len(found) != 1:
            raise DataError(
                f"Expected one column that tells train from test, called {', '.join(_NAMES)}. Got "
                f"{found or 'none'} among {names}: name it with column=."
            )
        chosen = found[0] if column is None else column
        if chosen not in names:
            raise DataError(f"There is no column {chosen!r}; the columns are {names}.")
        values = self.frame[chosen].tolist()
        parts = [None if pd.isna(v) else _PARTS.get(normal_name(v)) for v in values]
        if None in parts:
            row = parts.index(None)
            raise DataError(
                f"The column {chosen!r} must say train or test in every row. Got {values[row]!r} "
                f"in row {row} ({self.frame['path'].iloc[row]!r}): take other parts out first."
            )
        folds = np.array(parts)
        if len(set(parts)) < 2:
            raise DataError(
                f"The column {chosen!r} must have rows of train and of test. Got {values[0]!r} in "
                f"all {len(values)} rows."
            )
        return PredefinedSplit(folds)
