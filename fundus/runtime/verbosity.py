"""Whether long work shows how far it is."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from fundus.parameters import invalid

_LEVELS = ("auto", "quiet", "progress")
_chosen = "auto"


def set_verbosity(level: str = "auto") -> None:
    """Set whether long work shows a bar of progress on standard error, in this process.

    Parameters
    ----------
    level : {"auto", "quiet", "progress"}, default="auto"
        "auto" shows bars where a person looks: in a terminal and in a notebook, for work that
        takes more than a second. "quiet" shows none, and "progress" shows them always. An
        estimator's own ``verbose=1`` shows them whatever is set here.

    Raises
    ------
    InvalidParameterError
        If `level` is none of them.

    Examples
    --------
    >>> set_verbosity("quiet")
    >>> set_verbosity()
    """
    global _chosen
    if level not in _LEVELS:
        raise invalid("set_verbosity", "level", " or ".join(map(repr, _LEVELS)), level)
    _chosen = level


@contextmanager
def verbosity(level: str) -> Iterator[None]:
    """Set it in this context; see `set_verbosity`."""
    before = _chosen
    set_verbosity(level)
    try:
        yield
    finally:
        set_verbosity(before)


def shows_progress() -> bool:
    """Whether bars are shown that no parameter asks for.

    Workers of joblib show none, as their bars would overwrite each other.
    """
    if _chosen != "auto":
        return _chosen == "progress"
    if multiprocessing.current_process().name != "MainProcess":
        return False
    return _in_notebook() or (sys.stderr is not None and sys.stderr.isatty())


def _in_notebook() -> bool:
    """Whether the kernel of a notebook runs this."""
    shell = sys.modules.get("IPython")
    found = None if shell is None else shell.get_ipython()
    return found is not None and type(found).__name__ == "ZMQInteractiveShell"
