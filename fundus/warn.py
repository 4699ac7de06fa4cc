"""Warnings that are given once a process."""

from __future__ import annotations

import warnings

_given: set[tuple[str, type[Warning]]] = set()


def warn_once(message: str, category: type[Warning]) -> None:
    """Warn, unless the same message has been given in this process.

    Parameters
    ----------
    message : str
    category : type of Warning
    """
    if (message, category) not in _given:
        _given.add((message, category))
        warnings.warn(message, category, stacklevel=3)
