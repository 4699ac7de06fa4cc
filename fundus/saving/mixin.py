"""`Saves`: the base of estimators that name the attributes to save."""

from __future__ import annotations

import inspect
import os
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Self

from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from fundus.exceptions import BundleError
from fundus.metrics.operating_points import OperatingPoint
from fundus.saving.bundle import save
from fundus.saving.classes import saveable
from fundus.saving.codec import Decoder, Encoder
from fundus.saving.of_a_run import OF_A_RUN
from fundus.saving.schema import (
    ANYTHING,
    NAMES,
    TRUTH,
    Field,
    check_fields,
    instance,
    is_text,
    list_of,
    require,
    wrong,
)
from fundus.saving.splitters import cv_record

_POINTS = list_of(instance(OperatingPoint, "an operating point"))

#: Fitted attributes that `Evaluation.keep_with` sets; they are about one fit.
DECIDED = {
    "class_names_": NAMES.or_absent,
    "operating_points_": Field(
        "lists of operating points by condition",
        lambda v: (
            type(v) is dict and all(map(is_text, v)) and all(map(_POINTS.accepts, v.values()))
        ),
        optional=True,
    ),
    "referable_with_dme_": TRUTH.or_absent,
}


class Saves:
    """An estimator that can be saved; a subclass names its fitted attributes in ``_saved``.

    All constructor parameters are saved except those in ``_not_saved``. Values may be plain ones,
    arrays, lists, tuples, dicts, heads, scikit-learn's estimators, Keras's optimizers and losses,
    other saveable estimators, and records that are marked with
    `fundus.saving.classes.saveable`. A fitted attribute that is absent is left out. For anything
    else, extend ``_to_record`` and ``_from_record``.

    ``_saved`` may also be a mapping that says what each attribute must be, by a
    `fundus.saving.schema.Field`: a model that was changed after it was saved is then not loaded.
    ``_check_saved`` compares several attributes with each other.

    Examples
    --------
    >>> from sklearn.base import BaseEstimator
    >>> class Shifted(Saves, BaseEstimator):
    ...     _saved = ("shift_",)
    ...     def __init__(self, by=1.0):
    ...         self.by = by
    ...     def fit(self, X, y=None):
    ...         self.shift_ = self.by * len(X)
    ...         return self
    >>> import tempfile, fundus
    >>> folder = tempfile.mkdtemp()
    >>> Shifted(2.0).fit([[1], [2]]).save(folder)
    >>> fundus.load(folder).shift_
    4.0
    """

    #: Fitted attributes; a mapping says what each must be.
    _saved: ClassVar[Collection[str]] = ()
    #: Parameters of a run, not of a model; a loaded model has the defaults.
    _not_saved: ClassVar[tuple[str, ...]] = ("n_jobs", "verbose")

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        saveable(cls)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model into a folder, without pickle; see `fundus.load`.

        Parameters
        ----------
        path : path
            A folder that does not exist yet, or an empty one.

        Raises
        ------
        BundleError
            If the folder has files in it, the model is not fitted, or it holds something that only
            code could rebuild.
        """
        save(self, path)

    def _to_record(self, encoder: Encoder) -> dict[str, Any]:
        """Return the parameters and the fitted attributes as JSON values."""
        try:
            check_is_fitted(self)
        except NotFittedError:
            raise BundleError(
                f"Only a fitted {type(self).__name__} can be saved: call fit first."
            ) from None
        given: dict[str, Any] = self.get_params(deep=False)  # type: ignore[attr-defined]
        left_out = {*self._not_saved, *OF_A_RUN}
        params = {name: value for name, value in given.items() if name not in left_out}
        values = {
            name: encoder.value(value, name) for name, value in params.items() if name != "cv"
        }
        cv = cv_record(params["cv"]) if "cv" in params else None
        if cv is not None:  # a cv that cannot be written gets the default
            values["cv"] = {"cv": cv}
        fitted = [name for name in self._saved if hasattr(self, name)]
        return {
            "params": values,
            "fitted": {name: encoder.value(getattr(self, name), name) for name in fitted},
        }

    @classmethod
    def _todays_params(cls, params: dict[str, Any]) -> dict[str, Any]:
        """Return parameters of an earlier release under their present names."""
        return params

    @classmethod
    def _from_record(cls, record: dict[str, Any], decoder: Decoder) -> Self:
        """Build the fitted model from the result of ``_to_record``.

        Raises
        ------
        BundleError
            If the class has no such parameters or attributes, or one of them is not what it must
            be.
        """
        given, fitted = (_object_in(record, part, cls) for part in ("params", "fitted"))
        of_a_run = sorted({*given} & {*OF_A_RUN})
        if of_a_run:
            raise BundleError(
                f"The model sets {', '.join(of_a_run)} of {cls.__name__}, which are not saved, "
                "since whoever loads a model decides them: it was changed after it was saved."
            )
        params = {name: decoder.value(value) for name, value in given.items()}
        params = cls._todays_params(params)
        takes = {*inspect.signature(cls).parameters}
        strange = sorted({*params} - takes | {*fitted} - {*cls._saved})
        if strange:
            raise BundleError(
                f"The model holds {', '.join(strange)}, which {cls.__name__} does not have here: "
                "install the version of the package that it was saved with."
            )
        model = cls(**params)
        values = {name: decoder.value(value) for name, value in fitted.items()}
        check_fields(cls.__name__, cls._fields(), values)
        for name, value in values.items():
            setattr(model, name, value)
        return model

    @classmethod
    def _fields(cls) -> dict[str, Field]:
        """Return what each saved attribute must be, also where a base class says it."""
        known: dict[str, Field] = {}
        for base in reversed(cls.__mro__):
            if isinstance(found := vars(base).get("_saved"), Mapping):
                known |= found
        return {name: known.get(name, ANYTHING) for name in cls._saved}

    def _check_saved(self) -> None:
        """Raise for attributes that do not fit each other, after all were read.

        Raises
        ------
        BundleError
        """
        names, scale = getattr(self, "class_names_", None), getattr(self, "grades_", None)
        if names is not None and scale is not None:
            expected = f"one name for each of {len(scale)} grades"
            require(len(names) == len(scale), self, "class_names_", expected, names)


def _object_in(record: dict[str, Any], name: str, cls: type) -> dict[str, Any]:
    """Return a JSON object that a record must have."""
    found = record.get(name)
    if not isinstance(found, dict):
        raise wrong(cls.__name__, name, "a JSON object", found)
    return found
