"""Detects forks: TensorFlow's threads do not exist in the child, where its calls would hang."""

from __future__ import annotations

import os
import sys

from fundus.exceptions import BackendError

#: Whether this process was forked from one in which TensorFlow ran.
_forked_from_tensorflow = False


def _tensorflow_runs() -> bool:
    """Whether TensorFlow has started its threads here; its import alone does not."""
    eager = sys.modules.get("tensorflow.python.eager.context")
    context = None if eager is None else eager.context_safe()
    return context is not None and bool(context._initialized)


def _note_fork() -> None:
    global _forked_from_tensorflow
    _forked_from_tensorflow = _forked_from_tensorflow or _tensorflow_runs()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_note_fork)


def refuse_after_fork() -> None:
    """Raise if TensorFlow would hang because it had started before this process was forked.

    Raises
    ------
    BackendError
    """
    if _forked_from_tensorflow:
        raise BackendError(
            "This process was forked after TensorFlow had started, and TensorFlow cannot run in "
            "it: this call needs a forward pass or a training. Start the processes with "
            "multiprocessing.get_context('spawn'), or with joblib's default backend 'loky', or "
            "fork before TensorFlow is used. Features that are in the cache, with a scikit-learn "
            "head, work in this process too."
        )
