"""Classifiers that cut a severity into grades, at cutpoints that are given or fitted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.utils import _safe_indexing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from fundus.exceptions import InvalidParameterError
from fundus.grades.cutpoints import check_cost, grades_at, optimal_cutpoints
from fundus.grades.estimator_scale import whole_scale
from fundus.grades.labels import to_positions
from fundus.grades.severity import nearest_class
from fundus.meta.base import WrapsClassifier
from fundus.meta.out_of_fold import (
    Training,
    fit_fold,
    fold_template,
    out_of_fold,
    read_training,
)
from fundus.meta.severity import has_severity, innermost, proba_of, severity_of
from fundus.model_selection.leaks import refuse_unseen_grades
from fundus.parameters import check_option, invalid
from fundus.saving.mixin import Saves


def _has_proba(owner: Any) -> bool:
    return hasattr(getattr(owner, "estimator_", owner.estimator), "predict_proba")


class _CutpointClassifier(Saves, WrapsClassifier, BaseEstimator):
    """The ``predict`` methods; the grade is the number of cutpoints at or below the severity."""

    estimator_: Any
    classes_: NDArray[Any]
    grades_: NDArray[Any]
    cutpoints_: NDArray[np.float64]

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the grade of every image.

        Parameters
        ----------
        X : images or array-like

        Returns
        -------
        ndarray, shape (n_samples,)
            Labels out of ``classes_``.
        """
        check_is_fitted(self, "cutpoints_")
        grades = grades_at(self.predict_severity(X), self.cutpoints_)
        return self.classes_[nearest_class(grades, to_positions(self.classes_, self.grades_))]

    def predict_severity(self, X: Any) -> NDArray[np.float64]:
        """Return the inner estimator's severity of every image.

        Parameters
        ----------
        X : images or array-like

        Returns
        -------
        ndarray of float, shape (n_samples,)
            In places on the scale.
        """
        check_is_fitted(self, "estimator_")
        return severity_of(self.estimator_, X, self.grades_)

    @available_if(_has_proba)
    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the inner estimator's probabilities, which the cutpoints leave alone.

        The most probable grade may therefore be another than the predicted one.

        Parameters
        ----------
        X : images or array-like

        Returns
        -------
        ndarray of float, shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        check_is_fitted(self, "estimator_")
        proba = proba_of(self.estimator_, X, self.classes_)
        assert proba is not None
        return proba

    def _read(self, X: Any, y: Any, sample_weight: Any, groups: Any) -> Training:
        """Check the input."""
        if not has_severity(self.estimator):
            raise invalid(
                self,
                "estimator",
                "a regressor, or a classifier with predict_severity or predict_proba",
                self.estimator,
            )
        data = read_training(X, y, sample_weight, groups, self)
        self.classes_ = np.unique(data.y)
        return data

    def _fit_rows(self, data: Training, rows: NDArray[np.intp], random_state: Any) -> None:
        model = fold_template(self.estimator, None, data.y, data.groups, random_state)
        target = data.target_of(self.estimator)
        self._keep(fit_fold(model, data.X, target, rows, data.weight, data.groups), data.scale)

    def _keep(self, model: Any, order: NDArray[Any]) -> None:
        self.estimator_ = model
        self.grades_ = whole_scale(model, self.classes_, order)
        for name in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)
            if hasattr(model, name):
                setattr(self, name, getattr(model, name))


class TunedCutpointClassifierCV(_CutpointClassifier):
    """Cut severities into grades where out-of-fold severities say it is best.

    Every image's severity comes from a model that was trained without the image's fold; on these
    severities the cutpoints are optimal (see `optimal_cutpoints`). The estimator is then fitted on
    all images.

    Parameters
    ----------
    estimator : classifier or regressor
        Its severity is ``predict_severity``, else what a regressor predicts, else a classifier's
        expected grade. A regressor of scikit-learn's is fitted on places on the scale.
    scoring : "qwk" or array-like of float, shape (n_grades, n_grades), default="qwk"
        Maximise quadratic weighted kappa, or minimise the mean cost, by true and predicted grade.
    cv : int, splitter or iterable, default=None
        ``None`` is 5. An int means `StratifiedGroupKFold` where there are patients, else
        `StratifiedKFold`, both shuffled. A split with a patient or an image on both sides is
        refused. Rows in no test fold take no part in the cutpoints.
    refit : bool, default=True
        Whether to fit the estimator on all images in the end. ``False`` keeps the model of the one
        fold, and needs a `cv` that has one only.
    n_jobs : int, default=None
        Folds fitted at a time, in processes.
    random_state : int, RandomState or None, default=None
        Shuffles the folds; the estimator's own seed is its own.

    Attributes
    ----------
    estimator_ : estimator
        Fitted on all images, or on the one fold's training part.
    cutpoints_ : ndarray of float, shape (n_grades - 1,)
        Ascending; infinite where a grade at an end of the scale does not pay.
    best_score_ : float
        Kappa, or minus the mean cost, of the cutpoints on the severities they were fitted on. It is
        optimistic: nest the classifier in `FoldEnsemble` or ``cross_validate`` for an honest score.
    oof_severity_ : ndarray of float, shape (n_samples,)
        Out-of-fold severities, in places on the scale; ``nan`` for rows in no test fold.
    classes_ : ndarray, shape (n_classes,)
        The labels in ``y``, sorted; no other is predicted.
    grades_ : ndarray, shape (n_grades,)
        The scale.

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

    def __init__(
        self,
        estimator: Any,
        *,
        scoring: Any = "qwk",
        cv: Any = None,
        refit: bool = True,
        n_jobs: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.scoring = scoring
        self.cv = cv
        self.refit = refit
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> TunedCutpointClassifierCV:
        """Fit the cutpoints on out-of-fold severities, and the estimator on all images.

        Parameters
        ----------
        X : images or array-like
            What the estimator takes; a frame's ``patient`` column keeps patients together.
        y : array-like, shape (n_samples,)
            Grades.
        sample_weight : array-like of float, shape (n_samples,), default=None
            Weighs the rows in the models and in the score that the cutpoints maximise.
        groups : array-like, shape (n_samples,), default=None
            Patients.

        Returns
        -------
        self

        Raises
        ------
        SplitError
            If a fold has a patient or an image on both sides, there are fewer patients than folds,
            or a fold trains without a grade that it is scored on.
        InvalidParameterError
            If a parameter cannot be used.
        DataError
            If lengths differ, or a grade is missing.
        """
        check_option(self, "refit", (True, False))
        if isinstance(self.cv, str):
            raise invalid(self, "cv", f"an int, a splitter or an iterable; {_FITTED}", self.cv)
        if isinstance(self.estimator, FrozenEstimator):
            expected = f"one that can be fitted without the rows it is scored on; {_FITTED}"
            raise invalid(self, "estimator", expected, self.estimator)
        data = self._read(X, y, sample_weight, groups)
        folds = data.folds(5 if self.cv is None else self.cv, self.estimator, self.random_state)
        if not self.refit and len(folds) > 1:
            raise InvalidParameterError(
                "The 'refit' parameter of TunedCutpointClassifierCV must be True where cv has "
                f"several folds. Got False and {len(folds)} folds instead."
            )
        refuse_unseen_grades(folds, data.y, data.groups)
        train, test = folds[0]
        rows = np.arange(len(data.y)) if self.refit else train
        self._fit_rows(data, rows, self.random_state)
        if not isinstance(self.scoring, str):
            check_cost(self.scoring, len(self.grades_))
        if self.refit:
            self.oof_severity_, _ = out_of_fold(
                self.estimator,
                data,
                folds,
                self.grades_,
                n_jobs=self.n_jobs,
                random_state=self.random_state,
            )
        else:
            self.oof_severity_ = np.full(len(data.y), np.nan)
            self.oof_severity_[test] = self.predict_severity(_safe_indexing(data.X, test))
        tested = ~np.isnan(self.oof_severity_)
        self.cutpoints_, self.best_score_ = optimal_cutpoints(
            self.oof_severity_[tested],
            data.y[tested],
            n_grades=self.grades_.tolist(),
            scoring=self.scoring,
            sample_weight=None if data.weight is None else data.weight[tested],
            allowed=self.classes_,
        )
        return self


#: What to do with a model that is fitted already.
_FITTED = (
    "for a fitted model, pass FixedCutpointClassifier(FrozenEstimator(model), cutpoints=...) the "
    "optimal_cutpoints of images it was not trained on"
)


class FixedCutpointClassifier(_CutpointClassifier):
    """Cut severities into grades at given cutpoints.

    Parameters
    ----------
    estimator : classifier or regressor
        Its severity is ``predict_severity``, else what a regressor predicts, else a classifier's
        expected grade. A fitted one goes in as ``FrozenEstimator(model)``.
    cutpoints : sequence of float, default=(0.5, 1.5, 2.5, 3.5)
        Ascending, in places on the scale: cutpoint k is where grade k + 1 begins. One fewer than
        grades; where the estimator's scale is left to the labels, those above it have no effect.

    Attributes
    ----------
    estimator_ : estimator
        Fitted.
    cutpoints_ : ndarray of float, shape (n_grades - 1,)
        Those of the scale.
    classes_ : ndarray, shape (n_classes,)
        The labels in ``y``, sorted; a grade that is not among them gives way to the nearest.
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

    def __init__(self, estimator: Any, *, cutpoints: Any = (0.5, 1.5, 2.5, 3.5)) -> None:
        self.estimator = estimator
        self.cutpoints = cutpoints

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> FixedCutpointClassifier:
        """Fit the estimator on all images.

        Parameters
        ----------
        X : images or array-like
            What the estimator takes.
        y : array-like, shape (n_samples,)
            Grades.
        sample_weight : array-like of float, shape (n_samples,), default=None
        groups : array-like, shape (n_samples,), default=None
            Patients; passed on.

        Returns
        -------
        self

        Raises
        ------
        InvalidParameterError
            If a parameter cannot be used, such as cutpoints that do not ascend.
        DataError
            If lengths differ, or a grade is missing.
        """
        cutpoints = self._ascending()
        data = self._read(X, y, sample_weight, groups)
        if isinstance(self.estimator, FrozenEstimator):
            self.classes_ = getattr(self.estimator, "classes_", self.classes_)
            self._keep(self.estimator.estimator, data.scale)
        else:
            self._fit_rows(data, np.arange(len(data.y)), None)
        wanted = len(self.grades_) - 1
        given = getattr(innermost(self.estimator_), "grades", None) is not None
        if len(cutpoints) < wanted or (given and len(cutpoints) > wanted):
            expected = f"{wanted} ascending numbers, one fewer than the grades of the scale"
            raise invalid(self, "cutpoints", expected, self.cutpoints)
        self.cutpoints_ = cutpoints[:wanted]
        return self

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
