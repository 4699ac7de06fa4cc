"""Conformal sets of neighbouring grades, and images that are left to a human."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _num_samples, check_is_fitted

from fundus.exceptions import DataError, DataWarning
from fundus.grades.labels import as_labels, to_positions
from fundus.grades.patients import patients_of
from fundus.grades.severity import expected_grade
from fundus.meta.base import KeepsScale
from fundus.meta.conformal_sets import (
    ConformalRule,
    nonconformity,
    nonconformity_of_severity,
    one_image_each,
)
from fundus.meta.ensemble import FoldEnsemble
from fundus.meta.severity import shared_input
from fundus.meta.voting import Ballot, Votes, ballot_of
from fundus.parameters import check_real, invalid
from fundus.saving.mixin import Saves


def _has_proba(owner: Any) -> bool:
    model = getattr(owner, "ensemble_", None)
    return model is None or hasattr(model, "predict_proba")  # before fit it cannot be told


class OrdinalConformalClassifier(Saves, KeepsScale, BaseEstimator):
    """Predict sets of neighbouring grades that hold the true grade with a known probability.

    Parameters
    ----------
    estimator : classifier
        Cloned, or with ``cv="prefit"`` used as it is. The sets of a classifier are those of ordinal
        adaptive prediction sets, of a regressor and with cutpoints the grades within a distance of
        the severity; the grade that cutpoints predict may then lie outside the set.
    alpha : float, default=0.1
        Share of images whose set may miss the true grade, in (0, 1).
    cv : int, splitter, iterable or "prefit", default=None
        Folds, as in `FoldEnsemble` (``None`` is 5): each model calibrates on the fold it has not
        seen. "prefit" calibrates a fitted estimator on the images given to `fit`, which it must
        not have seen; in ``sklearn.frozen.FrozenEstimator`` it stays fitted where it is cloned.
    n_jobs : int, default=None
        Folds fitted at a time, in processes.
    random_state : int, RandomState or None, default=None
        Shuffles the folds, and draws one image of each patient.

    Attributes
    ----------
    ensemble_ : FoldEnsemble or classifier
        What predicts; with ``cv="prefit"`` the estimator.
    rule_ : ConformalRule
    n_calibration_ : int
        Images, one of each patient, that the rule is from.
    classes_ : ndarray, shape (n_classes,)
    n_features_in_ : int
        Width of precomputed features.

    Notes
    -----
    The guarantee is for one image of a new patient who comes from the same population: two eyes of
    one patient are not exchangeable with two of different ones, so one image of each patient, drawn
    at random, calibrates. Over such patients the set holds the true grade with a probability of at
    least ``1 - alpha`` for "prefit" [1]_, and of at least ``1 - 2 alpha``, less than
    ``sqrt(2 / n)`` apart, for folds [2]_ (usually about ``1 - alpha``). It is an average over all
    grades, not one for each, and no guarantee at all for another camera, clinic or population:
    measure the coverage there. Where patients are unknown every image counts as a patient.

    Models of different folds may keep grades with a gap between; the set then spans it.

    Cost: as `FoldEnsemble`, and for "prefit" one prediction.

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

    def __init__(
        self,
        estimator: Any,
        *,
        alpha: float = 0.1,
        cv: Any = None,
        n_jobs: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.alpha = alpha
        self.cv = cv
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> OrdinalConformalClassifier:
        """Fit and calibrate.

        Parameters
        ----------
        X : images or array-like
            What the estimator takes; a frame's ``patient`` column tells patients.
        y : array-like, shape (n_samples,)
            Grades.
        sample_weight : array-like of float, shape (n_samples,), default=None
            For the estimators; calibration counts images.
        groups : array-like, shape (n_samples,), default=None
            Patients.

        Returns
        -------
        self

        Raises
        ------
        InvalidParameterError
            If the estimator gives neither probabilities nor a severity.
        SplitError
            If a fold has a patient or an image on both sides.

        Warns
        -----
        DataWarning
            If there are too few images for `alpha`: every set then holds all grades.
        """
        check_real(self, "alpha", low=0, high=1, low_open=True, high_open=True)
        if isinstance(self.cv, str) and self.cv != "prefit":
            raise invalid(self, "cv", "an int, a splitter, folds, None or 'prefit'", self.cv)
        if isinstance(self.cv, str):
            return self._fit_prefit(X, y, groups)
        ensemble = FoldEnsemble(
            self.estimator,
            cv=5 if self.cv is None else self.cv,
            n_jobs=self.n_jobs,
            random_state=self.random_state,
        ).fit(X, y, sample_weight=sample_weight, groups=groups)
        labels = as_labels(y).values
        return self._calibrate(ensemble, labels, patients_of(X, groups, len(labels)))

    @classmethod
    def from_ensemble(
        cls,
        ensemble: FoldEnsemble,
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        alpha: float = 0.1,
        random_state: Any = None,
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
        alpha : float, default=0.1
        random_state : int, RandomState or None, default=None
            Draws one image of each patient.

        Returns
        -------
        OrdinalConformalClassifier
            Fitted.

        Raises
        ------
        DataError
            If `y` has another length than the out-of-fold predictions.
        InvalidParameterError
            If the ensemble votes hard, or `alpha` is not in (0, 1).
        """
        check_is_fitted(ensemble, "estimators_")
        model = cls(ensemble.estimator, alpha=alpha, cv=ensemble.cv, random_state=random_state)
        check_real(model, "alpha", low=0, high=1, low_open=True, high_open=True)
        labels = as_labels(y).values
        if len(labels) != len(ensemble.oof_fold_):
            raise DataError(
                "y must be the grades that the ensemble was fitted on. "
                f"Got {len(labels)} grades for {len(ensemble.oof_fold_)} out-of-fold predictions."
            )
        return model._calibrate(ensemble, labels, groups)

    def _calibrate(
        self, ensemble: FoldEnsemble, y: NDArray[Any], groups: ArrayLike | None
    ) -> OrdinalConformalClassifier:
        self._take(ensemble, ensemble.ballot())
        proba = getattr(ensemble, "oof_proba_", None)
        votes = Votes(
            proba, ensemble.oof_severity_, np.searchsorted(self.classes_, ensemble.oof_prediction_)
        )
        rows = one_image_each(groups, len(y), self.random_state)
        folds = [rows[ensemble.oof_fold_[rows] == k] for k in range(len(ensemble.estimators_))]
        self._make_rule([(votes.of(part), y[part]) for part in folds])
        return self

    def _fit_prefit(
        self, X: Any, y: ArrayLike, groups: ArrayLike | None
    ) -> OrdinalConformalClassifier:
        model = self.estimator
        if isinstance(model, FrozenEstimator):  # which keeps it fitted when cloned
            model = model.estimator
        check_is_fitted(model)
        read = as_labels(y)
        labels = read.values
        if _num_samples(X) != len(labels):
            raise DataError(
                f"X and y must be of one length. Got {_num_samples(X)} rows and {len(labels)}."
            )
        groups = patients_of(X, groups, len(labels))
        ballot = model.ballot() if isinstance(model, FoldEnsemble) else ballot_of(model, read)
        self._take(model, ballot)
        rows = one_image_each(groups, len(labels), self.random_state)
        votes = self._members(X)[0]
        to_positions(labels, self.classes_)  # a grade the model does not know has no score
        self._make_rule([(votes.of(rows), labels[rows])])
        return self

    def _take(self, model: Any, ballot: Ballot) -> None:
        if ballot.voting == "hard" or not (
            hasattr(model, "predict_proba") or hasattr(model, "predict_severity")
        ):
            raise invalid(
                self, "estimator", "one with predict_proba or predict_severity", self.estimator
            )
        self.ensemble_, self.ballot_, self.classes_ = model, ballot, ballot.classes
        if hasattr(model, "n_features_in_"):
            self.n_features_in_ = model.n_features_in_

    def _make_rule(self, parts: list[tuple[Votes, NDArray[Any]]]) -> None:
        scores = []
        for predicted, labels in parts:
            of_grades = self._nonconformity(predicted)
            place = self._rank()[np.searchsorted(self.classes_, labels)]
            scores.append(np.sort(of_grades[np.arange(len(labels)), place]))
        self.rule_ = ConformalRule(float(self.alpha), tuple(scores))
        self.n_calibration_ = n = self.rule_.n_images
        if n < (1 - self.alpha) * (n + 1):
            warnings.warn(
                f"{n} calibration images, one of each patient, are too few for alpha="
                f"{self.alpha:g}, which needs {int(np.ceil(1 / self.alpha)) - 1}: every set holds "
                "all grades.",
                DataWarning,
                stacklevel=4,
            )

    def _nonconformity(self, votes: Votes) -> NDArray[np.float64]:
        """Nonconformity of every class, ``(n, n_classes)``, in the order of the grades."""
        places = to_positions(self.classes_, self.ballot_.scale)
        if self.ballot_.voting in ("severity", "cutpoints"):
            return nonconformity_of_severity(votes.severity, np.sort(places))
        assert votes.proba is not None
        return nonconformity(votes.proba[:, np.argsort(self._rank())])

    def _members(self, X: Any) -> list[Votes]:
        if isinstance(self.cv, str):
            if isinstance(self.ensemble_, FoldEnsemble):
                return [self.ballot_.mean(self.ensemble_.estimators_, X)]
            return [self.ballot_.scores(self.ensemble_, X)]
        X = shared_input(self.ensemble_.estimators_, X)
        return [self.ballot_.scores(model, X) for model in self.ensemble_.estimators_]

    def predict_set(self, X: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the lowest and the highest grade of each image's set.

        Parameters
        ----------
        X : images or array-like

        Returns
        -------
        low, high : ndarray, shape (n_samples,)
            Labels out of ``classes_``; all grades between belong to the set.
        """
        check_is_fitted(self, "rule_")
        return self.sets_of(self._members(X))

    def sets_of(self, members: list[Votes]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the sets that predictions make, where they are there already.

        Parameters
        ----------
        members : list of Votes
            For each model, as ``Ballot.scores`` gives them.

        Returns
        -------
        low, high : ndarray, shape (n_samples,)
            As in `predict_set`.
        """
        ordered = self.classes_[np.argsort(self._rank())]
        low, high = self.rule_.places([self._nonconformity(member) for member in members])
        return ordered[low], ordered[high]

    def defer(self, X: Any, *, at: Any = None) -> NDArray[np.bool_]:
        """Tell the images that are left to a human.

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

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the grade that the estimators predict.

        Parameters
        ----------
        X : images or array-like

        Returns
        -------
        ndarray, shape (n_samples,)
            Labels out of ``classes_``.
        """
        check_is_fitted(self, "rule_")
        return self.ensemble_.predict(X)

    @available_if(_has_proba)
    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probabilities that the estimators predict.

        Parameters
        ----------
        X : images or array-like

        Returns
        -------
        ndarray of float, shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        check_is_fitted(self, "rule_")
        return self.ensemble_.predict_proba(X)

    def predict_severity(self, X: Any) -> NDArray[np.float64]:
        """Return the severity that the estimators predict.

        Parameters
        ----------
        X : images or array-like

        Returns
        -------
        ndarray of float, shape (n_samples,)
            In places on the scale.
        """
        check_is_fitted(self, "rule_")
        if hasattr(self.ensemble_, "predict_severity"):
            return self.ensemble_.predict_severity(X)
        places = to_positions(self.classes_, self.ballot_.scale)
        return expected_grade(self.ensemble_.predict_proba(X), places)
