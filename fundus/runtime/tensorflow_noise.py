"""Hides TensorFlow's start-up lines, wherever it is imported first, and makes that import shorter.

Its C++ part writes a dozen lines about processors and drivers, some of them before it has read its
log level. With ``TF_CPP_MIN_LOG_LEVEL`` set, TensorFlow's lines are not hidden.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

LEVEL = "TF_CPP_MIN_LOG_LEVEL"

# a line of its log in either form, and two lines without such a prefix
_LOG_LINE = re.compile(
    rb"[IWEF]\d{4} \d\d:\d\d:|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWEF] "
    rb"|WARNING: All log messages before absl::InitializeLog|To enable the following instructions: "
)


@contextmanager
def quiet_start(starting: ModuleType | None = None) -> Iterator[None]:
    """Hide TensorFlow's lines during its import, unless it is imported or the user set a level.

    The level is read once, during the import, so the variable is removed again afterwards:
    processes that are started later get the user's environment.

    Parameters
    ----------
    starting : module, default=None
        TensorFlow, if Python has started to import it.
    """
    if sys.modules.get("tensorflow") is not starting or LEVEL in os.environ:
        yield
        return
    os.environ[LEVEL] = "3"
    try:
        with held_back():
            yield
    finally:
        os.environ.pop(LEVEL, None)


def hush_tensorflow() -> None:
    """Make a later import of TensorFlow by any module quiet and shorter; this imports nothing."""
    sys.meta_path.insert(0, _FirstImport())


class _FirstImport(MetaPathFinder):
    """Import hook that makes the import of TensorFlow quiet and shorter."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            execute = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                with quiet_start(module), nothing_collected():
                    execute(module)

            loader.exec_module = exec_module
        return spec


@contextmanager
def nothing_collected() -> Iterator[None]:
    """Look for no garbage meanwhile: an import makes a million objects, and all of them stay.

    Examples
    --------
    >>> with nothing_collected():
    ...     gc.isenabled()
    False
    >>> gc.isenabled()
    True
    """
    if not gc.isenabled():  # as the user wants
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def held_back() -> Iterator[None]:
    """Keep TensorFlow's log off the standard error of the process; show it after an error.

    Other lines that are written there meanwhile are shown afterwards.
    """
    try:
        screen = os.dup(2)
    except OSError:  # some services have no standard error: nothing to hide
        yield
        return
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            if sys.stderr is not None:
                sys.stderr.flush()
            os.dup2(screen, 2)
            os.close(screen)
            kept.seek(0)
            for line in kept:
                if failed or not _LOG_LINE.match(line):
                    os.write(2, line)
