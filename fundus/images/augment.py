"""Random rotation, shift, zoom and reflection of training images, as one affine warp."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from fundus.images.fov import check_rgb
from fundus.parameters import invalid
from fundus.runtime.opencv import cv2

#: Raised whenever the same parameters and seed give other pixels.
AUGMENT_VERSION = 1

_FILLS = {"nearest": cv2.BORDER_REPLICATE, "black": cv2.BORDER_CONSTANT}


@dataclass(frozen=True)
class Augmentation:
    r"""Draw an affine map and warp an image with it, interpolating once.

    A point of the image is the column vector ``x = (column, row)`` in pixels, the centre of the
    top left pixel being ``(0, 0)``. It lands at::

        x' = M x + b
        M  = R Z F
        b  = c + t - M c

    with the centre ``c = ((width - 1) / 2, (height - 1) / 2)``, the shift
    ``t = (shift_x * width, shift_y * height)`` and, applied from right to left,

    - the reflections ``F = A V H``, each with probability one half where it is switched on:
      ``H = [[-1, 0], [0, 1]]`` (left and right change places), ``V = [[1, 0], [0, -1]]`` (top and
      bottom), ``A = [[cos 2a, sin 2a], [sin 2a, -cos 2a]]`` about the axis through the centre at
      angle a;
    - the zoom ``Z = [[zoom_x, 0], [0, zoom_y]]``: above 1 enlarges;
    - the rotation ``R = [[cos r, -sin r], [sin r, cos r]]``.

    Angles are in degrees and, as rows count downwards, positive ones turn clockwise as seen.

    Parameters
    ----------
    rotation : float, default=20.0
        Rotations are drawn uniformly between minus and plus this many degrees.
    shift : float, default=0.1
        Shifts are drawn uniformly for each axis, up to this fraction of the width and height.
    zoom : tuple of (float, float), default=(0.8, 1.2)
        Zoom factors are drawn uniformly from this range.
    zoom_per_axis : bool, default=True
        Draw a factor for each axis; otherwise one for both.
    flip_horizontal, flip_vertical : bool, default=True
        Reflect left to right, and top to bottom, every other time.
    reflect_angle : float, default=None
        Reflect every other time about the axis through the centre at this many degrees from the
        horizontal; ``None`` for no such reflection.
    fill : {"nearest", "black"}, default="nearest"
        What fills the places outside the image: its nearest pixel, or black.

    Examples
    --------
    >>> image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    >>> augmentation = Augmentation()
    >>> first, again = augmentation.augment(image, 7), augmentation.augment(image, 7)
    >>> np.array_equal(first, again)
    True
    """

    rotation: float = 20.0
    shift: float = 0.1
    zoom: tuple[float, float] = (0.8, 1.2)
    zoom_per_axis: bool = True
    flip_horizontal: bool = True
    flip_vertical: bool = True
    reflect_angle: float | None = None
    fill: str = "nearest"

    def validate(self) -> None:
        """Check the parameters.

        Raises
        ------
        InvalidParameterError
            If one lies outside what it accepts.
        """
        if not _is_real(self.rotation) or not 0 <= self.rotation <= 180:
            _refuse("rotation", "a float in the range [0.0, 180.0]", self.rotation)
        if not _is_real(self.shift) or not 0 <= self.shift <= 1:
            _refuse("shift", "a float in the range [0.0, 1.0]", self.shift)
        zoom: Any = self.zoom
        pair = isinstance(zoom, tuple | list) and len(zoom) == 2 and all(map(_is_real, zoom))
        if not pair or not 0 < zoom[0] <= zoom[1]:
            _refuse("zoom", "a tuple (low, high) of floats with 0 < low <= high", zoom)
        for name in ("zoom_per_axis", "flip_horizontal", "flip_vertical"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                _refuse(name, "an instance of 'bool'", getattr(self, name))
        if self.reflect_angle is not None and not _is_real(self.reflect_angle):
            _refuse("reflect_angle", "a finite float or None", self.reflect_angle)
        if not isinstance(self.fill, str) or self.fill not in _FILLS:
            _refuse("fill", "a str among {'black', 'nearest'}", self.fill)

    def _check_saved(self) -> None:
        self.validate()

    def key(self) -> str:
        """Stable text that names these parameters in cache keys.

        Returns
        -------
        str

        Examples
        --------
        >>> Augmentation(rotation=5).key()
        'augment=1;rotation=5.0;shift=0.1;zoom=0.8,1.2;per_axis=1;flips=1,1;reflect=None;fill=nearest'
        """
        self.validate()
        low, high = map(float, self.zoom)
        angle = None if self.reflect_angle is None else float(self.reflect_angle)
        return (
            f"augment={AUGMENT_VERSION};rotation={float(self.rotation)};shift={float(self.shift)};"
            f"zoom={low},{high};per_axis={int(self.zoom_per_axis)};"
            f"flips={int(self.flip_horizontal)},{int(self.flip_vertical)};"
            f"reflect={angle};fill={self.fill}"
        )

    @staticmethod
    def matrix(
        shape: tuple[int, ...],
        *,
        rotation: float = 0.0,
        shift: tuple[float, float] = (0.0, 0.0),
        zoom: tuple[float, float] = (1.0, 1.0),
        flip_horizontal: bool = False,
        flip_vertical: bool = False,
        reflect_angle: float | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Affine map of explicit values.

        Parameters
        ----------
        shape : tuple of int
            Height and width of the image, in pixels; further entries are ignored.
        rotation : float, default=0.0
            Degrees, clockwise as seen.
        shift : tuple of (float, float), default=(0.0, 0.0)
            Rightwards and downwards, as fractions of width and height.
        zoom : tuple of (float, float), default=(1.0, 1.0)
            Horizontal and vertical factor.
        flip_horizontal, flip_vertical : bool, default=False
        reflect_angle : float, default=None
            Degrees from the horizontal of a further axis to reflect about.

        Returns
        -------
        M : ndarray of float64, shape (2, 2)
        b : ndarray of float64, shape (2,)
            Pixels.

        Examples
        --------
        >>> M, b = Augmentation.matrix((10, 20), flip_horizontal=True)
        >>> (M @ [0, 3] + b).tolist()
        [19.0, 3.0]
        """
        height, width = shape[:2]
        M = np.diag([-1.0 if flip_horizontal else 1.0, -1.0 if flip_vertical else 1.0])
        if reflect_angle is not None:
            double = math.radians(2 * reflect_angle)
            cos, sin = math.cos(double), math.sin(double)
            M = np.array([[cos, sin], [sin, -cos]]) @ M
        angle = math.radians(rotation)
        cos, sin = math.cos(angle), math.sin(angle)
        M = np.array([[cos, -sin], [sin, cos]]) @ np.diag(np.asarray(zoom, np.float64)) @ M
        centre = np.array([(width - 1) / 2, (height - 1) / 2])
        return M, centre + np.asarray(shift) * [width, height] - M @ centre

    def sample(
        self, rng: np.random.Generator, shape: tuple[int, ...]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Draw an affine map.

        Parameters
        ----------
        rng : numpy.random.Generator
        shape : tuple of int
            Height and width of the image, in pixels; further entries are ignored.

        Returns
        -------
        M : ndarray of float64, shape (2, 2)
        b : ndarray of float64, shape (2,)
            Pixels.

        Raises
        ------
        InvalidParameterError
            If a parameter lies outside what it accepts.

        Examples
        --------
        >>> still = Augmentation(0, 0, (1, 1), flip_horizontal=False, flip_vertical=False)
        >>> M, b = still.sample(np.random.default_rng(0), (8, 8))
        >>> M.tolist(), b.tolist()
        ([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0])
        """
        self.validate()
        # Everything is drawn whatever is switched on, so that a switch leaves the rest as it was.
        turn, right, down = rng.uniform(-1, 1, 3)
        zoom_x, zoom_y = rng.uniform(*self.zoom, 2)
        horizontal, vertical, oblique = rng.random(3) < 0.5
        return self.matrix(
            shape,
            rotation=turn * self.rotation,
            shift=(right * self.shift, down * self.shift),
            zoom=(zoom_x, zoom_y if self.zoom_per_axis else zoom_x),
            flip_horizontal=bool(horizontal and self.flip_horizontal),
            flip_vertical=bool(vertical and self.flip_vertical),
            reflect_angle=self.reflect_angle if oblique else None,
        )

    def apply(
        self, image: NDArray[np.uint8], M: NDArray[np.float64], b: NDArray[np.float64]
    ) -> NDArray[np.uint8]:
        """Warp an image with a given map, with one bilinear interpolation.

        Parameters
        ----------
        image : ndarray of uint8, shape (height, width, 3)
            RGB, 0–255.
        M : ndarray of float64, shape (2, 2)
        b : ndarray of float64, shape (2,)
            Pixels.

        Returns
        -------
        ndarray of uint8, shape (height, width, 3)

        Raises
        ------
        DataError
            If `image` has another dtype or shape.

        Examples
        --------
        >>> image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
        >>> M, b = Augmentation.matrix(image.shape, flip_vertical=True)
        >>> np.array_equal(Augmentation().apply(image, M, b), image[::-1])
        True
        """
        check_rgb(image)
        self.validate()
        if np.array_equal(M, np.eye(2)) and not np.any(b):
            return image.copy()
        height, width = image.shape[:2]
        return cv2.warpAffine(
            image,
            np.column_stack([M, b]),
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderMode=_FILLS[self.fill],
        )

    def augment(
        self, image: NDArray[np.uint8], seed: int | np.random.SeedSequence
    ) -> NDArray[np.uint8]:
        """Warp an image with the map that a seed draws.

        Parameters
        ----------
        image : ndarray of uint8, shape (height, width, 3)
            RGB, 0–255.
        seed : int or numpy.random.SeedSequence

        Returns
        -------
        ndarray of uint8, shape (height, width, 3)

        Raises
        ------
        InvalidParameterError
            If a parameter lies outside what it accepts.
        DataError
            If `image` has another dtype or shape.

        Examples
        --------
        >>> Augmentation().augment(np.full((4, 6, 3), 8, np.uint8), seed=1).shape
        (4, 6, 3)
        """
        check_rgb(image)
        M, b = self.sample(np.random.default_rng(seed), image.shape)
        return self.apply(image, M, b)

    def augment_pair(
        self,
        image: NDArray[np.uint8],
        mask: NDArray[np.bool_],
        seed: int | np.random.SeedSequence,
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Warp an image as `augment` does, and with the same map a mask of it.

        Places outside the image are not in the mask, whatever fills them in the image.

        Parameters
        ----------
        image : ndarray of uint8, shape (height, width, 3)
            RGB, 0–255.
        mask : ndarray of bool, shape (height, width)
        seed : int or numpy.random.SeedSequence

        Returns
        -------
        image : ndarray of uint8, shape (height, width, 3)
        mask : ndarray of bool, shape (height, width)

        Raises
        ------
        InvalidParameterError
            If a parameter lies outside what it accepts.
        DataError
            If `image` has another dtype or shape.

        Examples
        --------
        >>> image, mask = np.full((40, 60, 3), 8, np.uint8), np.ones((40, 60), bool)
        >>> moved, inside = Augmentation(zoom=(0.5, 0.5)).augment_pair(image, mask, seed=1)
        >>> bool((moved == 8).all()), bool(0.2 < inside.mean() < 0.3)
        (True, True)
        """
        check_rgb(image)
        height, width = image.shape[:2]
        M, b = self.sample(np.random.default_rng(seed), image.shape)
        grey = cv2.warpAffine(
            np.where(mask, np.uint8(255), np.uint8(0)),
            np.column_stack([M, b]),
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=0,
        )
        return self.apply(image, M, b), grey >= 128


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _refuse(name: str, expected: str, value: Any) -> NoReturn:
    raise invalid("Augmentation", name, expected, value)
