"""On photographs whose lesions' places are known, maps lie on them, and on learnt weights."""

from __future__ import annotations

import numpy as np

from fundus.data.synthetic import draw_fundus, lesions
from fundus.runtime.opencv import cv2

SIZE = 96


def draw(n: int, seed: int, monkeypatch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Photographs, their grades, and where their lesions are; eyes that look like lesions too."""
    made = []

    class Seen(lesions._Canvas):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(lesions, "_Canvas", Seen)
    rng = np.random.default_rng(seed)
    grades = np.arange(n) % 5
    photographs, masks = [], []
    for grade in grades:
        photographs.append(draw_fundus(int(grade), image_size=SIZE, rng=rng))
        whole = np.zeros((2 * SIZE, 2 * SIZE), np.uint8)
        for mask in made[-1].masks.values():
            whole = np.maximum(whole, mask)
        masks.append(cv2.resize(whole, (SIZE, SIZE), interpolation=cv2.INTER_AREA) > 40)
    return np.stack(photographs), grades, np.stack(masks)
