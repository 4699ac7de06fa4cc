"""Classifiers that cut a severity into grades, at given or fitted cutpoints."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import _safe_indexing

from fundus.exceptions import UnlearnedWarning, warn_caller
from fundus.grades.cutpoints import check_cost, check_distribution, grades_at
from fundus.grades.foreign import as_grader, given_scale, is_frozen, whole_scale
from fundus.grades.grader import Reading, Votes
from fundus.grades.labels import to_positions
from fundus.grades.severity import nearest_class
from fundus.meta.base import OF_A_GRADER, MetaGrader
from fundus.meta.out_of_fold import TrainingData, fit_fold, fold_template, out_of_fold
from fundus.meta.tuned_cutpoints import tuned_cutpoints
from fundus.model_selection.leaks import Folds, refuse_unseen_grades
from fundus.parameters import check_int, check_option, invalid, refused
from fundus.saving.schema import (
    ASCENDING,
    FITTED,
    KNOWN_NUMBERS,
    SCALE,
    Field,
    is_ascending,
    require,
)
from fundus.tracing.trace import Trace
from fundus.tracing.votes import at_cutpoints

#: What every classifier with cutpoints saves.
OF_CUTPOINTS = {
    **OF_A_GRADER,
    "estimator_": FITTED,
    "grades_": SCALE,
    "cutpoints_": ASCENDING,
}


def _is_samples(value: Any) -> bool:
    table = isinstance(value, np.ndarray) and value.ndim == 2 and value.dtype.kind == "f"
    return table and all(map(is_ascending, value))


class CutpointClassifier(MetaGrader):
    """The grade is the number of cutpoints at or below the severity."""

    estimator_: Any
    classes_: NDArray[Any]
    grades_: NDArray[Any]
    cutpoints_: NDArray[np.float64]

    @property
    def votes_by(self) -> str:
        """How an ensemble of models like this one votes."""
        return "cutpoints"

    def votes_of(self, reading: Reading) -> Votes:
        """Cut the inner estimator's severities; its probabilities stay as they are."""
        votes = self._inner_votes(reading)
        assert votes.severity is not None
        positions = to_positions(self.classes_, self.grades_)
        best = nearest_class(grades_at(votes.severity, self.cutpoints_), positions)
        return Votes(votes.proba, votes.severity, best, self.cutpoints_)

    def traced_votes(self, trace: Trace) -> Votes:
        """Predict as `votes_of` does, with the operations of Keras."""
        (votes,) = self._traced_inside(trace)
        positions = to_positions(self.classes_, self.grades_)
        return at_cutpoints(votes.severity, self.cutpoints_, positions, votes.proba)

    def _check_saved(self) -> None:
        super()._check_saved()
        self._check_scale()
        wanted = len(self.grades_) - 1
        expected = f"{wanted} ascending numbers, one fewer than the grades"
        require(len(self.cutpoints_) == wanted, self, "cutpoints_", expected, self.cutpoints_)
        gives = as_grader(self.estimator_).gives_severity()
        require(gives, self, "estimator_", "an estimator with a severity", self.estimator_)

    def _fit_rows(self, data: TrainingData, rows: NDArray[np.intp], random_state: Any) -> None:
        model = fold_template(self.estimator, None, data.y, data.groups, random_state)
        target = data.target_of(self.estimator)
        model = fit_fold(model, data.X, target, rows, data.weight, data.groups)
        self.estimator_, self.classes_ = model, data.classes_for(self.estimator)
        self.grades_ = whole_scale(model, self.classes_, data.scale)

    def _folds(self, data: TrainingData, cv: Any, random_state: Any) -> Folds:
        """Return the folds of severities; of a fitted estimator all images test it."""
        if is_frozen(self.estimator):
            rows = np.arange(len(data.y))
            return [(rows, rows)]
        folds = data.folds(5 if cv is None else cv, self.estimator, random_state)
        refuse_unseen_grades(folds, data.y, data.groups)
        return folds

    def _severity_of_test(self, data: TrainingData, test: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return severities by the fitted estimator; ``nan`` for rows that do not test it."""
        severity = np.full(len(data.y), np.nan)
        reading = self._graders()[0].read_images(_safe_indexing(data.X, test))
        severity[test] = self._inner_votes(reading).severity
        return severity


class TunedCutpointClassifierCV(CutpointClassifier):
    """Cut severities into grades at the cutpoints that are best on out-of-fold severities.

    Every image's severity comes from a model that was trained without the image's fold; on these
    severities the cutpoints are optimal (see `optimal_cutpoints`). The estimator is then fitted on
    all images.

    Parameters
    ----------
    estimator : classifier or regressor
        Its severity is ``predict_severity``, else what a regressor predicts, else a classifier's
        expected grade. A regressor of scikit-learn's is fitted on positions on the scale. In
        ``sklearn.frozen.FrozenEstimator`` a fitted one stays as it is: the images given to `fit`,
        which it must not have seen, are then all its test images, and `cv` has no effect.
    scoring : "qwk" or array-like of float, shape (n_grades, n_grades), default="qwk"
        Maximise quadratic weighted kappa, or minimise the mean cost, by true and predicted grade.
    cv : int, splitter or iterable, default=None
        ``None`` is 5. An int means `StratifiedGroupKFold` where there are patients, else
        `StratifiedKFold`, both shuffled. A split with a patient or an image on both sides is
        refused. Rows in no test fold are not used for the cutpoints.
    distribution : {"empirical", "normal"}, default="empirical"
        What the cutpoints are best for: the out-of-fold severities themselves, or normal
        distributions fitted to them, which is steadier; see `optimal_cutpoints`.
    refit : bool, default=True
        Whether to fit the estimator on all images at the end. ``False`` keeps the model of the only
        fold, and needs a `cv` with one fold.
    n_bootstraps : int, default=0
        ``0`` takes the best cutpoints. With more, so many times patients are drawn with replacement
        among those of one worst grade (images among those of one grade where there are no
        patients), the best cutpoints of each draw are found, and the median of each is taken: it
        depends less on single images. A draw that lacks a grade gets one of its patients in
        addition. The models are fitted once, so 200 draws of 369 images take about a second.
    n_jobs : int, default=None
        Number of folds fitted at the same time, in processes.
    random_state : int, RandomState or None, default=None
        Shuffles the folds, and seeds `n_bootstraps`; the estimator has its own seed.

    Attributes
    ----------
    estimator_ : estimator
        Fitted on all images, or on the training part of the single fold.
    cutpoints_ : ndarray of float, shape (n_grades - 1,)
        Ascending; infinite where predicting a grade at an end of the scale lowers the score.
    cutpoint_samples_ : ndarray of float, shape (n_bootstraps, n_grades - 1)
        The best cutpoints of each draw; their spread tells how sure a cutpoint is. Absent without
        `n_bootstraps`.
    best_score_ : float
        Kappa, or minus the mean cost, of the cutpoints on the severities they were fitted on. It is
        optimistic: nest the classifier in `FoldEnsemble` or ``cross_validate`` for an honest score.
    oof_severity_ : ndarray of float, shape (n_samples,)
        Out-of-fold severities, in positions on the scale; ``nan`` for rows in no test fold.
    classes_ : ndarray, shape (n_classes,)
        The labels in ``y``, sorted; no other is predicted.
    grades_ : ndarray, shape (n_grades,)
        The scale.

    Warns
    -----
    UnlearnedWarning
        In `fit`, if the cutpoints with the best kappa give all images one grade.

    See Also
    --------
    FixedCutpointClassifier : Cutpoints that are given.
    sklearn.model_selection.TunedThresholdClassifierCV : The same for two classes.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.linear_model import Ridge
    >>> X, y = make_classification(90, n_informative=4, n_classes=3, random_state=0)
    >>> model = TunedCutpointClassifierCV(Ridge(), cv=3, random_state=0).fit(X, y)
    >>> model.cutpoints_.shape, model.predict(X[:2]).shape
    ((2,), (2,))
    """

    _saved: ClassVar[Collection[str]] = {
        **OF_CUTPOINTS,
        "best_score_": Field("a number", lambda v: type(v) in (int, float)),
        "oof_severity_": KNOWN_NUMBERS,
        "cutpoint_samples_": Field("a table of ascending numbers", _is_samples, optional=True),
    }

    def __init__(
        self,
        estimator: Any,
        *,
        scoring: Any = "qwk",
        cv: Any = None,
        distribution: str = "empirical",
        refit: bool = True,
        n_bootstraps: int = 0,
        n_jobs: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.scoring = scoring
        self.cv = cv
        self.distribution = distribution
        self.refit = refit
        self.n_bootstraps = n_bootstraps
        self.n_jobs = n_jobs
        self.random_state = random_state

    def _check_saved(self) -> None:
        super()._check_saved()
        if "cutpoint_samples_" in vars(self):
            shape = (self.n_bootstraps, len(self.cutpoints_))
            found = self.cutpoint_samples_.shape
            require(found == shape, self, "cutpoint_samples_", f"of shape {shape}", found)

    def _check(self) -> None:
        check_distribution(self, self.distribution)
        check_option(self, "refit", (True, False))
        check_int(self, "n_bootstraps", low=0)
        if isinstance(self.cv, str):
            expected = (
                "an int, a splitter or an iterable; a fitted model is given as "
                "FrozenEstimator(model), with images it was not trained on"
            )
            raise invalid(self, "cv", expected, self.cv)
        self._check_severity()

    def _fit(self, data: TrainingData) -> None:
        folds = self._folds(data, self.cv, self.random_state)
        if not self.refit and len(folds) > 1:
            must = (
                f"must be True where cv has several folds. Got False and {len(folds)} folds "
                "instead."
            )
            raise refused("TunedCutpointClassifierCV", "refit", must)
        train, test = folds[0]
        rows = np.arange(len(data.y)) if self.refit else train
        self._fit_rows(data, rows, self.random_state)
        if not isinstance(self.scoring, str):
            check_cost(self.scoring, len(self.grades_))
        if self.refit and not is_frozen(self.estimator):
            self.oof_severity_, _ = out_of_fold(
                self.estimator,
                data,
                folds,
                self.grades_,
                n_jobs=self.n_jobs,
                random_state=self.random_state,
            )
        else:
            self.oof_severity_ = self._severity_of_test(data, test)
        self._tune(data.y, data.weight, data.groups)

    def _tune(
        self, y: NDArray[Any], weight: NDArray[np.float64] | None, groups: NDArray[Any] | None
    ) -> None:
        """Fit the cutpoints on the severities that are known."""
        tested = ~np.isnan(self.oof_severity_)
        self.cutpoints_, self.best_score_, samples = tuned_cutpoints(
            self.oof_severity_[tested],
            y[tested],
            self.grades_,
            scoring=self.scoring,
            weight=None if weight is None else weight[tested],
            allowed=np.unique(y),
            groups=None if groups is None else groups[tested],
            distribution=self.distribution,
            n_bootstraps=self.n_bootstraps,
            random_state=self.random_state,
        )
        self.__dict__.pop("cutpoint_samples_", None)  # of an earlier fit
        if samples is not None:
            self.cutpoint_samples_ = samples
        told = np.unique(grades_at(self.oof_severity_[tested], self.cutpoints_))
        # by costs, one grade for all may be what was asked for
        by_kappa = isinstance(self.scoring, str)
        if by_kappa and len(told) == 1 and len(np.unique(y[tested])) > 1:
            warn_caller(
                f"The severities of {type(self.estimator).__name__} tell grades no better than a "
                f"constant does: cut best, all {tested.sum()} images have grade "
                f"{self.grades_[told[0]]!s}. Give it more images, other features or another head, "
                "or look for labels that belong to other images.",
                UnlearnedWarning,
            )


class FixedCutpointClassifier(CutpointClassifier):
    """Cut severities into grades at given cutpoints.

    Parameters
    ----------
    estimator : classifier or regressor
        Its severity is ``predict_severity``, else what a regressor predicts, else a classifier's
        expected grade. A fitted one is given as ``FrozenEstimator(model)``.
    cutpoints : sequence of float, default=(0.5, 1.5, 2.5, 3.5)
        Ascending, in positions on the scale: cutpoint k is where grade k + 1 begins. One fewer than
        grades; where the estimator takes its scale from the labels, those above it have no effect.

    Attributes
    ----------
    estimator_ : estimator
        Fitted.
    cutpoints_ : ndarray of float, shape (n_grades - 1,)
        Those of the scale.
    classes_ : ndarray, shape (n_classes,)
        The labels in ``y``, sorted; a grade that is not among them is replaced by the nearest.
    grades_ : ndarray, shape (n_grades,)
        The scale.

    See Also
    --------
    TunedCutpointClassifierCV : Cutpoints that are fitted.
    sklearn.model_selection.FixedThresholdClassifier : The same for two classes.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> model = FixedCutpointClassifier(LinearRegression(), cutpoints=(0.5, 1.8))
    >>> model.fit([[0.0], [1.0], [2.0]], [0, 1, 2]).predict([[1.7], [1.9]]).tolist()
    [1, 2]
    """

    _saved: ClassVar[Collection[str]] = OF_CUTPOINTS

    def __init__(self, estimator: Any, *, cutpoints: Any = (0.5, 1.5, 2.5, 3.5)) -> None:
        self.estimator = estimator
        self.cutpoints = cutpoints

    def _check(self) -> None:
        self._ascending()
        self._check_severity()

    def _fit(self, data: TrainingData) -> None:
        cutpoints = self._ascending()
        self._fit_rows(data, np.arange(len(data.y)), None)
        wanted = len(self.grades_) - 1
        given = given_scale(self.estimator_) is not None
        if len(cutpoints) < wanted or (given and len(cutpoints) > wanted):
            expected = f"{wanted} ascending numbers, one fewer than the grades of the scale"
            raise invalid(self, "cutpoints", expected, self.cutpoints)
        self.cutpoints_ = cutpoints[:wanted]

    def _ascending(self) -> NDArray[np.float64]:
        try:
            cutpoints = np.asarray(self.cutpoints, dtype=np.float64)
        except (TypeError, ValueError):
            cutpoints = np.array(np.nan)
        if cutpoints.ndim != 1 or not len(cutpoints) or not (np.diff(cutpoints) >= 0).all() or (
            np.isnan(cutpoints).any()
        ):  # fmt: skip
            raise invalid(self, "cutpoints", "a sequence of ascending numbers", self.cutpoints)
        return cutpoints
