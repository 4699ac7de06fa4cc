"""Finds images with the same pixels, whatever the names and metadata of their files."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from fundus.data.inputs import Images
from fundus.frozen.loading import read_rows, work_done
from fundus.frozen.work import digests, entry_keys, tolerating
from fundus.images import ImageRecipe, array_digest, decode
from fundus.runtime.threads import opencv_in_our_threads
from fundus.store import Segment, Store

#: Size at which pictures are compared, so that large files are decoded at a reduced scale.
THUMBNAIL = ImageRecipe(64, None)


def pixel_digests(images: Images, store: Store | None, *, n_jobs: int | None = None) -> list[str]:
    """SHA-256 of every image's pixels at a small size.

    Lossless files of a picture have one digest, whatever their metadata or compression; a JPEG
    that was compressed again has another.

    The store remembers the results.

    Raises
    ------
    ImageReadError
        If files cannot be read; the first is named, the rest counted.
    """
    contents = digests(images, store, n_jobs=n_jobs)
    files = [row for row in range(len(images)) if images.is_encoded(row)]
    if not files:  # pixels in memory are compared as they are
        return contents
    keys = entry_keys(contents)
    segment: Segment | None = None
    known: list[NDArray[np.uint8] | None] = [None] * len(keys)
    if store is not None:
        name = hashlib.sha256(f"pixels {THUMBNAIL.key()}".encode()).hexdigest()
        segment = store.segment(name, lambda: {"pixels": THUMBNAIL.key()})
        known = segment.get_many(keys)

    def one(row: int) -> NDArray[np.uint8]:
        content = images.content(row)
        assert isinstance(content, bytes)
        picture = decode(content, THUMBNAIL, name=images.where(row))
        return np.frombuffer(bytes.fromhex(array_digest(picture)), dtype=np.uint8)

    new = [row for row in files if known[row] is None]
    work_done["decodes"] += len(new)
    with opencv_in_our_threads():
        fresh = read_rows(one, new, n_jobs)
    if fresh and store is not None and segment is not None:
        with tolerating(store):
            segment.put_many((keys[row], digest) for row, digest in fresh.items())
    pixels = fresh | {row: entry for row, entry in enumerate(known) if entry is not None}
    return [
        pixels[row].tobytes().hex() if row in pixels else content
        for row, content in enumerate(contents)
    ]
