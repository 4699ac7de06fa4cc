"""Which images of an evaluation are graded worst, and of which grades the model is least sure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fundus.exceptions import DataError
from fundus.meta.voting import middle_cutpoints
from fundus.parameters import invalid

if TYPE_CHECKING:
    from fundus.reporting.evaluated import Evaluation

#: What images are ranked by, and what stands above a sheet of the first of them.
RANKINGS = {"errors": "largest errors", "uncertain": "least certain"}


def ranked_images(evaluation: Evaluation, by: str) -> pd.DataFrame:
    """Order the images of an evaluation; see `Evaluation.ranked`."""
    if by not in RANKINGS:
        raise invalid("Evaluation.ranked", "by", f"one of {', '.join(map(repr, RANKINGS))}", by)
    predicted, true = evaluation.predictions, evaluation.y_true
    error = np.abs(predicted.grades - true)
    columns: dict[str, Any] = {
        "row": np.arange(len(true)),
        "file": list(evaluation.names),
        "target": true,
        "prediction": predicted.grades,
        "error": error,
    }
    away = np.zeros(len(true))
    if predicted.severity is not None:
        away = np.abs(predicted.severity - true)
        columns |= {"severity": predicted.severity, "severity_error": away}
    margin = margins(evaluation)
    if margin is not None:
        columns["margin"] = margin
    if evaluation.fold is not None:
        columns["fold"] = evaluation.fold
    if predicted.sets is not None:
        ends = zip(*predicted.sets, strict=True)
        columns["grades_set"] = [";".join(map(str, range(a, b + 1))) for a, b in ends]
    if by == "errors":
        order = worst_first(error, away)
    elif margin is None:
        raise DataError(
            "Images cannot be ordered by how certain their grades are, since the model gives "
            "neither probabilities nor a severity: rank them by 'errors', or let a FoldEnsemble "
            "vote otherwise than 'hard'."
        )
    else:
        order = np.argsort(margin, kind="stable")
    return pd.DataFrame(columns).iloc[order].reset_index(drop=True)


def worst_first(error: NDArray[np.intp], away: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the rows of the images that are graded wrong, the worst first.

    Parameters
    ----------
    error : ndarray of int, shape (n_images,)
        Distance of the grades, in positions on the scale.
    away : ndarray of float, shape (n_images,)
        Distance of the severity from the true grade; decides among equals.

    Examples
    --------
    >>> worst_first(np.array([1, 0, 2, 1]), np.array([0.6, 0.1, 1.9, 0.8])).tolist()
    [2, 3, 0]
    """
    order = np.lexsort([-away, -error])  # by the last key first, and stable
    return np.asarray(order[error[order] > 0])


def margins(evaluation: Evaluation) -> NDArray[np.float64] | None:
    """Return how far each grade is from being another one; ``None`` where nothing tells.

    Parameters
    ----------
    evaluation : Evaluation

    Returns
    -------
    ndarray of float, shape (n_images,), or None
        See `margin_rule` for what it is.
    """
    predicted, rule = evaluation.predictions, margin_rule(evaluation)
    if rule is None:
        return None
    if rule == "probability":
        assert predicted.proba is not None
        # a scale of one grade has no second one
        padded = np.column_stack([np.zeros(len(predicted.proba)), predicted.proba])
        second, first = np.sort(padded, axis=1)[:, -2:].T
        return np.asarray(first - second)
    assert predicted.severity is not None
    return np.abs(predicted.severity[:, np.newaxis] - _cuts(evaluation)).min(axis=1)


def margin_rule(evaluation: Evaluation) -> str | None:
    """Return by what the certainty of grades is told.

    Returns
    -------
    {"boundary", "probability", None}
        "boundary" where the model cuts its severity into grades: the distance, in grades, of the
        severity to the nearest boundary, at which the grade would change, as probabilities have no
        part in the decision. Else "probability", that of the most probable grade less that of the
        second. ``None`` where there is neither, as where folds vote by majority.
    """
    predicted, cuts = evaluation.predictions, evaluation.boundaries
    if predicted.severity is not None and cuts is not None and np.isfinite(cuts).any():
        return "boundary"
    return None if predicted.proba is None else "probability"


def _cuts(evaluation: Evaluation) -> NDArray[np.float64]:
    """The boundaries of each image (n_images or 1, n_cuts): of its fold, if that is known."""
    cuts, fold = evaluation.boundaries, evaluation.fold
    assert cuts is not None
    if fold is not None and len(cuts) > 1 and len(cuts) == fold.max() + 1:
        return cuts[fold]
    return middle_cutpoints(list(cuts))[np.newaxis]
