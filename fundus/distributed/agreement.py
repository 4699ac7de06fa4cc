"""Whether workers would compute what the caller would; asked before any work."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from fundus.data.inputs import Images
from fundus.distributed.engines import Engine
from fundus.distributed.shards import Task, stamp_of, this_worker, worker_store
from fundus.exceptions import EngineError, FundusError
from fundus.runtime.keras_settings import carried
from fundus.store import default_location

#: Distributions that must have the same release everywhere.
COMPARED = ("fundus-zoo", "keras", "tensorflow", "numpy", "scikit-learn")

#: How many files every worker reads, to see that they are the same.
SAMPLED = 4


def check_workers(engine: Engine, task: Task, images: Images) -> list[str]:
    """Refuse workers that would compute something else than this process; return their names.

    Raises
    ------
    EngineError
        If there is no worker, or one has another Python or other releases of the packages,
        computes another function, or sees other images.
    FundusError
        What a worker raises: a plugin or weights that it lacks, a store that it cannot use.
    """
    names = list(engine.workers())
    if not names:
        raise EngineError(
            f"{engine.name} has no workers: start some, such as with 'dask worker ADDRESS', or "
            "'ray start --address=…'."
        )
    # these functions are of the standard library, so that a worker without this one can answer
    _all_equal(engine.everywhere(platform.python_version), "Python", platform.python_version())
    for name in COMPARED:
        _all_equal(engine.everywhere(metadata.version, name), name, metadata.version(name))
    sample = _sample(images)
    # with the settings of Keras here, as the shards
    answers = engine.everywhere(carried(examine), task, sample)
    digests = None if sample is None else _content(sample)
    for name, answer in answers.items():
        if isinstance(answer, Exception):
            _raise_of(name, answer)
        _compare(name, answer, task, sample, digests)
    return names


def examine(task: Task, sample: Images | None) -> dict[str, Any]:
    """Say what this worker would compute, and what it sees of some files."""
    worker_store(task.cache)
    return {
        "worker": this_worker(),
        "key": task.frozen.key(),
        "digests": None if sample is None else _content(sample),
        "folder": str(default_location()),
    }


def _sample(images: Images) -> Images | None:
    """Some of the files, spread over all; ``None`` for images in memory."""
    if images.paths is None:
        return None
    import numpy as np

    places = np.unique(np.linspace(0, len(images) - 1, SAMPLED).astype(np.intp))
    seen = [p for p in places.tolist() if stamp_of(str(images.paths[p])) is not None]
    return images.subset(np.array(seen, dtype=np.intp)) if seen else None


def _content(sample: Images) -> list[str | None]:
    """Digests of files, whatever is in them; ``None`` for one that is not there."""
    import hashlib
    from pathlib import Path

    assert sample.paths is not None
    found: list[str | None] = []
    for path in sample.paths.tolist():
        try:
            found.append(hashlib.sha256(Path(path).read_bytes()).hexdigest())
        except OSError:
            found.append(None)
    return found


def _all_equal(answers: Mapping[str, Any], what: str, ours: str) -> None:
    for worker, theirs in answers.items():
        if isinstance(theirs, metadata.PackageNotFoundError):
            raise EngineError(
                f"The worker {worker} has no {what}: install the same packages on every machine; "
                f"this process has {what} {ours}."
            )
        if isinstance(theirs, Exception):
            _raise_of(worker, theirs)
        if theirs != ours:
            raise EngineError(
                f"The worker {worker} has {what} {theirs}, and this process {ours}: features of "
                "two releases may differ, so install the same one on every machine."
            )


def _raise_of(worker: str, error: Exception) -> None:
    """Raise what a worker has raised, with its name."""
    if isinstance(error, FundusError):
        raise type(error)(f"The worker {worker} cannot do this work: {error}") from None
    raise EngineError(
        f"The worker {worker} cannot do this work ({type(error).__name__}: {error})."
    ) from error


def _compare(
    worker: str,
    answer: dict[str, Any],
    task: Task,
    sample: Images | None,
    digests: Sequence[str | None] | None,
) -> None:
    if answer["key"] != task.key:
        raise EngineError(
            f"The worker {worker} would compute other features than this process: the releases "
            "of its packages, its plugins or its weights differ."
        )
    if sample is None or digests is None:
        return
    for path, ours, theirs in zip(sample.paths, digests, answer["digests"], strict=True):  # type: ignore[arg-type]
        if ours != theirs:
            what = "has no file" if theirs is None else "has another file at"
            raise EngineError(
                f"The worker {worker} sees other images: it {what} {str(path)!r}. Every machine "
                "must have the same files under the same paths."
            )
