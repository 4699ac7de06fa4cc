"""One synthetic photograph: a fundus, its lesions, and the camera."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fundus.data.synthetic.anatomy import (
    OVERSAMPLING,
    Float,
    Geometry,
    add_disc,
    add_vessels,
    background,
    grid,
    make_geometry,
    rgb,
)
from fundus.data.synthetic.lesions import add_lesions
from fundus.grades.icdr import N_GRADES
from fundus.parameters import invalid, refused
from fundus.runtime.opencv import cv2


def draw_fundus(
    grade: int, *, image_size: int = 256, eye: str = "right", rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Draw a synthetic colour fundus photograph of a given grade.

    Parameters
    ----------
    grade : int
        ICDR grade, 0–4; it decides kind and number of the lesions.
    image_size : int, default=256
        Edge of the square photograph, in pixels; at least 32.
    eye : {"left", "right"}, default="right"
        A right eye has its optic disc on the right of the photograph, a left eye on the left.
    rng : numpy.random.Generator
        Everything is drawn from it.

    Returns
    -------
    ndarray of uint8, shape (image_size, image_size, 3)
        RGB, 0–255.

    Raises
    ------
    InvalidParameterError
        If a parameter lies outside what is named above.

    Examples
    --------
    >>> photo = draw_fundus(2, image_size=64, rng=np.random.default_rng(0))
    >>> photo.shape, photo.dtype
    ((64, 64, 3), dtype('uint8'))
    >>> bool(photo[0, 0].max() < 20)  # the corner lies outside the field of view
    True
    """
    if grade not in range(N_GRADES):
        raise refused(
            "draw_fundus", "grade", f"must lie in range({N_GRADES}). Got {grade!r} instead."
        )
    if eye not in ("left", "right"):
        raise invalid("draw_fundus", "eye", "'left' or 'right'", eye)
    if image_size < 32:
        raise invalid("draw_fundus", "image_size", "at least 32 pixels", image_size)
    geometry = make_geometry(image_size * OVERSAMPLING, rng)
    image = background(geometry, image_size, rng)
    add_disc(image, geometry, rng)
    add_vessels(image, geometry, grade, rng)
    add_lesions(image, geometry, grade, rng)
    photo = _photograph(image, geometry, rng)
    return np.ascontiguousarray(photo[:, ::-1]) if eye == "left" else photo


def _photograph(image: Float, geometry: Geometry, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Exposure, colour balance, optics, aperture, sensor noise."""
    size = image.shape[0]
    gains = rng.uniform(0.80, 1.15) * np.array(
        [rng.uniform(0.92, 1.08), rng.uniform(0.92, 1.06), rng.uniform(0.75, 1.25)]
    )
    image = np.clip(image * gains.astype(np.float32), 0, 1) ** np.float32(rng.uniform(0.85, 1.2))
    x, y = grid(size)
    distance = np.hypot(x - geometry.centre[0], y - geometry.centre[1])
    if rng.random() < 0.3:  # a crescent of stray light at the rim, from eyelid or pupil
        angle, radius = rng.uniform(0, 2 * np.pi), geometry.diameter / 2
        lean = (x - geometry.centre[0]) * np.cos(angle) + (y - geometry.centre[1]) * np.sin(angle)
        haze = np.clip(lean / radius, 0, 1) ** 2 * np.clip(distance / radius, 0, 1) ** 6
        image += (haze * rng.uniform(0.1, 0.4))[..., None] * rgb(0.5, 0.45, 0.5)
    blur = rng.gamma(2.0, 0.0008) * size
    if blur > 0.25:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    aperture = np.clip((geometry.diameter / 2 - distance) / OVERSAMPLING, 0, 1)
    if geometry.diameter > geometry.size:
        aperture = aperture * (np.abs(y - geometry.size / 2) < 0.46 * geometry.size)
    image *= aperture[..., None]
    noise = rng.standard_normal((size, size, 1), dtype=np.float32)
    image += noise * np.float32(rng.uniform(0.004, 0.014)) * (0.25 + 0.75 * aperture[..., None])
    return np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)
