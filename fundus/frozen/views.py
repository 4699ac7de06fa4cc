"""Augmented views of images as more rows, each a fixed warp of its image."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fundus.data.inputs import Images
from fundus.exceptions import DataWarning, warn_once
from fundus.images import ImageRecipe
from fundus.images.aperture import picture_mask
from fundus.images.augment import Augmentation

_STRIPES = 64  # number of locks, and of decoded pictures that are kept for their next view


@dataclass(frozen=True)
class ViewedImages(Images):
    """Rows of views of images; view 0 is the unchanged image.

    The views of an image are seeded by its content, so they do not depend on the order of
    the rows or on other images.

    Parameters
    ----------
    paths, arrays, patients, items
        One for every row, as in `Images`.
    views : ndarray of int, shape (n,)
        View of every row.
    """

    views: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0
    _locks: list[threading.Lock] = field(
        default_factory=lambda: [threading.Lock() for _ in range(_STRIPES)], compare=False
    )
    _decoded: OrderedDict[Hashable, NDArray[np.uint8]] = field(
        default_factory=OrderedDict, compare=False
    )

    def _view_of(self, row: int) -> tuple[Augmentation, int] | None:
        """What draws the view of a row, and its number; ``None`` for the unchanged image."""
        view = int(self.views[row])
        return None if view == 0 else (self.augmentation, view)

    def _image_of(self, row: int) -> Hashable:
        """Name the image of a row; all its views have the same name."""
        if self.paths is not None:
            return str(self.paths[row])
        return row if self.items is None else id(self.items[row])

    def subset(self, rows: NDArray[np.intp]) -> Self:
        """Return some of the rows; arrays are then others, so none that was decoded is kept."""
        some = super().subset(rows)
        assert isinstance(some, type(self))
        return replace(some, _decoded=OrderedDict())

    def digest_of(self, row: int, content: str) -> str:
        """SHA-256 that names a view of an image; `content` is that of the image itself."""
        view = self._view_of(row)
        if view is None:
            return content
        augmentation, number = view
        what = f"{content} view {number} of {self.seed} {augmentation.key()}"
        return hashlib.sha256(what.encode()).hexdigest()

    def picture(self, row: int, recipe: ImageRecipe) -> NDArray[np.uint8]:
        """Decode a row, once for neighbouring views of one image, and warp it."""
        whole = self._whole(row, recipe)
        view = self._view_of(row)
        return whole if view is None else view[0].augment(whole, self._seed(view[1], whole))

    def picture_and_mask(
        self, row: int, recipe: ImageRecipe
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Make a view, and warp the mask of the image's field of view with it."""
        whole, view = self._whole(row, recipe), self._view_of(row)
        if view is None:
            return whole, picture_mask(whole, self.where(row))
        return view_with_mask(view[0], whole, self._seed(view[1], whole), self.where(row))

    def _whole(self, row: int, recipe: ImageRecipe) -> NDArray[np.uint8]:
        name = self._image_of(row)
        with self._locks[hash(name) % _STRIPES]:
            whole = self._decoded.get(name)
            if whole is None:
                whole = super().picture(row, recipe)
                self._decoded[name] = whole
                if len(self._decoded) > _STRIPES:
                    self._decoded.popitem(last=False)
        return whole

    def _seed(self, view: int, whole: NDArray[np.uint8]) -> np.random.SeedSequence:
        content = int.from_bytes(hashlib.sha256(whole.tobytes()).digest()[:8], "big")
        return np.random.SeedSequence([self.seed, view, content])


def view_with_mask(
    augmentation: Augmentation,
    picture: NDArray[np.uint8],
    seed: np.random.SeedSequence,
    name: str,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Augment a picture, and warp the mask of its field of view with it.

    Parameters
    ----------
    augmentation : Augmentation
    picture : ndarray of uint8, shape (size, size, 3)
        Not augmented, since light and blur would change what is found in it.
    seed : SeedSequence
    name : str
        Names the picture in a warning.

    Returns
    -------
    picture : ndarray of uint8, shape (size, size, 3)
    mask : ndarray of bool, shape (size, size)

    Warns
    -----
    DataWarning
        For the first picture of this process that has no field of view, or of which the
        augmentation leaves none.
    """
    view, mask = augmentation.augment_pair(picture, picture_mask(picture, name), seed)
    if not mask.any():
        warn_once(
            f"A view of {name} shows nothing of its field of view, so that all of it is pooled, as "
            "of other such views, of which no more is told: augment with smaller shifts and zooms.",
            DataWarning,
            key="view of nothing",
        )
    return view, mask


@dataclass(frozen=True)
class ChangedImages(ViewedImages):
    """Rows of images, each changed in one of several ways; ``views`` says by which of `ways`.

    A row is the first view that its way draws, so its name and its pixels do not depend on the
    other ways. Its name is another than that view's, whose field of view is warped with it.

    Parameters
    ----------
    paths, arrays, patients, items, views, augmentation, seed
        As in `ViewedImages`; `augmentation` is not used.
    ways : tuple of Augmentation
    """

    ways: tuple[Augmentation, ...] = ()
    _contents: dict[Hashable, str] = field(default_factory=dict, compare=False)

    def _view_of(self, row: int) -> tuple[Augmentation, int]:
        return self.ways[int(self.views[row])], 1

    def digest_of(self, row: int, content: str) -> str:
        """SHA-256 that names a changed image; `content` is that of the image itself."""
        what = f"{content} changed by {self.seed} {self.ways[int(self.views[row])].key()}"
        return hashlib.sha256(what.encode()).hexdigest()

    def picture_and_mask(
        self, row: int, recipe: ImageRecipe
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Change an image, and find the field of view in what came of it, as of a photograph."""
        picture = self.picture(row, recipe)
        return picture, picture_mask(picture, self.where(row))

    def content_digest(self, row: int) -> str:
        """SHA-256 of the image of a row, which is read once for all its rows."""
        name = self._image_of(row)
        with self._locks[hash(name) % _STRIPES]:
            if name not in self._contents:
                self._contents[name] = super().content_digest(row)
            return self._contents[name]

    def subset(self, rows: NDArray[np.intp]) -> Self:
        """Return some of the rows."""
        return replace(super().subset(rows), _contents={})


def with_views(images: Images, augmentation: Augmentation, seed: int, n_views: int) -> ViewedImages:
    """Add augmented views of every image: row ``i * (n_views + 1) + v`` is view v of image i.

    `n_views` is the number of views besides the image itself.
    """
    rows = np.repeat(np.arange(len(images)), n_views + 1)
    base = images.subset(rows)
    return ViewedImages(
        base.paths,
        base.arrays,
        base.patients,
        base.items,
        np.tile(np.arange(n_views + 1), len(images)),
        augmentation,
        seed,
    )


def changed(images: Images, ways: Sequence[Augmentation], seed: int) -> ChangedImages:
    """Change every image in each of several ways: row ``i * len(ways) + k`` is image i by way k.

    The images themselves are not among the rows.
    """
    if images.arrays is not None:  # a row of one array is a copy, an item is not
        items = np.empty(len(images), dtype=object)
        items[:] = [*images.arrays]
        images = replace(images, arrays=None, items=items)
    base = images.subset(np.repeat(np.arange(len(images)), len(ways)))
    return ChangedImages(
        base.paths,
        base.arrays,
        base.patients,
        base.items,
        np.tile(np.arange(len(ways)), len(images)),
        seed=seed,
        ways=tuple(ways),
    )
