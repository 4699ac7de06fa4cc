"""One kind of change at a time, at three strengths."""

from __future__ import annotations

import inspect
import pickle
import re

import cv2
import numpy as np
import pytest
from image_samples import retina

from fundus import Augmentation, degradations
from fundus.exceptions import InvalidParameterError
from fundus.images.degradations import AMOUNTS, STRENGTHS
from fundus.images.kinds import KINDS

#: A retina with a pale disc at its right, so that it looks like no turned or moved copy.
IMAGE = retina(240, 240, (119.5, 119.5), 108, noise=3.0)
cv2.circle(IMAGE, (185, 110), 20, (250, 220, 150), -1)


def change(augmentation, seed):
    view = augmentation.augment(IMAGE, seed).astype(float)
    return np.sqrt(((view - IMAGE) ** 2).mean())


def test_every_kind_and_every_part_of_the_warp_is_there():
    assert set(degradations()) == {*KINDS, "rotation", "shift", "zoom"}


@pytest.mark.parametrize("kind", degradations())
def test_a_kind_alone_grows_with_its_strength(kind):
    made = [degradations()[kind](strength) for strength in (1, 2, 3)]
    names = set(Augmentation.__dataclass_fields__)
    still = Augmentation(
        rotation=0.0, shift=0.0, zoom=(1.0, 1.0), zoom_per_axis=False, flip_horizontal=False,
        flip_vertical=False, fill="black", at_ends=True,
    )  # fmt: skip
    for augmentation in made:
        differ = {name for name in names if getattr(augmentation, name) != getattr(still, name)}
        assert differ == {kind}
    sizes = [np.mean([change(view, seed) for seed in range(6)]) for view in made]
    assert 0.1 < sizes[0] < sizes[1] < sizes[2]
    again = pickle.loads(pickle.dumps(degradations()[kind]))(2)
    assert again == made[1]


@pytest.mark.parametrize("kind", ["tone", "contrast", "zoom", "rotation"])
def test_a_change_with_a_sign_goes_both_ways_by_the_same(kind):
    strong = degradations()[kind](3)
    views = {strong.augment(IMAGE, seed).tobytes() for seed in range(12)}
    assert len(views) == 2


@pytest.mark.parametrize("strength", [0, 4, 1.5, "mild", True, None])
def test_other_strengths_are_refused(strength):
    with pytest.raises(InvalidParameterError, match="'strength' parameter of degradations must be"):
        degradations()["blur"](strength)


def test_the_table_says_the_amounts():
    rows = re.findall(r"^(\w+)  +(\S.*)$", inspect.getdoc(degradations), re.MULTILINE)
    told = {
        name: [
            [float(number) for number in re.findall(r"\d+(?:\.\d+)?", cell)]
            for cell in re.split(r"  +", rest)[: len(STRENGTHS)]
        ]
        for name, rest in rows
        if name in AMOUNTS
    }
    assert set(told) == set(AMOUNTS)
    for kind, amounts in AMOUNTS.items():
        assert told[kind] == [sorted({*np.atleast_1d(amount).tolist()}) for amount in amounts]


def test_medium_is_the_end_of_what_cameras_draw():
    cameras = Augmentation.cameras()
    for kind in ("tone", "contrast", "zoom"):
        assert getattr(degradations()[kind](2), kind) == getattr(cameras, kind)
    assert cameras.blur[1] == AMOUNTS["blur"][1][0]
    assert cameras.resolution[0] == AMOUNTS["resolution"][1][0]
    assert cameras.jpeg[0] == AMOUNTS["jpeg"][1][0]
    assert (cameras.rotation, cameras.shift) == (AMOUNTS["rotation"][1], AMOUNTS["shift"][1])
