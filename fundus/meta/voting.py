"""How the models of an ensemble vote; each has the classes and the scale of its own fold."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fundus.grades.cutpoints import grades_at
from fundus.grades.foreign import as_grader, scale_of, whole_scale
from fundus.grades.grader import Grader, Reading, Votes
from fundus.grades.labels import Labels, to_positions
from fundus.grades.severity import expected_grade, nearest_class, spread_proba, to_scale
from fundus.parameters import refused
from fundus.saving.classes import saveable
from fundus.saving.schema import CLASSES, SCALE, SPREAD, check_fields, option
from fundus.tracing.votes import averaged

VOTINGS = ("soft", "hard", "severity", "cutpoints")


def votes_on(grader: Grader, reading: Reading, classes: NDArray[Any], scale: NDArray[Any]) -> Votes:
    """Predict with one model, and convert that to the classes and the scale of all models.

    Parameters
    ----------
    grader : Grader
    reading : Reading
    classes : ndarray, shape (n_classes,)
        Sorted; a class that the model never saw has probability 0.
    scale : ndarray, shape (n_grades,)
        Where the model's own scale is shorter, the error of a severity is scaled with the width of
        its steps. Cutpoints are not converted.
    """
    votes = grader.votes_of(reading)
    proba, severity, std = votes.proba, votes.severity, votes.std
    if votes.proba is not None:
        own = grader.classes_
        shared = np.isin(own, classes)
        proba = np.zeros((len(votes.proba), len(classes)))
        proba[:, np.searchsorted(classes, own[shared])] = votes.proba[:, shared]
    if severity is not None and grader.knows_labels:
        severity = to_scale(severity, grader.grades_, scale)
    if std is not None:
        std = float(std) * (len(scale) - 1) / max(len(grader.grades_) - 1, 1)
    best = votes.best
    if best is not None:
        best = np.searchsorted(classes, grader.classes_)[best]
    return votes._replace(proba=proba, severity=severity, best=best, std=std)


@saveable
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
        Standard deviation of the severity's error, for models that do not estimate it.
    """

    classes: NDArray[Any]
    scale: NDArray[Any]
    voting: str
    std: float | None = None

    def _check_saved(self) -> None:
        fields = {
            "classes": CLASSES,
            "scale": SCALE,
            "voting": option(*VOTINGS),
            "std": SPREAD.or_none,
        }
        check_fields(type(self).__name__, fields, self._asdict())
        to_positions(self.classes, self.scale, name="classes")

    def scores(self, grader: Grader, reading: Reading) -> Votes:
        """Predict once with a model of one fold; a class that it never saw has probability 0."""
        votes = votes_on(grader, reading, self.classes, self.scale)
        if self.voting == "soft":
            return self._most_probable(votes.proba)
        if self.voting == "hard":
            best = votes.best if votes.best is not None else self.labels_of(grader, reading)
            return Votes(None, votes.severity, best)
        assert votes.severity is not None
        if self.voting == "severity":
            return self._nearest(votes.severity, self.std if votes.std is None else votes.std)
        return self._cut(votes.severity, self._whole_cutpoints(grader, votes), votes.proba)

    def labels_of(self, grader: Grader, reading: Reading) -> NDArray[np.intp]:
        """Return the position in the classes of the label that one model predicts."""
        return np.searchsorted(self.classes, grader.labels_of(reading))

    def combine(self, votes: list[Votes]) -> Votes:
        """Average the predictions that `scores` returned for each model.

        These are mean probabilities and severities, and the median of each cutpoint. Where the
        mean severity votes, probabilities are made from it, with the root mean square of the
        models' errors.
        """
        proba = _mean([vote.proba for vote in votes])
        if self.voting == "soft":
            return self._most_probable(proba)
        severity = _mean([vote.severity for vote in votes])
        if self.voting == "hard":
            return Votes(None, severity, self.majority([vote.best for vote in votes]))
        assert severity is not None
        if self.voting == "severity":
            return self._nearest(severity, _root_mean_square([vote.std for vote in votes]))
        cutpoints = [vote.cutpoints for vote in votes if vote.cutpoints is not None]
        return self._cut(severity, middle_cutpoints(cutpoints), proba)

    def cutpoints_of_all(self, graders: list[Grader], members: list[Votes]) -> NDArray[np.float64]:
        """Return the median of each cutpoint of several models, on the whole scale."""
        pairs = zip(graders, members, strict=True)
        return middle_cutpoints([self._whole_cutpoints(*pair) for pair in pairs])

    def traced(self, graders: list[Grader], members: list[Votes]) -> Votes:
        """Average predictions of tensors as `combine` does those of arrays.

        Parameters
        ----------
        graders : list of Grader
        members : list of Votes
            Of each of them, on the classes and the scale of all.
        """
        cutpoints, std = None, None
        if self.voting == "cutpoints":
            cutpoints = self.cutpoints_of_all(graders, members)
        elif self.voting == "severity":
            std = _root_mean_square([self.std if v.std is None else v.std for v in members])
        return averaged(members, self.voting, self._positions(), cutpoints=cutpoints, std=std)

    def majority(self, best: list[Any]) -> NDArray[np.intp]:
        """Return the class position of the most frequent prediction, the lowest of several."""
        counts = np.stack([(np.stack(best) == k).sum(axis=0) for k in range(len(self.classes))])
        return counts.argmax(axis=0)

    def spread_by_other_folds(
        self, severity: NDArray[np.float64], y: NDArray[Any], fold: NDArray[np.intp]
    ) -> tuple[float, NDArray[np.float64]]:
        """Make probabilities from out-of-fold severities of models that do not know their errors.

        Parameters
        ----------
        severity : ndarray of float, shape (n,)
            In positions on the scale.
        y : ndarray, shape (n,)
            Labels.
        fold : ndarray of int, shape (n,)
            Number of the test fold of every row; -1 for none.

        Returns
        -------
        std : float
            Root mean square of all residuals.
        proba : ndarray of float, shape (n, n_classes)
            From the residuals of the other folds, where there are any; ``nan`` for rows in no fold.
        """
        squares = np.square(severity - to_positions(y, self.scale))
        tested, positions = fold >= 0, self._positions()
        proba = np.full((len(y), len(positions)), np.nan)
        for k in np.unique(fold[tested]):
            test, others = fold == k, tested & (fold != k)
            std = np.sqrt(squares[others if others.any() else tested].mean())
            proba[test] = spread_proba(severity[test], positions, float(std))
        return float(np.sqrt(squares[tested].mean())), proba

    def _most_probable(self, proba: NDArray[np.float64] | None) -> Votes:
        assert proba is not None
        return Votes(proba, expected_grade(proba, self._positions()), proba.argmax(axis=1))

    def _nearest(self, severity: NDArray[np.float64], std: float | None) -> Votes:
        proba = spread_proba(severity, self._positions(), std)
        return Votes(proba, severity, proba.argmax(axis=1), std=std)

    def _cut(
        self,
        severity: NDArray[np.float64],
        cutpoints: NDArray[np.float64],
        proba: NDArray[np.float64] | None,
    ) -> Votes:
        best = nearest_class(grades_at(severity, cutpoints), self._positions())
        return Votes(proba, severity, best, cutpoints)

    def _positions(self) -> NDArray[np.intp]:
        return to_positions(self.classes, self.scale)

    def _whole_cutpoints(self, grader: Grader, votes: Votes) -> NDArray[np.float64]:
        """Return a model's cutpoints on the whole scale; a grade its fold lacked stays empty."""
        own = grader.grades_
        cutpoints = to_scale(np.asarray(votes.cutpoints), own, self.scale)
        padded = np.concatenate([[-np.inf], cutpoints, [np.inf]])
        entered = np.searchsorted(to_positions(own, self.scale), np.arange(1, len(self.scale)))
        return padded[entered]


def _mean(parts: list[NDArray[np.float64] | None]) -> NDArray[np.float64] | None:
    known = [part for part in parts if part is not None]
    return np.mean(known, axis=0) if known else None


def _root_mean_square(stds: list[float | None]) -> float | None:
    known = [std for std in stds if std is not None]
    return float(np.sqrt(np.mean(np.square(known)))) if len(known) == len(stds) else None


def ballot_of(model: Any, labels: Labels | None = None) -> Ballot:
    """Return the rules by which a single fitted classifier votes.

    The order of `labels` is used where the model does not know it.
    """
    labels = Labels(model.classes_) if labels is None else labels
    if not len(scale_of(model, np.empty(0))):
        labels.warn_if_guessed()
    scale = whole_scale(model, model.classes_, labels.scale)
    return Ballot(model.classes_, scale, as_grader(model).votes_by)


def middle_cutpoints(cutpoints: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Median of each cutpoint over models, which a few infinite ones do not change.

    Parameters
    ----------
    cutpoints : list of ndarray of float, shape (n_grades - 1,)
        Ascending.

    Returns
    -------
    ndarray of float, shape (n_grades - 1,)
        Ascending; for an even number the mean of the middle two, or the lower of them where one is
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


def chosen_voting(voting: str, model: Any) -> str:
    """Return the kind of voting that a ``voting=`` parameter means for some models.

    Parameters
    ----------
    voting : str
        ``"auto"`` uses what suits the model.
    model : classifier
        One of them, fitted.

    Raises
    ------
    InvalidParameterError
        If the models cannot vote that way.
    """
    grader = as_grader(model)
    if voting == "auto":
        return grader.votes_by
    problem = None
    if voting == "soft" and not grader.gives_proba():
        problem = "'hard' or 'auto' for an estimator without predict_proba"
    elif voting == "severity" and not grader.gives_severity():
        problem = (
            "'hard' or 'auto' for an estimator with neither predict_severity nor predict_proba"
        )
    elif voting == "cutpoints" and grader.votes_by != "cutpoints":
        problem = "other than 'cutpoints' for an estimator without cutpoints"
    if problem is not None:
        raise refused(
            "FoldEnsemble", "voting", f"must be {problem}. Got {voting!r} for {model!r} instead."
        )
    return voting
