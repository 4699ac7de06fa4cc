"""What a map is of: the severity of one of a model's networks, or the evidence for one grade."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import DataError
from fundus.frozen.function import Frozen
from fundus.frozen.sources import Source
from fundus.grades.labels import to_positions
from fundus.grades.severity import expected_grade, spread_proba, to_scale

Floats = NDArray[np.float64]

#: Smallest probability whose logarithm is taken; with slopes by differences a larger one.
LEAST, LEAST_OF_NETWORKS = 1e-300, 1e-7


@dataclass(frozen=True)
class Leaf:
    """A head and the frozen layers before it.

    Parameters
    ----------
    frozen : Frozen
    head : FittedHead
        Or what has its ``outputs``, ``network``, ``is_regressor`` and ``residual_std``.
    grades : ndarray, shape (n_grades,)
        Its scale.
    positions : ndarray of int, shape (n_classes,)
        The grades it was trained on, as positions on its scale, ascending.
    read : callable
        From images to the `Source` of what the head reads.
    labelled : bool, default=False
        Whether the classes of a scikit-learn head are labels, not positions on the scale.
    n_jobs : int, default=None
        Decoding threads.
    """

    frozen: Frozen
    head: Any
    grades: NDArray[Any]
    positions: NDArray[np.intp]
    read: Callable[[Any], Source]
    labelled: bool = False
    n_jobs: int | None = None

    def columns_of(self, classes: NDArray[Any]) -> NDArray[np.intp]:
        """Return the place of a scikit-learn head's classes on the scale."""
        found = np.asarray(classes)
        return to_positions(found, self.grades) if self.labelled else found.astype(np.intp)


@dataclass(frozen=True)
class Opaque:
    """A model of which only the predictions are known.

    Parameters
    ----------
    predict : callable
        From photographs to ``Votes``.
    classes, grades : ndarray
        Its labels as its probabilities have them, and its scale.
    """

    predict: Callable[[Any], Any]
    classes: NDArray[Any]
    grades: NDArray[Any]


@dataclass(frozen=True)
class Part:
    """One of the models whose mean is explained.

    Parameters
    ----------
    model : Leaf or Opaque
    scale : ndarray, shape (n_grades,)
        That of all parts.
    by_proba : bool
        Whether the severity is the expected grade of its probabilities on the scale of all, as
        where probabilities are averaged; else its own severity, converted to that scale.
    """

    model: Leaf | Opaque
    scale: NDArray[Any]
    by_proba: bool = False


@dataclass(frozen=True)
class Target:
    """What is explained, as a function of what a head predicts.

    Parameters
    ----------
    columns : ndarray of int, shape (n_classes,)
        Place on `own` of each column of the probabilities.
    own : ndarray, shape (n_own,)
        The scale of the model.
    scale : ndarray, shape (n_grades,)
        The scale of all parts.
    by_proba : bool
    std : float or None
        Standard deviation of a regressor's error, in positions on `own`.
    grade : hashable or None
        A label of `scale`; ``None`` for the severity.
    least : float
        Smallest probability whose logarithm is taken.
    """

    columns: NDArray[np.intp]
    own: NDArray[Any]
    scale: NDArray[Any]
    by_proba: bool
    std: float | None
    grade: Any
    least: float = LEAST

    def with_least(self, least: float) -> Target:
        """Return the same with another smallest probability."""
        return replace(self, least=least)

    def severity(self, raw: Floats) -> Floats:
        """Return the severity (n,), in positions on the scale of all.

        Parameters
        ----------
        raw : ndarray of float, shape (n,) or (n, n_classes)
            A regressor's severities, or probabilities.
        """
        if self.by_proba:
            return expected_grade(self._proba(raw), self._whole)
        own = raw if raw.ndim == 1 else expected_grade(raw, self.columns)
        return to_scale(own, self.own, self.scale)

    def value(self, raw: Floats) -> Floats:
        """Return what is explained, (n,).

        It is the severity, or for a grade the logarithm of its probability, less the mean over the
        grades that the model knows.
        """
        if self.grade is None:
            return self.severity(raw)
        logs = np.log(np.maximum(self._proba(raw), self.least))
        return logs[:, self._column] - logs.mean(axis=1)

    def of_scores(self, scores: Floats) -> Floats:
        """Return what is explained where there are only scores of classes, (n, n_classes).

        For the severity it is by how much the scores rise from a grade to the next, the slope of a
        line through them; for a grade its score, less the mean of all.
        """
        return scores @ self.score_weights

    @property
    def score_weights(self) -> Floats:
        """Weights of `of_scores`, (n_classes,)."""
        n = len(self.columns)
        if self.grade is not None:
            weights = np.full(n, -1.0 / n)
            weights[self._column] += 1.0
            return weights
        away = self._whole - self._whole.mean()
        return away / (away**2).sum()

    @property
    def _whole(self) -> NDArray[np.intp]:
        """Place of each column on the scale of all."""
        return to_positions(self.own, self.scale)[self.columns]

    @property
    def _column(self) -> int:
        return int(np.flatnonzero(self.own[self.columns] == self.grade)[0])

    def _proba(self, raw: Floats) -> Floats:
        return raw if raw.ndim == 2 else spread_proba(raw, self.columns, self.std)


def target_of(part: Part, grade: Any, columns: NDArray[np.intp] | None = None) -> Target:
    """Return the target of a part.

    Parameters
    ----------
    part : Part
    grade : hashable or None
    columns : ndarray of int, default=None
        As in `Target`; by default the positions of the model.

    Raises
    ------
    DataError
        If a regressor does not know its error, so that its grades have no probabilities.
    """
    model = part.model
    if isinstance(model, Opaque):
        own = to_positions(model.classes, model.grades) if columns is None else columns
        return Target(own, model.grades, part.scale, part.by_proba, None, grade)
    head, own = model.head, model.positions if columns is None else columns
    if head.is_regressor and head.residual_std is None and (grade is not None or part.by_proba):
        raise DataError(
            "The probability of a grade cannot be explained, since this regressor does not know "
            "its own error: leave 'grade' out, or fit the model again with this release."
        )
    return Target(own, model.grades, part.scale, part.by_proba, head.residual_std, grade)


def knows(part: Part, grade: Any) -> bool:
    """Whether a part was trained on images of a grade; ``None``, the severity, always."""
    if grade is None:
        return True
    model = part.model
    known = model.classes if isinstance(model, Opaque) else model.grades[model.positions]
    return grade in known.tolist()
