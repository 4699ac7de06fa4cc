"""Affine maps, and pictures and masks of their field of view that are warped with them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import DataError
from fundus.images.fov import check_rgb
from fundus.images.kinds import is_real
from fundus.parameters import invalid
from fundus.runtime.opencv import cv2

#: Raised whenever the same parameters and seed warp to other pixels.
WARP_VERSION = 1

_FILLS = {"nearest": cv2.BORDER_REPLICATE, "black": cv2.BORDER_CONSTANT}


@dataclass(frozen=True)
class Warp:
    """The affine part of `Augmentation`, which documents the parameters."""

    rotation: float = 20.0
    shift: float = 0.1
    zoom: tuple[float, float] = (0.8, 1.2)
    zoom_per_axis: bool = True
    flip_horizontal: bool = True
    flip_vertical: bool = True
    reflect_angle: float | None = None
    fill: str = "nearest"
    at_ends: bool = False

    def validate(self) -> None:
        """Check the parameters.

        Raises
        ------
        InvalidParameterError
            If one lies outside what it accepts.
        """
        if not is_real(self.rotation) or not 0 <= self.rotation <= 180:
            _refuse("rotation", "a float in the range [0.0, 180.0]", self.rotation)
        if not is_real(self.shift) or not 0 <= self.shift <= 1:
            _refuse("shift", "a float in the range [0.0, 1.0]", self.shift)
        zoom: Any = self.zoom
        pair = isinstance(zoom, tuple | list) and len(zoom) == 2 and all(map(is_real, zoom))
        if not pair or not 0 < zoom[0] <= zoom[1]:
            _refuse("zoom", "a tuple (low, high) of floats with 0 < low <= high", zoom)
        for name in ("zoom_per_axis", "flip_horizontal", "flip_vertical", "at_ends"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                _refuse(name, "an instance of 'bool'", getattr(self, name))
        if self.reflect_angle is not None and not is_real(self.reflect_angle):
            _refuse("reflect_angle", "a finite float or None", self.reflect_angle)
        if not isinstance(self.fill, str) or self.fill not in _FILLS:
            _refuse("fill", "a str among {'black', 'nearest'}", self.fill)

    def _warp_key(self) -> str:
        """Stable text that names these parameters."""
        low, high = map(float, self.zoom)
        angle = None if self.reflect_angle is None else float(self.reflect_angle)
        return (
            f"augment={WARP_VERSION};rotation={float(self.rotation)};shift={float(self.shift)};"
            f"zoom={low},{high};per_axis={int(self.zoom_per_axis)};"
            f"flips={int(self.flip_horizontal)},{int(self.flip_vertical)};"
            f"reflect={angle};fill={self.fill}{';at_ends=1' if self.at_ends else ''}"
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
        r"""Affine map of explicit values.

        A point of the image is the column vector ``x = (column, row)`` in pixels, the centre of
        the top left pixel being ``(0, 0)``. It lands at::

            x' = M x + b
            M  = R Z F
            b  = c + t - M c

        with the centre ``c = ((width - 1) / 2, (height - 1) / 2)``, the shift
        ``t = (shift_x * width, shift_y * height)`` and, applied from right to left,

        - the reflections ``F = A V H``, those that are switched on: ``H = [[-1, 0], [0, 1]]`` (left
          and right change places), ``V = [[1, 0], [0, -1]]`` (top and bottom),
          ``A = [[cos 2a, sin 2a], [sin 2a, -cos 2a]]`` about the axis through the centre at angle
          a;
        - the zoom ``Z = [[zoom_x, 0], [0, zoom_y]]``: above 1 enlarges;
        - the rotation ``R = [[cos r, -sin r], [sin r, cos r]]``.

        Angles are in degrees and, as rows count downwards, positive ones turn clockwise as seen.

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
        >>> from fundus import Augmentation
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
        >>> from fundus import Augmentation
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
        if self.at_ends:
            turn, right, down = np.copysign(1.0, (turn, right, down))
            middle = sum(self.zoom) / 2
            zoom_x, zoom_y = (self.zoom[int(drawn > middle)] for drawn in (zoom_x, zoom_y))
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
        >>> from fundus import Augmentation
        >>> image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
        >>> M, b = Augmentation.matrix(image.shape, flip_vertical=True)
        >>> np.array_equal(Augmentation().apply(image, M, b), image[::-1])
        True
        """
        check_rgb(image)
        self.validate()
        return warped(image, M, b, self.fill)


def warped(array: NDArray, M: NDArray[np.float64], b: NDArray[np.float64], fill: str) -> NDArray:
    """Warp a picture or a mask, with one bilinear interpolation."""
    if np.array_equal(M, np.eye(2)) and not np.any(b):
        return array.copy()
    height, width = array.shape[:2]
    return cv2.warpAffine(
        array,
        np.column_stack([M, b]),
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=_FILLS[fill],
    )


def warp_mask(mask: NDArray, M: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray:
    """Warp a mask of bools or floats, with 0 outside; the dtype stays."""
    known = mask.dtype in (np.float32, np.float64)
    values = warped(mask if known else mask.astype(np.float32), M, b, "black")
    return values >= 0.5 if mask.dtype == bool else values.astype(mask.dtype, copy=False)


def inside_of(mask: NDArray, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Where a mask is at least one half, as 0 and 1.

    Raises
    ------
    DataError
        If it is no array of bools, or of floats from 0 to 1, with the height and width of `shape`,
        or is less than one half everywhere.
    """
    array = isinstance(mask, np.ndarray)
    if not array or mask.shape != shape[:2] or not (mask.dtype == bool or mask.dtype.kind == "f"):
        got = f"{mask.dtype} array of shape {mask.shape}" if array else repr(type(mask))
        raise DataError(
            f"The mask of an image of shape {shape} must be an array of bool or float of shape "
            f"{shape[:2]}; got {got}."
        )
    if mask.dtype != bool and not (mask.min() >= 0 and mask.max() <= 1):
        raise DataError(
            "The mask of an image must hold values from 0, outside the field of view, to 1, "
            f"inside; got {mask.min()} to {mask.max()}."
        )
    inside = (mask >= 0.5).astype(np.uint8)
    if not inside.any():
        raise DataError(
            "The mask of an image must show a field of view; got one that is below 0.5 "
            "everywhere: where an image has none, mark all of it."
        )
    return inside


def _refuse(name: str, expected: str, value: Any) -> NoReturn:
    raise invalid("Augmentation", name, expected, value)
