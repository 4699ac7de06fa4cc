"""Fitting one model per fold, and its predictions of the rows it has not seen."""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from joblib import delayed
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils import _safe_indexing
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import _check_sample_weight, _num_samples, indexable

from fundus.data.inputs import as_images, is_image_data, refuse_single
from fundus.exceptions import DataError, DataWarning, warn_caller
from fundus.grades.foreign import as_grader, given_scale, is_frozen, numbering_of
from fundus.grades.labels import Labels, grade_scale, read_labels, to_positions
from fundus.grades.patients import patients_of
from fundus.meta.voting import votes_on
from fundus.model_selection.leaks import Folds
from fundus.model_selection.splits import check_split, make_cv
from fundus.runtime.keras_settings import carried
from fundus.runtime.progress import part_of_work
from fundus.runtime.threads import run_jobs
from fundus.training.checkpoints import kept_in, present_folder
from fundus.transfer.plan import plans_told


@dataclass(frozen=True)
class TrainingData:
    """The checked training data of a meta-estimator.

    Parameters
    ----------
    X : images or array-like
    y : ndarray, shape (n_samples,)
        Labels.
    weight : ndarray of float, shape (n_samples,), or None
    groups : ndarray, shape (n_samples,), or None
        Patients, none of them unknown.
    scale : ndarray, shape (n_grades,)
        The grades in order, as given to the estimator, else as the labels have them.
    labels : Labels
        `y` and its order, if it has one.
    """

    X: Any
    y: NDArray[Any]
    weight: NDArray[np.float64] | None
    groups: Any
    scale: NDArray[Any]
    labels: Labels

    @property
    def target(self) -> Any:
        """The labels in a form that keeps their order in every fold."""
        return self.labels.carried()

    def target_of(self, estimator: Any) -> Any:
        """Return what to fit an estimator on: positions, where it cannot use labels."""
        if as_grader(estimator).knows_labels:
            return self.target
        return to_positions(self.y, self.scale)

    def classes_for(self, estimator: Any) -> NDArray[Any]:
        """Return the sorted labels of an estimator fitted on this, or frozen before."""
        if is_frozen(estimator) and len(own := as_grader(estimator).classes_):
            return own
        return np.unique(self.y)

    def folds(self, cv: Any, estimator: Any, random_state: Any) -> Folds:
        """Return the folds of a ``cv=`` parameter, which share no patient and no image."""
        cache = cache_of(estimator)
        folds = check_split(cv, self.X, self.y, self.groups, cache=cache, random_state=random_state)
        check_tested_once(folds, len(self.y))
        return folds


def read_training(
    X: Any, y: ArrayLike, sample_weight: ArrayLike | None, groups: Any, owner: object
) -> TrainingData:
    """Check what a meta-estimator's ``fit`` was given.

    Parameters
    ----------
    X : images or array-like
    y : array-like, shape (n_samples,)
    sample_weight : array-like of float, shape (n_samples,), or None
    groups : array-like, shape (n_samples,), or None
        By default the patients of the frame.
    owner : object
        The estimator, named in messages; its ``estimator`` may have been given the scale.

    Raises
    ------
    DataError
        If lengths differ, a grade is missing, or a patient is unknown.

    Warns
    -----
    DataWarning
        Where more than two names are sorted alphabetically.
    """
    refuse_single(X)
    (X,) = indexable(X)
    where = as_images(X).where if is_image_data(X) else "row {}".format
    read = read_labels(y, _num_samples(X), where, owner)
    labels = read.values
    scale, read = _whole_order(read, owner)
    groups = patients_of(X, groups, len(labels))
    weight = None
    if sample_weight is not None:
        weight = _check_sample_weight(sample_weight, labels, dtype=np.float64)
    return TrainingData(X, labels, weight, groups, scale, read)


def _whole_order(labels: Labels, estimator: BaseEstimator) -> tuple[NDArray[Any], Labels]:
    """Return the scale of all labels, and the labels in the form that folds get."""
    given = given_scale(estimator)
    classes = np.unique(labels.values)
    numbering = numbering_of(estimator)
    if numbering and [x for x in labels.scale.tolist() if x in classes] != classes.tolist():
        warn_caller(
            f"{numbering} encodes labels in sorted order before it fits the estimator "
            f"inside it, which then uses {classes.tolist()} as the order of the grades instead "
            f"of {labels.scale.tolist()}: encode first, as y.cat.codes.",
            DataWarning,
        )
    if given is None:
        labels.warn_if_guessed()  # once, and not in every fold
        return labels.scale, labels
    scale = grade_scale(given)
    if set(labels.values.tolist()) <= set(scale.tolist()):
        # the estimator knows the order itself, so it need not be passed on
        labels.warn_if_contradicted(scale)
        return scale, Labels(labels.values, meant=True)
    return labels.scale, labels


def cache_of(estimator: Any) -> Any:
    """Return the store that an estimator, or the outermost one inside it, is to use."""
    params = estimator.get_params()
    names = [name for name in params if name.split("__")[-1] == "cache"]
    return params[min(names, key=lambda name: name.count("__"))] if names else True


def check_tested_once(folds: Folds, n_rows: int) -> None:
    """Raise `DataError` where a row is in two test folds."""
    times = np.zeros(n_rows, dtype=int)
    for _, test in folds:
        times[test] += 1
    if times.max() > 1:
        raise DataError(
            f"Row {int(times.argmax())} is in two test folds, so it has no single out-of-fold "
            "prediction: use a splitter that tests every row at most once."
        )


def is_search(model: Any) -> bool:
    """Whether a model is a search of scikit-learn's, which takes groups for its own splits."""
    return hasattr(model, "cv") and "params" in inspect.signature(model.fit).parameters


def fit_fold(
    model: Any,
    X: Any,
    y: Any,
    train: NDArray[np.intp],
    weight: NDArray[np.float64] | None,
    groups: Any,
    *,
    tell: bool = True,
    kept: Path | None = None,
    starter: int | None = None,
    called: str = "",
) -> Any:
    """Fit a clone on the training rows of a fold, with their weights and patients.

    The model inside a `FrozenEstimator` is used as it is.

    Parameters
    ----------
    model : classifier or search
    X : images or array-like
    y : ndarray or Series, shape (n_samples,)
    train : ndarray of int
        Rows to train on.
    weight : ndarray of float, shape (n_samples,), or None
    groups : array-like, shape (n_samples,), or None
    tell : bool, default=True
        Whether a verbose model prints its plan.
    kept : Path or None
        Where the epochs of neural fits are kept, if not where a fit around this one keeps them.
    starter : int or None
        Process that started the fit, if epochs are kept.
    called : str, default=""
        Name of the fold in bars of progress.

    Returns
    -------
    estimator
        Fitted.
    """
    if is_frozen(model):
        return model.estimator
    extra: dict[str, Any] = {}
    if weight is not None:
        extra["sample_weight"] = weight[train]
    if groups is not None and (
        "groups" in inspect.signature(model.fit).parameters
        or (is_search(model) and get_routing_for_object(model.cv).consumes("split", ["groups"]))
    ):
        extra["groups"] = np.asarray(groups)[train]
    with plans_told(tell), kept_in(kept, starter=starter), part_of_work(called):
        try:
            return model.fit(_safe_indexing(X, train), _safe_indexing(y, train), **extra)
        except Exception as error:
            if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
                error.add_note(f"Memory was full in {called or 'a fit'} of {model!r}.")
            raise


def fold_template(
    estimator: Any, fold: int | None, y: NDArray[Any], groups: Any, random_state: Any
) -> Any:
    """Return a clone that writes into its fold's folders, if any, and searches by patient."""
    model = clone(estimator)
    if fold is not None:
        logs = {
            name: Path(value) / f"fold-{fold}"
            for name, value in model.get_params().items()
            if name.split("__")[-1] in ("log_dir", "resume_dir") and value is not None
        }
        model.set_params(**logs)
    if is_search(model) and groups is not None and not hasattr(model.cv, "split"):
        cv = 5 if model.cv is None else model.cv
        model.set_params(cv=make_cv(cv, y, groups, random_state))
    return model


def out_of_fold(
    estimator: Any,
    data: TrainingData,
    folds: Folds,
    scale: NDArray[Any],
    *,
    n_jobs: int | None,
    random_state: Any,
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Predict every row with a model that was trained without it.

    Parameters
    ----------
    scale : ndarray, shape (n_grades,)
    n_jobs : int or None
        Number of folds at the same time, in processes.
    random_state : int, RandomState or None
        Shuffles the folds of a search by patient.

    Returns
    -------
    severity : ndarray of float, shape (n_samples,)
        In positions on the scale; ``nan`` for rows in no test fold.
    proba : ndarray of float, shape (n_samples, n_classes), or None
        ``None`` where the models give none.
    """
    classes = np.unique(data.y)
    jobs = (
        delayed(carried(_fit_and_score))(
            fold_template(estimator, k, data.y, data.groups, random_state),
            data,
            train,
            test,
            scale,
            classes,
            present_folder(),
            os.getpid(),
            f"fold {k}",
        )
        for k, (train, test) in enumerate(folds)
    )
    severity = np.full(len(data.y), np.nan)
    proba = np.full((len(data.y), len(classes)), np.nan)
    has_proba = False
    for (scores, chances), (_, test) in zip(run_jobs(jobs, n_jobs=n_jobs), folds, strict=True):
        severity[test] = scores
        if chances is not None:
            proba[test], has_proba = chances, True
    return severity, proba if has_proba else None


def _fit_and_score(
    model: Any,
    data: TrainingData,
    train: NDArray[np.intp],
    test: NDArray[np.intp],
    scale: NDArray[Any],
    classes: NDArray[Any],
    kept: Path | None,
    starter: int,
    called: str,
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    # the model of all rows has printed the plan
    fit = partial(fit_fold, tell=False, kept=kept, starter=starter, called=called)
    model = fit(model, data.X, data.target_of(model), train, data.weight, data.groups)
    grader = as_grader(model, scale)
    votes = votes_on(grader, grader.read_images(_safe_indexing(data.X, test)), classes, scale)
    assert votes.severity is not None
    return votes.severity, votes.proba
