"""`FoldEnsemble`: cross-validate, keep the models of all folds, and average them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from joblib import delayed
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_consistent_length, check_is_fitted

import fundus.meta.voting as voting
from fundus.explain.targets import Part
from fundus.grades.foreign import scale_of, unwrapped, whole_scale
from fundus.grades.grader import Reading, Votes
from fundus.grades.labels import as_labels
from fundus.meta.base import OF_A_GRADER, MetaGrader
from fundus.meta.out_of_fold import (
    Folds,
    TrainingData,
    cache_of,
    check_tested_once,
    fit_fold,
    fold_template,
    read_training,
)
from fundus.meta.resume import KeptFit, check_resume_dir, resuming
from fundus.meta.saved_ensemble import OF_AN_ENSEMBLE, check_out_of_fold
from fundus.meta.voting import Ballot, chosen_voting
from fundus.metrics.kappa import quadratic_weighted_kappa
from fundus.model_selection.splits import check_split
from fundus.parameters import check_int, check_option, refused
from fundus.runtime.keras_settings import carried
from fundus.runtime.threads import run_jobs
from fundus.saving.codec import Decoder
from fundus.tracing.trace import Trace

VOTINGS = ("auto", *voting.VOTINGS)


class FoldEnsemble(MetaGrader):
    """Fit one clone per fold, score each on its test fold, and average the predictions of all.

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
        Number of folds fitted at the same time, in processes.
    random_state : int, RandomState or None, default=None
        Shuffles the folds; the estimator has its own seed.
    verbose : int, default=0
        Passed to joblib.
    resume_dir : path, default=None
        Folder in which `fit` keeps what is done, so that after a kill the same call goes on with
        the same result, to the bit: finished folds are loaded, and a network goes on from its last
        epoch; with callbacks of your own, its fold begins anew. A folder that holds the fit of
        other data, parameters or releases of the packages is refused. Remove it for a new fit.

    Attributes
    ----------
    estimators_ : list of classifier
        One per fold.
    classes_ : ndarray, shape (n_classes,)
        All labels of ``y``; a label that a fold's model never saw has probability 0 there.
    grades_ : ndarray, shape (n_grades,)
        The scale.
    voting_ : str
        The voting that is used, where `voting` is "auto" too.
    oof_proba_ : ndarray of float, shape (n_samples, n_classes)
        Out-of-fold probabilities; ``nan`` for rows in no test fold. Absent where there is no
        ``predict_proba``, as for hard voting.
    oof_severity_ : ndarray of float, shape (n_samples,)
        Out-of-fold severities, in positions on the scale. Absent for hard voting.
    oof_prediction_ : ndarray, shape (n_samples,)
        Out-of-fold labels of the rows of ``oof_fold_ >= 0``.
    oof_fold_ : ndarray of int, shape (n_samples,)
        Number of the test fold of every row; -1 for none.
    severity_std_ : float
        Root mean square of the residuals of ``oof_severity_``, in positions. Only where severities
        vote and the models do not estimate their own errors, such as classifiers.
    cv_results_ : dict
        ``"n_train"``, ``"n_test"`` and ``"test_kappa"`` (quadratic weighted), each of shape
        (n_folds,).
    class_names_ : list of str
        Names of the grades, lowest first. This and the next two exist where
        `Evaluation.keep_with` has set them, as in what `fundus train` saves.
    operating_points_ : dict of str to list of OperatingPoint
        By condition, "referable" and "sight-threatening": lowest severities at which an image is
        referred.
    referable_with_dme_ : bool
        Whether macular oedema counted when these were chosen.

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

    _saved: ClassVar[Collection[str]] = {**OF_A_GRADER, **OF_AN_ENSEMBLE}
    _not_saved: ClassVar[tuple[str, ...]] = (*MetaGrader._not_saved, "resume_dir")

    def __init__(
        self,
        estimator: Any,
        *,
        cv: Any = 5,
        voting: str = "auto",
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
        resume_dir: Any = None,
    ) -> None:
        self.estimator = estimator
        self.cv = cv
        self.voting = voting
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.resume_dir = resume_dir

    def _check(self) -> None:
        check_resume_dir(self)
        check_option(self, "voting", VOTINGS)
        check_int(self, "verbose", low=0)

    def _fit(self, data: TrainingData) -> None:
        with resuming(self, data) as kept:
            if kept is None:
                folds = data.folds(self.cv, self.estimator, self.random_state)
            else:
                folds = kept.folds
            jobs = (
                delayed(carried(fit_fold if kept is None else kept.fold(k).fit))(
                    self._template(kept, k, data),
                    data.X,
                    data.target,
                    train,
                    data.weight,
                    data.groups,
                    tell=k == 0,
                    called=f"fold {k}",
                )
                for k, (train, _) in enumerate(folds)
            )
            models = run_jobs(jobs, n_jobs=self.n_jobs, verbose=self.verbose)
        self._keep(models, folds, data.X, data.y, data.scale)

    def _template(self, kept: KeptFit | None, fold: int, data: TrainingData) -> Any:
        state = self.random_state if kept is None else kept.fold_state()
        model = fold_template(self.estimator, fold, data.y, data.groups, state)
        return model if kept is None else kept.seeded(model, fold)

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
        return self._fit_all(read_training(X, y, sample_weight, groups, self))

    def _fit_all(self, data: TrainingData) -> Any:
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
            Patients; by default those of the frame.
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
            must = (
                "must be of cross_validate(..., return_estimator=True, return_indices=True). Got "
                f"results without {sorted(missing)}."
            )
            raise refused("FoldEnsemble.from_cv_results", "results", must)
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
        ensemble._keep(models, folds, X, labels.values, labels.scale)
        ensemble._take_features_of(models[0], X)
        return ensemble

    @classmethod
    def _from_record(cls, record: dict[str, Any], decoder: Decoder) -> FoldEnsemble:
        model = super()._from_record(record, decoder)
        if "cv" not in record["params"]:
            model.cv = len(model.estimators_)
        return model

    def _check_saved(self) -> None:
        super()._check_saved()
        check_out_of_fold(self)

    def _keep(
        self,
        models: list[Any],
        folds: Folds,
        X: Any,
        y: NDArray[Any],
        scale: NDArray[Any],
    ) -> None:
        self.voting_ = chosen_voting(self.voting, models[0])
        self.estimators_ = models
        self.classes_ = np.unique(y)
        self._scale = scale
        for name in ("oof_proba_", "oof_severity_", "severity_std_"):  # of an earlier fit
            self.__dict__.pop(name, None)
        self._score_folds(folds, X, y)

    def _score_folds(self, folds: Folds, X: Any, y: NDArray[Any]) -> None:
        n, rules = len(y), self.ballot()
        hard = self.voting_ == "hard"
        self.oof_fold_ = np.full(n, -1)
        self.oof_prediction_ = np.full(n, self.classes_[0], dtype=self.classes_.dtype)
        if not hard:
            self.oof_severity_ = np.full(n, np.nan)
        if self.gives_proba():
            self.oof_proba_ = np.full((n, len(self.classes_)), np.nan)
        kappas, errors_known = [], False
        for k, (grader, (_, test)) in enumerate(zip(self._graders(), folds, strict=True)):
            reading = grader.read_images(_safe_indexing(X, test))
            self.oof_fold_[test] = k
            if hard:
                self.oof_prediction_[test] = grader.labels_of(reading)
            else:
                votes = rules.scores(grader, reading)
                errors_known = errors_known or votes.std is not None
                self.oof_severity_[test] = votes.severity
                if votes.proba is not None:
                    self.oof_proba_[test] = votes.proba
                self.oof_prediction_[test] = self.classes_[votes.best]
            kappas.append(
                quadratic_weighted_kappa(
                    y[test], self.oof_prediction_[test], n_grades=rules.scale.tolist()
                )
            )
        if self.voting_ == "severity" and not errors_known:
            self.severity_std_, self.oof_proba_ = rules.spread_by_other_folds(
                self.oof_severity_, y, self.oof_fold_
            )
        self.cv_results_ = {
            "n_train": np.array([len(train) for train, _ in folds]),
            "n_test": np.array([len(test) for _, test in folds]),
            "test_kappa": np.array(kappas),
        }

    def ballot(self) -> Ballot:
        """Return how the models vote."""
        check_is_fitted(self, "estimators_")
        # models of earlier releases have no ballot
        order = getattr(self, "_scale", None)
        scale = whole_scale(self.estimators_[0], self.classes_, order)
        return Ballot(self.classes_, scale, self.voting_, getattr(self, "severity_std_", None))

    @property
    def grades_(self) -> NDArray[Any]:  # type: ignore[override]
        """The scale, lowest grade first."""
        return self.ballot().scale

    @property
    def rounds_severity(self) -> bool:
        """Whether it predicts the grade that is nearest to the mean severity."""
        return self.voting_ == "severity"

    def gives_proba(self) -> bool:
        """Whether it has probabilities, fitted or not."""
        voting = vars(self).get("voting_", self.voting)
        return voting == "severity" or (voting != "hard" and super().gives_proba())

    def _models(self) -> list[Any]:
        return self.estimators_

    def explained_parts(self) -> list[Part]:
        """Return the models of the folds, whose mean is explained."""
        soft = self.voting_ == "soft"
        return [replace(part, by_proba=soft or part.by_proba) for part in super().explained_parts()]

    def members(self, reading: Reading) -> list[Votes]:
        """Predict with the model of each fold, on the classes and the scale of all folds."""
        rules = self.ballot()
        return [rules.scores(grader, reading) for grader in self._graders()]

    def average(self, members: list[Votes]) -> Votes:
        """Average the predictions of `members`."""
        # without its own error, which an ensemble of ensembles estimates out of fold
        return self.ballot().combine(members)._replace(std=None)

    def votes_of(self, reading: Reading) -> Votes:
        """Average the predictions of the models."""
        return self.average(self.members(reading))

    def cutpoints_of_all(self) -> NDArray[np.float64]:
        """Return the cutpoints of the mean severity, where the models have some: their median."""
        votes = [Votes(None, None, None, unwrapped(m).cutpoints_) for m in self.estimators_]
        return self.ballot().cutpoints_of_all(self._graders(), votes)

    def traced_votes(self, trace: Trace) -> Votes:
        """Average the predictions of the models, with the operations of Keras."""
        return self.ballot().traced(self._graders(), self._traced_inside(trace))

    def labels_of(self, reading: Reading) -> NDArray[Any]:
        """Predict labels; with hard votes the most frequent one, the lowest of several."""
        if self.voting_ != "hard":
            return super().labels_of(reading)
        rules = self.ballot()
        best = [rules.labels_of(grader, reading) for grader in self._graders()]
        return self.classes_[rules.majority(best)]
