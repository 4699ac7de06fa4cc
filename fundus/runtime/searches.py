"""Fits of one search: the fold and candidate of each, for bars, and one plan for all."""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar
from weakref import WeakKeyDictionary

import joblib
import numpy as np

from fundus.parameters import invalid
from fundus.runtime.progress import part_of_work
from fundus.runtime.verbosity import shows_progress

try:
    from sklearn.callback import CallbackSupportMixin as Called
    from sklearn.callback import with_callbacks
except ImportError:  # scikit-learn 1.8, whose searches tell an estimator nothing

    class Called:  # type: ignore[no-redef]
        """An estimator without callbacks."""

    def with_callbacks(method: Any) -> Any:
        """Return the method."""
        return method


Fit = TypeVar("Fit", bound=Callable[..., Any])

#: What scikit-learn calls the fits of a search.
EVALUATION, REFIT = "candidate-split-evaluation", "refit-with-best-params"

#: Values of each image or row of features by which the rows of a fold are recognised.
_VALUES = 64


@dataclass
class _Fits:
    """What is known of the fits of a search, or of `one_search`.

    Parameters
    ----------
    total : int or None, default=None
        Number of fits.
    folds : int or None, default=None
        Number of folds; None while it is not known.
    """

    total: int | None = None
    folds: int | None = None
    #: By number of the fit, while the number of folds is not known: its training rows.
    rows: dict[int, str] = field(default_factory=dict)
    #: Fits that have begun, where they are counted.
    begun: int = 0
    #: Kinds of plans that were told.
    plans: set[Any] = field(default_factory=set)

    def candidate_and_fold(self, number: int, X: Any, y: Any) -> tuple[int, int] | None:
        """Return where a fit of a search stands, or None where that cannot be known.

        Candidates share their folds, so the first fold comes again with the second candidate. Until
        then all fits are of the first, unless this process has missed one.
        """
        if self.folds is None:
            rows = self.rows[number] = recognised(X, y)
            if set(range(number)) - set(self.rows):
                return None
            if number == 0 or rows != self.rows[0]:
                return 0, number
            if self.total is not None and self.total % number:
                return None
            self.folds = number
        return divmod(number, self.folds)[0], number % self.folds


#: By the part of scikit-learn's tree of tasks whose fits they are, and by its root for plans.
_searches: WeakKeyDictionary[Any, _Fits] = WeakKeyDictionary()
_together: ContextVar[_Fits | None] = ContextVar("together", default=None)
#: Kinds of plans that were told; None where all are told, False where none is.
_plans: ContextVar[set[Any] | Literal[False] | None] = ContextVar("plans", default=None)


@contextmanager
def one_search(folds: int | None = None) -> Iterator[None]:
    """Take the fits in this context for one piece of work: one plan, and bars named by fold.

    For what tells an estimator nothing: `sklearn.model_selection.cross_validate`, searches of
    scikit-learn 1.8, loops of your own. Searches of scikit-learn 1.9 and later, and `FoldEnsemble`,
    need it not. It changes what is shown only.

    Parameters
    ----------
    folds : int or None, default=None
        Number of folds: fits are counted in the order in which they begin in this process, fold by
        fold and candidate by candidate. None names them by their number alone.

    Yields
    ------
    None

    Raises
    ------
    InvalidParameterError
        If `folds` is not a positive int.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import cross_validate
    >>> from fundus import TransferClassifier
    >>> X, y = np.random.default_rng(0).normal(size=(40, 4)), np.arange(40) % 2
    >>> model = TransferClassifier("precomputed", "logistic")
    >>> with one_search(folds=4):
    ...     cross_validate(model, X, y, cv=4)["test_score"].shape
    (4,)
    """
    if folds is not None and (isinstance(folds, bool) or not isinstance(folds, int) or folds < 1):
        raise invalid("one_search", "folds", "a positive int, or None", folds)
    token = _together.set(_Fits(folds=folds))
    try:
        yield
    finally:
        _together.reset(token)


def as_a_fit_of_a_search(fit: Fit) -> Fit:
    """Return a method `fit` of a `Called` estimator that knows its place in a search.

    Parameters
    ----------
    fit : callable
        Of an estimator, ``X``, ``y``, ``sample_weight`` and ``groups``.
    """

    @with_callbacks
    @functools.wraps(fit)
    def placed(self: Any, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Any:
        if not hasattr(Called, "set_callbacks"):
            with _placed(self, None, X, y):
                return fit(self, X, y, sample_weight, groups)
        context = self._init_callback_context()
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        with _placed(self, context, X, y):
            fitted = fit(self, X, y, sample_weight, groups)
        context.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes={})
        return fitted

    return placed


def first_of_its_kind(kind: Any) -> bool:
    """Whether a plan of this kind is told: in a search, the first one only."""
    told = _plans.get()
    if told is None:
        return True
    if told is False or kind in told:
        return False
    told.add(kind)
    return True


@contextmanager
def _placed(estimator: Any, context: Any, X: Any, y: Any) -> Iterator[None]:
    """Name the fit in this context, and have its plan told if it is the first."""
    name, plans = "", _plans.get()
    fits, task = _together.get(), _task_of_a_search(context)
    if task is not None:
        root = task
        while root.parent is not None:
            root = root.parent
        plans = _searches.setdefault(root, _Fits()).plans
        here = multiprocessing.current_process().name == "MainProcess"
        if _number(task) is None or not (here or _number(task) == 0):
            plans = False  # a process of joblib's does not know what others have told
        if _is_looked_at(estimator):
            name = _name(task, context, X, y)
    elif fits is not None:
        name, plans = _counted(fits), fits.plans
    tokens = _plans.set(plans), _together.set(None)  # fits inside this one are part of it
    try:
        with part_of_work(name):
            yield
    finally:
        _plans.reset(tokens[0])
        _together.reset(tokens[1])


def _task_of_a_search(context: Any) -> Any:
    """The task of a search that a fit is, or is part of, as in a pipeline; else None."""
    while context is not None and context.source_task_name not in (EVALUATION, REFIT):
        context = context.parent
    return context


def _number(task: Any) -> int | None:
    """The number of a fit among those of a search, from 0; None of its last one, on all rows."""
    return None if task.source_task_name == REFIT else task.task_id


def _name(task: Any, context: Any, X: Any, y: Any) -> str:
    number = _number(task)
    if number is None:
        return "refit"
    search = task.parent
    place = f"fit {number + 1} of {search.max_subtasks}"
    if task is not context:  # what a pipeline has made of the rows says nothing of folds
        return place
    fits = _searches.setdefault(search, _Fits(search.max_subtasks))
    found = fits.candidate_and_fold(number, X, y)
    return (
        place
        if found is None
        else f"candidate {found[0]}, fold {found[1]} ({number + 1} of {search.max_subtasks})"
    )


def _counted(fits: _Fits) -> str:
    number, fits.begun = fits.begun, fits.begun + 1
    if fits.folds is None:
        return f"fit {number + 1}"
    candidate, fold = divmod(number, fits.folds)
    return f"candidate {candidate}, fold {fold}" if candidate else f"fold {fold}"


def _is_looked_at(estimator: Any) -> bool:
    """Whether a bar may be shown."""
    params = estimator.get_params()
    return shows_progress() or any(
        value for name, value in params.items() if name.split("__")[-1] == "verbose"
    )


def recognised(X: Any, y: Any) -> str:
    """Return what the rows of a fold are recognised by within one search.

    All rows count, and of arrays some values of each. Objects in memory are recognised as such,
    since every candidate is given the same ones.

    Examples
    --------
    >>> X, y = np.arange(12.0).reshape(6, 2), [0, 1, 0, 1, 0, 1]
    >>> recognised(X[:4], y[:4]) == recognised(X[[0, 1, 2, 3]], y[:4])
    True
    >>> recognised(X[:4], y[:4]) == recognised(X[2:], y[2:])
    False
    """
    if isinstance(X, np.ndarray) and X.dtype != object:
        flat = X.reshape(len(X), -1)
        X = flat[:, :: max(1, flat.shape[1] // _VALUES)]
    elif isinstance(X, (np.ndarray, list, tuple)):
        rows = X.ravel().tolist() if isinstance(X, np.ndarray) else X
        X = [row if isinstance(row, str) else id(row) for row in rows]
    return joblib.hash((X, y))
