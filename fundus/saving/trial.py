"""Tries an estimator that was read from a file, since its arrays may not fit each other."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, is_regressor
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from fundus.exceptions import BundleError

#: Rows of the trial.
_ROWS = 2
#: Estimators with one of these take categories or words, and not any numbers.
_OF_CATEGORIES = ("categories_", "vocabulary_", "n_categories_", "transformers_")
#: Most features that are tried; an estimator of more has arrays of gigabytes.
_MOST_FEATURES = 10_000_000


def check_estimator(estimator: Any) -> Any:
    """Return a fitted estimator of scikit-learn that can predict.

    It is run on two rows of small numbers, or each step of a pipeline on what the one before gives,
    if it takes numbers and says how many.

    Raises
    ------
    BundleError
        If it cannot predict, or predicts what is not finite.
    """
    if not isinstance(estimator, BaseEstimator) or not hasattr(estimator, "predict"):
        raise BundleError(
            f"The model holds {type(estimator).__name__!r} where a fitted estimator is needed: it "
            "is damaged or was changed after it was saved."
        )
    steps = (
        [step for _, step in estimator.steps] if isinstance(estimator, Pipeline) else [estimator]
    )
    steps = [step for step in steps if step is not None and step != "passthrough"]
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            rows = None
            for step in steps[:-1]:
                rows = _try(step, rows, "transform")
            _try(steps[-1], rows, "predict")
    except BundleError:
        raise
    except Exception as error:  # a state that is not as `fit` leaves it may raise any
        raise BundleError(
            f"The saved {type(estimator).__name__} cannot predict ({type(error).__name__}: "
            f"{error}): it is damaged or was changed after it was saved."
        ) from error
    return estimator


def takes_rows(estimator: Any) -> bool:
    """Whether an estimator, or the first step of a pipeline, takes a table of numbers."""
    while isinstance(estimator, Pipeline):  # whose own tags do not say it
        estimator = estimator.steps[0][1]
    return not hasattr(estimator, "__sklearn_tags__") or bool(
        get_tags(estimator).input_tags.two_d_array
    )


def _try(step: Any, rows: Any, method: str) -> Any:
    """Run a step on rows, or on new ones, and return what it makes of them; None if not run."""
    takes = getattr(step, "n_features_in_", None)
    if takes is None or any(hasattr(step, name) for name in _OF_CATEGORIES):
        return None
    if isinstance(takes, bool) or not isinstance(takes, (int, np.integer)):
        raise _unsound(step, f"n_features_in_ is {takes!r}")
    gets = takes if rows is None else np.shape(rows)[1]
    if not 1 <= takes <= _MOST_FEATURES or gets != takes:
        raise _unsound(step, f"it takes {takes} features, and gets {gets}")
    _check_vectors(step)
    if rows is None:  # features are positive, and float32
        rows = np.arange(1, _ROWS + 1, dtype=np.float32)[:, np.newaxis].repeat(int(takes), axis=1)
    if method == "transform":
        return step.transform(rows)
    _check_predictions(step, rows)
    return None


def _check_predictions(model: Any, rows: Any) -> None:
    """Check the shapes and the numbers of what a classifier or regressor predicts."""
    found = np.asarray(model.predict(rows))
    if len(found) != _ROWS or (found.dtype.kind == "f" and not np.isfinite(found).all()):
        raise _unsound(model, f"it predicts {found.tolist()}")
    if is_regressor(model) or not hasattr(model, "classes_"):
        return
    classes = model.classes_
    if isinstance(classes, np.ndarray):  # of several outputs it is a list
        if (
            classes.ndim != 1
            or not np.array_equal(np.unique(classes), classes)
            or not np.isin(found, classes).all()
        ):
            raise _unsound(model, f"its classes are {classes.tolist()}")
        if hasattr(model, "predict_proba"):
            proba = np.asarray(model.predict_proba(rows))
            whole = proba.shape == (_ROWS, len(classes)) and np.isfinite(proba).all()
            if not whole or (proba < 0).any() or not np.allclose(proba.sum(axis=1), 1, atol=1e-3):
                raise _unsound(model, f"its probabilities are {proba.tolist()}")


def _check_vectors(model: Any) -> None:
    """Compare the sizes of a support vector machine's arrays, which its C code takes as given."""
    for machine in (model, *_inner(model)):
        vectors = getattr(machine, "support_vectors_", None)
        if vectors is None or not hasattr(machine, "_dual_coef_"):
            continue
        n, width = np.shape(vectors)
        n_support = np.asarray(machine.n_support_)
        n_classes = len(n_support) if hasattr(machine, "classes_") else 2
        pairs = n_classes * (n_classes - 1) // 2
        sizes = {
            "support_": np.shape(machine.support_) == (n,),
            "_dual_coef_": np.shape(machine._dual_coef_) == (n_classes - 1, n),
            "_intercept_": np.shape(machine._intercept_) == (pairs,),
            "_n_support": (n_support >= 0).all() and n_support.sum() == n,
            "n_features_in_": width == machine.n_features_in_,
            "_probA": np.size(machine._probA) in (0, pairs),
            "_probB": np.size(machine._probB) == np.size(machine._probA),
            "classes_": n_classes == np.size(getattr(machine, "classes_", [0, 1])),
        }
        wrong = [name for name, fits in sizes.items() if not fits]
        if wrong:
            raise _unsound(machine, f"the sizes of {', '.join(wrong)} do not fit")


def _inner(model: Any) -> list[Any]:
    """Return the machines inside a calibrated classifier."""
    calibrated = getattr(model, "calibrated_classifiers_", ())
    return [getattr(one, "estimator", None) for one in calibrated]


def _unsound(model: Any, why: str) -> BundleError:
    return BundleError(
        f"The saved {type(model).__name__} cannot be used, since {why}: it is damaged or was "
        "changed after it was saved."
    )
