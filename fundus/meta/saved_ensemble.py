"""What the saved attributes of a `FoldEnsemble` must be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fundus.meta.voting import VOTINGS, chosen_voting
from fundus.saving.schema import (
    FITTED,
    KNOWN_NUMBERS,
    SCALE,
    SPREAD,
    Field,
    instance,
    is_floats,
    list_of,
    option,
    require,
)

if TYPE_CHECKING:
    from fundus.meta.ensemble import FoldEnsemble

#: Entries of ``cv_results_``.
_RESULTS = ("n_train", "n_test", "test_kappa")


def _is_column(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 1


def _is_folds(value: Any) -> bool:
    return _is_column(value) and value.dtype.kind == "i" and bool((value >= -1).all())


OF_AN_ENSEMBLE = {
    "estimators_": list_of(FITTED, least=1),
    "voting_": option(*VOTINGS),
    "_scale": SCALE.or_none.or_absent,  # models of earlier releases have none
    "cv_results_": instance(dict, "a dict"),
    "severity_std_": SPREAD.or_absent,
    "oof_fold_": Field("an array of whole numbers", _is_folds),
    "oof_prediction_": Field("an array of labels", _is_column),
    "oof_proba_": Field("a table of numbers", lambda v: is_floats(v, 2, missing=True), True),
    "oof_severity_": KNOWN_NUMBERS.or_absent,
}


def check_out_of_fold(model: FoldEnsemble) -> None:
    """Raise unless the models can vote, and the out-of-fold predictions are of the same rows.

    Raises
    ------
    BundleError
        If arrays differ in length, or name folds or labels that there are not.
    InvalidParameterError
        If the models cannot vote in this way.
    """
    chosen_voting(model.voting_, model.estimators_[0])
    n_folds, folds, results = len(model.estimators_), model.oof_fold_, model.cv_results_
    fits = set(results) == {*_RESULTS} and all(
        isinstance(part, np.ndarray) and part.shape == (n_folds,) for part in results.values()
    )
    require(fits, model, "cv_results_", f"{n_folds} numbers for each of {_RESULTS}", results)
    require(bool((folds < n_folds).all()), model, "oof_fold_", f"below {n_folds}", folds)

    def is_of_rows(name: str, *more: int) -> bool:
        return getattr(model, name).shape == (len(folds), *more)

    given = model.oof_prediction_
    known = is_of_rows("oof_prediction_") and np.isin(given[folds >= 0], model.classes_).all()
    require(bool(known), model, "oof_prediction_", "labels of all rows", given)
    for name, width in {"oof_severity_": (), "oof_proba_": (len(model.classes_),)}.items():
        fits = name not in vars(model) or is_of_rows(name, *width)
        require(fits, model, name, "numbers of all rows", getattr(model, name, None))
