"""`Saves`: the base of estimators that name the attributes to save."""

from __future__ import annotations

import inspect
import os
from typing import Any, ClassVar, Self

from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from fundus.exceptions import BundleError
from fundus.saving.bundle import save
from fundus.saving.classes import saveable
from fundus.saving.codec import Decoder, Encoder
from fundus.saving.splitters import cv_record

#: Fitted attributes that `Evaluation.keep_with` sets; they are about one fit.
DECIDED = ("class_names_", "operating_points_", "referable_with_dme_")


class Saves:
    """An estimator that can be saved; a subclass names its fitted attributes in ``_saved``.

    All constructor parameters are saved except those in ``_not_saved``. Values may be plain ones,
    arrays, lists, tuples, dicts, heads, scikit-learn's estimators, Keras's optimizers and losses,
    other saveable estimators, and records that are marked with
    `fundus.saving.classes.saveable`. A fitted attribute that is absent is left out. For anything
    else, extend ``_to_record`` and ``_from_record``.

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

    #: Fitted attributes.
    _saved: ClassVar[tuple[str, ...]] = ()
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
        params = {name: value for name, value in given.items() if name not in self._not_saved}
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
        """Build the fitted model from the result of ``_to_record``."""
        params = {name: decoder.value(value) for name, value in record["params"].items()}
        params = cls._todays_params(params)
        takes = {*inspect.signature(cls).parameters}
        strange = sorted({*params} - takes | {*record["fitted"]} - {*cls._saved})
        if strange:
            raise BundleError(
                f"The model holds {', '.join(strange)}, which {cls.__name__} does not have here: "
                "install the version of the package that it was saved with."
            )
        model = cls(**params)
        for name, value in record["fitted"].items():
            setattr(model, name, decoder.value(value))
        return model
