"""Measures of every photograph, made in one decode each and kept by the store."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fundus.data.inputs import Images
from fundus.frozen.loading import read_rows, work_done
from fundus.frozen.work import digests, entry_keys, tolerating
from fundus.images import decode, prepare_array
from fundus.images.decoding import frame_of
from fundus.images.fov import fov_mask
from fundus.images.jpeg_quality import jpeg_quality
from fundus.images.quality import MEASURED_AT, measure_quality
from fundus.runtime.threads import opencv_in_our_threads
from fundus.store import Segment, Store

#: How a photograph was taken: measures, in the order in which they are kept.
MEASURES = ("fov_share", "brightness", "sharpness", "jpeg_quality", "pixels")
#: Kept behind them: the field of view as `Quality` has it.
PADDED_SHARE = "padded_share"

#: Raised whenever a measure of the same file becomes another number, so that old entries expire.
_VERSION = 2


def measure_photographs(
    images: Images, store: Store | None, *, n_jobs: int | None = None
) -> pd.DataFrame:
    """Measure photographs; what the store knows is not read again.

    Parameters
    ----------
    images : Images
    store : Store or None
    n_jobs : int or None
        Number of threads.

    Returns
    -------
    DataFrame
        A row for each image. ``fov_share`` is the area of the field of view as a share of the
        square that a network gets, cropped to it and padded; 1 where none is found.
        ``brightness`` and ``sharpness`` are those of `measure_quality`. ``jpeg_quality`` is that
        of the file, ``nan`` for other formats; ``pixels`` is height times width of the file.
        ``padded_share`` is the ``fov_share`` of `measure_quality`, 0 where no field of view is
        found.

    Raises
    ------
    ImageReadError
        If files cannot be read; the first is named, the rest counted.
    """
    keys = entry_keys(digests(images, store, n_jobs=n_jobs))
    segment: Segment | None = None
    known: list[NDArray[np.float64] | None] = [None] * len(keys)
    if store is not None:
        made = f"photographs {_VERSION};{MEASURED_AT.key()}"
        name = hashlib.sha256(made.encode()).hexdigest()
        segment = store.segment(name, lambda: {"measures": [*MEASURES, PADDED_SHARE], "of": made})
        known = segment.get_many(keys)
    new = [row for row, entry in enumerate(known) if entry is None]
    work_done["decodes"] += len(new)
    with opencv_in_our_threads():
        fresh = read_rows(lambda row: _measured(images, row), new, n_jobs)
    if fresh and store is not None and segment is not None:
        with tolerating(store):
            segment.put_many((keys[row], values) for row, values in fresh.items())
    rows = [fresh[row] if entry is None else entry for row, entry in enumerate(known)]
    return pd.DataFrame(np.array(rows), columns=[*MEASURES, PADDED_SHARE])


def _measured(images: Images, row: int) -> NDArray[np.float64]:
    content, name = images.content(row), images.where(row)
    if isinstance(content, bytes):
        frame = frame_of(content, name=name)
        height, width, quality = frame.height, frame.width, jpeg_quality(content)
        picture = decode(content, MEASURED_AT, name=name)
    else:
        (height, width), quality = content.shape[:2], np.nan
        picture = prepare_array(content, MEASURED_AT)
    found = measure_quality(picture)
    taken = _share(picture), found.brightness, found.sharpness, quality, height * width
    return np.array([*taken, found.fov_share], dtype=float)


def _share(picture: NDArray[np.uint8]) -> float:
    """Share of the field of view in the square around it."""
    mask = fov_mask(picture)
    if mask is None:
        return 1.0
    side = max(np.ptp(np.flatnonzero(mask.any(axis=axis))) + 1 for axis in (0, 1))
    return float(mask.sum() / side**2)
