"""Parameters of a run, which are no part of a model: neither written nor taken from a file."""

from __future__ import annotations

import copy
import inspect
import os
from typing import Any

from sklearn.base import BaseEstimator

_PROCESSORS = os.cpu_count() or 1

#: A model that was loaded has the defaults: whose folder and processors they are, the reader says.
OF_A_RUN = ("cache", "callbacks", "log_dir", "n_jobs", "resume_dir", "verbose")


def as_written(value: Any) -> Any:
    """Return an estimator as it is written: parts that name ``_not_saved`` have these defaults.

    The estimator itself is not changed; parts that stay as they are, are shared.
    """
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        parts = [as_written(part) for part in value]
        same = all(new is old for new, old in zip(parts, value, strict=True))
        return value if same else type(value)(parts)
    if type(value) is dict:
        named = {key: as_written(part) for key, part in value.items()}
        return value if all(named[key] is value[key] for key in value) else named
    if not isinstance(value, BaseEstimator):
        return value
    changed = {}
    for name, part in vars(value).items():
        new = as_written(part)
        if new is not part:
            changed[name] = new
    changed |= _defaults(value)
    if not changed:
        return value
    written = copy.copy(value)
    vars(written).update(changed)
    return written


def with_defaults(value: Any) -> Any:
    """Give the parts of an estimator that was read the defaults for what is of a run."""
    parts, seen = [value], set()
    while parts:
        part = parts.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, (list, tuple)):
            parts.extend(part)
        elif isinstance(part, dict):
            parts.extend(part.values())
        elif isinstance(part, BaseEstimator):
            vars(part).update(_defaults(part))
            n_jobs = vars(part).get("n_jobs")
            if n_jobs is not None and not (type(n_jobs) is int and abs(n_jobs) <= _PROCESSORS):
                part.n_jobs = None  # so that a file cannot start a thousand processes
            parts.extend(vars(part).values())
    return value


def _defaults(estimator: BaseEstimator) -> dict[str, Any]:
    """Return the defaults of what an estimator says is not saved."""
    names = getattr(type(estimator), "_not_saved", ())
    takes = inspect.signature(type(estimator)).parameters
    return {
        name: takes[name].default
        for name in names
        if name in takes and takes[name].default is not inspect.Parameter.empty
    }
