"""What saved attributes must be: the written schema of ``model.json``.

A class says it in ``_saved``, a mapping of attributes to fields; `check_fields` compares. What
several attributes must be together, such as of one length, the class says in ``_check_saved``.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import BundleError


@dataclass(frozen=True)
class Field:
    """What one saved value must be.

    Parameters
    ----------
    expected : str
        Completes "must be".
    accepts : callable
        Whether a value is so.
    optional : bool, default=False
        Whether it may be absent.
    """

    expected: str
    accepts: Callable[[Any], bool]
    optional: bool = False

    @property
    def or_absent(self) -> Field:
        """The same, which may be absent."""
        return replace(self, optional=True)

    @property
    def or_none(self) -> Field:
        """The same, or ``None``."""
        accepts = self.accepts
        return replace(
            self, expected=f"{self.expected} or None", accepts=lambda v: v is None or accepts(v)
        )


def wrong(owner: str, name: str, expected: str, value: Any) -> BundleError:
    """Return the error for a saved value that is not what it must be.

    Examples
    --------
    >>> print(wrong("FoldEnsemble", "voting_", "one of 'soft', 'hard'", "loud"))
    The saved 'voting_' of FoldEnsemble must be one of 'soft', 'hard'. Got 'loud' instead: the \
model is damaged or was changed after it was saved.
    """
    return BundleError(
        f"The saved {name!r} of {owner} must be {expected}. Got {reprlib.repr(value)} instead: the "
        "model is damaged or was changed after it was saved."
    )


def check_fields(owner: str, fields: Mapping[str, Field], values: Mapping[str, Any]) -> None:
    """Raise for the first value that is not what it must be.

    Raises
    ------
    BundleError
    """
    for name, field in fields.items():
        if name in values:
            if not field.accepts(values[name]):
                raise wrong(owner, name, field.expected, values[name])
        elif not field.optional:
            raise BundleError(
                f"The saved {owner} must have {name!r}, {field.expected}. Got none: the model is "
                "damaged or was changed after it was saved."
            )


def require(true: bool, owner: object, name: str, expected: str, value: Any) -> None:
    """Raise unless what is true of a sound model is true.

    Raises
    ------
    BundleError
    """
    if not true:
        raise wrong(type(owner).__name__, name, expected, value)


def is_count(value: Any, low: int = 1, high: float = math.inf) -> bool:
    """Whether a value is a whole number in a range."""
    return type(value) is int and low <= value <= high


def is_number(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    """Whether a value is a finite number in a range."""
    if type(value) not in (int, float):
        return False
    return low <= value <= high and -math.inf < float(value) < math.inf


def is_text(value: Any) -> bool:
    """Whether a value is text, of a length that names have."""
    return type(value) is str and len(value) <= 10_000


def is_labels(value: Any) -> bool:
    """Whether a value is an array of at least one label, each once, none of them missing."""
    if not isinstance(value, np.ndarray) or value.ndim != 1 or not len(value):
        return False
    labels = value.tolist()
    plain = all(type(x) in (bool, int, float, str) and x == x for x in labels)
    return plain and len(set(labels)) == len(labels)


def is_classes(value: Any) -> bool:
    """Whether a value is an array of labels, sorted as `numpy.unique` does."""
    return is_labels(value) and np.array_equal(np.unique(value), value)


def is_floats(value: Any, ndim: int = 1, *, missing: bool = False) -> bool:
    """Whether a value is an array of numbers, which are finite or, if it may be so, missing."""
    if not isinstance(value, np.ndarray) or value.ndim != ndim or value.dtype.kind != "f":
        return False
    return not np.isinf(value).any() if missing else bool(np.isfinite(value).all())


def is_ascending(values: NDArray[Any]) -> bool:
    """Whether numbers do not fall and none is missing; infinite ones may be at the ends."""
    return not np.isnan(values).any() and bool((values[1:] >= values[:-1]).all())


def _is_names(value: Any) -> bool:
    return type(value) is list and all(map(is_text, value))


def _is_column_names(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 1 and all(map(is_text, value.tolist()))


def option(*values: Any) -> Field:
    """Return the field of one of some values."""
    return Field(
        "one of " + ", ".join(map(repr, values)),
        lambda v: any(type(v) is type(value) and v == value for value in values),
    )


def number(low: float, high: float = math.inf) -> Field:
    """Return the field of a finite number in a range."""
    return Field(f"a finite number in [{low:g}, {high:g}]", lambda v: is_number(v, low, high))


def count(low: int, high: float = math.inf) -> Field:
    """Return the field of a whole number in a range."""
    return Field(f"a whole number of at least {low}", lambda v: is_count(v, low, high))


def instance(cls: type, expected: str) -> Field:
    """Return the field of an instance of a class."""
    return Field(expected, lambda v: isinstance(v, cls))


def list_of(field: Field, *, least: int = 0) -> Field:
    """Return the field of a list."""
    return Field(
        f"a list of at least {least}, each {field.expected}",
        lambda v: type(v) is list and len(v) >= least and all(map(field.accepts, v)),
    )


ANYTHING = Field("anything", lambda v: True, optional=True)
TEXT = Field("text", is_text)
COUNT = count(1)
TRUTH = Field("true or false", lambda v: type(v) is bool)
NAMES = Field("a list of names", _is_names)
COLUMN_NAMES = Field("an array of names", _is_column_names)
LABELS = Field("an array of labels, each once", is_labels)
CLASSES = Field("an array of labels, sorted, each once", is_classes)
SCALE = Field("an array of at least 2 labels, each once", lambda v: is_labels(v) and len(v) > 1)
NUMBERS = Field("an array of finite numbers", is_floats)
KNOWN_NUMBERS = Field("an array of finite or missing numbers", lambda v: is_floats(v, missing=True))
ASCENDING = Field(
    "an array of ascending numbers",
    lambda v: isinstance(v, np.ndarray) and v.ndim == 1 and v.dtype.kind == "f" and is_ascending(v),
)
FITTED = Field("a fitted estimator", lambda v: hasattr(v, "predict") and not isinstance(v, type))
#: Ranges that a saved float may have and that no model needs to leave.
SPREAD = Field("a finite number of at least 0", lambda v: is_number(v, 0))
