"""The healthy fundus: geometry, background, optic disc and vessels of a right eye."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.runtime.opencv import cv2

Point = tuple[float, float]
Float = NDArray[np.floating[Any]]
Mask = NDArray[np.uint8]

#: Masks are drawn at twice the size and averaged down, since OpenCV's lines and discs have whole
#: pixels as their width and a microaneurysm is one to three pixels wide.
OVERSAMPLING = 2

# Share of red, green and blue light absorbed.
_VEIN = (0.26, 0.52, 0.36)
_ARTERY = (0.10, 0.36, 0.28)


@dataclass(frozen=True)
class Geometry:
    """Where things lie, in pixels of the oversampled canvas; a right eye, disc on the right.

    Parameters
    ----------
    size : int
        Edge of the canvas.
    centre : tuple of float
        Centre of the field of view.
    diameter : float
        Diameter of the field of view, which spans about 45 degrees.
    disc, macula : tuple of float
        Centres of the optic disc and of the macula.
    disc_radius : float
        Radius of the optic disc.
    """

    size: int
    centre: Point
    diameter: float
    disc: Point
    macula: Point
    disc_radius: float

    def inside(self, point: Point, margin: float = 0.02) -> bool:
        """Whether a point lies in the field of view, `margin` diameters from its edge."""
        return math.dist(point, self.centre) < self.diameter * (0.5 - margin)


def make_geometry(size: int, rng: np.random.Generator) -> Geometry:
    """Draw the layout of a photograph whose oversampled canvas is `size` pixels wide."""
    # A diameter above 1 is the usual field clipped at the top and bottom by the sensor.
    diameter = size * (rng.uniform(0.90, 0.98) if rng.random() < 0.65 else rng.uniform(1.0, 1.1))
    centre = (size * rng.uniform(0.49, 0.51), size * rng.uniform(0.49, 0.51))
    macula = (
        centre[0] + diameter * rng.uniform(-0.09, 0.0),
        centre[1] + diameter * rng.uniform(-0.03, 0.05),
    )
    disc = (
        macula[0] + diameter * rng.uniform(0.31, 0.36),
        macula[1] - diameter * rng.uniform(0.02, 0.06),
    )
    return Geometry(size, centre, diameter, disc, macula, diameter * rng.uniform(0.060, 0.078))


def rgb(red: float, green: float, blue: float) -> Float:
    """Make a colour, 0–1, that multiplies an image without widening its type."""
    return np.array([red, green, blue], dtype=np.float32)


def grid(size: int) -> tuple[Float, Float]:
    """Coordinates of the pixel centres of the photograph, on the oversampled canvas."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) * OVERSAMPLING
    return axis[None, :], axis[:, None]


def _blob(size: int, centre: Point, sigma: Point) -> Float:
    x, y = grid(size)
    across = np.exp(-(((x - centre[0]) / sigma[0]) ** 2) / 2)
    return across * np.exp(-(((y - centre[1]) / sigma[1]) ** 2) / 2)


def _texture(size: int, cells: int, rng: np.random.Generator) -> Float:
    """Smooth noise of zero mean and unit variance with about `cells` bumps across."""
    coarse = rng.standard_normal((cells + 2, cells + 2), dtype=np.float32)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)


def background(geometry: Geometry, size: int, rng: np.random.Generator) -> Float:
    """Paint the fundus without disc and vessels: float32 RGB, about 0–1, shape (size, size, 3)."""
    x, y = grid(size)
    pigment = rng.uniform(0, 1)
    colour = np.array([0.80 - 0.16 * pigment, 0.42 - 0.14 * pigment, 0.20 - 0.08 * pigment])
    reach = ((x - geometry.centre[0]) ** 2 + (y - geometry.centre[1]) ** 2) / geometry.diameter**2
    light = 1.0 - rng.uniform(0.5, 1.5) * reach
    tilt = rng.uniform(-0.18, 0.18, size=2)
    light += (tilt[0] * (x - geometry.centre[0]) + tilt[1] * (y - geometry.centre[1])) / (
        geometry.diameter
    )
    light += 0.03 * _texture(size, 4, rng) + 0.012 * _texture(size, 11, rng)
    light += rng.uniform(0.004, 0.012) * _texture(size, 40, rng)
    image = light[..., None] * colour.astype(np.float32)
    # Choroidal vessels shine through a lightly pigmented fundus: red-orange streaks.
    image[..., 1] *= 1 + 0.05 * (1 - pigment) * _texture(size, 22, rng)
    spread = geometry.diameter * rng.uniform(0.05, 0.08)
    fovea = _blob(size, geometry.macula, (spread, spread * rng.uniform(0.85, 1.1)))
    image *= 1 - fovea[..., None] * rgb(0.26, 0.38, 0.36) * rng.uniform(0.7, 1.2)
    return image


def _soft_disc(distance: Float, steepness: float) -> Float:
    """1 inside a distance of 1, 0 outside, with a sigmoid edge."""
    return 0.5 - 0.5 * np.tanh((distance - 1) * steepness / 2)


def add_disc(image: Float, geometry: Geometry, rng: np.random.Generator) -> None:
    """Paint the optic disc with its cup, in place."""
    size = image.shape[0]
    x, y = grid(size)
    radius = geometry.disc_radius
    distance = np.sqrt(
        ((x - geometry.disc[0]) / (radius * rng.uniform(0.88, 1.0))) ** 2
        + ((y - geometry.disc[1]) / radius) ** 2
    )
    glow = np.exp(-((distance / 2.2) ** 2)) * rng.uniform(0.05, 0.16)
    image *= 1 + glow[..., None]
    edge = _soft_disc(distance, rng.uniform(7, 14))
    cup_x = geometry.disc[0] - radius * rng.uniform(0.0, 0.2)
    cup_distance = np.hypot(x - cup_x, y - geometry.disc[1]) / (radius * rng.uniform(0.3, 0.6))
    cup = _soft_disc(cup_distance, 5)
    rim = rgb(0.95, 0.66, 0.36) * rng.uniform(0.9, 1.05)
    pale = rgb(1.0, 0.86, 0.62)
    disc = rim + cup[..., None] * (pale - rim)
    alpha = (edge * rng.uniform(0.8, 0.95))[..., None]
    image += alpha * (disc - image)


def _bezier(points: list[Point], steps: int) -> list[Point]:
    t = np.linspace(0, 1, steps)[:, None]
    a, b, c, d = (np.array(p) for p in points)
    curve = (1 - t) ** 3 * a + 3 * t * (1 - t) ** 2 * b + 3 * t**2 * (1 - t) * c + t**3 * d
    return [(float(px), float(py)) for px, py in curve]


def shrink(mask: Mask, size: int, blur: float = 0.0) -> Float:
    """Average a mask down to opacities 0–1 at the photograph's size; `blur` in image sizes."""
    small = cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA)
    if blur * size > 0.2:
        small = cv2.GaussianBlur(small, (0, 0), blur * size)
    return small.astype(np.float32) / np.float32(255)


def stroke(mask: Mask, line: list[Point], widths: list[float]) -> None:
    """Draw a line whose width, in canvas pixels, changes from point to point."""
    for start, end, width in zip(line, line[1:], widths, strict=False):
        p = (round(start[0] * 8), round(start[1] * 8))
        q = (round(end[0] * 8), round(end[1] * 8))
        # Below one pixel a vessel fades instead of getting thinner.
        value = round(255 * min(1.0, max(width, 0.3)))
        cv2.line(mask, p, q, value, max(1, round(width)), cv2.LINE_AA, shift=3)


def random_walk(
    start: Point, angle: float, step: float, count: int, turn: float, rng: np.random.Generator
) -> list[Point]:
    """Walk `count` steps from `start`; the heading (radians) changes by about `turn` a step."""
    line, heading = [start], angle
    bend = rng.normal(0, turn * 0.4)
    for change in rng.normal(0, turn, count).tolist():
        heading += bend + change
        x, y = line[-1]
        line.append((x + step * math.cos(heading), y + step * math.sin(heading)))
    return line


def _meander(line: list[Point], amplitude: float, rng: np.random.Generator) -> list[Point]:
    """Let a line sway, ever more with the distance from its start."""
    share = np.linspace(0, 1, len(line))
    phases, waves = rng.uniform(0, 2 * math.pi, (2, 2)), rng.uniform(6, 16, (2, 2))
    sway = np.sin(phases[..., None] + waves[..., None] * share).sum(axis=1) * share**0.5
    return [
        (x + amplitude * a, y + amplitude * b) for (x, y), a, b in zip(line, *sway, strict=True)
    ]


def _branch(
    mask: Mask,
    geometry: Geometry,
    start: Point,
    angle: float,
    width: float,
    length: float,
    forks: int,
    rng: np.random.Generator,
) -> None:
    """A side vessel: a smooth random walk that forks, thins out and spares the fovea."""
    step = geometry.diameter * 0.022
    count = max(2, int(length / step))
    line = random_walk(start, angle, step, count, 0.09, rng)
    for position, point in enumerate(line):
        if math.dist(point, geometry.macula) < geometry.diameter * 0.055:
            line = line[:position]
            break
    stroke(mask, line, [width * (1 - 0.6 * i / count) for i in range(len(line))])
    if forks and len(line) > 4:
        at = int(rng.integers(2, len(line) - 2))
        aim = math.atan2(line[at + 1][1] - line[at][1], line[at + 1][0] - line[at][0])
        turn = rng.choice((-1, 1)) * rng.uniform(0.35, 0.8)
        _branch(mask, geometry, line[at], aim + turn, width * 0.7, length * 0.6, forks - 1, rng)


def _arcades(geometry: Geometry, rng: np.random.Generator) -> list[list[Point]]:
    """The four arcades from the disc: two arch over the macula, two run to the nasal side."""
    (dx, dy), (mx, my), unit = geometry.disc, geometry.macula, geometry.diameter

    def near(x: float, y: float) -> Point:
        jx, jy = rng.normal(0, 0.028, 2)
        return x + jx * unit, y + jy * unit

    lines = []
    for up in (-1, 1):
        origin = (dx + rng.normal(0, 0.006) * unit, dy + rng.normal(0, 0.006) * unit)
        temporal = [
            origin,
            near(dx - 0.01 * unit, dy + up * 0.22 * unit),
            near(mx + 0.08 * unit, my + up * 0.30 * unit),
            near(mx - 0.44 * unit, my + up * rng.uniform(0.12, 0.26) * unit),
        ]
        nasal = [
            origin,
            near(dx + 0.02 * unit, dy + up * 0.10 * unit),
            near(dx + 0.10 * unit, dy + up * 0.20 * unit),
            near(dx + 0.22 * unit, dy + up * 0.40 * unit),
        ]
        for control, steps in ((temporal, 36), (nasal, 24)):
            lines.append(_meander(_bezier(control, steps), 0.012 * unit, rng))
    return lines


def add_vessels(image: Float, geometry: Geometry, grade: int, rng: np.random.Generator) -> None:
    """Paint arteries and veins, in place; from grade 3 on veins may be beaded."""
    size = image.shape[0]
    calibre = geometry.diameter * rng.uniform(0.0115, 0.0145)
    beading = grade >= 3 and rng.random() < 0.7
    for absorption, share in ((_ARTERY, 0.72), (_VEIN, 1.0)):
        mask = np.zeros((geometry.size, geometry.size), np.uint8)
        for line in _arcades(geometry, rng):
            width = calibre * share * rng.uniform(0.85, 1.1)
            taper = np.linspace(1.0, 0.35, len(line))
            if beading and absorption is _VEIN:
                taper = taper * (1 + 0.45 * np.sin(np.arange(len(line)) * 1.9))
            stroke(mask, line, [float(width * k) for k in taper])
            for side in range(6):
                at = int(len(line) * (0.2 + 0.12 * side + rng.uniform(0, 0.1)))
                (x0, y0), (x1, y1) = line[at], line[at + 1]
                turn = (1 if side % 2 else -1) * rng.uniform(0.3, 0.8)
                aim = math.atan2(y1 - y0, x1 - x0) + turn
                reach = geometry.diameter * rng.uniform(0.12, 0.30)
                _branch(mask, geometry, line[at], aim, width * taper[at] * 0.42, reach, 2, rng)
        strength = shrink(mask, size) * np.float32(rng.uniform(0.75, 1.05))
        image *= 1 - strength[..., None] * rgb(*absorption)
