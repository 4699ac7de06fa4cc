"""How the models of an ensemble vote, each with the classes and the scale of its own fold."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import InvalidParameterError
from fundus.grades.cutpoints import grades_at
from fundus.grades.estimator_scale import scale_of, unwrapped, whole_scale
from fundus.grades.labels import Labels, to_positions
from fundus.grades.severity import expected_grade, nearest_class, spread_proba
from fundus.meta.severity import proba_of, residual_std_of, severity_of, shared_input, to_scale


def is_ordinal_regressor(model: Any) -> bool:
    """Whether the nearest grade to the severity is what a fitted model predicts."""
    model = unwrapped(model)
    head = getattr(getattr(model, "final_estimator_", model), "head_", None)
    return bool(getattr(head, "is_regressor", False))


def voting_of(model: Any) -> str:
    """Return how fitted models of this kind vote unless told otherwise.

    Parameters
    ----------
    model : classifier

    Returns
    -------
    {"cutpoints", "severity", "soft", "hard"}
    """
    if hasattr(unwrapped(model), "cutpoints_"):
        return "cutpoints"
    if is_ordinal_regressor(model):
        return "severity"
    return "soft" if hasattr(model, "predict_proba") else "hard"


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
    cutpoints : ndarray of float, shape (n_grades - 1,), default=None
        Where `severity` was cut, in places on the scale.
    std : float, default=None
        Standard deviation of the severity's error, where `proba` was made from it.
    """

    proba: NDArray[np.float64] | None
    severity: NDArray[np.float64]
    best: NDArray[np.intp]
    cutpoints: NDArray[np.float64] | None = None
    std: float | None = None

    def of(self, rows: NDArray[np.intp]) -> Votes:
        """Return what was said of some images."""
        proba = None if self.proba is None else self.proba[rows]
        return self._replace(proba=proba, severity=self.severity[rows], best=self.best[rows])


class Ballot(NamedTuple):
    """The rules of one ensemble.

    Parameters
    ----------
    classes : ndarray, shape (n_classes,)
        All labels, sorted.
    scale : ndarray, shape (n_grades,)
        The grades in order.
    voting : {"soft", "hard", "severity", "cutpoints"}
    std : float, default=None
        Standard deviation of the severity's error, of models that do not know it of themselves.
    """

    classes: NDArray[Any]
    scale: NDArray[Any]
    voting: str
    std: float | None = None

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
        model = unwrapped(model)
        X = shared_input([model], X)
        if self.voting == "soft":
            return self._most_probable(proba_of(model, X, self.classes))
        severity = severity_of(model, X, self.scale)
        if self.voting == "severity":
            own = residual_std_of(model, self.scale)
            return self._nearest(severity, self.std if own is None else own)
        return self._cut(severity, self._cutpoints(model), proba_of(model, X, self.classes))

    def mean(self, models: list[Any], X: Any) -> Votes:
        """Average all models, each run once.

        Parameters
        ----------
        models : list of classifier
        X : images or array-like

        Returns
        -------
        Votes
        """
        X = shared_input(models, X)
        return self.combine([self.scores(model, X) for model in models])

    def combine(self, votes: list[Votes]) -> Votes:
        """Average what `scores` gave of each model.

        Parameters
        ----------
        votes : list of Votes

        Returns
        -------
        Votes
            Mean probabilities and severities, and the median of each cutpoint. Where the mean
            severity votes, probabilities are made from it, with the root mean square of the
            models' errors.
        """
        known = [vote.proba for vote in votes if vote.proba is not None]
        proba = np.mean(known, axis=0) if known else None
        if self.voting == "soft":
            return self._most_probable(proba)
        severity = np.mean([vote.severity for vote in votes], axis=0)
        if self.voting == "severity":
            return self._nearest(severity, _root_mean_square([vote.std for vote in votes]))
        cutpoints = [vote.cutpoints for vote in votes if vote.cutpoints is not None]
        return self._cut(severity, middle_cutpoints(cutpoints), proba)

    def spread_by_other_folds(
        self, severity: NDArray[np.float64], y: NDArray[Any], fold: NDArray[np.intp]
    ) -> tuple[float, NDArray[np.float64]]:
        """Make probabilities from out-of-fold severities whose errors the models do not know.

        Parameters
        ----------
        severity : ndarray of float, shape (n,)
            In places on the scale.
        y : ndarray, shape (n,)
            Labels.
        fold : ndarray of int, shape (n,)
            Test fold of every row; -1 for none.

        Returns
        -------
        std : float
            Root mean square of all residuals.
        proba : ndarray of float, shape (n, n_classes)
            By the residuals of the other folds, where there are any; ``nan`` for rows in none.
        """
        squares = np.square(severity - to_positions(y, self.scale))
        tested, places = fold >= 0, self._places()
        proba = np.full((len(y), len(places)), np.nan)
        for k in np.unique(fold[tested]):
            test, others = fold == k, tested & (fold != k)
            std = np.sqrt(squares[others if others.any() else tested].mean())
            proba[test] = spread_proba(severity[test], places, float(std))
        return float(np.sqrt(squares[tested].mean())), proba

    def majority(self, models: list[Any], X: Any) -> NDArray[Any]:
        """Return the label most models predict, the lowest of several."""
        X = shared_input(models, X)
        votes = np.stack([np.searchsorted(self.classes, m.predict(X)) for m in models])
        counts = np.stack([(votes == k).sum(axis=0) for k in range(len(self.classes))])
        return self.classes[counts.argmax(axis=0)]

    def _most_probable(self, proba: NDArray[np.float64] | None) -> Votes:
        assert proba is not None
        return Votes(proba, expected_grade(proba, self._places()), proba.argmax(axis=1))

    def _nearest(self, severity: NDArray[np.float64], std: float | None) -> Votes:
        proba = spread_proba(severity, self._places(), std)
        return Votes(proba, severity, proba.argmax(axis=1), std=std)

    def _cut(
        self,
        severity: NDArray[np.float64],
        cutpoints: NDArray[np.float64],
        proba: NDArray[np.float64] | None,
    ) -> Votes:
        best = nearest_class(grades_at(severity, cutpoints), self._places())
        return Votes(proba, severity, best, cutpoints)

    def _places(self) -> NDArray[np.intp]:
        return to_positions(self.classes, self.scale)

    def _cutpoints(self, model: Any) -> NDArray[np.float64]:
        """Return a model's cutpoints on the whole scale; a grade its fold lacked stays empty."""
        own = scale_of(model, self.scale)
        cutpoints = to_scale(np.asarray(model.cutpoints_), own, self.scale)
        padded = np.concatenate([[-np.inf], cutpoints, [np.inf]])
        entered = np.searchsorted(to_positions(own, self.scale), np.arange(1, len(self.scale)))
        return padded[entered]


def _root_mean_square(stds: list[float | None]) -> float | None:
    known = [std for std in stds if std is not None]
    return float(np.sqrt(np.mean(np.square(known)))) if len(known) == len(stds) else None


def ballot_of(model: Any, labels: Labels | None = None) -> Ballot:
    """Return the rules by which one fitted classifier votes alone.

    Parameters
    ----------
    model : classifier
    labels : Labels, default=None
        They tell the order where the model does not know it.

    Returns
    -------
    Ballot
    """
    labels = Labels(model.classes_) if labels is None else labels
    if not len(scale_of(model, np.empty(0))):
        labels.warn_if_guessed()
    scale = whole_scale(model, model.classes_, labels.scale)
    return Ballot(model.classes_, scale, voting_of(model))


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


def chosen_voting(voting: str, model: Any, *, has_severity: bool) -> str:
    """Return the way to vote that a ``voting=`` parameter means for some models.

    Parameters
    ----------
    voting : str
        ``"auto"`` leaves it to the model.
    model : classifier
        One of them, fitted.
    has_severity : bool
        Whether a severity can be had from them.

    Returns
    -------
    str

    Raises
    ------
    InvalidParameterError
        If the models cannot vote that way.
    """
    if voting == "auto":
        return voting_of(model)
    if voting == "soft" and not hasattr(model, "predict_proba"):
        raise InvalidParameterError(
            "The 'voting' parameter of FoldEnsemble must be 'hard' or 'auto' for an "
            f"estimator without predict_proba. Got {voting!r} for {model!r} instead."
        )
    if voting == "severity" and not has_severity:
        raise InvalidParameterError(
            "The 'voting' parameter of FoldEnsemble must be 'hard' or 'auto' for an "
            "estimator with neither predict_severity nor predict_proba. "
            f"Got {voting!r} for {model!r} instead."
        )
    if voting == "cutpoints" and not hasattr(unwrapped(model), "cutpoints_"):
        raise InvalidParameterError(
            "The 'voting' parameter of FoldEnsemble must be another for an estimator "
            f"without cutpoints. Got 'cutpoints' for {model!r} instead."
        )
    return voting
