"""`FoldEnsemble`: cross-validate, keep the models of all folds, and average them."""

from __future__ import annotations

from typing import Any

import numpy as np
from joblib import delayed
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils import _safe_indexing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from fundus.exceptions import InvalidParameterError
from fundus.grades.estimator_scale import scale_of, whole_scale
from fundus.grades.labels import as_labels
from fundus.meta.base import WrapsClassifier
from fundus.meta.out_of_fold import (
    Folds,
    cache_of,
    check_tested_once,
    fit_fold,
    fold_template,
    read_training,
)
from fundus.meta.severity import has_severity, residual_std_of
from fundus.meta.voting import Ballot, chosen_voting
from fundus.metrics.kappa import quadratic_weighted_kappa
from fundus.model_selection.splits import check_split
from fundus.parameters import check_int, check_option
from fundus.runtime.keras_settings import carried
from fundus.runtime.threads import run_jobs
from fundus.saving.mixin import Saves

VOTINGS = ("auto", "soft", "hard", "severity", "cutpoints")


def _fitted_or_template(ensemble: Any) -> Any:
    models = getattr(ensemble, "estimators_", None)
    return models[0] if models else ensemble.estimator


def _has_proba(ensemble: Any) -> bool:
    voting = getattr(ensemble, "voting_", ensemble.voting)
    if voting in ("severity", "hard"):
        return voting == "severity"
    return hasattr(_fitted_or_template(ensemble), "predict_proba")


def _has_severity(ensemble: Any) -> bool:
    return has_severity(_fitted_or_template(ensemble))


class FoldEnsemble(Saves, WrapsClassifier, BaseEstimator):
    """Fit one clone per fold, score each on the fold it has not seen, and average them all.

    Parameters
    ----------
    estimator : classifier
        Cloned for every fold; also a search, whose score is then nested and honest. Where there are
        patients, an int as the search's ``cv`` means `StratifiedGroupKFold` too.
    cv : int, splitter or iterable, default=5
        An int means `StratifiedGroupKFold` where there are patients, else `StratifiedKFold`, both
        shuffled. A split that has a patient or an image on both sides is refused.
    voting : {"auto", "soft", "hard", "severity", "cutpoints"}, default="auto"
        Mean of probabilities, majority, mean of severities and the nearest grade, or mean of
        severities cut at the median of the models' cutpoints. "auto" is "cutpoints" for models that
        have them, "severity" for regressors, else "soft" where there are probabilities, else
        "hard".
    n_jobs : int, default=None
        Folds fitted at a time, in processes.
    random_state : int, RandomState or None, default=None
        Shuffles the folds; the estimator's own seed is its own.
    verbose : int, default=0
        Passed to joblib.

    Attributes
    ----------
    estimators_ : list of classifier
        One per fold.
    classes_ : ndarray, shape (n_classes,)
        All labels of ``y``; a label that a fold's model never saw has probability 0 there.
    grades_ : ndarray, shape (n_grades,)
        The scale.
    voting_ : str
        What "auto" came to.
    oof_proba_ : ndarray of float, shape (n_samples, n_classes)
        Out-of-fold probabilities; ``nan`` for rows in no test fold. Absent where there is no
        ``predict_proba``, as for hard voting.
    oof_severity_ : ndarray of float, shape (n_samples,)
        Out-of-fold severities, in places on the scale. Absent for hard voting.
    oof_prediction_ : ndarray, shape (n_samples,)
        Out-of-fold labels of the rows of ``oof_fold_ >= 0``.
    oof_fold_ : ndarray of int, shape (n_samples,)
        Test fold of every row; -1 for none.
    severity_std_ : float
        Root mean square of the residuals of ``oof_severity_``, in places. Only where severities
        vote and the models do not know their own errors, as classifiers do not.
    cv_results_ : dict
        ``"n_train"``, ``"n_test"`` and ``"test_kappa"`` (quadratic weighted), each of shape
        (n_folds,).

    See Also
    --------
    sklearn.ensemble.VotingClassifier : Averages different models, each fitted on all data.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.linear_model import LogisticRegression
    >>> X, y = make_classification(90, n_informative=4, n_classes=3, random_state=0)
    >>> model = FoldEnsemble(LogisticRegression(), cv=3, random_state=0).fit(X, y)
    >>> model.oof_proba_.shape, len(model.estimators_)
    ((90, 3), 3)
    """

    def __init__(
        self,
        estimator: Any,
        *,
        cv: Any = 5,
        voting: str = "auto",
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.cv = cv
        self.voting = voting
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> FoldEnsemble:
        """Fit one model per fold and predict the fold it has not seen.

        Parameters
        ----------
        X : images or array-like
            What the estimator takes; a frame's ``patient`` column keeps patients together.
        y : array-like, shape (n_samples,)
            Grades.
        sample_weight : array-like of float, shape (n_samples,), default=None
        groups : array-like, shape (n_samples,), default=None
            Patients.

        Returns
        -------
        self

        Raises
        ------
        SplitError
            If a fold has a patient or an image on both sides.

        Warns
        -----
        DataWarning
            Where more than two names are put into the order of the alphabet; see
            `TransferClassifier`.
        """
        check_option(self, "voting", VOTINGS)
        check_int(self, "verbose", low=0)
        data = read_training(X, y, sample_weight, groups, self)
        folds = data.folds(self.cv, self.estimator, self.random_state)
        jobs = (
            delayed(carried(fit_fold))(
                fold_template(self.estimator, k, data.y, data.groups, self.random_state),
                data.X,
                data.target,
                train,
                data.weight,
                data.groups,
                tell=k == 0,
            )
            for k, (train, _) in enumerate(folds)
        )
        models = run_jobs(jobs, n_jobs=self.n_jobs, verbose=self.verbose)
        return self._keep(models, folds, data.X, data.y, data.scale)

    def fit_all(self, X: Any, y: ArrayLike, sample_weight: Any = None, groups: Any = None) -> Any:
        """Return one more clone, fitted on all rows; the ensemble itself stays as it is.

        Parameters
        ----------
        X : images or array-like
        y : array-like, shape (n_samples,)
        sample_weight : array-like of float, shape (n_samples,), default=None
        groups : array-like, shape (n_samples,), default=None

        Returns
        -------
        estimator
        """
        check_is_fitted(self, "estimators_")
        data = read_training(X, y, sample_weight, groups, self)
        fold = len(self.estimators_)
        model = fold_template(self.estimator, fold, data.y, data.groups, self.random_state)
        rows = np.arange(len(data.y))
        return fit_fold(model, data.X, data.target, rows, data.weight, data.groups)

    @classmethod
    def from_cv_results(
        cls,
        results: dict[str, Any],
        X: Any,
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        voting: str = "auto",
    ) -> FoldEnsemble:
        """Build an ensemble from models that `cross_validate` has fitted.

        Parameters
        ----------
        results : dict
            What ``cross_validate(..., return_estimator=True, return_indices=True)`` returned.
        X, y : array-like
            The data it was given.
        groups : array-like, shape (n_samples,), default=None
            Patients; a frame's own where they are not given.
        voting : str, default="auto"

        Returns
        -------
        FoldEnsemble
            Fitted.

        Raises
        ------
        InvalidParameterError
            If estimators or indices are not in `results`.
        SplitError
            If a fold has a patient or an image on both sides.
        """
        missing = {"estimator", "indices"} - set(results)
        if missing:
            raise InvalidParameterError(
                "from_cv_results needs cross_validate(..., return_estimator=True, "
                f"return_indices=True). Got results without {sorted(missing)}."
            )
        models = list(results["estimator"])
        indices = results["indices"]
        folds = list(zip(indices["train"], indices["test"], strict=True))
        labels = as_labels(y, warn=True)
        check_consistent_length(X, labels.values)
        check_split(folds, X, labels.values, groups, cache=cache_of(models[0]))
        check_tested_once(folds, len(labels.values))
        if not len(scale_of(models[0], np.empty(0))):
            labels.warn_if_guessed()
        ensemble = cls(clone(models[0]), cv=folds, voting=voting)
        return ensemble._keep(models, folds, X, labels.values, labels.scale)

    def _keep(
        self,
        models: list[Any],
        folds: Folds,
        X: Any,
        y: NDArray[Any],
        scale: NDArray[Any],
    ) -> FoldEnsemble:
        self.estimators_ = models
        self.classes_ = np.unique(y)
        self._scale = scale
        self.voting_ = chosen_voting(self.voting, models[0], has_severity=_has_severity(self))
        if hasattr(models[0], "n_features_in_"):
            self.n_features_in_ = models[0].n_features_in_
        self._score_folds(folds, X, y)
        return self

    def _score_folds(self, folds: Folds, X: Any, y: NDArray[Any]) -> None:
        n = len(y)
        self.oof_fold_ = np.full(n, -1)
        self.oof_prediction_ = np.full(n, self.classes_[0], dtype=self.classes_.dtype)
        rules = self.ballot()
        for name in ("oof_proba_", "oof_severity_", "severity_std_"):  # of an earlier fit
            self.__dict__.pop(name, None)
        if self.voting_ != "hard":
            self.oof_severity_ = np.full(n, np.nan)
        if _has_proba(self):
            self.oof_proba_ = np.full((n, len(self.classes_)), np.nan)
        kappas = []
        for k, (model, (_, test)) in enumerate(zip(self.estimators_, folds, strict=True)):
            part = _safe_indexing(X, test)
            self.oof_fold_[test] = k
            if self.voting_ == "hard":
                self.oof_prediction_[test] = model.predict(part)
            else:
                votes = rules.scores(model, part)
                self.oof_severity_[test] = votes.severity
                if votes.proba is not None:
                    self.oof_proba_[test] = votes.proba
                self.oof_prediction_[test] = self.classes_[votes.best]
            kappas.append(
                quadratic_weighted_kappa(
                    y[test], self.oof_prediction_[test], n_grades=rules.scale.tolist()
                )
            )
        if self.voting_ == "severity" and residual_std_of(self.estimators_[0], rules.scale) is None:
            self.severity_std_, self.oof_proba_ = rules.spread_by_other_folds(
                self.oof_severity_, y, self.oof_fold_
            )
        self.cv_results_ = {
            "n_train": np.array([len(train) for train, _ in folds]),
            "n_test": np.array([len(test) for _, test in folds]),
            "test_kappa": np.array(kappas),
        }

    def ballot(self) -> Ballot:
        """Return how the models vote; its ``mean`` gives both scores and runs each model once.

        Returns
        -------
        Ballot
        """
        check_is_fitted(self, "estimators_")
        # models of earlier releases have none
        order = getattr(self, "_scale", None)
        scale = whole_scale(self.estimators_[0], self.classes_, order)
        return Ballot(self.classes_, scale, self.voting_, getattr(self, "severity_std_", None))

    @property
    def grades_(self) -> NDArray[Any]:
        """The scale, lowest grade first."""
        return self.ballot().scale

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the grade the models agree on.

        Parameters
        ----------
        X : images or array-like

        Returns
        -------
        ndarray, shape (n_samples,)
            Labels out of ``classes_``.
        """
        rules = self.ballot()
        if self.voting_ == "hard":
            return rules.majority(self.estimators_, X)
        return self.classes_[rules.mean(self.estimators_, X).best]

    @available_if(_has_proba)
    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the mean probabilities, or those around the mean severity.

        Where the mean severity votes, they fall with the distance from it, by the root mean square
        of the models' residuals; see `TransferClassifier.predict_proba`.

        Parameters
        ----------
        X : images or array-like

        Returns
        -------
        ndarray of float, shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        proba = self.ballot().mean(self.estimators_, X).proba
        assert proba is not None
        return proba

    @available_if(_has_severity)
    def predict_severity(self, X: Any) -> NDArray[np.float64]:
        """Return the mean severity.

        Parameters
        ----------
        X : images or array-like

        Returns
        -------
        ndarray of float, shape (n_samples,)
            In places on the scale.
        """
        return self.ballot().mean(self.estimators_, X).severity
