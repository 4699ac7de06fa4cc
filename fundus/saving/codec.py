"""Values of models to JSON values and files, and back; no estimator is named here."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator

from fundus.exceptions import BundleError
from fundus.heads.base import Head
from fundus.hookspecs import BackboneSpec
from fundus.images.augment import Augmentation
from fundus.metrics.operating_points import OperatingPoint
from fundus.runtime.keras_objects import as_config
from fundus.saving.classes import find_class, is_saveable, kind_of, saveable
from fundus.saving.files import BundleReader, BundleWriter
from fundus.saving.registered import NO_CODE, head_class, head_record
from fundus.saving.splitters import cv_of

# of packages below this one
saveable(Augmentation)
saveable(OperatingPoint)

#: The kind of values that skops has written.
SKLEARN = "scikit-learn"


class Encoder:
    """Turns one model into a record; its arrays go into one file."""

    def __init__(self, writer: BundleWriter) -> None:
        self.writer = writer
        self._arrays: dict[str, Any] = {}
        self._file = ""

    def model(self, model: Any) -> dict[str, Any]:
        """Return the record of a model, JSON values only, and write its files.

        The model is a saveable one, a search, which is saved as the model it found, or one from
        scikit-learn.
        """
        model = getattr(model, "best_estimator_", model)
        if not is_saveable(model):
            return {"kind": SKLEARN, "file": self.writer.estimator(model)}
        own = Encoder(self.writer)
        record = {"kind": kind_of(type(model)), **model._to_record(own)}
        if own._arrays:
            self.writer.save_arrays(own._file, own._arrays)
        return record

    def value(self, value: Any, name: str) -> Any:
        """Return JSON values for a parameter or a fitted attribute, whose name is for the error.

        Raises
        ------
        BundleError
            If only code could rebuild it.
        """
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        if isinstance(value, np.random.RandomState):
            return None  # the fitted model holds what it drew; its state cannot be restored
        if isinstance(value, dict):
            items = value.items()
            return {"dict": [[self.value(k, name), self.value(v, name)] for k, v in items]}
        if is_saveable(value):
            return self._saveable(value, name)
        if isinstance(value, (list, tuple)):
            parts = [self.value(part, name) for part in value]
            return parts if isinstance(value, list) else {"tuple": parts}
        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, Head):
            params = value.get_params(deep=False)
            return {"head": head_record(value), "params": self.value(params, name)}
        if hasattr(value, "best_estimator_"):
            return self.value(value.best_estimator_, name)
        if isinstance(value, FrozenEstimator):
            return {"frozen": self.model(value.estimator)}
        if isinstance(value, BaseEstimator):
            return {"skops": self.writer.estimator(value)}
        if isinstance(value, BackboneSpec):
            raise BundleError(NO_CODE.format(value.name))
        plain = as_config(value)
        if plain is not value:  # an optimizer, a schedule or a loss of Keras
            return self.value(plain, name)
        raise BundleError(
            f"The parameter {name!r} holds {value!r}, which cannot be saved without code: register "
            "it through a plugin and pass its name."
        )

    def _saveable(self, value: Any, name: str) -> dict[str, Any]:
        if hasattr(value, "_to_record"):
            return {"model": self.model(value)}
        if isinstance(value, tuple):
            fields = value._asdict()  # type: ignore[attr-defined]
        else:
            fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        values = {key: self.value(part, name) for key, part in fields.items()}
        return {"kind": kind_of(type(value)), "fields": values}

    def _array(self, array: np.ndarray) -> dict[str, Any]:
        """Numbers with a fraction go into a file; labels can be read in the record."""
        if array.dtype.kind != "f":
            return {"dtype": array.dtype.str, "labels": array.tolist()}
        self._file = self._file or self.writer.file(".npz").name
        name = f"a{len(self._arrays):04d}"
        self._arrays[name] = array
        return {"array": name, "file": self._file}


@dataclass(frozen=True)
class Decoder:
    """Builds models from their records."""

    reader: BundleReader

    def model(self, record: dict[str, Any]) -> Any:
        """Build a model from its record.

        Raises
        ------
        BundleError
            If its class cannot be found, or is not a saveable estimator.
        """
        if record["kind"] == SKLEARN:
            return self.reader.estimator(record["file"])
        cls = find_class(record["kind"], self.reader.trusted)
        if not hasattr(cls, "_from_record"):
            raise BundleError(f"The model holds {record['kind']!r} where an estimator is needed.")
        return cls._from_record(record, self)

    def value(self, value: Any) -> Any:
        """Build a parameter or a fitted attribute from its JSON values."""
        if isinstance(value, list):
            return [self.value(part) for part in value]
        if not isinstance(value, dict):
            return value
        if "dict" in value:
            return {self.value(k): self.value(v) for k, v in value["dict"]}
        if "tuple" in value:
            return tuple(self.value(part) for part in value["tuple"])
        if "labels" in value:
            return np.array(value["labels"], dtype=np.dtype(value["dtype"]))
        if "array" in value:
            return self.reader.arrays(value["file"])[value["array"]]
        if "fields" in value:
            cls = find_class(value["kind"], self.reader.trusted)
            return cls(**{name: self.value(part) for name, part in value["fields"].items()})
        if "model" in value:
            return self.model(value["model"])
        if "frozen" in value:
            return FrozenEstimator(self.model(value["frozen"]))
        if "cv" in value:
            return cv_of(value["cv"])
        if "skops" in value:
            return self.reader.estimator(value["skops"])
        return head_class(value["head"])(**self.value(value["params"]))
