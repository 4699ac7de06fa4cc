"""How the models of an ensemble vote, each with the classes and the scale of its own fold."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fundus.cutpoints import grades_at
from fundus.heads.decisions import expected_grade, interpolated_proba, nearest_class
from fundus.labels import to_positions
from fundus.severity import (
    innermost,
    proba_of,
    scale_of,
    severity_of,
    shared_input,
    to_scale,
    unwrapped,
)


def is_ordinal_regressor(model: Any) -> bool:
    """Whether a fitted model's head predicts a severity rather than probabilities."""
    model = innermost(model)
    head = getattr(getattr(model, "final_estimator_", model), "head_", None)
    return bool(getattr(head, "is_regressor", False))


class Votes(NamedTuple):
    """What was said of n images.

    Parameters
    ----------
    proba : ndarray of float, shape (n, n_classes), or None
        ``None`` where the models give none.
    severity : ndarray of float, shape (n,)
        In places on the scale.
    best : ndarray of int, shape (n,)
        Place of the predicted label in the classes.
    """

    proba: NDArray[np.float64] | None
    severity: NDArray[np.float64]
    best: NDArray[np.intp]


class Ballot(NamedTuple):
    """The rules of one ensemble.

    Parameters
    ----------
    classes : ndarray, shape (n_classes,)
        All labels, sorted.
    scale : ndarray, shape (n_grades,)
        The grades in order.
    voting : {"soft", "hard", "severity", "cutpoints"}
    """

    classes: NDArray[Any]
    scale: NDArray[Any]
    voting: str

    def scores(self, model: Any, X: Any) -> Votes:
        """Run one model once.

        Parameters
        ----------
        model : classifier
            Fitted on one fold.
        X : images or array-like

        Returns
        -------
        Votes
            A class that the model never saw has probability 0.
        """
        return self.mean([model], X)

    def mean(self, models: list[Any], X: Any) -> Votes:
        """Average all models' probabilities and severities.

        Parameters
        ----------
        models : list of classifier
        X : images or array-like

        Returns
        -------
        Votes
        """
        models = [unwrapped(model) for model in models]
        X = shared_input(models, X)
        if self.voting == "soft":
            proba = self._mean_proba(models, X)
            assert proba is not None
            return Votes(proba, expected_grade(proba, self._places()), proba.argmax(axis=1))
        severity = np.mean([severity_of(model, X, self.scale) for model in models], axis=0)
        if self.voting == "severity":
            proba = interpolated_proba(severity, self._places())
            return Votes(proba, severity, proba.argmax(axis=1))
        cutpoints = middle_cutpoints([self._cutpoints(model) for model in models])
        best = nearest_class(grades_at(severity, cutpoints), self._places())
        return Votes(self._mean_proba(models, X), severity, best)

    def _mean_proba(self, models: list[Any], X: Any) -> NDArray[np.float64] | None:
        given = [proba_of(model, X, self.classes) for model in models]
        known = [proba for proba in given if proba is not None]
        return np.mean(known, axis=0) if known else None

    def majority(self, models: list[Any], X: Any) -> NDArray[Any]:
        """Return the label most models predict, the lowest of several."""
        X = shared_input(models, X)
        votes = np.stack([np.searchsorted(self.classes, m.predict(X)) for m in models])
        counts = np.stack([(votes == k).sum(axis=0) for k in range(len(self.classes))])
        return self.classes[counts.argmax(axis=0)]

    def _places(self) -> NDArray[np.intp]:
        return to_positions(self.classes, self.scale)

    def _cutpoints(self, model: Any) -> NDArray[np.float64]:
        """Return a model's cutpoints on the whole scale; a grade its fold lacked stays empty."""
        own = scale_of(model, self.scale)
        cutpoints = to_scale(np.asarray(model.cutpoints_), own, self.scale)
        padded = np.concatenate([[-np.inf], cutpoints, [np.inf]])
        entered = np.searchsorted(to_positions(own, self.scale), np.arange(1, len(self.scale)))
        return padded[entered]


def middle_cutpoints(cutpoints: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Median of each cutpoint over models, which infinite ones do not carry away.

    Parameters
    ----------
    cutpoints : list of ndarray of float, shape (n_grades - 1,)
        Ascending.

    Returns
    -------
    ndarray of float, shape (n_grades - 1,)
        Ascending; of an even number the mean of the middle two, or the lower of them where one is
        infinite.

    Examples
    --------
    >>> middle_cutpoints([np.array([0.5, 1.0]), np.array([0.75, np.inf])]).tolist()
    [0.625, 1.0]
    """
    ranked = np.sort(np.stack(cutpoints), axis=0)
    low, high = ranked[(len(ranked) - 1) // 2], ranked[len(ranked) // 2]
    finite = np.isfinite(low) & np.isfinite(high)
    middle = low.copy()
    middle[finite] = (low[finite] + high[finite]) / 2
    return np.maximum.accumulate(middle)
