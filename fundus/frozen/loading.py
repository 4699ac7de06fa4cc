"""Reads images from their files; threads decode them ahead of their use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fundus.data.inputs import Images
from fundus.exceptions import ImageReadError
from fundus.images import ImageRecipe
from fundus.runtime.threads import prefetch, thread_count

R = TypeVar("R")

#: Fields of view of pictures, or of one, where they are wanted.
Masks = NDArray[np.bool_] | None

#: Images per forward pass of a frozen part; every batch is padded to it to avoid retracing.
FORWARD_BATCH = 32

#: Work done by this process: ``"decodes"`` and ``"forward_passes"``, both in images.
work_done: Counter[str] = Counter()


def _tried(read: Callable[[int], R]) -> Callable[[int], R | ImageReadError]:
    """Return the error for a row that cannot be read, so that the others are read too."""

    def one(row: int) -> R | ImageReadError:
        try:
            return read(row)
        except ImageReadError as error:
            return error

    return one


def read_rows(read: Callable[[int], R], rows: Sequence[int], n_jobs: int | None) -> dict[int, R]:
    """Read rows in threads; one error is raised for all that cannot be read."""
    with ThreadPoolExecutor(thread_count(n_jobs)) as pool:
        results = dict(zip(rows, pool.map(_tried(read), rows), strict=True))
    _raise_unreadable({k: r for k, r in results.items() if isinstance(r, ImageReadError)})
    return {k: r for k, r in results.items() if not isinstance(r, ImageReadError)}


def _raise_unreadable(errors: dict[int, ImageReadError]) -> None:
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

    Yields
    ------
    tuple of list of int and ndarray of uint8, shape (n, size, size, 3)

    Raises
    ------
    ImageReadError
        After all rows have been tried, if any could not be decoded.
    """
    for done, pictures, _ in load_with_masks(images, rows, recipe, masks=False, n_jobs=n_jobs):
        yield done, pictures


def load_with_masks(
    images: Images,
    rows: Iterable[int],
    recipe: ImageRecipe,
    *,
    masks: bool = True,
    n_jobs: int | None = None,
) -> Iterator[tuple[list[int], NDArray[np.uint8], Masks]]:
    """Decode rows as `load_rows` does, and find their fields of view in the same threads.

    Parameters
    ----------
    masks : bool, default=True
        Otherwise they are ``None``.

    Yields
    ------
    tuple of list of int, ndarray of uint8, shape (n, size, size, 3), and ndarray of bool, shape \
(n, size, size), or None

    Raises
    ------
    ImageReadError
        After all rows have been tried, if any could not be decoded.
    """

    def read(row: int) -> tuple[NDArray[np.uint8], Masks]:
        return (
            images.picture_and_mask(row, recipe) if masks else (images.picture(row, recipe), None)
        )

    errors: dict[int, ImageReadError] = {}
    batch_rows: list[int] = []
    batch: list[tuple[NDArray[np.uint8], Masks]] = []
    for row, found in prefetch(
        _tried(read), rows, threads=thread_count(n_jobs), ahead=FORWARD_BATCH
    ):
        if isinstance(found, ImageReadError):
            errors[row] = found
            continue
        work_done["decodes"] += images.is_encoded(row)
        batch_rows.append(row)
        batch.append(found)
        if len(batch) == FORWARD_BATCH:
            yield batch_rows, *stacked(batch)
            batch_rows, batch = [], []
    if batch:
        yield batch_rows, *stacked(batch)
    _raise_unreadable(errors)


def stacked(pairs: Sequence[tuple[NDArray[np.uint8], Masks]]) -> tuple[NDArray[np.uint8], Masks]:
    """Join pictures, and their masks unless they have none."""
    masks = [mask for _, mask in pairs if mask is not None]
    return np.stack([picture for picture, _ in pairs]), np.stack(masks) if masks else None
