"""Sources of a head's training and prediction inputs, batch by batch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fundus.backbones.network import cut_size
from fundus.backbones.pooling import signed_power
from fundus.data.inputs import Images
from fundus.frozen.filling import Entries, Job, fill
from fundus.frozen.loading import Masks, load_rows, stacked
from fundus.frozen.views import view_with_mask
from fundus.frozen.work import Frozen, Work, frozen_job, part_key, run_frozen, tolerating
from fundus.images import ImageRecipe
from fundus.images.aperture import picture_mask
from fundus.images.augment import Augmentation
from fundus.runtime.threads import opencv_in_our_threads, thread_count
from fundus.store import Segment, Store


class Source(Protocol):
    """Inputs of the trained part of a network, by row."""

    def __len__(self) -> int: ...

    def batch(self, rows: NDArray[np.intp], epoch: int | None) -> list[NDArray[np.float32]]:
        """Inputs of some rows, one array per tensor at the cut.

        `epoch` seeds the augmentation of training images; ``None`` does not augment them.
        """
        ...


@dataclass
class ArraySource:
    """Features in memory, float32, shape (n_samples, n_features)."""

    features: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.features)

    def batch(self, rows: NDArray[np.intp], epoch: int | None) -> list[NDArray[np.float32]]:
        """Rows of the feature matrix."""
        return [self.features[rows]]


@dataclass
class StoredSource:
    """Activations of a frozen part, streamed from the store."""

    images: Images
    frozen: Frozen
    segment: Segment
    keys: list[bytes]
    n_tensors: int

    def __len__(self) -> int:
        return len(self.keys)

    def batch(self, rows: NDArray[np.intp], epoch: int | None) -> list[NDArray[np.float32]]:
        """Read the activations of some rows; damaged entries are computed again."""
        parts = [
            self.segment.get_many([part_key(self.keys[row], part) for row in rows])
            for part in range(self.n_tensors)
        ]
        lost = sorted({k for arrays in parts for k, a in enumerate(arrays) if a is None})
        if lost:
            for part, outputs in enumerate(self._computed([int(rows[k]) for k in lost])):
                for k, output in zip(lost, outputs, strict=True):
                    parts[part][k] = output
                    with tolerating(self.segment.store):
                        self.segment.put_many([(part_key(self.keys[rows[k]], part), output)])
        return [np.stack(arrays) for arrays in parts]  # type: ignore[arg-type]

    def _computed(self, rows: list[int]) -> list[NDArray[np.float32]]:
        images, recipe = self.images, self.frozen.recipe
        if not self.frozen.pools_fov:
            return run_frozen(self.frozen, np.stack([images.picture(row, recipe) for row in rows]))
        pictures, masks = stacked([images.picture_and_mask(row, recipe) for row in rows])
        return run_frozen(self.frozen, pictures, masks=masks)


@dataclass
class LiveSource:
    """Images that are warped, normalised and run through the frozen layers at every use."""

    images: Images
    frozen: Frozen
    augmentation: Augmentation | None
    seed: int
    decoded: Segment | None
    keys: list[bytes]
    batch_size: int
    n_jobs: int | None = None

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: NDArray[np.intp], epoch: int | None) -> list[NDArray[np.float32]]:
        """Make the inputs of some rows; decoding and warping run in threads."""
        stored: list[NDArray[np.uint8] | None] = [None] * len(rows)
        if self.decoded is not None:
            stored = self.decoded.get_many([self.keys[row] for row in rows])

        def make(k: int) -> tuple[NDArray[np.uint8], Masks]:
            row, picture = int(rows[k]), stored[k]
            if picture is None:
                picture = self.images.picture(row, self.frozen.recipe)
            name = self.images.where(row)
            if self.augmentation is None or epoch is None:
                return picture, picture_mask(picture, name) if self.frozen.pools_fov else None
            seed = np.random.SeedSequence([self.seed, epoch, row])
            if self.frozen.pools_fov:
                return view_with_mask(self.augmentation, picture, seed, name)
            return self.augmentation.augment(picture, seed), None

        with opencv_in_our_threads(), ThreadPoolExecutor(thread_count(self.n_jobs)) as pool:
            pictures, masks = stacked(list(pool.map(make, range(len(rows)))))
        return run_frozen(self.frozen, pictures, masks=masks, pad_to=self.batch_size)


@dataclass
class PoweredSource:
    """Another source's inputs, raised to a power with their signs kept."""

    source: Source
    power: float

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, rows: NDArray[np.intp], epoch: int | None) -> list[NDArray[np.float32]]:
        """Read some rows of the other source, and raise them."""
        return [signed_power(array, self.power) for array in self.source.batch(rows, epoch)]


def powered(source: Source, power: float | None) -> Source:
    """Raise the inputs of a source to a power, if any; features in memory at once."""
    if power is None:
        return source
    if isinstance(source, ArraySource):
        return ArraySource(signed_power(source.features, power))
    return PoweredSource(source, power)


def source_key(source: Source) -> tuple[Any, ...]:
    """Name what a source gives for each row and epoch: equal keys mean equal inputs."""
    if isinstance(source, ArraySource):
        return ("array", source.features)
    if isinstance(source, PoweredSource):
        return ("power", source.power, *source_key(source.source))
    if isinstance(source, StoredSource):
        return ("stored", source.frozen.key(), source.keys)
    if isinstance(source, LiveSource):
        settings = source.augmentation, source.seed, source.batch_size
        return ("live", source.frozen.key(), source.keys, *settings)
    raise TypeError(f"{type(source).__name__} is no source of a training.")


def stored_source(work: Work) -> StoredSource:
    """Compute the entries that the work's store lacks, and return a source that reads them.

    Raises
    ------
    StoreError
        If the store cannot be written.
    """
    assert work.store is not None
    assert work.segment is not None
    fill(frozen_job(work), work.store, work.segment, n_jobs=work.n_jobs, verbose=work.verbose)
    n_tensors = cut_size(work.frozen.network)
    return StoredSource(work.images, work.frozen, work.segment, work.keys, n_tensors)


def decoded_segment(recipe: ImageRecipe, store: Store) -> Segment:
    """Return the segment in which a store keeps decoded images."""
    name = hashlib.sha256(f"decoded {recipe.key()}".encode()).hexdigest()
    return store.segment(name, lambda: {"decoded": recipe.key()})


def fill_decoded(work: Work) -> Segment:
    """Decode the images that the work's store lacks, and return their segment.

    Raises
    ------
    StoreError
        If the store cannot be written.
    """
    assert work.store is not None
    keys = work.keys

    def compute(rows: Sequence[int], batch: NDArray[np.uint8], masks: Masks) -> Entries:
        return [(keys[row], picture) for row, picture in zip(rows, batch, strict=True)]

    segment = decoded_segment(work.frozen.recipe, work.store)
    job = Job(work.images, work.frozen.recipe, keys, compute, "Decoding images")
    fill(job, work.store, segment, n_jobs=work.n_jobs, verbose=work.verbose)
    return segment


def check_all_decode(images: Images, recipe: ImageRecipe, *, n_jobs: int | None) -> None:
    """Decode every image once and keep none, so that a bad file raises before training.

    Raises
    ------
    ImageReadError
        If files cannot be read; the first is named, the rest counted.
    """
    for _ in load_rows(images, range(len(images)), recipe, n_jobs=n_jobs):
        continue
