"""Reads images from their files; threads decode them ahead of their use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from fundus.data.inputs import Images
from fundus.exceptions import ImageReadError
from fundus.images import ImageRecipe
from fundus.runtime.threads import prefetch, thread_count

#: Images per forward pass of a frozen part; every batch is padded to it to avoid retracing.
FORWARD_BATCH = 32

#: Work done by this process: ``"decodes"`` and ``"forward_passes"``, both in images.
work_done: Counter[str] = Counter()


def raise_unreadable(images: Images, errors: dict[int, ImageReadError]) -> None:
    """Raise one error for all unreadable rows, if there are any."""
    if not errors:
        return
    first = min(errors)
    more = f" {len(errors) - 1} more rows cannot be read either." if len(errors) > 1 else ""
    raise ImageReadError(f"Row {first}: {errors[first]}{more}") from None


def load_rows(
    images: Images, rows: Iterable[int], recipe: ImageRecipe, *, n_jobs: int | None = None
) -> Iterator[tuple[list[int], NDArray[np.uint8]]]:
    """Decode rows in threads, ahead of their use, in batches of `FORWARD_BATCH`.

    Parameters
    ----------
    rows : iterable of int
        Rows in order; read at most two batches ahead.
    n_jobs : int, default=None
        Threads.

    Yields
    ------
    tuple of list of int and ndarray of uint8, shape (n, size, size, 3)

    Raises
    ------
    ImageReadError
        After all rows have been tried, if any could not be decoded.
    """

    def one(row: int) -> NDArray[np.uint8] | ImageReadError:
        try:
            return images.picture(row, recipe)
        except ImageReadError as error:
            return error

    errors: dict[int, ImageReadError] = {}
    batch_rows: list[int] = []
    batch: list[NDArray[np.uint8]] = []
    for row, image in prefetch(one, rows, threads=thread_count(n_jobs), ahead=FORWARD_BATCH):
        if isinstance(image, ImageReadError):
            errors[row] = image
            continue
        work_done["decodes"] += images.is_encoded(row)
        batch_rows.append(row)
        batch.append(image)
        if len(batch) == FORWARD_BATCH:
            yield batch_rows, np.stack(batch)
            batch_rows, batch = [], []
    if batch:
        yield batch_rows, np.stack(batch)
    raise_unreadable(images, errors)
