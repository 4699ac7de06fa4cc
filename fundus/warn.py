"""Warnings: once a process, and at the line of the user's that led to them."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

_PACKAGE = str(Path(__file__).parent) + os.sep
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


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn at the line outside this package that called it, however deep the call is.

    Parameters
    ----------
    message : str
    category : type of Warning
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
