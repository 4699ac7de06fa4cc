"""Measures the time of frozen work on two batches, whose results are kept."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice

import numpy as np

from fundus.exceptions import ImageReadError
from fundus.frozen.filling import claimed, missing_rows
from fundus.frozen.function import Frozen
from fundus.frozen.loading import FORWARD_BATCH
from fundus.frozen.work import Work, frozen_job, run_frozen
from fundus.store import Segment, Store


@dataclass(frozen=True)
class Probe:
    """Seconds per image.

    Parameters
    ----------
    decode, forward, write, read : float
        Decoding it, running the frozen layers, writing their result to the store, and reading it
        back from memory: a store larger than the memory is read at the speed of the disk.
    train : float or None
        One epoch of training the layers after the cut.
    """

    decode: float
    forward: float
    write: float
    read: float
    train: float | None = None


def probe(
    work: Work, store: Store, segment: Segment, *, batch_size: int | None = None
) -> Probe | None:
    """Run two batches of images that a segment lacks, and time the second.

    Parameters
    ----------
    batch_size : int, default=None
        Also measure the training after the cut, in batches of this size.

    Returns
    -------
    Probe or None
        ``None`` where fewer than two batches are missing, or an image cannot be read: the later
        reading of all images raises for it.
    """
    job = frozen_job(work)
    with store.claims(segment.name) as claims:
        missing = missing_rows(segment, job.keys)
        rows = list(islice(claimed(job, segment, claims, missing), 2 * FORWARD_BATCH))
        if len(rows) < 2 * FORWARD_BATCH:
            return None
        marks: list[float] = []
        for part in (rows[:FORWARD_BATCH], rows[FORWARD_BATCH:]):
            marks = [time.perf_counter()]
            try:
                ((done, batch, masks),) = job.load(part, work.n_jobs)
            except ImageReadError:
                return None
            marks.append(time.perf_counter())
            entries = job.compute(done, batch, masks)
            marks.append(time.perf_counter())
            segment.put_many(entries)
            marks.append(time.perf_counter())
            segment.get_many([key for key, _ in entries])
            marks.append(time.perf_counter())
    decode, forward, write, read = (np.diff(marks) / FORWARD_BATCH).tolist()
    train = None if batch_size is None else _training(work.frozen, batch[:batch_size])
    return Probe(decode, forward, write, read, train)


def _training(frozen: Frozen, images: np.ndarray) -> float | None:
    """Seconds per image in an epoch: three times the forward pass after the cut."""
    suffix = frozen.network.split().suffix
    if suffix is None:
        return None
    inputs = run_frozen(frozen, images)
    arrays = inputs if len(inputs) > 1 else inputs[0]
    suffix.predict_on_batch(arrays)
    started = time.perf_counter()
    suffix.predict_on_batch(arrays)
    return 3 * (time.perf_counter() - started) / len(images)
