"""The model of a finished fold as a saved model, with what a saved model does not have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.base import clone
from sklearn.metrics import check_scoring

from fundus.exceptions import BundleError
from fundus.meta.base import MetaGrader
from fundus.saving.classes import saveable
from fundus.saving.codec import Decoder, Encoder
from fundus.saving.mixin import Saves
from fundus.transfer.plan import Option, Plan

saveable(Plan)
saveable(Option)

#: Attributes and the parameter of a fit that are not part of a saved model.
OF_A_FIT = ("plan_", "log_dir_", "log_dir")


@saveable
@dataclass(frozen=True)
class MaskedValues:
    """A column of ``cv_results_``, a masked array."""

    values: list[Any]
    mask: list[bool]
    dtype: str

    def array(self) -> Any:
        """Return it as it was."""
        found = np.ma.MaskedArray(np.empty(len(self.values), dtype=self.dtype), self.mask)
        for k, value in enumerate(self.values):
            if not self.mask[k]:
                found[k] = value
        return found


@saveable
@dataclass
class FinishedFold:
    """A fitted model of a fold, and what its saved form leaves out.

    Parameters
    ----------
    model_ : estimator
        Of a search, the best one.
    runs_ : list of dict
        For each estimator of this library in it: parameters and attributes of the fit.
    search_ : dict or None
        The other attributes of a search.
    """

    model_: Any
    runs_: list[dict[str, Any]]
    search_: dict[str, Any] | None

    def _to_record(self, encoder: Encoder) -> dict[str, Any]:
        return {"params": {}, "fitted": {k: encoder.value(v, k) for k, v in vars(self).items()}}

    @classmethod
    def _from_record(cls, record: dict[str, Any], decoder: Decoder) -> Self:
        return cls(**{name: decoder.value(value) for name, value in record["fitted"].items()})


def finished(model: Any) -> FinishedFold:
    """Return a fitted model in the form in which it is saved."""
    found = getattr(model, "best_estimator_", model)
    runs = [
        {name: getattr(one, name) for name in OF_A_FIT if hasattr(one, name)}
        for one, _ in _estimators(found, None)
    ]
    return FinishedFold(found, runs, None if found is model else _search_record(model))


def as_fitted(fold: Any, template: Any) -> Any:
    """Return a loaded fold as it was fitted.

    Parameters
    ----------
    fold : FinishedFold
    template : estimator
        What was fitted; parameters that are not saved are taken from it.

    Raises
    ------
    BundleError
        If the saved model is not of such a fold.
    """
    if not isinstance(fold, FinishedFold):
        raise BundleError(f"It holds a {type(fold).__name__} where a fold of a fit is expected.")
    given = template
    if fold.search_ is not None:
        given = clone(template.estimator).set_params(**fold.search_["best_params_"])
    pairs = list(_estimators(fold.model_, given))
    if type(fold.model_) is not type(given) or len(pairs) != len(fold.runs_):
        raise BundleError("It holds a model of another class than the one to be fitted.")
    for (one, unfitted), run in zip(pairs, fold.runs_, strict=True):
        if not {*run} <= {*OF_A_FIT}:
            raise BundleError(f"It sets {', '.join(sorted({*run} - {*OF_A_FIT}))} of a model.")
        params = {} if unfitted is None else unfitted.get_params(deep=False)
        for name, value in (params | run).items():
            setattr(one, name, value)
    return fold.model_ if fold.search_ is None else _search_of(fold, template)


def _estimators(model: Any, given: Any) -> Iterator[tuple[Any, Any]]:
    """The estimators of this library in a fitted model, each with its unfitted form."""
    if not isinstance(model, Saves):
        return
    yield model, given
    if isinstance(model, MetaGrader):
        inner = None if given is None else given.estimator
        for one in model._models():
            yield from _estimators(getattr(one, "best_estimator_", one), inner)


def _search_record(search: Any) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, np.ma.MaskedArray):
            mask = np.ma.getmaskarray(value).tolist()
            return MaskedValues(value.data.tolist(), mask, value.dtype.str)
        if isinstance(value, dict):
            return {name: plain(part) for name, part in value.items()}
        return value

    left_out = ("best_estimator_", "scorer_")
    return {
        name: plain(value)
        for name, value in vars(search).items()
        if name.endswith("_") and not name.startswith("_") and name not in left_out
    }


def _search_of(fold: FinishedFold, template: Any) -> Any:
    def back(value: Any) -> Any:
        if isinstance(value, MaskedValues):
            return value.array()
        return {k: back(v) for k, v in value.items()} if isinstance(value, dict) else value

    for name, value in (fold.search_ or {}).items():
        setattr(template, name, back(value))
    template.best_estimator_ = fold.model_
    scoring = template.scoring
    if isinstance(scoring, Mapping):
        template.scorer_ = {k: check_scoring(template.estimator, v) for k, v in scoring.items()}
    elif isinstance(scoring, (list, tuple, set)):
        template.scorer_ = {k: check_scoring(template.estimator, k) for k in scoring}
    else:
        template.scorer_ = check_scoring(template.estimator, scoring)
    return template
