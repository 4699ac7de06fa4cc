"""Random views of training images: one affine warp, and what other cameras do to a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fundus.images.aperture import field_of_view
from fundus.images.colour import LIGHTS, TONES, recolour
from fundus.images.detail import degrade
from fundus.images.fov import check_rgb
from fundus.images.kinds import KINDS, check_range, draw_kinds, is_off, key_of
from fundus.images.warp import Warp, inside_of, warp_mask, warped

_Range = tuple[float, float] | None


@dataclass(frozen=True)
class Augmentation(Warp):
    """Draw an affine map and what a camera does, and make the view of an image with both.

    The affine map, whose formula stands at `matrix`, is the product of reflections, a zoom, a
    rotation and a shift. Angles are in degrees and, as rows count downwards, positive ones turn
    clockwise as seen.

    The parameters from `light` to `jpeg` are what cameras do [1]_ [2]_, in this order, the warp
    standing between `contrast` and `blur`. Each is a range, (low, high), from which an amount is
    drawn uniformly, or on a logarithmic scale where it is a factor of light; ``None`` or 0
    switches it off. What they draw depends on the seed and their own name alone. From `light` to
    `contrast`, and in `noise`, pixels outside the field of view stay as they are.

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
    at_ends : bool, default=False
        Draw one of the two ends of every range, those below too, and nothing between.
    light : tuple of (float, float), default=None
        Uneven illumination, a slope and a bowl: most that it adds or takes, as a share of light.
    hole : tuple of (float, float), default=None
        A wide dark blob: the share of light that is missing in its middle.
    halo : tuple of (float, float), default=None
        Stray light, white to blue-green, that rises towards the rim: its most, as share of white.
    spot : tuple of (float, float), default=None
        5 to 10 pale spots, as dust on the lens leaves them: what they add, as share of white.
    gains : tuple of (float, float), default=None
        Factors of red, green and blue, one drawn for each.
    tone : tuple of (float, float), default=None
        Gamma, the power of values as shares of white: below 1 brightens, above 1 darkens.
    contrast : tuple of (float, float), default=None
        Factor of the distance from each channel's mean inside the field of view.
    blur : tuple of (float, float), default=None
        Standard deviation of a Gaussian blur, in pixels of a picture whose longer side has 320;
        in others it grows with the side.
    sharpness : tuple of (float, float), default=None
        1 leaves the picture, 0 is a blur of 1 such pixel, above 1 sharpens as much.
    resolution : tuple of (float, float), default=None
        Share of the pixels of a side that are left, by area, before the picture is enlarged again.
    noise : tuple of (float, float), default=None
        Standard deviation of Gaussian noise, for each pixel and channel, in grey levels.
    jpeg : tuple of (int, int), default=None
        Quality, 1–100, of a JPEG file that the picture is written to and read from.

    See Also
    --------
    degradations : One kind at a time, at three strengths.

    References
    ----------
    .. [1] H. Che et al., "Towards generalizable diabetic retinopathy grading in unseen domains",
       MICCAI 2023. :arxiv:`2307.04378`
    .. [2] Z. Shen et al., "Modeling and enhancing low-quality retinal fundus images", IEEE
       Transactions on Medical Imaging 40(3), 2021. :doi:`10.1109/TMI.2020.3043495`

    Examples
    --------
    >>> image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    >>> augmentation = Augmentation(tone=(0.8, 1.25))
    >>> first, again = augmentation.augment(image, 7), augmentation.augment(image, 7)
    >>> np.array_equal(first, again)
    True
    """

    light: _Range = None
    hole: _Range = None
    halo: _Range = None
    spot: _Range = None
    gains: _Range = None
    tone: _Range = None
    contrast: _Range = None
    blur: _Range = None
    sharpness: _Range = None
    resolution: _Range = None
    noise: _Range = None
    jpeg: tuple[int, int] | None = None

    @classmethod
    def cameras(cls, **changes: Any) -> Self:
        """Views that photographs from other cameras and clinics differ by.

        They have another tone (0.65 to 1.5), contrast (0.7 to 1.3), resolution (0.4 to 1), blur
        (up to 1.5 pixels of 320) and JPEG quality (40 to 95); they are turned by up to 15 degrees,
        shifted by up to 5 % and zoomed by 0.9 to 1.1, the same along both axes, before black.
        Every other one is a mirror image, as a left eye is of a right one; none is upside down,
        as no camera takes an eye so.

        Parameters
        ----------
        **changes : dict
            Parameters of `Augmentation` that take other values.

        Returns
        -------
        Augmentation

        Examples
        --------
        >>> Augmentation.cameras(jpeg=None, noise=(0, 6)).resolution
        (0.4, 1.0)
        """
        settings: dict[str, Any] = {
            "rotation": 15.0,
            "shift": 0.05,
            "zoom": (0.9, 1.1),
            "zoom_per_axis": False,
            "flip_vertical": False,
            "fill": "black",
            "tone": (0.65, 1.5),
            "contrast": (0.7, 1.3),
            "blur": (0.0, 1.5),
            "resolution": (0.4, 1.0),
            "jpeg": (40, 95),
        }
        return cls(**(settings | changes))

    @property
    def _ranges(self) -> dict[str, Any]:
        """The ranges of the kinds that are on."""
        ranges = {name: getattr(self, name) for name in KINDS}
        return {name: value for name, value in ranges.items() if not is_off(value)}

    def validate(self) -> None:
        """Check the parameters.

        Raises
        ------
        InvalidParameterError
            If one lies outside what it accepts.
        """
        super().validate()
        for name in KINDS:
            check_range("Augmentation", name, getattr(self, name))

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
        return self._warp_key() + key_of(self._ranges)

    def augment(
        self, image: NDArray[np.uint8], seed: int | np.random.SeedSequence
    ) -> NDArray[np.uint8]:
        """Make the view of an image that a seed draws.

        Where it is needed, the field of view is found in the image itself; where none is found,
        it is all of the image.

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
        inside = None
        if any(name in self._ranges for name in (*LIGHTS, *TONES, "noise")):
            # the mask that pooling is given too, so that both make the same view
            inside = field_of_view(image[None])[0].view(np.uint8)
        return self._view(image, inside, seed)[0]

    def augment_pair(
        self,
        image: NDArray[np.uint8],
        mask: NDArray[Any],
        seed: int | np.random.SeedSequence,
    ) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """Make the view of an image, and warp the mask of its field of view with it.

        Parameters
        ----------
        image : ndarray of uint8, shape (height, width, 3)
            RGB, 0–255.
        mask : ndarray of bool or float, shape (height, width)
            The field of view of `image`: 0 outside, 1 inside.
        seed : int or numpy.random.SeedSequence

        Returns
        -------
        view : ndarray of uint8, shape (height, width, 3)
            What `augment` makes of the image where `mask` is what it finds.
        mask : ndarray of bool or float, shape (height, width)
            The field of view of the view, of the dtype that was given; 0 outside the image.

        Raises
        ------
        InvalidParameterError
            If a parameter lies outside what it accepts.
        DataError
            If `image` or `mask` has another dtype or shape, or `mask` shows no field of view.

        Examples
        --------
        >>> image, mask = np.full((2, 2, 3), 9, np.uint8), np.array([[True, False], [True, False]])
        >>> mirror = Augmentation(0, 0, (1, 1), flip_vertical=False)
        >>> mirror.augment_pair(image, mask, seed=1)[1].tolist()
        [[False, True], [False, True]]
        """
        check_rgb(image)
        view, M, b = self._view(image, inside_of(mask, image.shape), seed)
        return view, warp_mask(mask, M, b)

    def _view(
        self,
        image: NDArray[np.uint8],
        inside: NDArray[np.uint8] | None,
        seed: int | np.random.SeedSequence,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64]]:
        M, b = self.sample(np.random.default_rng(seed), image.shape)
        ranges = self._ranges
        if not ranges:
            return self.apply(image, M, b), M, b
        drawn = draw_kinds(ranges, seed, at_ends=bool(self.at_ends))
        if any(name in drawn for name in (*LIGHTS, *TONES)):
            image = recolour(image, inside, drawn)
        if inside is not None and "noise" in drawn:
            inside = warped(inside, M, b, self.fill)
        return degrade(self.apply(image, M, b), inside, drawn), M, b
