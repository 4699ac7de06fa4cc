"""What must not be on both sides of a fold, or on one side only."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.multiclass import type_of_target

from fundus.data.inputs import Images
from fundus.exceptions import NearDuplicateWarning, SplitError

Folds = list[tuple[NDArray[np.intp], NDArray[np.intp]]]


def refuse_unseen_grades(folds: Folds, y: NDArray[Any], groups: NDArray[Any] | None) -> None:
    """Refuse a grade that a fold tests and does not train on.

    Parameters
    ----------
    folds : list of (train, test)
    y : ndarray, shape (n_samples,)
        Grades; anything else is left alone.
    groups : ndarray, shape (n_samples,), or None
        Patients.

    Raises
    ------
    SplitError
    """
    if type_of_target(y) not in ("binary", "multiclass"):
        return
    for k, (train, test) in enumerate(folds):
        unseen = np.setdiff1d(y[test], y[train])
        if not len(unseen):
            continue
        rows = np.flatnonzero(y == unseen[0])
        holders = rows if groups is None else pd.unique(groups[rows])
        if len(holders) > 1:
            why = f"all {len(rows)} of it are in the test part; shuffle or stratify the folds"
        else:
            holder = f"row {rows[0]}" if groups is None else f"patient {holders.tolist()[0]!r}"
            why = f"only {holder} has it; add images of it, or join it with the grade next to it"
        raise SplitError(
            f"Fold {k} has no image of grade {unseen.tolist()[0]!r} to train on: {why} "
            "(FoldEnsemble also takes such folds, given as row numbers)."
        )


def warn_near_duplicates(folds: Folds, pairs: pd.DataFrame, images: Images) -> None:
    """Warn of nearly identical images on both sides of a fold.

    Parameters
    ----------
    folds : list of (train, test)
    pairs : DataFrame
        As `find_near_duplicates` returns it.
    images : Images
        To name them.

    Warns
    -----
    NearDuplicateWarning
    """
    test_of = np.zeros((len(folds), len(images)), dtype=bool)
    train_of = test_of.copy()
    for k, (train, test) in enumerate(folds):
        train_of[k, train] = test_of[k, test] = True
    first, second = pairs["first"].to_numpy(), pairs["second"].to_numpy()
    apart = (train_of[:, first] & test_of[:, second]) | (test_of[:, first] & train_of[:, second])
    shared = np.flatnonzero(apart.any(axis=0))
    if not len(shared):
        return
    pair = pairs.iloc[shared[0]]
    a, b = images.where(pair["first"]), images.where(pair["second"])
    warnings.warn(
        f"{len(shared)} pairs of nearly identical images are on both sides of a fold, which makes "
        f"its score too good. The most alike are {a} and {b}, with a correlation of "
        f"{pair['correlation']:.2f}: look at them, and give copies, or photographs of one eye, one "
        "patient.",
        NearDuplicateWarning,
        stacklevel=3,
    )


def refuse_shared(
    folds: Folds,
    values: NDArray[Any],
    what: str,
    remedy: str,
    names: NDArray[Any] | None = None,
) -> None:
    """Refuse a value that is on both sides of a fold.

    Parameters
    ----------
    folds : list of (train, test)
    values : ndarray, shape (n_samples,)
        Patients, or digests of images.
    what : str
        What they are, in the message.
    remedy : str
    names : ndarray, shape (n_samples,), default=None
        What to call the rows, where the values tell nothing.

    Raises
    ------
    SplitError
    """
    codes = pd.factorize(values)[0]
    for k, (train, test) in enumerate(folds):
        shared = np.intersect1d(codes[train], codes[test])
        if not len(shared):
            continue
        a = int(train[np.flatnonzero(codes[train] == shared[0])[0]])
        b = int(test[np.flatnonzero(codes[test] == shared[0])[0]])
        shown = f"{what} {values.tolist()[a]!r}" if names is None else what
        pair = f"rows {a} and {b}" + ("" if names is None else f" ({names[a]!r} and {names[b]!r})")
        more = f", and {len(shared) - 1} more" if len(shared) > 1 else ""
        raise SplitError(f"Fold {k} has {shown} on both sides: {pair}{more}; {remedy}.")
