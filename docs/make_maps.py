"""Draw ``docs/maps.png``: maps on synthetic photographs, whose lesions' places are known.

python docs/make_maps.py
"""

from __future__ import annotations

import io
from pathlib import Path
from unittest.mock import patch

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image

from fundus import Explanation, FoldEnsemble, RidgeHead, TransferClassifier
from fundus.data.synthetic import draw_fundus, lesions
from fundus.explain.overlay import DISAGREES, LOWERS, RAISES
from fundus.runtime.opencv import cv2

PICTURE = Path(__file__).resolve().with_name("maps.png")

#: Edge of the photographs, and of what the network gets, in pixels.
SIDE, INPUT = 288, 192
#: Photographs to train on; by grade those that are shown.
N_TRAIN, SHOWN = 70, (1, 2, 3, 4)
#: Colour of the outlines of lesions.
OUTLINE = (90, 255, 255)


def draw(grade: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A photograph, and where its lesions are, with what only looks like one."""
    made = []

    class Seen(lesions._Canvas):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)  # type: ignore[arg-type]
            made.append(self)

    with patch.object(lesions, "_Canvas", Seen):
        photograph = draw_fundus(grade, image_size=SIDE, rng=np.random.default_rng([grade, seed]))
    whole = np.zeros((made[0].geometry.size,) * 2, np.uint8)
    for mask in made[0].masks.values():
        whole = np.maximum(whole, mask)
    return photograph, cv2.resize(whole, (SIDE, SIDE), interpolation=cv2.INTER_AREA) > 60


def explain(y: NDArray[np.intp], X: NDArray[np.uint8], shown: NDArray[np.uint8]) -> Explanation:
    """Train the recipe for small sets on photographs, and explain others."""
    model = TransferClassifier(
        head=RidgeHead(alpha=300.0), image_size=INPUT, pooling="multilevel_std", pool_over="fov",
        stages=slice(None, -1), power=0.5, grades=5, random_state=0,
    )  # fmt: skip
    return FoldEnsemble(model, cv=4, random_state=0).fit(X, y).explain(shown)


def outlined(photograph: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A photograph with lines around its lesions."""
    wide = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8))
    edges, _ = cv2.findContours(wide, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(photograph.copy(), edges, -1, OUTLINE, 1, cv2.LINE_AA)


def figure(rows: list[list[NDArray[np.uint8]]], captions: list[list[str]]) -> Figure:
    """One row for each photograph; headings above, captions below, the meaning of colours last."""
    titles = (
        "lesions, which the\nmodel was never shown", "what raises and\nlowers the severity",
        "where the four\nfolds disagree", "the same, trained on\npermuted grades",
    )  # fmt: skip
    cell, gap, line, top, foot = 230, 8, 22, 52, 34
    width = 4 * cell + 5 * gap
    height = top + len(rows) * (cell + line + gap) + foot
    found = Figure(figsize=(width / 100, height / 100), dpi=100)
    FigureCanvasAgg(found)
    for column, title in enumerate(titles):
        x = gap + column * (cell + gap) + cell / 2
        found.text(
            x / width, 1 - top / 2 / height, title, ha="center", va="center", fontsize=11,
            weight="bold", linespacing=1.15,
        )  # fmt: skip
    for row, (pictures, texts) in enumerate(zip(rows, captions, strict=True)):
        y = height - top - (row + 1) * cell - row * (line + gap)
        for column, (picture, text) in enumerate(zip(pictures, texts, strict=True)):
            x = gap + column * (cell + gap)
            ax = found.add_axes((x / width, y / height, cell / width, cell / height))
            ax.imshow(picture, interpolation="lanczos")
            ax.set_axis_off()
            found.text(
                (x + cell / 2) / width, (y - 4) / height, text, ha="center", va="top",
                fontsize=9, color="#333333",
            )  # fmt: skip
    key = [
        Patch(color=RAISES, label="raises the severity"),
        Patch(color=LOWERS, label="lowers it"),
        Patch(color=DISAGREES, label="folds disagree"),
        Patch(facecolor="white", edgecolor="#30b8b8", label="a lesion, or what looks like one"),
    ]
    found.legend(
        handles=key, loc="lower center", ncols=4, frameon=False, fontsize=9.5,
        bbox_to_anchor=(0.5, 0.0), borderaxespad=0.3, columnspacing=2.2,
    )  # fmt: skip
    return found


def main() -> None:
    y = np.arange(N_TRAIN) % 5
    X = np.stack([draw(int(grade), 100 + k)[0] for k, grade in enumerate(y)])
    pairs = [draw(grade, 7) for grade in SHOWN]
    shown = np.stack([photograph for photograph, _ in pairs])
    learnt = explain(y, X, shown)
    permuted = explain(np.random.default_rng(0).permutation(y), X, shown)
    rows, captions = [], []
    for k, (photograph, mask) in enumerate(pairs):
        rows.append(
            [
                outlined(photograph, mask),
                learnt.to_overlay(k),
                learnt.to_overlay(k, disagreement=True),
                permuted.to_overlay(k),
            ]
        )
        pixels = learnt.map(k)
        up, down = pixels[pixels > 0].sum(), -pixels[pixels < 0].sum()
        captions.append(
            [
                f"grade {SHOWN[k]}",
                f"severity {learnt.severity[k]:.2f} = {learnt.bias[k]:.2f} + {up:.2f} − {down:.2f}",  # noqa: RUF001
                f"sum of deviations {learnt.disagreement(k).sum():.2f}",
                f"severity {permuted.severity[k]:.2f}",
            ]
        )
    buffer = io.BytesIO()
    figure(rows, captions).savefig(buffer, dpi=100)
    image = Image.open(buffer).convert("RGB")
    image = image.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
    image.save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
