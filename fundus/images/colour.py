"""Other light and colour inside the field of view of a photograph, in one pass.

Images are arrays of uint8, shape (height, width, 3): RGB, 0–255. Places in the field of view are
given by coordinates whose origin is its centre and whose unit is its radius.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.images.kinds import Drawn
from fundus.runtime.opencv import cv2

#: Kinds that change the light before it reaches the sensor, and those that a camera makes of it.
LIGHTS = ("light", "hole", "halo", "spot")
TONES = ("gains", "tone", "contrast")

#: The tint of a halo lies between white and this blue-green, as shares of red, green and blue.
_BLUE_GREEN = (0.45, 0.9, 0.7)

Float = NDArray[np.floating[Any]]


def recolour(
    image: NDArray[np.uint8], inside: NDArray[np.uint8] | None, drawn: Mapping[str, Drawn]
) -> NDArray[np.uint8]:
    """Change light and colour inside the field of view; what lies outside stays.

    Light comes first, as `LIGHTS`: uneven illumination and a dark hole multiply it, a halo and
    spots add to it. Gains of the channels, tone (a power) and contrast (about the mean of each
    channel inside the field of view) follow as one table for each channel.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width, 3)
        RGB, 0–255.
    inside : ndarray of uint8, shape (height, width), or None
        Not 0 in the field of view, which holds a pixel at least; ``None`` where it is all.
    drawn : mapping of str to Drawn
        By kind; other kinds are passed over.

    Examples
    --------
    >>> image = np.full((2, 2, 3), 64, np.uint8)
    >>> left = np.array([[1, 0], [1, 0]], np.uint8)
    >>> tone = {"tone": Drawn((0.5,), np.random.default_rng(0))}
    >>> recolour(image, left, tone)[0, :, 0].tolist()
    [128, 64]
    """
    changed = _toned(_lit(image, inside, drawn), inside, drawn)
    if inside is None:
        return changed
    whole = image.copy()
    cv2.copyTo(changed, inside, whole)
    return whole


def _lit(
    image: NDArray[np.uint8], inside: NDArray[np.uint8] | None, drawn: Mapping[str, Drawn]
) -> NDArray[np.uint8]:
    """Multiply and add light, in floats, rounded once."""
    if not any(name in drawn for name in LIGHTS):
        return image
    x, y = _coordinates(image.shape, inside)
    planes = [plane.astype(np.float32) for plane in cv2.split(image)]
    shares = [_illumination(x, y, inside, drawn["light"])] if "light" in drawn else []
    shares += [_hole(x, y, drawn["hole"])] if "hole" in drawn else []
    for plane in planes:
        for share in shares:
            plane *= share
    glows = [_halo(x, y, drawn["halo"])] if "halo" in drawn else []
    glows += [_spots(x, y, drawn["spot"])] if "spot" in drawn else []
    for glow, tint in glows:
        for plane, part in zip(planes, tint, strict=True):
            plane += np.float32(255 * part) * glow
    return cv2.merge([np.rint(plane).clip(0, 255).astype(np.uint8) for plane in planes])


def _coordinates(shape: tuple[int, ...], inside: NDArray[np.uint8] | None) -> tuple[Float, Float]:
    """Coordinates of columns, shape (width,), and of rows, shape (height, 1)."""
    height, width = shape[:2]
    box = (0, 0, width, height) if inside is None else cv2.boundingRect(inside)
    left, top, box_width, box_height = box
    radius = max(box_width, box_height) / 2
    x = (np.arange(width, dtype=np.float32) - (left + (box_width - 1) / 2)) / radius
    y = (np.arange(height, dtype=np.float32) - (top + (box_height - 1) / 2)) / radius
    return x, y[:, None]


def _illumination(x: Float, y: Float, inside: NDArray[np.uint8] | None, drawn: Drawn) -> Float:
    """Share of the light: a slope and a bowl, at most the amount above or below 1 inside."""
    angle, mix = drawn.rng.uniform(0, 2 * math.pi, 2)
    slope = np.float32(math.cos(angle)) * x + np.float32(math.sin(angle)) * y
    bowl = 1 - 2 * (x * x + y * y)
    field = np.float32(math.cos(mix)) * slope + np.float32(math.sin(mix)) * bowl
    peak = cv2.norm(field, cv2.NORM_INF, mask=inside)
    return 1 + field * np.float32(drawn.amount / max(peak, 1e-6))


def _hole(x: Float, y: Float, drawn: Drawn) -> Float:
    """Share of the light that a wide dark blob leaves; the amount is missing in its middle."""
    across, down = _near_the_centre(drawn.rng, 0.5)
    radius = drawn.rng.uniform(0.4, 0.9)
    square = _square_distance(x, y, across, down, radius)
    return 1 - np.float32(drawn.amount) * np.exp(-square * square)


def _halo(x: Float, y: Float, drawn: Drawn) -> tuple[Float, tuple[float, ...]]:
    """Stray light that rises towards the rim, and its tint: up to the amount, as share of white."""
    across, down = _near_the_centre(drawn.rng, 0.25)
    start, hue = drawn.rng.uniform(0.7, 1.0), drawn.rng.random()
    distance = np.sqrt(_square_distance(x, y, across, down, 1.0))
    rise = ((distance - np.float32(start)) / np.float32(0.3)).clip(0, 1)
    tint = (drawn.amount * (1 - hue * (1 - part)) for part in _BLUE_GREEN)
    return rise * rise * (3 - 2 * rise), tuple(tint)


def _spots(x: Float, y: Float, drawn: Drawn) -> tuple[Float, tuple[float, ...]]:
    """Pale spots, as dust on the lens leaves them: 5 to 10, each of the amount, as share of white.

    Each is drawn in the small window that it reaches.
    """
    glow = np.zeros((y.shape[0], x.shape[0]), np.float32)
    for _ in range(drawn.rng.integers(5, 11)):
        across, down = _near_the_centre(drawn.rng, 0.9)
        radius = drawn.rng.uniform(0.02, 0.1)
        reach = 2 * radius
        columns = slice(*np.searchsorted(x, (across - reach, across + reach)))
        rows = slice(*np.searchsorted(y[:, 0], (down - reach, down + reach)))
        square = _square_distance(x[columns], y[rows], across, down, radius)
        np.maximum(glow[rows, columns], np.exp(-square * square), out=glow[rows, columns])
    return glow, (drawn.amount,) * 3


def _near_the_centre(rng: np.random.Generator, radius: float) -> tuple[float, float]:
    """Coordinates drawn uniformly from the disc of a radius about the centre."""
    angle, distance = 2 * math.pi * rng.random(), radius * math.sqrt(rng.random())
    return distance * math.cos(angle), distance * math.sin(angle)


def _square_distance(x: Float, y: Float, across: float, down: float, radius: float) -> Float:
    """Square of the distance from a point, in units of a radius."""
    x = (x - np.float32(across)) / np.float32(radius)
    y = (y - np.float32(down)) / np.float32(radius)
    return x * x + y * y


def _toned(
    image: NDArray[np.uint8], inside: NDArray[np.uint8] | None, drawn: Mapping[str, Drawn]
) -> NDArray[np.uint8]:
    """Look values up in a table for each channel."""
    if not any(name in drawn for name in TONES):
        return image
    values = np.repeat(np.arange(256)[:, None] / 255, 3, axis=1)
    if "gains" in drawn:
        values = np.minimum(values * drawn["gains"].amounts, 1.0)
    if "tone" in drawn:
        values = values ** drawn["tone"].amount
    if "contrast" in drawn:
        counts = [cv2.calcHist([image], [c], inside, [256], [0, 256]).ravel() for c in range(3)]
        mean = np.average(values, axis=0, weights=np.stack(counts, axis=1))
        values = mean + drawn["contrast"].amount * (values - mean)
    table = np.rint(255 * values).clip(0, 255).astype(np.uint8)
    return cv2.LUT(image, table[None])
