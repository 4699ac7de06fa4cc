"""Numbers of a run's documents as people read them."""

from __future__ import annotations

from typing import Any

#: Written for what is undefined, such as an AUC of one class.
UNDEFINED = "undefined"


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with a fixed number of digits.

    Examples
    --------
    >>> number(0.76789), number(None)
    ('0.77', 'undefined')
    """
    return UNDEFINED if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """Return a share as a percentage.

    Examples
    --------
    >>> percent(0.447), percent(None)
    ('45 %', 'undefined')
    >>> percent(0.996), percent(1.0), percent(0.004)
    ('>99 %', '100 %', '<1 %')
    """
    if value is None:
        return UNDEFINED
    if 0 < value < 0.005:
        return "<1 %"
    return ">99 %" if 0.995 <= value < 1 else f"{100 * value:.0f} %"


def span(measure: dict[str, Any] | None, digits: int = 2) -> str:
    """Return an interval, or nothing where there is none.

    Examples
    --------
    >>> span({"low": 0.732, "high": 0.801}), span({"low": None, "high": None})
    ('0.73 to 0.80', '')
    """
    if not measure or measure.get("low") is None:
        return ""
    return f"{measure['low']:.{digits}f} to {measure['high']:.{digits}f}"


def with_span(value: float | None, measure: dict[str, Any] | None, digits: int = 2) -> str:
    """Return a number with its interval.

    Examples
    --------
    >>> with_span(0.768, {"low": 0.732, "high": 0.801})
    '0.77 (0.73 to 0.80)'
    """
    ends = span(measure, digits)
    return number(value, digits) + (f" ({ends})" if ends else "")


def share_with_span(measure: dict[str, Any]) -> str:
    """Return a share with its interval, as percentages.

    Examples
    --------
    >>> share_with_span({"value": 0.9036, "low": 0.859, "high": 0.936})
    '90 % (86 to 94)'
    """
    if measure.get("low") is None:
        return percent(measure["value"])
    return (
        f"{percent(measure['value'])} ({100 * measure['low']:.0f} to {100 * measure['high']:.0f})"
    )


def many(n: int, what: str, several: str = "") -> str:
    """Return a count of things.

    Examples
    --------
    >>> many(1, "photograph"), many(0, "fold"), many(2, "eye of a patient", "eyes of patients")
    ('1 photograph', '0 folds', '2 eyes of patients')
    """
    return f"{n:,} {what if n == 1 else several or what + 's'}"
