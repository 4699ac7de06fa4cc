"""Features of a whole network from what its frozen part gave, before the rest is trained.

The frozen layers do not run again for them, and they are kept in the store as its outputs are.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fundus.backbones.pooling import pooled
from fundus.backbones.splitting import one_or_list
from fundus.frozen.loading import FORWARD_BATCH, work_done
from fundus.frozen.sources import ArraySource, LiveSource, StoredSource
from fundus.frozen.work import check_features, tolerating
from fundus.runtime.forks import refuse_after_fork
from fundus.runtime.keras_settings import dtype_policy, under_policy
from fundus.runtime.seeds import one_at_a_time
from fundus.store import Segment

if TYPE_CHECKING:
    import keras


def features_of_all_layers(source: StoredSource | LiveSource) -> ArraySource:
    """Run the layers after the cut, as they are before any training, on all rows of a source.

    Parameters
    ----------
    source : StoredSource or LiveSource
        Of a network whose last layers are to be trained; its rows are not augmented here.

    Returns
    -------
    ArraySource
        The pooled features of its rows, shape (n_rows, n_features).

    Raises
    ------
    DivergedError
        If one of them is not finite; the image is named.
    """
    segment, keys = _segment(source), source.keys
    found: list[NDArray[np.float32] | None] = [None] * len(keys)
    if segment is not None:
        found = segment.get_many(keys)
    missing: dict[bytes, int] = {}
    for row, array in enumerate(found):
        if array is None:
            missing.setdefault(keys[row], row)
    fresh = _computed(source, list(missing.values()))
    if segment is not None and fresh:
        with tolerating(segment.store):
            segment.put_many((keys[row], array) for row, array in fresh.items())
            segment.note_rounding()
            segment.store.make_room(keep=segment.name)
        # what is kept may be rounded, and a later fit must find the same
        again = segment.get_many(keys)
        found = [old if new is None else new for old, new in zip(found, again, strict=True)]
    rows = [
        fresh[missing[key]] if array is None else array
        for key, array in zip(keys, found, strict=True)
    ]
    return ArraySource(np.stack(rows).astype(np.float32, copy=False))


def _computed(source: StoredSource | LiveSource, rows: list[int]) -> dict[int, NDArray[np.float32]]:
    """Features of some rows, by row."""
    fresh: dict[int, NDArray[np.float32]] = {}
    if not rows:
        return fresh
    refuse_after_fork()
    rest = _rest(source)
    for start in range(0, len(rows), FORWARD_BATCH):
        take = np.array(rows[start : start + FORWARD_BATCH])
        inputs = [_padded(array) for array in source.batch(take, None)]
        with one_at_a_time:
            output = np.asarray(rest.predict_on_batch(one_or_list(inputs)), dtype=np.float32)
        output, named = output[: len(take)], [source.images.where(int(row)) for row in take]
        check_features(output, named.__getitem__, source.frozen.network.spec.name)
        fresh.update(zip(take.tolist(), output, strict=True))
    work_done["rest_passes"] += len(rows)
    return fresh


def _padded(array: NDArray[Any]) -> NDArray[Any]:
    """Repeat the first row up to one shape, so that a short last batch is not traced again."""
    return np.concatenate([array, np.repeat(array[:1], FORWARD_BATCH - len(array), axis=0)])


def _rest(source: StoredSource | LiveSource) -> keras.Model:
    network = source.frozen.network
    with under_policy(dtype_policy()):
        return pooled(network.split().suffix, network.pooling)


def _segment(source: StoredSource | LiveSource) -> Segment | None:
    """The place of these features in the store, if there is one."""
    near = source.segment if isinstance(source, StoredSource) else source.decoded
    if near is None:
        return None
    store, frozen = near.store, source.frozen
    what = f"rest {frozen.key()} {frozen.network.pooling} {store.dtype}"
    if store.dtype != "float32" and isinstance(source, StoredSource):
        what += " of rounded activations"  # those that are not kept are exact

    def about() -> dict[str, object]:
        return frozen.about() | {"pooling": frozen.network.pooling, "of": "all layers"}

    name = hashlib.sha256(what.encode()).hexdigest()
    return store.segment(name, about, half=store.dtype != "float32")
