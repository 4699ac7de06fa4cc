"""Draw ``docs/views.png``: every kind of change of `Augmentation` at both ends of a range.

python docs/make_views.py
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from fundus import Augmentation, make_fundus
from fundus.images import ImageRecipe, load_image
from fundus.runtime.opencv import cv2

PICTURE = Path(__file__).resolve().with_name("views.png")

#: Edge of the photograph, of a cell of the picture, and of the part that is shown enlarged.
SIDE, CELL, PART = 320, 112, 56
#: Top left corner of that part: haemorrhages and exudates.
CORNER = (118, 92)

#: Nothing but what a row switches on.
STILL = replace(
    Augmentation.cameras(), rotation=0, shift=0, zoom=(1, 1), flip_horizontal=False, at_ends=True,
    tone=None, contrast=None, blur=None, resolution=None, jpeg=None,
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One kind: the parameters of its two views, what to write below them, and their seeds."""

    label: str
    views: tuple[Augmentation, Augmentation]
    captions: tuple[str, str]
    seeds: tuple[int, int] = (0, 0)
    enlarged: bool = False


def row(kind: str, low: Any, high: Any, caption: str, **options: Any) -> Row:
    """The row of a kind whose ends are two amounts."""
    warped = kind in ("rotation", "shift")
    views = [replace(STILL, **{kind: end if warped else (end, end)}) for end in (low, high)]
    captions = caption.format(low), caption.format(high)
    return Row(kind, (views[0], views[1]), captions, **options)


CASTS = replace(STILL, gains=(0.75, 1.33))
CAMERAS = Augmentation.cameras()
COLOUR = (
    row("light", 0.15, 0.5, "±{} of the light", seeds=(3, 3)),
    row("hole", 0.25, 0.65, "{} of the light gone"),
    row("halo", 0.1, 0.45, "{} of white"),
    row("spot", 0.1, 0.45, "{} of white"),
    Row("gains", (CASTS, CASTS), ("red 0.75, others 1.33", "red 1.33, others 0.75"), (6, 2)),
    row("tone", 0.65, 1.5, "gamma {}"),
    row("contrast", 0.7, 1.3, "factor {}"),
    row("noise", 3.0, 12.0, "σ {} grey levels", enlarged=True),  # noqa: RUF001
)
DETAIL = (
    row("blur", 0.75, 3.0, "σ {} px of 320", enlarged=True),  # noqa: RUF001
    row("sharpness", 0.0, 3.0, "{:g} (1 leaves it)", enlarged=True),
    row("resolution", 0.7, 0.25, "{} of a side", enlarged=True),
    row("jpeg", 70, 20, "quality {}", enlarged=True),
    replace(
        row("rotation", 15, 15, "", seeds=(2, 0)),
        captions=("−15 degrees", "+15 degrees"),  # noqa: RUF001
    ),
    replace(
        row("shift", 0.05, 0.05, "", seeds=(0, 4)),
        captions=("−0.05 of the side", "+0.05 of the side"),  # noqa: RUF001
    ),
    row("zoom", 0.9, 1.1, "factor {}"),
    Row("cameras()", (CAMERAS, CAMERAS), ("one view", "another"), (4, 7)),
)


def photograph() -> NDArray[np.uint8]:
    """A synthetic photograph with lesions, as the package decodes it."""
    with TemporaryDirectory() as folder:
        data = make_fundus(1, 640, 4, out_dir=folder, grade_weights=[0, 0, 0, 1, 0])
        return load_image(data.paths[0], ImageRecipe(SIDE))


def cell(image: NDArray[np.uint8], enlarged: bool) -> NDArray[np.uint8]:
    """An image as a cell shows it: smaller, or a part of it with every pixel doubled."""
    if not enlarged:
        return cv2.resize(image, (CELL, CELL), interpolation=cv2.INTER_AREA)
    top, left = CORNER
    part = image[top : top + PART, left : left + PART]
    return cv2.resize(part, (CELL, CELL), interpolation=cv2.INTER_NEAREST)


def draw(image: NDArray[np.uint8]) -> Figure:
    """Two blocks of rows; a row holds its name, the original and two views."""
    label, gap, line, space = 78, 4, 18, 18
    block = label + 3 * CELL + 2 * gap
    width, height = 2 * block + space + 16, 8 + 8 * (CELL + line + gap)
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    FigureCanvasAgg(figure)
    for side, rows in enumerate((COLOUR, DETAIL)):
        for number, kind in enumerate(rows):
            left, top = 8 + side * (block + space), 8 + number * (CELL + line + gap)
            middle = height - top - CELL / 2
            figure.text(
                (left + label - 10) / width, middle / height, kind.label,
                ha="right", va="center", fontsize=8.5, weight="bold",
            )  # fmt: skip
            pictures = [
                image,
                *(v.augment(image, s) for v, s in zip(kind.views, kind.seeds, strict=True)),
            ]
            original = "original" + ", enlarged" * kind.enlarged
            captions = (original, *kind.captions)
            for column, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
                x, y = left + label + column * (CELL + gap), height - top - CELL
                place = (x / width, y / height, CELL / width, CELL / height)
                ax = figure.add_axes(place)
                ax.imshow(cell(picture, kind.enlarged), interpolation="nearest")
                ax.set_axis_off()
                figure.text(
                    (x + CELL / 2) / width, (y - 3) / height, caption,
                    ha="center", va="top", fontsize=6.5, color="#444444",
                )  # fmt: skip
    return figure


def main() -> None:
    buffer = io.BytesIO()
    draw(photograph()).savefig(buffer, dpi=100)
    # a palette halves the file, and 256 colours are enough for retinas
    image = Image.open(buffer).convert("RGB")
    image = image.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
    image.save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
