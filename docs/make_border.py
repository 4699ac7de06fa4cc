"""Draw ``docs/border.png``: one retina as three cameras frame it, and its field of view.

python docs/make_border.py
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from fundus import make_fundus
from fundus.images import ImageRecipe, load_image, prepare_array
from fundus.images.aperture import field_of_view

PICTURE = Path(__file__).resolve().with_name("border.png")

#: Edge of the photograph, and of the square that a network gets.
SIDE, SIZE = 640, 320
#: What each camera shows: parts of the height and of the width that its frame cuts off.
CAMERAS = {
    "the whole disc": (0.0, 0.0),
    "cut above and below": (0.1, 0.0),
    "cut on all sides": (0.08, 0.08),
}
INK, RIM = "#222222", "#2f7ed8"


def framed(photograph: NDArray[np.uint8], cut: tuple[float, float]) -> NDArray[np.uint8]:
    """Cut parts of the field of view off."""
    mask = field_of_view(photograph[None])[0]
    (top, bottom), (left, right) = (np.flatnonzero(mask.any(axis=axis))[[0, -1]] for axis in (1, 0))
    down, across = (int(part * (bottom - top)) for part in cut)
    return photograph[top + down : bottom + 1 - down, left + across : right + 1 - across]


def draw() -> Figure:
    """Draw the squares, the rim of the field of view on each, and its share."""
    with TemporaryDirectory() as folder:
        data = make_fundus(12, SIDE, 3, out_dir=folder)
        worst = int(np.argmax(data.grades == 2))
        photograph = load_image(data.paths[worst], ImageRecipe(SIDE))
    figure = Figure(figsize=(9.0, 3.55), dpi=160)
    FigureCanvasAgg(figure)
    for axes, (name, cut) in zip(figure.subplots(1, 3), CAMERAS.items(), strict=True):
        square = prepare_array(np.ascontiguousarray(framed(photograph, cut)), ImageRecipe(SIZE))
        mask = field_of_view(square[None])[0]
        axes.imshow(square)
        padded = np.pad(mask, 1).astype(float)
        axes.contour(
            np.arange(-1, SIZE + 1),
            np.arange(-1, SIZE + 1),
            padded,
            [0.5],
            colors=RIM,
            linewidths=2,
        )
        axes.set(xlim=(-6, SIZE + 5), ylim=(SIZE + 5, -6), xticks=[], yticks=[])
        axes.set_title(name, fontsize=11, color=INK)
        axes.set_xlabel(f"field of view: {mask.mean():.2f} of the square", fontsize=10, color=INK)
        axes.spines[:].set_visible(False)
    figure.subplots_adjust(left=0.01, right=0.99, top=0.9, bottom=0.09, wspace=0.04)
    return figure


def main() -> None:
    """Write the picture."""
    figure = draw()
    figure.savefig(PICTURE)
    with Image.open(PICTURE) as picture:
        picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=200).save(
            PICTURE, optimize=True
        )


if __name__ == "__main__":
    main()
