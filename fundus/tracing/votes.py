"""How the models of an ensemble vote, as operations of Keras; see `fundus.meta.voting`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.grades.grader import Votes
from fundus.grades.in_keras import (
    best_of,
    constant,
    cut,
    expected_grade,
    falling,
    interpolated,
    looked_up,
    mean_of,
    spread_proba,
    to_scale,
)
from fundus.grades.labels import to_positions


def on_all_classes(
    votes: Votes,
    own: tuple[NDArray[Any], NDArray[Any]],
    whole: tuple[NDArray[Any], NDArray[Any]],
) -> Votes:
    """Convert predictions of one model to the classes and the scale of all models.

    Parameters
    ----------
    votes : Votes
        Of tensors.
    own, whole : tuple of ndarray
        Classes and scale of the model, and of all models.
    """
    (own_classes, own_scale), (classes, scale) = own, whole
    proba, severity, best, std = votes.proba, votes.severity, votes.best, votes.std
    if proba is not None and not np.array_equal(own_classes, classes):
        proba = _spread(proba, own_classes, classes)
    if severity is not None and len(own_scale) != len(scale):
        severity = to_scale(severity, to_positions(own_scale, scale))
    if std is not None:
        std = float(std) * (len(scale) - 1) / max(len(own_scale) - 1, 1)
    if best is not None:
        best = looked_up(np.searchsorted(classes, own_classes), best)
    return votes._replace(proba=proba, severity=severity, best=best, std=std)


def _spread(proba: Any, own: NDArray[Any], classes: NDArray[Any]) -> Any:
    from keras import ops

    return ops.matmul(proba, constant(own[:, np.newaxis] == classes))


def most_probable(proba: Any, positions: NDArray[np.intp]) -> Votes:
    """Votes of a model that predicts the most probable grade."""
    return Votes(proba, expected_grade(proba, positions), best_of(proba))


def nearest(severity: Any, positions: NDArray[np.intp], std: float | None) -> Votes:
    """Votes of a model that predicts the grade nearest to the severity."""
    proba, best = spread_proba(severity, positions, std)
    return Votes(proba, severity, best, std=std)


def at_cutpoints(
    severity: Any, cutpoints: NDArray[np.float64], positions: NDArray[np.intp], proba: Any
) -> Votes:
    """Votes of a model that cuts its severity."""
    return Votes(proba, severity, cut(severity, cutpoints, positions), cutpoints)


def averaged(
    votes: list[Votes],
    voting: str,
    positions: NDArray[np.intp],
    *,
    cutpoints: NDArray[np.float64] | None,
    std: float | None,
) -> Votes:
    """Average the predictions of several models, as `Ballot.combine` does.

    Parameters
    ----------
    votes : list of Votes
        Of tensors, on the classes and the scale of all models.
    voting : {"soft", "hard", "severity", "cutpoints"}
    positions : ndarray of int, shape (n_classes,)
    cutpoints : ndarray of float, shape (n_grades - 1,), or None
        Of all models.
    std : float or None
        Standard deviation of the error of the mean severity.
    """
    proba = mean_of([vote.proba for vote in votes])
    if voting == "soft":
        return most_probable(proba, positions)
    severity = mean_of([vote.severity for vote in votes])
    if voting == "hard":
        return Votes(None, severity, _majority([vote.best for vote in votes], len(positions)))
    if voting == "severity":
        return nearest(severity, positions, std)
    assert cutpoints is not None
    return at_cutpoints(severity, cutpoints, positions, proba)


def _majority(best: list[Any], n_classes: int) -> Any:
    from keras import ops

    counts = ops.one_hot(best[0], n_classes)
    for one in best[1:]:
        counts = counts + ops.one_hot(one, n_classes)
    return best_of(counts)


def calibrated(shown: Any, maps: list[tuple[str, list[float], list[float]]], *, edge: float) -> Any:
    """Counterpart of `CumulativeCalibratedClassifierCV`: probabilities, lowest grade first.

    Parameters
    ----------
    shown : KerasTensor
        A severity (batch,), or probabilities (batch, n_classes), lowest grade first.
    maps : list of tuple
        Method, ``x`` and ``y`` of each `CalibrationMap`.
    edge : float
        Probabilities nearer to 0 and 1 count as this.
    """
    from keras import ops

    columns = []
    for k, (method, x, y) in enumerate(maps):
        if len(shown.shape) == 1:
            score = ops.expand_dims(shown, 1)
        else:
            at_least = ops.sum(shown[:, k + 1 :], axis=1, keepdims=True)
            below = ops.sum(shown[:, : k + 1], axis=1, keepdims=True)
            score = ops.log(ops.maximum(at_least, edge)) - ops.log(ops.maximum(below, edge))
        if method == "isotonic":
            columns.append(interpolated(score, x, y))
        else:
            columns.append(ops.sigmoid(float(x[0]) * score + float(x[1])))
    steps = falling(ops.concatenate(columns, axis=1))
    ones = ops.ones_like(steps[:, :1])
    ends = ops.concatenate([ones, steps], axis=1), ops.concatenate([steps, ones * 0.0], axis=1)
    return ops.maximum(ends[0] - ends[1], 0.0)
