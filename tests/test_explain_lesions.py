"""On photographs whose lesions' places are known, maps lie on them, and on what was learnt."""

from __future__ import annotations

import numpy as np
import pytest

from fundus import RidgeHead, TransferClassifier
from fundus.data.synthetic import draw_fundus, lesions
from fundus.images.aperture import field_of_view
from fundus.runtime.opencv import cv2

SIZE = 160


def drawn(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Photographs of `make_fundus`, healthy and severe in turn, and where their lesions are."""
    made = []

    class Seen(lesions._Canvas):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    rng, grades = np.random.default_rng(seed), 3 * (np.arange(n) % 2)
    photographs, masks = [], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lesions, "_Canvas", Seen)
        for grade in grades:
            photographs.append(draw_fundus(int(grade), image_size=SIZE, rng=rng))
            whole = np.zeros((2 * SIZE, 2 * SIZE), np.uint8)
            for mask in made[-1].masks.values():
                whole = np.maximum(whole, mask)
            small = cv2.resize(whole, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
            masks.append(cv2.dilate((small > 40).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0)
    return np.stack(photographs), grades, np.stack(masks)


@pytest.fixture(scope="module")
def seen():
    """Photographs to train on, and others with their lesions, all of grade 3."""
    X, y, _ = drawn(40, 0)
    others, grades, masks = drawn(12, 1)
    sick = grades == 3
    return X, y, others[sick], masks[sick]


@pytest.fixture(scope="module")
def fitted(seen, tmp_path_factory):
    """Fit the recipe on grades, with the network's weights, and explain the other photographs."""
    cache = tmp_path_factory.mktemp("cache")
    X, _, others, _ = seen

    def fit(y, weights="imagenet", rows=slice(None)):
        model = TransferClassifier(
            "efficientnet_lite0",
            RidgeHead(alpha=100.0),
            grades=[0, 3],
            weights=weights,
            image_size=SIZE,
            pooling="multilevel_std",
            pool_over="fov",
            stages=slice(None, -1),
            power=0.5,
            cache=cache,
            random_state=0,
        )
        found = model.fit(X[rows], y[rows]).explain(others)
        np.testing.assert_allclose(found.severity, model.predict_severity(others), atol=1e-4)
        maps = np.stack(found.maps)
        total = maps.sum(axis=(1, 2), dtype=np.float64) + found.bias
        np.testing.assert_allclose(total, found.severity, atol=1e-4)
        return maps

    return fit


def share_in(maps: np.ndarray, masks: np.ndarray) -> float:
    """Share of what raises the severity that lies in masks, the mean over photographs."""
    raising = np.maximum(maps, 0)
    return float(np.mean((raising * masks).sum(axis=(1, 2)) / raising.sum(axis=(1, 2))))


@pytest.mark.slow
def test_maps_lie_on_lesions_and_chance_does_not(seen, fitted):
    _, y, others, masks = seen
    inside = field_of_view(others)
    chance = share_in(inside.astype(np.float32), masks)
    learnt = share_in(fitted(y), masks)
    assert learnt > 1.5 * chance
    rng = np.random.default_rng(0)
    for _ in range(2):
        permuted = share_in(fitted(rng.permutation(y)), masks)
        assert learnt > 1.5 * permuted


@pytest.mark.slow
def test_random_weights_change_the_map(seen, fitted):
    """The sanity check of Adebayo et al. 2018, with a control: other photographs do not."""
    _, y, _, _ = seen

    def like(maps, others):
        pairs = zip(maps, others, strict=True)
        return float(np.mean([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairs]))

    first, second = fitted(y, rows=slice(None, 20)), fitted(y, rows=slice(20, None))
    control, randomised = like(first, second), like(first, fitted(y, weights=None))
    assert control > 0.5
    assert abs(randomised) < 0.5 * control
