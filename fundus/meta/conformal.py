"""Conformal sets of neighbouring grades, and images that are left to a human."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from fundus.exceptions import DataError, DataWarning, warn_caller
from fundus.grades.foreign import as_grader, is_frozen
from fundus.grades.grader import Reading, Votes
from fundus.grades.labels import as_labels, to_positions
from fundus.meta.base import OF_A_BALLOT, HasBallot
from fundus.meta.conformal_sets import (
    ConformalRule,
    nonconformity,
    nonconformity_of_severity,
    one_image_each,
    one_less,
)
from fundus.meta.ensemble import FoldEnsemble
from fundus.meta.out_of_fold import TrainingData
from fundus.meta.voting import Ballot, ballot_of
from fundus.parameters import check_real, invalid, refused
from fundus.saving.schema import COUNT, FITTED, instance, require

#: ``confidence_level`` where none is given.
CONFIDENCE = 0.9


class OrdinalConformalClassifier(HasBallot):
    """Predict sets of neighbouring grades that hold the true grade with a known probability.

    Parameters
    ----------
    estimator : classifier
        Cloned, or in ``sklearn.frozen.FrozenEstimator`` used as it is. The sets of a classifier are
        those of ordinal adaptive prediction sets, of a regressor and with cutpoints the grades
        within a distance of the severity; the grade that cutpoints predict may then lie outside
        the set.
    confidence_level : float, default=0.9
        Wanted share of images whose set holds the true grade, in (0, 1).
    cv : int, splitter or iterable, default=None
        Folds, as in `FoldEnsemble` (``None`` is 5): each model calibrates on the fold it has not
        seen. It has no effect on a `FrozenEstimator`, which calibrates on the images given to
        `fit`, and must not have seen them. "prefit" is deprecated.
    n_jobs : int, default=None
        Number of folds fitted at the same time, in processes.
    random_state : int, RandomState or None, default=None
        Seed of the folds, and of the choice of one image of each patient.
    alpha : float, default="deprecated"
        One minus the confidence level: the parameter of earlier releases.

    Attributes
    ----------
    ensemble_ : FoldEnsemble or classifier
        The fitted model that predicts; the estimator itself where it was frozen.
    rule_ : ConformalRule
        Where it has scores of several models, each of them predicts new images, else
        their average does.
    n_calibration_ : int
        Number of images, one of each patient, that the rule was made from.
    classes_ : ndarray, shape (n_classes,)
    class_names_ : list of str
        Names of the grades, lowest first. This and the next two exist where
        `Evaluation.keep_with` has set them, as in what `fundus train` saves.
    operating_points_ : dict of str to list of OperatingPoint
        By condition, "referable" and "sight-threatening": lowest severities at which an image is
        referred.
    referable_with_dme_ : bool
        Whether macular oedema counted when these were chosen.
    n_features_in_ : int
        Width of precomputed features.

    Notes
    -----
    The guarantee is for one image of a new patient who comes from the same population: two eyes of
    one patient are not exchangeable with two of different ones, so one image of each patient, drawn
    at random, calibrates. Over such patients the set holds the true grade with a probability of at
    least the confidence level ``c`` for a frozen model [1]_, and of at least ``2 c - 1``, less
    than ``sqrt(2 / n)`` apart, for folds [2]_ (usually about ``c``). It is an average over all
    grades, not one for each, and no guarantee at all for another camera, clinic or population:
    measure the coverage there. Where patients are unknown every image counts as a patient.

    Models of different folds may keep grades with a gap between; the set then includes the gap.

    Cost: as `FoldEnsemble`, and for a frozen model one prediction.

    References
    ----------
    .. [1] V. Vovk, A. Gammerman, G. Shafer, "Algorithmic Learning in a Random World", 2005.
       :doi:`10.1007/b106715`
    .. [2] R. F. Barber et al., "Predictive inference with the jackknife+", Annals of Statistics
       49(1), 2021. :doi:`10.1214/20-AOS1965`

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.linear_model import LogisticRegression
    >>> X, y = make_classification(90, n_informative=4, n_classes=3, random_state=0)
    >>> model = OrdinalConformalClassifier(LogisticRegression(), cv=3, random_state=0).fit(X, y)
    >>> low, high = model.predict_set(X)
    >>> bool(((low <= y) & (y <= high)).mean() >= 0.8)
    True
    """

    _saved: ClassVar[Collection[str]] = {
        **OF_A_BALLOT,
        "ensemble_": FITTED,
        "rule_": instance(ConformalRule, "a conformal rule"),
        "n_calibration_": COUNT,
    }

    def __init__(
        self,
        estimator: Any,
        *,
        confidence_level: float = CONFIDENCE,
        cv: Any = None,
        n_jobs: int | None = None,
        random_state: Any = None,
        alpha: Any = "deprecated",
    ) -> None:
        self.estimator = estimator
        self.confidence_level = confidence_level
        self.cv = cv
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.alpha = alpha

    def _check(self) -> None:
        if isinstance(self.cv, str) and self.cv != "prefit":
            raise invalid(self, "cv", "an int, a splitter, folds or None", self.cv)
        if isinstance(self.alpha, str) and self.alpha == "deprecated":
            check_real(self, "confidence_level", low=0, high=1, low_open=True, high_open=True)
            return
        check_real(self, "alpha", low=0, high=1, low_open=True, high_open=True)
        if self.confidence_level != CONFIDENCE:
            must = (
                f"must be left out where 'confidence_level' is given. Got alpha={self.alpha!r} "
                f"and confidence_level={self.confidence_level!r} instead."
            )
            raise refused("OrdinalConformalClassifier", "alpha", must)
        warn_caller(
            f"alpha={self.alpha:g} of OrdinalConformalClassifier is deprecated and will be an "
            f"error in the next release: give confidence_level={one_less(self.alpha):g}.",
            FutureWarning,
        )

    def _check_saved(self) -> None:
        super()._check_saved()
        voting, n_rules, n = self.ballot_.voting, len(self.rule_.scores), self.rule_.n_images
        require(voting != "hard", self, "ballot_", "one that votes by a score", voting)
        fits = n_rules in (1, len(getattr(as_grader(self.ensemble_), "estimators_", [1])))
        require(fits, self, "rule_", "scores of one model or of each", n_rules)
        require(self.n_calibration_ == n, self, "n_calibration_", str(n), self.n_calibration_)

    def _owner(self) -> Any:
        # so that the scale of a fitted estimator is known
        frozen = isinstance(self.cv, str) and not is_frozen(self.estimator)
        return type(self)(FrozenEstimator(self.estimator)) if frozen else self

    def _fit(self, data: TrainingData) -> None:
        if isinstance(self.cv, str):
            warn_caller(
                "cv='prefit' of OrdinalConformalClassifier is deprecated and will be an error in "
                "the next release: give FrozenEstimator(model) as the estimator, and no cv.",
                FutureWarning,
            )
        elif not is_frozen(self.estimator):
            cv = 5 if self.cv is None else self.cv
            ensemble = FoldEnsemble(
                self.estimator, cv=cv, n_jobs=self.n_jobs, random_state=self.random_state
            )
            ensemble._fit(data)
            ensemble._take_features_of(ensemble.estimators_[0], data.X)
            self._calibrate_folds(ensemble, data.y, data.groups)
            return
        model = self.estimator.estimator if is_frozen(self.estimator) else self.estimator
        check_is_fitted(model)
        grader = as_grader(model)
        if isinstance(grader, FoldEnsemble):
            self._take(model, grader.ballot())
        else:
            self._take(model, ballot_of(model, data.labels))
        to_positions(data.y, self.classes_)  # a grade the model does not know has no score
        members = self.members(self._graders()[0].read_images(data.X))
        votes = self.ballot_.combine(members) if len(members) > 1 else members[0]
        rows = one_image_each(data.groups, len(data.y), self.random_state)
        self._make_rule([(votes.of(rows), data.y[rows])])

    @classmethod
    def from_ensemble(
        cls,
        ensemble: FoldEnsemble,
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        confidence_level: float = CONFIDENCE,
        random_state: Any = None,
        alpha: Any = "deprecated",
    ) -> OrdinalConformalClassifier:
        """Calibrate a fitted ensemble with its own out-of-fold predictions; nothing is fitted.

        Parameters
        ----------
        ensemble : FoldEnsemble
            Fitted.
        y : array-like, shape (n_samples,)
            The grades it was fitted on.
        groups : array-like, shape (n_samples,), default=None
            Patients.
        confidence_level : float, default=0.9
        random_state : int, RandomState or None, default=None
            Draws one image of each patient.
        alpha : float, default="deprecated"

        Returns
        -------
        OrdinalConformalClassifier
            Fitted.

        Raises
        ------
        DataError
            If `y` has another length than the out-of-fold predictions.
        InvalidParameterError
            If the ensemble votes hard, or `confidence_level` is not in (0, 1).
        """
        check_is_fitted(ensemble, "estimators_")
        model = cls(
            ensemble.estimator,
            confidence_level=confidence_level,
            cv=ensemble.cv,
            random_state=random_state,
            alpha=alpha,
        )
        model._check()
        labels = as_labels(y).values
        if len(labels) != len(ensemble.oof_fold_):
            raise DataError(
                "y must be the grades that the ensemble was fitted on. "
                f"Got {len(labels)} grades for {len(ensemble.oof_fold_)} out-of-fold predictions."
            )
        model._calibrate_folds(ensemble, labels, groups)
        model._take_features_of(ensemble, None)
        return model

    def _calibrate_folds(self, ensemble: FoldEnsemble, y: NDArray[Any], groups: Any) -> None:
        self._take(ensemble, ensemble.ballot())
        proba = ensemble.oof_proba_ if ensemble.gives_proba() else None
        votes = Votes(proba, ensemble.oof_severity_, None)
        rows = one_image_each(groups, len(y), self.random_state)
        folds = [rows[ensemble.oof_fold_[rows] == k] for k in range(len(ensemble.estimators_))]
        self._make_rule([(votes.of(part), y[part]) for part in folds])

    def _take(self, model: Any, ballot: Ballot) -> None:
        if ballot.voting == "hard":
            expected = "one with predict_proba or predict_severity"
            raise invalid(self, "estimator", expected, self.estimator)
        self.ensemble_, self.ballot_, self.classes_ = model, ballot, ballot.classes

    def _make_rule(self, parts: list[tuple[Votes, NDArray[Any]]]) -> None:
        # a deprecated alpha is the share that sets may miss
        alpha = (
            one_less(self.confidence_level) if isinstance(self.alpha, str) else float(self.alpha)
        )
        scores = []
        for predicted, labels in parts:
            of_grades = self._nonconformity(predicted)
            position = self._rank()[np.searchsorted(self.classes_, labels)]
            scores.append(np.sort(of_grades[np.arange(len(labels)), position]))
        self.rule_ = ConformalRule(alpha, tuple(scores))
        self.n_calibration_ = n = self.rule_.n_images
        if n < (1 - alpha) * (n + 1):
            warn_caller(
                f"{n} calibration images, one of each patient, are too few for confidence_level="
                f"{one_less(alpha):g}, which needs {int(np.ceil(1 / alpha)) - 1}: every set holds "
                "all grades.",
                DataWarning,
            )

    def _nonconformity(self, votes: Votes) -> NDArray[np.float64]:
        """Nonconformity of every class, ``(n, n_classes)``, in the order of the grades."""
        positions = to_positions(self.classes_, self.ballot_.scale)
        if self.ballot_.voting in ("severity", "cutpoints"):
            assert votes.severity is not None
            return nonconformity_of_severity(votes.severity, np.sort(positions))
        assert votes.proba is not None
        return nonconformity(votes.proba[:, np.argsort(self._rank())])

    def _unfitted(self) -> Any:
        inner = self.ensemble_
        folds = isinstance(inner, FoldEnsemble) and len(self.rule_.scores) == len(inner.estimators_)
        return clone(inner.estimator) if folds else FrozenEstimator(inner)

    def _models(self) -> list[Any]:
        return [self.ensemble_]

    def members(self, reading: Reading) -> list[Votes]:
        """Predict with each of the models that are averaged, as `sets_of` needs it."""
        inner = self._graders()[0]
        if isinstance(inner, FoldEnsemble):
            return inner.members(reading)
        return [self.ballot_.scores(inner, reading)]

    def predict_set(self, X: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the lowest and the highest grade of each image's set.

        Parameters
        ----------
        X : images or array-like

        Returns
        -------
        low, high : ndarray, shape (n_samples,)
            Labels from ``classes_``; all grades between them belong to the set.
        """
        return self.sets_of(self.members(self.read_images(X)))

    def sets_of(self, members: list[Votes]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the sets for predictions that were made before.

        Parameters
        ----------
        members : list of Votes
            One per model, as `members` returns them; averaged if the average was calibrated.

        Returns
        -------
        low, high : ndarray, shape (n_samples,)
            As in `predict_set`.
        """
        if len(members) != len(self.rule_.scores):
            members = [self.ballot_.combine(members)]
        ordered = self.classes_[np.argsort(self._rank())]
        low, high = self.rule_.positions([self._nonconformity(member) for member in members])
        return ordered[low], ordered[high]

    def defer(self, X: Any, *, at: Any = None) -> NDArray[np.bool_]:
        """Return which images are left to a human.

        Parameters
        ----------
        X : images or array-like
        at : label, default=None
            Defer where the set has grades on both sides of this one, such as 2 for referral: below
            it, and it or above. ``None`` defers wherever the set has more than one grade.

        Returns
        -------
        ndarray of bool, shape (n_samples,)
        """
        low, high = self.predict_set(X)
        if at is None:
            return low != high
        scale = self.ballot_.scale
        bound = to_positions([at], scale, name="at")[0]
        return (to_positions(low, scale) < bound) & (to_positions(high, scale) >= bound)
