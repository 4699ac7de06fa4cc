"""Checks of parameters, in scikit-learn's grammar of messages."""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from typing import Any, ParamSpec, Self, TypeVar

from fundus.exceptions import InvalidParameterError, Mention, Message, warn_caller

P = ParamSpec("P")
R = TypeVar("R")


def invalid(owner: object, name: str, expected: str, value: Any) -> InvalidParameterError:
    """Return the error for a parameter.

    Parameters
    ----------
    owner : object
        The estimator, its `Settings`, or the name of an estimator or a function.
    name : str
        The parameter.
    expected : str
        Completes "must be".
    value : object
        What was received.

    Examples
    --------
    >>> error = invalid("FoldEnsemble", "cv", "an int", 1.5)
    >>> print(error)
    The 'cv' parameter of FoldEnsemble must be an int. Got 1.5 instead.
    >>> error.parameter
    'cv'
    """
    return refused(owner, name, f"must be {expected}. Got {value!r} instead.")


def refused(owner: object, name: str, must: str) -> InvalidParameterError:
    """Return the error for a parameter; `must` is all of its text after the owner."""
    named = owner.owner if isinstance(owner, Settings) else owner
    about = Mention(name, owner=named if isinstance(named, str) else type(named).__name__)
    return InvalidParameterError(Message(f"The {about} {must}", about))


def check_int(owner: object, name: str, *, low: int, none: bool = False) -> None:
    """Raise unless an attribute is an int of at least `low` (or ``None`` where allowed)."""
    value = getattr(owner, name)
    if none and value is None:
        return
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < low:
        expected = f"an int of at least {low}" + (" or None" if none else "")
        raise invalid(owner, name, expected, value)


def check_real(
    owner: object,
    name: str,
    *,
    low: float,
    high: float = math.inf,
    low_open: bool = False,
    high_open: bool = False,
    also: Collection[Any] = (),
) -> None:
    """Raise unless an attribute is a number in an interval, or one of some other values."""
    value = getattr(owner, name)
    if any(value is other or (isinstance(value, str) and value == other) for other in also):
        return
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if (
        not real
        or not (value > low if low_open else value >= low)
        or not (value < high if high_open or high == math.inf else value <= high)
    ):
        left, right = "(" if low_open else "[", ")" if high_open or high == math.inf else "]"
        others = "".join(f" or {other!r}" for other in also)
        raise invalid(owner, name, f"a number in {left}{low}, {high}{right}{others}", value)


def check_option(owner: object, name: str, options: Collection[Any]) -> None:
    """Raise unless an attribute is one of some values."""
    value = getattr(owner, name)
    if not any(
        value is option or (type(value) is type(option) and value == option) for option in options
    ):
        raise invalid(owner, name, "one of " + ", ".join(map(repr, options)), value)


def renamed_parameter(former: str, name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function take a parameter by its former name too, with a warning, for one release."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if former in kwargs:
                if kwargs.get(name) is not None:
                    must = f"must be left out where '{name}', its new name, is given."
                    raise refused(function.__name__, former, must)
                warn_caller(
                    f"The {former!r} parameter of {function.__name__} is called {name!r} now; the "
                    "next minor release refuses the former name.",
                    FutureWarning,
                )
                kwargs[name] = kwargs.pop(former)
            return function(*args, **kwargs)

        return call

    return decorate


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of records of an estimator's parameters, each under its own name."""

    #: The estimator's class, which errors name.
    owner: str

    @classmethod
    def of(cls, estimator: object, **given: Any) -> Self:
        """Read the parameters off an estimator; those that it does not have are given."""
        read = [f.name for f in fields(cls) if f.name != "owner" and f.name not in given]
        values = {name: getattr(estimator, name) for name in read}
        return cls(owner=type(estimator).__name__, **values, **given)
