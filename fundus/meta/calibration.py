"""Calibrated probabilities of grades, from the probability of each grade or a worse one."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from fundus.grades import in_keras
from fundus.grades.foreign import as_grader, is_frozen
from fundus.grades.grader import Reading, Votes
from fundus.grades.labels import to_positions
from fundus.grades.severity import expected_grade
from fundus.meta.base import OF_A_BALLOT, HasBallot
from fundus.meta.ensemble import FoldEnsemble
from fundus.meta.out_of_fold import TrainingData
from fundus.meta.voting import Ballot, ballot_of
from fundus.parameters import check_option, invalid
from fundus.saving.classes import saveable
from fundus.saving.schema import (
    FITTED,
    check_fields,
    instance,
    is_ascending,
    list_of,
    number,
    option,
    require,
)
from fundus.tracing.trace import Trace
from fundus.tracing.votes import calibrated, most_probable

METHODS = ("sigmoid", "isotonic")

# probabilities nearer to 0 and 1 are replaced by these, since their logit is infinite
_EDGE = 1e-6


@saveable
@dataclass(frozen=True)
class CalibrationMap:
    """A rising function from scores to probabilities.

    Parameters
    ----------
    method : {"sigmoid", "isotonic"}
    x, y : list of float
        Slope and intercept of a sigmoid (`y` is empty), or the corners of a piecewise linear map.
    """

    method: str
    x: list[float]
    y: list[float]

    def _check_saved(self) -> None:
        numbers = list_of(number(-math.inf))
        fields = {"method": option(*METHODS), "x": numbers, "y": numbers}
        check_fields(type(self).__name__, fields, vars(self))
        if self.method == "sigmoid":
            fits, expected = len(self.x) == 2 and not self.y and self.x[0] >= 0, "a rising sigmoid"
        else:
            corners = [np.asarray(part, dtype=np.float64) for part in (self.x, self.y)]
            fits = len(self.x) == len(self.y) > 0 and all(map(is_ascending, corners))
            fits = fits and self.y[0] >= 0 and self.y[-1] <= 1
            expected = "the corners of a rising map to [0, 1]"
        require(fits, self, "x", expected, (self.x, self.y))

    def __call__(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities of scores ``(n,)``."""
        if self.method == "isotonic":
            return np.interp(score, self.x, self.y)
        slope, intercept = self.x
        return 0.5 * (1 + np.tanh((slope * score + intercept) / 2))


def fit_map(
    score: NDArray[np.float64],
    positive: NDArray[np.bool_],
    method: str,
    weight: NDArray[np.float64] | None = None,
) -> CalibrationMap:
    """Fit a calibration map to scores ``(n,)``, some of which are positive and some not.

    Where a higher score does not mean a higher probability, a sigmoid is the share of positives at
    every score.

    References
    ----------
    .. [1] J. Platt, "Probabilistic outputs for support vector machines", Advances in Large Margin
       Classifiers, 1999. Its smoothed targets keep separable data from infinite slopes.

    Examples
    --------
    >>> rule = fit_map(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0, 0, 1, 1], bool), "isotonic")
    >>> rule(np.array([-1.0, 9.0])).tolist()
    [0.0, 1.0]
    """
    weight = np.ones(len(score)) if weight is None else weight
    if method == "isotonic":
        rule = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        rule.fit(score, positive.astype(float), sample_weight=weight)
        return CalibrationMap(method, rule.X_thresholds_.tolist(), rule.y_thresholds_.tolist())
    yes, no = weight[positive].sum(), weight[~positive].sum()
    target = np.where(positive, (yes + 1) / (yes + 2), 1 / (no + 2))
    # a row with a target between 0 and 1 is a positive and a negative one that share its weight
    model = LogisticRegression(C=np.inf, max_iter=1000)
    with warnings.catch_warnings():  # scikit-learn 1.8 warns of the infinite C that it asks for
        warnings.filterwarnings("ignore", "Setting penalty=None will ignore the C", UserWarning)
        model.fit(
            np.tile(score, 2).reshape(-1, 1),
            np.repeat([1, 0], len(score)),
            sample_weight=np.concatenate([weight * target, weight * (1 - target)]),
        )
    slope, intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
    if slope <= 0:
        share = float(weight @ target / weight.sum())
        slope, intercept = 0.0, float(np.log(share / (1 - share)))
    return CalibrationMap(method, [slope, intercept], [])


def falling(cumulative: NDArray[np.float64]) -> NDArray[np.float64]:
    """Make rows fall, changing them least in squares (isotonic regression of every row).

    Parameters
    ----------
    cumulative : ndarray of float, shape (n, m)
        Probabilities of grade 1 or worse, of grade 2 or worse, …

    Examples
    --------
    >>> falling(np.array([[0.5, 0.75, 0.25]])).tolist()
    [[0.625, 0.625, 0.25]]
    """
    rows = [isotonic_regression(row, increasing=False).x for row in cumulative]
    return np.reshape(rows, cumulative.shape)


class CumulativeCalibratedClassifierCV(HasBallot):
    """Calibrate the probability of each grade or a worse one on held-out images.

    For each ``k`` the probability of ``grade >= k`` is calibrated on all images, not only on the
    few of a rare grade, as happens where each grade is calibrated
    against the rest. The maps are made to fall with ``k``, and their differences are the
    probabilities of the grades.

    Parameters
    ----------
    estimator : classifier
        Cloned. A classifier's cumulative probabilities are calibrated on the scale of their
        logits, a regressor's severity as it is. In ``sklearn.frozen.FrozenEstimator`` a fitted one
        stays as it is: the maps are fitted on the images given to `fit`, which it must not have
        seen, and `cv` has no effect.
    method : {"sigmoid", "isotonic"}, default="sigmoid"
        Platt's two parameters for each ``k``, or a rising step function, which needs about a
        thousand images.
    cv : int, splitter or iterable, default=None
        Folds on whose test parts the maps are fitted, as in `FoldEnsemble`; ``None`` is 5.
    n_jobs : int, default=None
        Number of folds fitted at the same time, in processes.
    random_state : int, RandomState or None, default=None
        Shuffles the folds.

    Attributes
    ----------
    estimator_ : classifier
        Fitted on all images.
    maps_ : list of CalibrationMap, length n_classes - 1
    classes_ : ndarray, shape (n_classes,)
    ballot_ : Ballot
        How probabilities and severity are read from the estimator.
    n_features_in_ : int
        Width of precomputed features.

    See Also
    --------
    sklearn.calibration.CalibratedClassifierCV : Calibrates each class against the rest.

    Notes
    -----
    Cost: one fit for each fold and one on all images; in a `FoldEnsemble` of five folds, for honest
    scores, thirty fits. Frozen work is shared.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.linear_model import LogisticRegression
    >>> X, y = make_classification(90, n_informative=4, n_classes=3, random_state=0)
    >>> model = CumulativeCalibratedClassifierCV(LogisticRegression(), cv=3, random_state=0)
    >>> model.fit(X, y).predict_proba(X[:2]).sum(axis=1).round(6).tolist()
    [1.0, 1.0]
    """

    _saved: ClassVar[Collection[str]] = {
        **OF_A_BALLOT,
        "estimator_": FITTED,
        "maps_": list_of(instance(CalibrationMap, "a calibration map"), least=1),
    }

    def __init__(
        self,
        estimator: Any,
        *,
        method: str = "sigmoid",
        cv: Any = None,
        n_jobs: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.method = method
        self.cv = cv
        self.n_jobs = n_jobs
        self.random_state = random_state

    def _check(self) -> None:
        check_option(self, "method", METHODS)

    def _fit(self, data: TrainingData) -> None:
        if is_frozen(self.estimator):
            model = self.estimator.estimator
            ballot = ballot_of(model, data.labels)
            self._check_ballot(ballot)
            grader = as_grader(model, ballot.scale)
            votes = ballot.scores(grader, grader.read_images(data.X))
            proba, severity, tested = votes.proba, votes.severity, np.full(len(data.y), True)
        else:
            cv = 5 if self.cv is None else self.cv
            folds = FoldEnsemble(
                self.estimator, cv=cv, n_jobs=self.n_jobs, random_state=self.random_state
            )
            folds._fit(data)
            ballot = folds.ballot()
            self._check_ballot(ballot)
            proba, severity, tested = folds.oof_proba_, folds.oof_severity_, folds.oof_fold_ >= 0
            model = folds._fit_all(data)
        self.estimator_, self.ballot_, self.classes_ = model, ballot, ballot.classes
        assert proba is not None
        assert severity is not None
        scores = self._scores(proba[tested], severity[tested])
        position = to_positions(data.y, self.classes_)[tested]
        weight = None if data.weight is None else data.weight[tested]
        self.maps_ = [
            fit_map(scores[:, k], self._rank()[position] > k, self.method, weight)
            for k in range(len(self.classes_) - 1)
        ]

    def _check_saved(self) -> None:
        super()._check_saved()
        self._check_ballot(self.ballot_)
        wanted = len(self.classes_) - 1
        require(len(self.maps_) == wanted, self, "maps_", f"{wanted} of them", self.maps_)

    def _check_ballot(self, ballot: Ballot) -> None:
        if ballot.voting == "hard":
            expected = "one with predict_proba or predict_severity"
            raise invalid(self, "estimator", expected, self.estimator)
        if ballot.voting == "cutpoints":
            expected = (
                "one without cutpoints, since it predicts the most probable grade; "
                "calibrate the estimator inside it, and put the cutpoints around the result"
            )
            raise invalid(self, "estimator", expected, self.estimator)

    def _scores(
        self, proba: NDArray[np.float64] | None, severity: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Scores to calibrate for each threshold, ``(n, n_classes - 1)``."""
        if self.ballot_.voting == "severity":
            return np.repeat(severity[:, np.newaxis], len(self.classes_) - 1, axis=1)
        assert proba is not None
        by_grade = proba[:, np.argsort(self._rank())]
        at_least = np.cumsum(by_grade[:, ::-1], axis=1)[:, ::-1][:, 1:]
        clipped = np.clip(at_least, _EDGE, 1 - _EDGE)
        return np.log(clipped / (1 - clipped))

    def votes_of(self, reading: Reading) -> Votes:
        """Calibrate the estimator's predictions; the severity is the expected grade."""
        votes = self.ballot_.scores(self._graders()[0], reading)
        assert votes.severity is not None
        scores = self._scores(votes.proba, votes.severity)
        at_least = falling(np.stack([f(s) for f, s in zip(self.maps_, scores.T, strict=True)], 1))
        ends = np.ones((len(at_least), 1)), np.zeros((len(at_least), 1))
        steps = np.concatenate([ends[0], at_least, ends[1]], axis=1)
        proba = np.maximum(-np.diff(steps, axis=1), 0.0)[:, self._rank()]
        severity = expected_grade(proba, to_positions(self.classes_, self.ballot_.scale))
        return Votes(proba, severity, proba.argmax(axis=1))

    def traced_votes(self, trace: Trace) -> Votes:
        """Predict as `votes_of` does, with the operations of Keras."""
        votes = self.ballot_.traced(self._graders(), self._traced_inside(trace))
        rank = self._rank()
        by_severity = self.ballot_.voting == "severity"
        shown = votes.severity if by_severity else in_keras.chosen(votes.proba, np.argsort(rank))
        proba = calibrated(shown, [(f.method, f.x, f.y) for f in self.maps_], edge=_EDGE)
        positions = to_positions(self.classes_, self.ballot_.scale)
        return most_probable(in_keras.chosen(proba, rank), positions)

    @property
    def votes_by(self) -> str:
        """How an ensemble of models like this one votes."""
        return "soft"

    def gives_proba(self) -> bool:
        """Whether it has probabilities: always."""
        return True

    def gives_severity(self) -> bool:
        """Whether it has a severity: always."""
        return True
