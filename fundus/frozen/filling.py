"""Adds missing entries to a segment of the store, together with other processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.data.inputs import Images
from fundus.frozen.loading import FORWARD_BATCH, Masks, load_with_masks
from fundus.images import ImageRecipe
from fundus.runtime.progress import track
from fundus.store import Segment, Store
from fundus.store.claims import Claims

_LOOK_AGAIN = 0.05  # seconds between two checks of what other processes have finished

Entries = list[tuple[bytes, NDArray[Any]]]
Loaded = tuple[list[int], NDArray[np.uint8], Masks]


@dataclass(frozen=True)
class Job:
    """How entries are computed from images.

    Parameters
    ----------
    images : Images
    recipe : ImageRecipe
    keys : sequence of bytes
        Key of every row.
    compute : callable
        From rows, their decoded images and their fields of view to entries.
    what : str
        Label of the progress bar.
    masks : bool, default=False
        Whether fields of view are wanted; otherwise they are ``None``.
    """

    images: Images
    recipe: ImageRecipe
    #: Key of every row.
    keys: Sequence[bytes]
    #: From rows, their decoded images and their fields of view to entries.
    compute: Callable[[Sequence[int], NDArray[np.uint8], Masks], Entries]
    #: Label of the progress bar.
    what: str
    #: Whether fields of view are wanted.
    masks: bool = False

    def load(self, rows: Iterable[int], n_jobs: int | None) -> Iterator[Loaded]:
        """Decode rows in batches, as `load_with_masks` does."""
        return load_with_masks(self.images, rows, self.recipe, masks=self.masks, n_jobs=n_jobs)


def fill(job: Job, store: Store, segment: Segment, *, n_jobs: int | None, verbose: int) -> None:
    """Compute and store the missing entries of a segment.

    Identical images are computed once. Other processes that need the same take other batches,
    and each waits for the others. If a process dies, another one computes its batches.

    Raises
    ------
    ImageReadError
        After all rows have been tried, if any could not be decoded.
    StoreError
        If the store cannot be written.
    """
    rows = missing_rows(segment, job.keys)
    if not rows:
        return
    with store.claims(segment.name) as claims:
        while rows:
            took_any = False
            chosen = claimed(job, segment, claims, rows)
            batches = job.load(chosen, n_jobs)
            bar = closing(track(batches, total=len(rows), what=job.what, show=verbose))
            # writes to disk during the next batch
            with bar as shown, ThreadPoolExecutor(1) as writer:
                written: Future[None] | None = None
                for done, batch, masks in shown:
                    took_any = True
                    entries = job.compute(done, batch, masks)
                    if written is not None:
                        written.result()
                    names = [job.keys[row] for row in done]
                    written = writer.submit(_write, segment, claims, names, entries)
                if written is not None:
                    written.result()
            if not took_any:
                time.sleep(_LOOK_AGAIN)
            rows = missing_rows(segment, job.keys)
    segment.note_rounding()
    store.make_room(keep=segment.name)


def _write(segment: Segment, claims: Claims, keys: Sequence[bytes], entries: Entries) -> None:
    segment.put_many(entries)
    claims.release(keys)


def claimed(job: Job, segment: Segment, claims: Claims, rows: Sequence[int]) -> Iterator[int]:
    """Rows that no other process computes, claimed a batch at a time when they are needed."""
    left = list(rows)
    while left:
        keys = [job.keys[row] for row in left]
        taken, seen = claims.take(keys, FORWARD_BATCH)
        # another process may have finished one between our check and our claim
        present = segment.has_many([keys[place] for place in taken])
        claims.release([keys[k] for k, there in zip(taken, present, strict=True) if there])
        yield from (left[k] for k, there in zip(taken, present, strict=True) if not there)
        left = left[seen:]


def missing_rows(segment: Segment, keys: Sequence[bytes]) -> list[int]:
    """Rows whose image has no entry, one row for each image."""
    missing: dict[bytes, int] = {}
    for row, present in enumerate(segment.has_many(keys)):
        if not present:
            missing.setdefault(keys[row], row)
    return list(missing.values())
