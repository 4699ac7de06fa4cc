"""Lesions of diabetic retinopathy on a synthetic fundus, in kind and number as the grade has it."""

from __future__ import annotations

import math

import numpy as np

from fundus.data.synthetic.anatomy import (
    Float,
    Geometry,
    Mask,
    Point,
    random_walk,
    rgb,
    shrink,
    stroke,
)
from fundus.runtime.opencv import cv2

#: Mean number of lesions by grade 0–4: grade 1 is microaneurysms only, grade 2 adds haemorrhages
#: and exudates, grade 3 fills four quadrants; grade 4 has what `_proliferate` adds.
MEAN_COUNTS = {
    "microaneurysms": (0.0, 5.0, 12.0, 20.0, 14.0),
    "haemorrhages": (0.0, 0.0, 5.0, 22.0, 11.0),
    "exudate clusters": (0.0, 0.0, 1.4, 2.2, 1.8),
    "cotton wool spots": (0.0, 0.0, 0.4, 2.2, 1.0),
}

# For each layer, from the deepest to the nearest to the lens: its colour (red, green, blue, 0–1),
# its opacity, and its blur in image sizes.
_LAYERS = {
    "scars": ((0.78, 0.60, 0.38), 0.45, 0.004),
    "pigment": ((0.14, 0.09, 0.06), 0.45, 0.004),
    "wool": ((0.95, 0.82, 0.58), 0.75, 0.009),
    "exudates": ((0.98, 0.80, 0.34), 0.70, 0.001),
    "blood": ((0.36, 0.07, 0.05), 0.62, 0.0022),
    "pool": ((0.36, 0.07, 0.05), 0.80, 0.005),
}


class _Canvas:
    """One mask per layer, made when first drawn on, on the oversampled canvas."""

    def __init__(self, geometry: Geometry, rng: np.random.Generator) -> None:
        self.geometry, self.rng = geometry, rng
        self.unit = geometry.diameter
        self.masks: dict[str, Mask] = {}

    def layer(self, name: str) -> Mask:
        size = self.geometry.size
        return self.masks.setdefault(name, np.zeros((size, size), np.uint8))

    def spot(
        self, layer: str, at: Point, radius: float, stretch: float = 1.0, tilt: float = 0.0
    ) -> None:
        """Draw an ellipse; `radius` in diameters of the field, `tilt` in degrees."""
        axes = (radius * self.unit * stretch, radius * self.unit / stretch)
        centre = (round(at[0] * 16), round(at[1] * 16))
        scaled = (max(8, round(axes[0] * 16)), max(8, round(axes[1] * 16)))
        cv2.ellipse(self.layer(layer), centre, scaled, tilt, 0, 360, 255, -1, cv2.LINE_AA, 4)

    def near(self, at: Point, spread: float) -> Point:
        """Draw a point about `spread` diameters of the field from another."""
        x, y = self.rng.normal(0, spread * self.unit, 2)
        return at[0] + x, at[1] + y

    def around(self, centre: Point, low: float, high: float, quadrant: int | None = None) -> Point:
        """Draw a point in the field, `low`–`high` diameters from `centre`, off disc and fovea."""
        geometry, rng = self.geometry, self.rng
        while True:
            turn = rng.uniform(0, 2 * math.pi) if quadrant is None else rng.uniform(0, math.pi / 2)
            angle = turn + (quadrant or 0) * math.pi / 2
            reach = self.unit * rng.uniform(low, high)
            point = (centre[0] + reach * math.cos(angle), centre[1] + reach * math.sin(angle))
            free = math.dist(point, geometry.disc) > 1.25 * geometry.disc_radius
            if free and math.dist(point, geometry.macula) > 0.02 * self.unit:
                if geometry.inside(point):
                    return point
                low, high = low * 0.9, high * 0.9


def add_lesions(image: Float, geometry: Geometry, grade: int, rng: np.random.Generator) -> None:
    """Paint the lesions of `grade`, 0–4, on `image` (float32 RGB, 0–1), in place."""
    canvas = _Canvas(geometry, rng)
    extent = float(np.clip(rng.lognormal(0, 0.35), 0.5, 1.8))
    counts = {kind: rng.poisson(means[grade] * extent) for kind, means in MEAN_COUNTS.items()}
    if grade >= 1:
        counts["microaneurysms"] = max(2, counts["microaneurysms"])
    if grade == 2:
        counts["haemorrhages"] = max(2, counts["haemorrhages"])
    if grade == 3:
        counts["haemorrhages"] = max(12, counts["haemorrhages"])
    for _ in range(counts["microaneurysms"]):
        canvas.spot("blood", canvas.around(geometry.macula, 0.03, 0.40), rng.uniform(0.003, 0.0055))
    for number in range(counts["haemorrhages"]):
        _haemorrhage(canvas, number % 4 if grade == 3 else None)
    for _ in range(counts["exudate clusters"]):
        _exudates(canvas)
    for _ in range(counts["cotton wool spots"]):
        at = canvas.around(geometry.disc, 0.12, 0.35)
        for _ in range(3):
            spot = canvas.near(at, 0.006)
            canvas.spot("wool", spot, rng.uniform(0.008, 0.016), 1.3, rng.uniform(0, 180))
    if grade == 4:
        _proliferate(canvas)
    _distract(canvas)
    for name, (colour, opacity, blur) in _LAYERS.items():
        if name in canvas.masks:
            alpha = shrink(canvas.masks[name], image.shape[0], blur)
            strength = np.float32(opacity * rng.uniform(0.55, 1.0))
            image += alpha[..., None] * strength * (rgb(*colour) - image)


def _haemorrhage(canvas: _Canvas, quadrant: int | None) -> None:
    rng, geometry = canvas.rng, canvas.geometry
    at = canvas.around(geometry.centre, 0.06, 0.45, quadrant)
    if rng.random() < 0.35:  # flame-shaped: in the nerve fibre layer, which radiates from the disc
        tilt = math.degrees(math.atan2(at[1] - geometry.disc[1], at[0] - geometry.disc[0]))
        for _ in range(3):
            spot = canvas.near(at, 0.004)
            canvas.spot("blood", spot, rng.uniform(0.006, 0.011), 1.8, tilt + rng.normal(0, 12))
        return
    radius = rng.uniform(0.006, 0.013)
    for _ in range(rng.integers(2, 5)):
        spot = canvas.near(at, radius * 0.6)
        canvas.spot("blood", spot, radius * rng.uniform(0.6, 1.0), 1.15, rng.uniform(0, 180))


def _exudates(canvas: _Canvas) -> None:
    rng, geometry = canvas.rng, canvas.geometry
    at = canvas.around(geometry.macula, 0.04, 0.22)
    circinate = rng.random() < 0.3
    spread = rng.uniform(0.015, 0.04)
    for _ in range(rng.integers(6, 22)):
        angle = rng.uniform(0, 2 * math.pi)
        reach = canvas.unit * (spread if circinate else abs(rng.normal(0, spread)))
        reach *= rng.uniform(0.85, 1.15)
        spot = (at[0] + reach * math.cos(angle), at[1] + reach * math.sin(angle))
        radius = min(0.002 + rng.exponential(0.0018), 0.009)
        canvas.spot("exudates", spot, radius, rng.uniform(1, 1.4), rng.uniform(0, 180))


def _proliferate(canvas: _Canvas) -> None:
    """Add new vessels at the disc or elsewhere, blood before the retina, laser scars."""
    rng, geometry = canvas.rng, canvas.geometry
    bleeds = rng.random() < 0.5
    for _ in range(rng.integers(0 if bleeds else 1, 4)):
        at_disc = rng.random() < 0.4
        at = geometry.disc if at_disc else canvas.around(geometry.disc, 0.15, 0.4)
        for _ in range(rng.integers(5, 11)):
            walk = random_walk(at, rng.uniform(0, 2 * math.pi), 0.009 * canvas.unit, 12, 0.8, rng)
            stroke(canvas.layer("blood"), walk, [0.0028 * canvas.unit] * len(walk))
    if bleeds:
        _pool(canvas)
    if rng.random() < 0.35:
        for _ in range(rng.integers(40, 110)):
            at = canvas.around(geometry.macula, 0.30, 0.62)
            canvas.spot("scars", at, rng.uniform(0.008, 0.014))
            if rng.random() < 0.5:
                canvas.spot("pigment", at, rng.uniform(0.003, 0.007))


def _pool(canvas: _Canvas) -> None:
    """Preretinal haemorrhage: a boat whose upper edge is the fluid level."""
    rng = canvas.rng
    x, y = canvas.around(canvas.geometry.centre, 0.1, 0.33)
    width, height = (rng.uniform(*span) * canvas.unit for span in ((0.05, 0.13), (0.03, 0.09)))
    angles = np.linspace(0, math.pi, 24)
    wobble = 1 + rng.normal(0, 0.04, 24)
    outline = np.stack([x + width * np.cos(angles), y + height * np.sin(angles) * wobble], axis=1)
    points = np.round(outline * 16).astype(np.int32)
    cv2.fillPoly(canvas.layer("pool"), [points], 255, cv2.LINE_AA, 4)


def _distract(canvas: _Canvas) -> None:
    """Add what looks like a lesion and is none: drusen, dust, pigment."""
    rng, geometry = canvas.rng, canvas.geometry
    if rng.random() < 0.2:
        for _ in range(rng.integers(2, 12)):
            at = canvas.around(geometry.macula, 0.03, 0.2)
            canvas.spot("exudates", at, rng.uniform(0.0015, 0.003))
    for _ in range(rng.poisson(0.6)):
        canvas.spot("pigment", canvas.around(geometry.centre, 0.05, 0.45), rng.uniform(0.004, 0.01))
