"""Splits that do not leak: checks by patient and by pixels, and the inner validation split."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import (
    BaseCrossValidator,
    StratifiedGroupKFold,
    StratifiedKFold,
    check_cv,
)
from sklearn.utils.validation import _num_samples

from fundus.data.inputs import as_images, is_image_data, refuse_single
from fundus.exceptions import DataError, InvalidGradeError, Mention, Message, SplitError
from fundus.frozen.pixel_digests import pixel_digests
from fundus.grades.labels import as_labels
from fundus.grades.patients import patients_of, read_patients
from fundus.model_selection.leaks import (
    Folds,
    refuse_shared,
    refuse_unseen_grades,
    warn_near_duplicates,
)
from fundus.model_selection.near_duplicates import find_near_duplicates
from fundus.parameters import invalid
from fundus.store import open_store


def make_cv(cv: Any, y: ArrayLike, groups: Any, random_state: Any) -> Any:
    """Turn a ``cv=`` parameter into a splitter.

    Parameters
    ----------
    cv : int, splitter or iterable
        An int means `StratifiedGroupKFold` where there are groups, else `StratifiedKFold`, both
        shuffled.
    y : array-like, shape (n_samples,)
    groups : array-like, shape (n_samples,), or None
    random_state : int, RandomState or None

    Raises
    ------
    SplitError
        If there are fewer patients, or images of every grade, than folds.
    DataError
        If there is not one patient for each row, or one is unknown.
    """
    if not isinstance(cv, (int, np.integer)) or isinstance(cv, bool):
        return check_cv(cv, y, classifier=True)
    fewer = Mention("cv", text="cv")
    if groups is not None:
        n_patients = len(pd.unique(read_patients(groups, _num_samples(y))))
        if n_patients < cv:
            text = f"{cv} folds need at least {cv} patients. Got {n_patients}: lower {fewer}."
            raise SplitError(Message(text, fewer))
    _, counts = np.unique(np.asarray(y), return_counts=True)
    if counts.max() < cv:
        text = (
            f"{cv} folds need at least {cv} images of a grade. The most frequent has "
            f"{counts.max()}: lower {fewer}."
        )
        raise SplitError(Message(text, fewer))
    if groups is not None:
        return StratifiedGroupKFold(int(cv), shuffle=True, random_state=random_state)
    return StratifiedKFold(int(cv), shuffle=True, random_state=random_state)


def check_split(
    cv: Any,
    X: Any,
    y: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    *,
    cache: Any = True,
    near_duplicates: Any = False,
    random_state: Any = None,
) -> Folds:
    """Refuse a split that has one patient, or one image, on both sides of a fold.

    Parameters
    ----------
    cv : int, splitter or iterable
    X : images or array-like
        As `TransferClassifier` takes it. Pixels are compared where it holds images.
    y : array-like, shape (n_samples,), default=None
        Grades.
    groups : array-like, shape (n_samples,), default=None
        Patients; a frame's own ``patient`` column where they are not given.
    cache : bool or path, default=True
        Store that remembers the digests of files.
    near_duplicates : bool, FeatureExtractor or array-like of float, default=False
        Whether to look for nearly identical images on both sides too, which only warn; see
        `find_near_duplicates`, which takes the extractor or the features.
    random_state : int, RandomState or None, default=None
        Shuffles the folds where `cv` is an int.

    Returns
    -------
    list of (train, test)
        Row numbers of each fold.

    Raises
    ------
    SplitError
        If a patient or an image stands on both sides; it is named, and the rest counted. If the
        data cannot be split: there are fewer patients than folds, a fold is empty, or a splitter
        leaves none of a grade to train on, such as one that a single patient has. Folds that are
        given as row numbers may lack a grade.
    DataError
        If lengths differ, or the patient of a row is unknown.
    InvalidGradeError
        If a grade is missing.
    ImageReadError
        If an image file cannot be read.

    Warns
    -----
    NearDuplicateWarning
        Where nearly identical images were looked for and stand on both sides.

    Examples
    --------
    >>> from sklearn.model_selection import KFold
    >>> check_split(KFold(2), [[0.1], [0.2]], [0, 1], groups=["anna", "anna"])
    Traceback (most recent call last):
    ...
    fundus.exceptions.SplitError: Fold 0 has patient 'anna' on both sides: rows 1 and 0; ...
    """
    refuse_single(X)
    n_rows = _num_samples(X)
    groups = patients_of(X, groups, n_rows)
    y = None if y is None else _complete(y, n_rows)
    folds = _make_folds(cv, X, y, groups, random_state)
    if groups is not None:
        refuse_shared(folds, groups, "patient", "split by patient, as StratifiedGroupKFold does")
    if y is not None and (hasattr(cv, "split") or isinstance(cv, (int, np.integer))):
        refuse_unseen_grades(folds, y, groups)
    wanted = near_duplicates is not None and near_duplicates is not False
    if is_image_data(X):
        images = as_images(X)
        content = np.array(pixel_digests(images, open_store(cache)), dtype=object)
        names = content if images.paths is None else images.paths
        refuse_shared(
            folds, content, "the same image", "remove the copies or give them one patient", names
        )
        if wanted:
            features = None if near_duplicates is True else near_duplicates
            warn_near_duplicates(folds, find_near_duplicates(X, features, cache=cache), images)
    elif wanted:
        raise invalid("", "near_duplicates", "False where X holds no images", near_duplicates)
    return folds


def _complete(y: ArrayLike, n_rows: int) -> NDArray[Any]:
    labels = as_labels(y).values
    if len(labels) != n_rows:
        raise DataError(f"y must have one grade a row. Got {len(labels)} for {n_rows} rows.")
    missing = np.flatnonzero(pd.isna(labels))
    if len(missing):
        raise InvalidGradeError(
            f"y must have a grade in every row. Got {labels[missing[0]]} in row {missing[0]}, and "
            f"{len(missing)} missing in all: leave such rows out."
        )
    return labels


def _make_folds(
    cv: Any, X: Any, y: NDArray[Any] | None, groups: NDArray[Any] | None, random_state: Any
) -> Folds:
    n_rows = _num_samples(X)
    splitter = make_cv(cv, y if y is not None else np.zeros(n_rows), groups, random_state)
    with warnings.catch_warnings():
        # whether the splitter keeps patients together is checked afterwards
        warnings.filterwarnings("ignore", "The groups parameter is ignored")
        try:
            folds = [(np.asarray(a), np.asarray(b)) for a, b in splitter.split(X, y, groups)]
        except (SplitError, DataError):
            raise
        except ValueError as error:
            who = "" if groups is None else f" of {len(pd.unique(groups))} patients"
            raise SplitError(f"{splitter!r} cannot split {n_rows} rows{who}: {error}") from None
    for k, (train, test) in enumerate(folds):
        if not len(train) or not len(test):
            part = "test" if len(train) else "train on"
            raise SplitError(f"Fold {k} has no rows to {part}: use fewer folds.")
    return folds


class GuardedSplit(BaseCrossValidator):
    """A splitter that refuses to yield folds with a patient or an image on both sides.

    Parameters
    ----------
    cv : int or splitter, default=5
        The splitter to guard.
    cache : bool or path, default=True
        Store that remembers the digests of files.
    near_duplicates : bool or FeatureExtractor, default=False
        Whether to warn of nearly identical images on both sides, and what computes the features.

    Examples
    --------
    >>> import numpy as np
    >>> folds = GuardedSplit(2).split(np.eye(4), [0, 0, 1, 1], ["a", "b", "a", "b"])
    >>> len(list(folds))
    2
    """

    # the base class declares groups unused; metadata routing would then never pass them
    __metadata_request__split = {"groups": True}  # noqa: RUF012 - how scikit-learn reads it

    def __init__(self, cv: Any = 5, *, cache: Any = True, near_duplicates: Any = False) -> None:
        self.cv = cv
        self.cache = cache
        self.near_duplicates = near_duplicates

    def split(
        self, X: Any, y: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Yield the checked folds as row numbers.

        Parameters
        ----------
        X : images or array-like
        y : array-like, shape (n_samples,), default=None
        groups : array-like, shape (n_samples,), default=None

        Yields
        ------
        train, test : ndarray of int
        """
        yield from check_split(
            self.cv, X, y, groups, cache=self.cache, near_duplicates=self.near_duplicates
        )

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds.

        Parameters
        ----------
        X, y, groups : array-like, default=None
            Only needed by splitters whose number of folds follows from the data.

        Returns
        -------
        int
        """
        return check_cv(self.cv).get_n_splits(X, y, groups)
