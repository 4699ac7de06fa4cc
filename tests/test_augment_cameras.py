"""What cameras do to a picture: light, colour, detail and files, each from its own draws."""

from __future__ import annotations

import copy
import io
import pickle
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from image_samples import retina
from PIL import Image
from sklearn.base import BaseEstimator, clone

from fundus import Augmentation
from fundus.exceptions import DataError, InvalidParameterError
from fundus.images.aperture import field_of_view
from fundus.images.kinds import KINDS, draw_kinds
from fundus.saving.codec import Decoder, Encoder

STILL = {
    "rotation": 0,
    "shift": 0,
    "zoom": (1, 1),
    "flip_horizontal": False,
    "flip_vertical": False,
}

#: Each kind switched on so that it shows, and so that it leaves the picture (but for JPEG).
ON = {
    "light": (0.4, 0.5),
    "hole": (0.5, 0.6),
    "halo": (0.3, 0.4),
    "spot": (0.3, 0.4),
    "gains": (0.7, 1.4),
    "tone": (1.4, 1.5),
    "contrast": (0.6, 0.7),
    "blur": (4.0, 5.0),
    "sharpness": (3.0, 9.0),
    "resolution": (0.3, 0.4),
    "noise": (8.0, 9.0),
    "jpeg": (20, 30),
}
NEUTRAL = {
    **dict.fromkeys(("light", "hole", "halo", "spot", "blur", "noise"), (0, 0)),
    **dict.fromkeys(("gains", "tone", "contrast", "sharpness", "resolution"), (1, 1)),
}
MASKED = ("light", "hole", "halo", "spot", "gains", "tone", "contrast", "noise")


def still(**kinds):
    return Augmentation(**STILL, **kinds)


def amount(kind, value):
    """One kind at a fixed amount."""
    return still(**{kind: (value, value)})


def eye(size=96, texture=12.0):
    """A round retina before a border that is black, with texture inside."""
    image = retina(size, size, ((size - 1) / 2, (size - 1) / 2), 0.45 * size)
    lit = image.any(axis=2, keepdims=True)
    texture = np.random.default_rng(1).normal(0, texture, image.shape)
    return np.where(lit, image + texture, 0).clip(0, 255).astype(np.uint8)


def test_every_kind_is_tried_here():
    assert set(ON) == set(KINDS)
    assert set(NEUTRAL) == set(KINDS) - {"jpeg"}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_changes_the_picture_by_its_seed(kind):
    image, augmentation = eye(320), still(**{kind: ON[kind]})
    image.flags.writeable = False
    before = image.copy()
    views = [augmentation.augment(image, seed) for seed in (1, 1, 2)]
    assert views[0].dtype == np.uint8
    assert views[0].shape == image.shape
    np.testing.assert_array_equal(views[0], views[1])
    assert not np.array_equal(views[0], image)
    assert not np.array_equal(views[0], views[2])
    np.testing.assert_array_equal(image, before)
    root = np.random.SeedSequence(1)
    np.testing.assert_array_equal(augmentation.augment(image, root), views[0])
    np.testing.assert_array_equal(augmentation.augment(image, root), views[0])
    child = root.spawn(1)[0]
    assert not np.array_equal(augmentation.augment(image, child), views[0])


@pytest.mark.parametrize("kind", NEUTRAL)
def test_a_kind_that_does_nothing_leaves_what_the_others_do(kind):
    image = eye()
    others = {name: value for name, value in ON.items() if name != kind}
    for seed in (3, 4):
        with_it = Augmentation(**others, **{kind: NEUTRAL[kind]}).augment(image, seed)
        np.testing.assert_array_equal(Augmentation(**others).augment(image, seed), with_it)


def test_a_kind_draws_the_same_whatever_else_is_on():
    together = draw_kinds(ON, 5, at_ends=False)
    for kind in KINDS:
        alone = draw_kinds({kind: ON[kind]}, 5, at_ends=False)[kind]
        assert alone.amounts == together[kind].amounts
        assert alone.rng.random() == together[kind].rng.random()
    starts = {together[kind].rng.random() for kind in KINDS}
    assert len(starts) == len(KINDS)


@pytest.mark.parametrize("kind", ["light", "hole", "halo", "spot", "noise"])
def test_the_amount_changes_no_place(kind):
    image = np.full((64, 64, 3), 100, np.uint8)
    weak, strong = (amount(kind, value) for value in ((0.1, 0.2) if kind != "noise" else (4, 8)))
    change = [view.augment(image, 6).astype(float) - 100 for view in (weak, strong)]
    assert np.abs(change[1]).max() > 5
    np.testing.assert_allclose(change[1], 2 * change[0], atol=1.5)


def test_amounts_lie_in_their_ranges_and_reach_both_ends():
    drawn = [draw_kinds(ON, seed, at_ends=False) for seed in range(200)]
    ends = [draw_kinds(ON, seed, at_ends=True) for seed in range(60)]
    for kind, (low, high) in ON.items():
        amounts = np.array([draw[kind].amounts for draw in drawn])
        assert low <= amounts.min() < low + 0.1 * (high - low) + KINDS[kind].whole
        assert high >= amounts.max() > high - 0.1 * (high - low) - KINDS[kind].whole
        assert {value for draw in ends for value in draw[kind].amounts} == {low, high}
    qualities = {draw["jpeg"].amount for draw in drawn}
    assert qualities == set(range(20, 31))
    factors = [draw_kinds({"tone": (0.5, 2)}, seed, at_ends=False)["tone"] for seed in range(400)]
    assert abs(np.mean(np.log([draw.amount for draw in factors]))) < 0.1


@pytest.mark.parametrize("kind", MASKED)
def test_the_border_stays_black(kind):
    image = eye()
    inside = field_of_view(image[None])[0]
    for seed in range(3):
        view = still(**{kind: ON[kind]}).augment(image, seed)
        np.testing.assert_array_equal(view[~inside], image[~inside])
        assert not view[:6, :6].any()
        assert (view[inside] != image[inside]).any(axis=1).mean() > 0.01


@pytest.mark.parametrize("kind", MASKED)
def test_a_mask_that_is_given_says_what_is_inside(kind):
    image = np.random.default_rng(0).integers(80, 100, (40, 40, 3)).astype(np.uint8)
    mask = np.zeros((40, 40))
    mask[:, :30] = 1.0
    mask[:, 30:35] = 0.4
    view, warped = still(**{kind: ON[kind]}).augment_pair(image, mask, 2)
    np.testing.assert_array_equal(view[:, 30:], image[:, 30:])
    assert not np.array_equal(view[:, :30], image[:, :30])
    np.testing.assert_array_equal(warped, mask)
    found = field_of_view(eye()[None])[0]
    pair = still(**{kind: ON[kind]}).augment_pair(eye(), found, 2)[0]
    np.testing.assert_array_equal(pair, still(**{kind: ON[kind]}).augment(eye(), 2))


@pytest.mark.parametrize("fill", ["nearest", "black"])
@pytest.mark.parametrize("dtype", [bool, np.float32, np.float64])
def test_a_mask_is_warped_as_its_picture_is(dtype, fill):
    disc = np.hypot(*(np.mgrid[:60, :80] - np.array([[[30]], [[35]]]))) < 22
    image = np.repeat(255 * disc[..., None], 3, axis=2).astype(np.uint8)
    tolerance = 0.53 if dtype is bool else 0.03  # OpenCV warps bytes in steps of 1 / 32 pixel
    for seed in range(4):
        view, mask = Augmentation(fill=fill).augment_pair(image, disc.astype(dtype), seed)
        assert mask.dtype == dtype
        assert mask.shape == disc.shape
        assert np.abs(mask - view[..., 0] / 255).max() <= tolerance
    lit, whole = np.full((60, 80, 3), 255, np.uint8), np.ones((60, 80), dtype)
    view, mask = Augmentation(0, 0.4, (1, 1), fill=fill).augment_pair(lit, whole, 1)
    assert 0.2 < (mask == 0).mean() < 0.9
    if fill == "black":
        assert np.abs(mask - view[..., 0] / 255).max() <= tolerance
    else:
        assert (view == 255).all()


def test_where_a_picture_is_continued_noise_is_too():
    image = np.full((40, 40, 3), 90, np.uint8)
    mask = np.ones((40, 40), bool)
    moved = Augmentation(0, 0.4, (1, 1), noise=(9, 9), at_ends=True)
    view, warped = moved.augment_pair(image, mask, 1)
    assert (view[~warped] != 90).mean() > 0.5
    black, _ = Augmentation(0, 0.4, (1, 1), fill="black", noise=(9, 9), at_ends=True).augment_pair(
        image, mask, 1
    )
    assert not black[~warped].any()


def test_tone_contrast_and_gains_are_what_they_say():
    ramp = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    whole = np.ones((16, 16), bool)
    for gamma in (0.65, 1.5):
        view, _ = amount("tone", gamma).augment_pair(ramp, whole, 0)
        np.testing.assert_array_equal(view, np.rint(255 * (ramp / 255) ** gamma))
    image = eye()
    inside = field_of_view(image[None])[0]
    flat = amount("contrast", 0.5).augment(image, 0)[inside].astype(float)
    colours = image[inside].astype(float)
    np.testing.assert_allclose(flat.mean(axis=0), colours.mean(axis=0), atol=0.3)
    np.testing.assert_allclose(flat.std(axis=0), colours.std(axis=0) / 2, rtol=0.02)
    grey = np.full((8, 8, 3), 100, np.uint8)
    cast = still(gains=(0.5, 2)).augment(grey, 0)[0, 0]
    amounts = draw_kinds({"gains": (0.5, 2)}, 0, at_ends=False)["gains"].amounts
    np.testing.assert_array_equal(cast, np.rint(100 * np.array(amounts)))
    assert len(set(cast.tolist())) == 3


def test_light_hole_halo_and_spots_are_what_they_say():
    size = 128
    image = np.full((size, size, 3), 100, np.uint8)
    distance = np.hypot(*(np.mgrid[:size, :size] - (size - 1) / 2)) / (size / 2)
    for seed in range(5):
        light = amount("light", 0.4).augment(image, seed) / 100
        assert np.abs(light - 1).max() == pytest.approx(0.4, abs=0.006)
        hole = amount("hole", 0.6).augment(image, seed) / 100
        assert hole.min() == pytest.approx(0.4, abs=0.006)
        assert hole.max() <= 1
        assert hole[distance < 1].mean() < 0.95
        halo = (amount("halo", 0.4).augment(image, seed) - 100.0) / 255
        assert halo.min() >= 0
        assert halo.max() <= 0.402
        assert halo[distance < 0.4].max() < halo[(distance > 0.9) & (distance < 1)].mean()
        spots = amount("spot", 0.3).augment(image, seed) / 1.0 - 100
        assert spots.min() == 0
        assert 30 < spots.max() <= 77
        assert 0.001 < (spots > 10).mean() < 0.15


def test_detail_is_what_it_says():
    image = eye(160)
    for kind, value, expected in (
        ("blur", 3.0, cv2.GaussianBlur(image, (0, 0), 1.5)),  # half of 320 pixels
        ("sharpness", 0.0, cv2.GaussianBlur(image, (0, 0), 0.5)),
        (
            "resolution",
            0.25,
            cv2.resize(cv2.resize(image, (40, 40), interpolation=cv2.INTER_AREA), (160, 160)),
        ),
    ):
        np.testing.assert_array_equal(amount(kind, value).augment(image, 0), expected)
    inside = field_of_view(image[None])[0]

    def edges(view):
        return cv2.Laplacian(view[..., 1], cv2.CV_32F)[inside].var()

    assert edges(amount("sharpness", 3.0).augment(image, 0)) > 2 * edges(image)
    flat = np.full((64, 64, 3), 120, np.uint8)
    noise = amount("noise", 6.0).augment(flat, 0) - 120.0
    assert noise.std() == pytest.approx(6.0, rel=0.05)
    assert abs(noise.mean()) < 0.2
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.1


def test_jpeg_keeps_colours_and_loses_more_at_lower_quality():
    red = np.zeros((32, 32, 3), np.uint8)
    red[...] = (200, 60, 20)
    view = amount("jpeg", 60).augment(red, 0)
    assert np.abs(view.astype(int) - red).max() <= 3
    image, buffer = eye(), io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=30)
    pillow = np.asarray(Image.open(buffer)).astype(int)
    assert np.abs(amount("jpeg", 30).augment(image, 0) - pillow).mean() < 0.2
    lost = [
        np.abs(amount("jpeg", quality).augment(image, 0).astype(int) - image).mean()
        for quality in (95, 60, 20)
    ]
    assert lost[0] < lost[1] < lost[2]


def test_odd_pictures_are_views_too():
    everything = Augmentation(**ON)
    for image in (
        np.full((1, 1, 3), 77, np.uint8),
        np.full((1, 7, 3), 77, np.uint8),
        np.full((5, 2, 3), 255, np.uint8),
        np.repeat(eye(64)[..., 1:2], 3, axis=2),
        eye()[::2, ::3],
    ):
        for seed in range(3):
            view = everything.augment(image, seed)
            assert view.shape == image.shape
            assert view.dtype == np.uint8
            mask = np.ones(image.shape[:2], bool)
            view, mask = everything.augment_pair(image, mask, seed)
            assert view.shape == image.shape
            assert mask.shape == image.shape[:2]
    black = np.zeros((32, 48, 3), np.uint8)
    assert not Augmentation.cameras(light=(0.5, 0.5), hole=(0.5, 0.5)).augment(black, 0).any()
    grey = np.repeat(eye(64)[..., 1:2], 3, axis=2)
    toned = still(tone=(0.65, 1.5), contrast=(0.7, 1.3), blur=(0, 2)).augment(grey, 1)
    np.testing.assert_array_equal(toned[..., :1].repeat(3, axis=2), toned)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (None, "must be an array of bool or float of shape .*NoneType"),
        ([[True] * 6] * 4, "must be an array of bool or float"),
        (np.ones((4, 5)), r"of shape \(4, 6\); got float64 array of shape \(4, 5\)"),
        (np.ones((6, 4), bool), r"got bool array of shape \(6, 4\)"),
        (np.ones((4, 6, 1)), r"of shape \(4, 6\); got"),
        (np.ones((4, 6), np.uint8), "bool or float of shape .* got uint8 array"),
        (np.full((4, 6), 255.0), "from 0, outside the field of view, to 1, inside; got 255.0"),
        (np.full((4, 6), -0.1), "got -0.1 to -0.1"),
        (np.full((4, 6), np.nan), "got nan"),
        (np.zeros((4, 6), bool), "below 0.5 everywhere"),
        (np.full((4, 6), 0.3), "below 0.5 everywhere"),
    ],
)
def test_wrong_masks_are_told(mask, message):
    with pytest.raises(DataError, match=message):
        Augmentation().augment_pair(np.full((4, 6, 3), 9, np.uint8), mask, 0)


@pytest.mark.parametrize("bad", [np.ones((4, 6, 3)), np.ones((4, 6), np.uint8), None])
def test_wrong_pictures_are_told(bad):
    with pytest.raises(DataError, match="uint8 RGB array of shape"):
        Augmentation.cameras().augment(bad, 0)
    with pytest.raises(DataError, match="uint8 RGB array of shape"):
        Augmentation.cameras().augment_pair(bad, np.ones((4, 6), bool), 0)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("tone", 1.5, r"a tuple \(low, high\) of floats with 0.1 <= low <= high <= 10, or None"),
        ("tone", (0, 1), r"Got \(0, 1\) instead"),
        ("contrast", (1.3, 0.7), "0 <= low <= high <= 4"),
        ("gains", (0.5, 1, 2), "a tuple"),
        ("light", (0, 1.1), "0 <= low <= high <= 1, or None"),
        ("halo", True, "Got True instead"),
        ("hole", (-0.1, 0), "a tuple"),
        ("spot", ("0", "1"), "a tuple"),
        ("blur", (0, np.nan), "a tuple"),
        ("sharpness", (True, 2), "a tuple"),
        ("resolution", (0, 1), "0.01 <= low <= high <= 1"),
        ("noise", (0, np.inf), "a tuple"),
        ("jpeg", (0, 95), r"a tuple \(low, high\) of ints with 1 <= low <= high <= 100"),
        ("jpeg", (40.0, 95.5), "of ints"),
    ],
)
def test_ranges_are_checked_at_use(name, value, expected):
    augmentation = Augmentation(**{name: value})
    with pytest.raises(
        InvalidParameterError, match=f"The '{name}' parameter of Augmentation must be.*{expected}"
    ):
        augmentation.augment(eye(), 0)
    with pytest.raises(InvalidParameterError, match=f"'{name}'"):
        augmentation.key()


def test_threads_give_what_one_gives():
    images = [np.roll(eye(), shift, axis=1) for shift in range(12)]
    everything = Augmentation(**ON)

    def view(k):
        return everything.augment(images[k], np.random.SeedSequence([7, k]))

    one = [view(k) for k in range(len(images))]
    with ThreadPoolExecutor(4) as pool:
        many = list(pool.map(view, range(len(images))))
    for alone, together in zip(one, many, strict=True):
        np.testing.assert_array_equal(alone, together)
    number = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        np.testing.assert_array_equal(view(3), one[3])
    finally:
        cv2.setNumThreads(number)


def test_cameras_are_what_the_study_found():
    cameras = Augmentation.cameras()
    assert cameras == Augmentation(
        rotation=15.0, shift=0.05, zoom=(0.9, 1.1), zoom_per_axis=False, flip_vertical=False,
        fill="black", tone=(0.65, 1.5), contrast=(0.7, 1.3), resolution=(0.4, 1.0),
        blur=(0.0, 1.5), jpeg=(40, 95),
    )  # fmt: skip
    mirrored = set()
    for seed in range(60):
        M, _ = cameras.sample(np.random.default_rng(seed), (64, 64))
        low, high = np.linalg.svd(M)[1]
        assert low == pytest.approx(high)
        assert M[1, 1] > 0.8  # never upside down
        mirrored.add(bool(M[0, 0] < 0))
    assert mirrored == {False, True}
    changed = Augmentation.cameras(jpeg=None, noise=(0, 4), rotation=2.0)
    assert (changed.jpeg, changed.noise, changed.rotation) == (None, (0, 4), 2.0)
    assert changed.tone == cameras.tone
    with pytest.raises(TypeError, match="colour"):
        Augmentation.cameras(colour=(1, 2))
    views = {cameras.augment(eye(), seed).tobytes() for seed in range(10)}
    assert len(views) == 10


def test_keys_name_the_kinds_that_are_on():
    key = Augmentation.cameras().key()
    assert key == (
        "augment=1;rotation=15.0;shift=0.05;zoom=0.9,1.1;per_axis=0;flips=1,0;reflect=None;"
        "fill=black;kinds=1;tone=0.65,1.5;contrast=0.7,1.3;blur=0.0,1.5;resolution=0.4,1.0;"
        "jpeg=40,95"
    )
    keys = {Augmentation().key()}
    for kind, (low, high) in ON.items():
        kinds = [{kind: (low, high)}, {kind: (low, low)}, {kind: (high, high)}]
        keys |= {Augmentation(**on, at_ends=ends).key() for on in kinds for ends in (False, True)}
    assert len(keys) == 1 + 6 * len(ON)
    assert Augmentation(blur=[1, 2]).key() == Augmentation(blur=(1.0, 2.0)).key()


class Holder(BaseEstimator):
    def __init__(self, augment=None):
        self.augment = augment


def test_it_is_a_well_behaved_parameter():
    cameras = Augmentation.cameras()
    assert pickle.loads(pickle.dumps(cameras)) == cameras == copy.deepcopy(cameras)
    assert clone(Holder(cameras)).augment == cameras
    assert hash(cameras) == hash(Augmentation.cameras())
    assert cameras != Augmentation.cameras(jpeg=None)


def test_records_are_read_back_and_older_ones_have_no_kinds():
    cameras, decoder = Augmentation.cameras(), Decoder(SimpleNamespace(trusted=()))
    record = Encoder(None).value(cameras, "augment")
    assert decoder.value(record) == cameras
    plain = Encoder(None).value(Augmentation(rotation=3.0), "augment")
    for name in (*KINDS, "at_ends"):
        del plain["fields"][name]
    assert decoder.value(plain) == Augmentation(rotation=3.0)
    record["fields"]["blur"] = "wide"
    with pytest.raises(InvalidParameterError, match="'blur'"):
        decoder.value(record)
