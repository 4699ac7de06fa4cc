"""Severities at which the predicted grade of a model changes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.grades.foreign import as_grader
from fundus.meta.ensemble import FoldEnsemble
from fundus.reporting.predictions import averaged


def boundaries_of(model: Any) -> NDArray[np.float64]:
    """Return the severities at which each model inside a fitted one changes its grade.

    Parameters
    ----------
    model : classifier
        Fitted.

    Returns
    -------
    ndarray of float, shape (n_models, n_grades - 1)
        Of an ensemble a row for each fold whose grades are the whole scale; no row where
        the most probable grade is predicted, independent of the severity.

    Examples
    --------
    >>> import numpy as np
    >>> from fundus import TransferClassifier
    >>> X, y = np.arange(10.0).reshape(-1, 1), np.arange(10) % 5
    >>> boundaries_of(TransferClassifier("precomputed", "ridge").fit(X, y)).tolist()
    [[0.5, 1.5, 2.5, 3.5]]
    """
    whole = averaged(model)
    n_cuts = max(len(whole.grades_) - 1, 0)  # a regressor does not know its grades
    if whole.rounds_severity:
        return np.arange(n_cuts, dtype=np.float64)[np.newaxis] + 0.5
    folds = whole.estimators_ if isinstance(whole, FoldEnsemble) else [whole]
    if isinstance(whole, FoldEnsemble) and whole.voting_ != "cutpoints":
        return np.empty((0, n_cuts))
    rows = []
    for grader in map(as_grader, folds):
        cuts = getattr(getattr(grader, "model", grader), "cutpoints_", None)
        if grader.votes_by == "cutpoints" and cuts is not None and len(cuts) == n_cuts:
            rows.append(cuts)
    return np.array(rows, dtype=np.float64).reshape(len(rows), n_cuts)
