"""Inner folds of an estimator that is fitted on several rows, the views, of every image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import check_cv

from fundus.exceptions import DataError


class ViewFolds:
    """Folds of images, for rows of which every image has as many, one after the other.

    Parameters
    ----------
    cv : int, cross-validation generator, iterable of splits, or None
        Divides the images, by the first row of each.
    each : int
        Rows of an image.
    classifier : bool
        Whether an int divides by grade.
    """

    def __init__(self, cv: Any, each: int, classifier: bool) -> None:
        self.cv = cv
        self.each = each
        self.classifier = classifier

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds.

        Parameters
        ----------
        X, y, groups : array-like, default=None
            As in `split`.

        Returns
        -------
        int
        """
        X, y, groups = (self._of_images(part) for part in (X, y, groups))
        return int(check_cv(self.cv, y, classifier=self.classifier).get_n_splits(X, y, groups))

    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Yield the rows to train and to test on.

        Parameters
        ----------
        X : array-like, shape (n_images * each, …)
        y, groups : array-like, shape (n_images * each,), default=None

        Yields
        ------
        train, test : ndarray of int

        Raises
        ------
        DataError
            If the rows are not those of whole images.
        """
        for rows in (y, groups):
            self._check_whole(rows)
        X, y, groups = (self._of_images(part) for part in (X, y, groups))
        cv = check_cv(self.cv, y, classifier=self.classifier)
        for train, test in cv.split(X, y, groups):
            yield self._rows_of(train), self._rows_of(test)

    def _of_images(self, rows: Any) -> Any:
        if rows is None:
            return None
        if np.shape(rows)[0] % self.each:
            raise self._broken()
        return rows[:: self.each]

    def _check_whole(self, rows: Any) -> None:
        """Raise where the rows of an image differ, as after a draw of rows."""
        if rows is None:
            return
        rows = np.asarray(rows)
        if len(rows) % self.each or (rows != np.repeat(rows[:: self.each], self.each, 0)).any():
            raise self._broken()

    def _rows_of(self, images: Any) -> NDArray[np.intp]:
        images = np.asarray(images)
        if images.dtype.kind == "b":
            images = np.flatnonzero(images)
        return (images[:, np.newaxis] * self.each + np.arange(self.each)).ravel()

    def _broken(self) -> DataError:
        return DataError(
            f"Inner folds need all {self.each} rows of every image, itself and its augmented "
            "views, one after the other: leave out a step before them that draws rows, or "
            "augment_views."
        )
