"""Values of models to JSON values and files, and back; no estimator is named here."""

from __future__ import annotations

import dataclasses
import inspect
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator

from fundus.exceptions import BundleError
from fundus.heads.base import Head
from fundus.hookspecs import BackboneSpec
from fundus.images.augment import Augmentation
from fundus.metrics.operating_points import OperatingPoint
from fundus.runtime.keras_objects import as_config
from fundus.saving.archives import NUMBERS
from fundus.saving.classes import find_class, is_saveable, kind_of, saveable
from fundus.saving.files import BundleReader, BundleWriter
from fundus.saving.registered import NO_CODE, head_class, head_record
from fundus.saving.schema import is_text, wrong
from fundus.saving.splitters import cv_of
from fundus.saving.trial import check_estimator

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
        if isinstance(value, slice):
            ends = (value.start, value.stop, value.step)
            return {"slice": [self.value(end, name) for end in ends]}
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


#: The keys of each kind of JSON object in a record; the first tells the kind.
_FORMS = (
    ("dict",),
    ("tuple",),
    ("slice",),
    ("labels", "dtype"),
    ("array", "file"),
    ("fields", "kind"),
    ("model",),
    ("frozen",),
    ("cv",),
    ("skops",),
    ("head", "params"),
)


@dataclass(frozen=True)
class Decoder:
    """Builds models from their records."""

    reader: BundleReader

    def model(self, record: dict[str, Any]) -> Any:
        """Build a model from its record, and check that it can predict.

        Raises
        ------
        BundleError
            If its class cannot be found, or is not a saveable estimator, or a saved value is not
            what it must be.
        """
        kind = _text(record.get("kind") if isinstance(record, dict) else record, "kind")
        if kind == SKLEARN:
            return check_estimator(self.reader.estimator(_text(record.get("file"), "file")))
        cls = find_class(kind, self.reader.trusted)
        if not hasattr(cls, "_from_record"):
            raise BundleError(f"The model holds {kind!r} where an estimator is needed.")
        return _checked(cls._from_record(record, self))

    def value(self, value: Any) -> Any:
        """Build a parameter or a fitted attribute from its JSON values.

        Raises
        ------
        BundleError
            If a JSON object is none of those that `Encoder` writes, or does not hold what it must.
        """
        if isinstance(value, list):
            return [self.value(part) for part in value]
        if not isinstance(value, dict):
            return value
        form = next((form for form in _FORMS if set(form) == set(value)), None)
        if form is None:
            raise wrong("the model", "record", "of a known form", value)
        return self._object(form[0], value)

    def _object(self, form: str, value: dict[str, Any]) -> Any:
        if form == "dict":
            pairs = [_listed(pair, form, 2) for pair in _listed(value["dict"], form)]
            return {self.value(k): self.value(v) for k, v in pairs}
        if form == "tuple":
            return tuple(self.value(part) for part in _listed(value["tuple"], form))
        if form == "slice":
            return slice(*_ends(value["slice"]))
        if form == "labels":
            return labels_of(value)
        if form == "array":
            name = _text(value["array"], "array")
            arrays = self.reader.arrays(_text(value["file"], "file"))
            if name not in arrays:
                raise wrong("the model", "array", f"one of {sorted(arrays)}", name)
            return arrays[name]
        if form == "fields":
            return self._fields(value)
        if form in ("model", "frozen"):
            model = self.model(value[form])
            return FrozenEstimator(model) if form == "frozen" else model
        if form == "cv":
            return cv_of(value["cv"])
        if form == "skops":
            return self.reader.estimator(_text(value["skops"], "skops"))
        head = head_class(value["head"])(**self.value(value["params"]))
        if not isinstance(head, Head):
            raise wrong("the model", "head", "the name of a head", value["head"])
        return head

    def _fields(self, value: dict[str, Any]) -> Any:
        cls = find_class(_text(value["kind"], "kind"), self.reader.trusted)
        takes = {*inspect.signature(cls).parameters}
        fields = value["fields"]
        if hasattr(cls, "_from_record") or not isinstance(fields, dict) or not {*fields} <= takes:
            raise wrong(cls.__name__, "fields", f"a JSON object with {sorted(takes)}", fields)
        return _checked(cls(**{name: self.value(part) for name, part in fields.items()}))


def _checked(value: Any) -> Any:
    """Return a value, if its own class, which may say nothing about it, finds it sound."""
    check = getattr(value, "_check_saved", None)
    if check is not None:
        check()
    return value


def _text(value: Any, name: str) -> str:
    if not is_text(value):
        raise wrong("the model", name, "text", value)
    return value


def _ends(value: Any) -> list[int | None]:
    if any(end is not None and type(end) is not int for end in _listed(value, "slice", 3)):
        raise wrong("the model", "slice", "whole numbers or none", value)
    return value


def _listed(value: Any, name: str, length: int | None = None) -> list[Any]:
    if type(value) is not list or length not in (None, len(value)):
        raise wrong("the model", name, "a list" + f" of {length}" * bool(length), value)
    return value


def labels_of(record: dict[str, Any]) -> NDArray[Any]:
    """Build an array of labels or whole numbers, which are just those in the record.

    Parameters
    ----------
    record : dict
        ``"dtype"`` and ``"labels"``, lists of plain values.

    Raises
    ------
    BundleError
        If the values do not have that type, or take much more memory with it.

    Examples
    --------
    >>> labels_of({"dtype": "<i8", "labels": [0, 1]})
    array([0, 1])
    """
    name, values = _text(record["dtype"], "dtype"), _listed(record["labels"], "labels")
    dtype = np.dtype(name)
    if dtype.kind not in f"{NUMBERS}UO" or dtype.itemsize > 4 * MOST_CHARACTERS:
        raise wrong("the model", "dtype", "a type of labels", name)
    array = np.array(values, dtype=dtype)
    # a type that is too narrow would change them, such as 1.5 to 1 and 300 to 44
    same = dtype.kind == "f" or array.tolist() == values
    if not same or not _plain(values, _LEAVES.get(dtype.kind, (bool, int, float, str))):
        raise wrong("the model", "labels", f"values of the type {name}", values)
    return array


#: Longest label, in characters.
MOST_CHARACTERS = 10_000

#: What JSON values of each kind of array are.
_LEAVES = {"b": (bool,), "i": (int,), "u": (int,), "f": (int, float), "U": (str,)}


def _plain(value: Any, types: tuple[type, ...]) -> bool:
    if isinstance(value, list):
        return all(_plain(part, types) for part in value)
    return value is None or type(value) in types if types[-1] is str else type(value) in types
