"""Keeps TensorFlow's start-up lines off the user's screen, in the process of the command line."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def hush_tensorflow() -> None:
    """Hold TensorFlow's log back from now on; it is not imported by this."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.meta_path.insert(0, _FirstImport())


class _FirstImport(MetaPathFinder):
    """Imports TensorFlow with standard error held back, whenever its time comes.

    Its C++ part writes a dozen lines before it has read its log level.
    """

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
                with held_back():
                    execute(module)

            loader.exec_module = exec_module
        return spec


@contextmanager
def held_back() -> Iterator[None]:
    """Keep what is written to the standard error of the process; show it if there is an error."""
    screen = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(screen, kept.read())
            raise
        finally:
            os.dup2(screen, 2)
            os.close(screen)
