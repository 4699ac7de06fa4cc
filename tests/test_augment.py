import copy
import math
import pickle

import cv2
import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone

from fundus.exceptions import DataError, InvalidParameterError
from fundus.images.augment import Augmentation
from fundus.images.kinds import KINDS

STILL = Augmentation(rotation=0, shift=0, zoom=(1, 1), flip_horizontal=False, flip_vertical=False)


def picture(height=40, width=60, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def homogeneous(M, b):
    full = np.eye(3)
    full[:2, :2], full[:2, 2] = M, b
    return full


def turned(r):
    return np.array([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]])


def move(x, y):
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])


@pytest.mark.parametrize("flips", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("reflect_angle", [None, 0.0, 33.0])
def test_matrix_is_the_composition_of_separate_maps(flips, reflect_angle):
    height, width, r = 48, 64, math.radians(17)
    M, b = Augmentation.matrix(
        (height, width, 3),
        rotation=17,
        shift=(0.1, -0.05),
        zoom=(1.2, 0.8),
        flip_horizontal=flips[0],
        flip_vertical=flips[1],
        reflect_angle=reflect_angle,
    )
    cx, cy = (width - 1) / 2, (height - 1) / 2
    full = move(-cx, -cy)
    if flips[0]:
        full = np.diag([-1.0, 1, 1]) @ full
    if flips[1]:
        full = np.diag([1.0, -1, 1]) @ full
    if reflect_angle is not None:
        # a reflection about an oblique axis: turn the axis level, flip, turn back
        a = math.radians(reflect_angle)
        full = turned(a) @ np.diag([1.0, -1, 1]) @ turned(-a) @ full
    full = np.diag([1.2, 0.8, 1]) @ full
    full = (
        np.array([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]]) @ full
    )
    full = move(cx + 0.1 * width, cy - 0.05 * height) @ full
    np.testing.assert_allclose(homogeneous(M, b), full, atol=1e-12)


@pytest.mark.parametrize("angle", [0.0, 25.0, 90.0, -70.0])
def test_reflecting_twice_is_the_identity(angle):
    once = homogeneous(*Augmentation.matrix((30, 50), reflect_angle=angle))
    np.testing.assert_allclose(once @ once, np.eye(3), atol=1e-12)
    assert np.linalg.det(once) == pytest.approx(-1)


def test_a_point_on_the_axis_stays_when_reflected():
    M, b = Augmentation.matrix((41, 41), reflect_angle=30)
    point = np.array([20, 20]) + 9 * np.array([math.cos(math.radians(30)), 0.5])
    np.testing.assert_allclose(M @ point + b, point, atol=1e-12)


def test_positive_rotation_turns_clockwise_as_seen():
    M, b = Augmentation.matrix((21, 21), rotation=90)
    np.testing.assert_allclose(M @ [20, 10] + b, [10, 20], atol=1e-12)  # right goes to the bottom


@pytest.mark.parametrize("seed", range(6))
def test_a_marked_point_lands_where_the_formula_says(seed):
    image = np.zeros((101, 141, 3), np.uint8)
    x, y = 80, 45
    image[y - 3 : y + 4, x - 3 : x + 4] = 255
    augmentation = Augmentation(reflect_angle=40.0)
    M, b = augmentation.sample(np.random.default_rng(seed), image.shape)
    grey = augmentation.apply(image, M, b)[..., 0].astype(float)
    rows, columns = np.mgrid[:101, :141]
    found = [(columns * grey).sum() / grey.sum(), (rows * grey).sum() / grey.sum()]
    np.testing.assert_allclose(found, M @ [x, y] + b, atol=0.1)


def test_warp_agrees_with_bilinear_interpolation_in_numpy():
    image = cv2.GaussianBlur(picture(), (0, 0), 2)
    augmentation = Augmentation()
    M, b = augmentation.sample(np.random.default_rng(3), image.shape)
    rows, columns = np.mgrid[:40, :60]
    source = np.linalg.inv(M) @ (np.stack([columns.ravel(), rows.ravel()]) - b[:, None])
    x, y = source[0].clip(0, 59), source[1].clip(0, 39)  # the nearest pixel fills the outside
    x0, y0 = np.floor(x).astype(int).clip(0, 58), np.floor(y).astype(int).clip(0, 38)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    pixels = image.astype(float)
    want = (
        pixels[y0, x0] * (1 - fx) * (1 - fy)
        + pixels[y0, x0 + 1] * fx * (1 - fy)
        + pixels[y0 + 1, x0] * (1 - fx) * fy
        + pixels[y0 + 1, x0 + 1] * fx * fy
    ).reshape(image.shape)
    assert np.abs(augmentation.apply(image, M, b) - want).max() <= 2


def test_the_nearest_pixel_fills_the_outside():
    image = picture()
    M, b = Augmentation.matrix(image.shape, shift=(0.5, 0.0))
    warped = Augmentation().apply(image, M, b)
    np.testing.assert_array_equal(warped[:, :30], np.repeat(image[:, :1], 30, axis=1))
    np.testing.assert_array_equal(warped[:, 30:], image[:, :30])
    assert not Augmentation(fill="black").apply(image, M, b)[:, :30].any()


@pytest.mark.parametrize(
    ("flips", "view"),
    [
        ((True, False), np.s_[:, ::-1]),
        ((False, True), np.s_[::-1]),
        ((True, True), np.s_[::-1, ::-1]),
    ],
)
@pytest.mark.parametrize("shape", [(40, 60), (41, 33)])
def test_flips_are_exact(flips, view, shape):
    image = picture(*shape)
    M, b = Augmentation.matrix(shape, flip_horizontal=flips[0], flip_vertical=flips[1])
    np.testing.assert_array_equal(Augmentation().apply(image, M, b), image[view])


def test_settings_that_do_nothing_give_the_image_itself():
    image = picture()
    for seed in range(5):
        result = STILL.augment(image, seed)
        np.testing.assert_array_equal(result, image)
        assert not np.shares_memory(result, image)


def test_seeds_reproduce_and_differ():
    image, augmentation = picture(), Augmentation()
    for make in (int, np.random.SeedSequence):
        first = augmentation.augment(image, make(5))
        np.testing.assert_array_equal(first, augmentation.augment(image, make(5)))
        assert not np.array_equal(first, augmentation.augment(image, make(6)))
    assert first.dtype == np.uint8
    assert first.shape == image.shape


def test_input_and_global_random_state_are_left_alone():
    image = picture()
    image.flags.writeable = False
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    Augmentation().augment(image, 1)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_the_number_of_threads_neither_matters_nor_changes():
    image, threads = picture(300, 300), cv2.getNumThreads()
    result = Augmentation().augment(image, 2)
    assert cv2.getNumThreads() == threads
    try:
        cv2.setNumThreads(1)
        np.testing.assert_array_equal(result, Augmentation().augment(image, 2))
    finally:
        cv2.setNumThreads(threads)


def test_draws_stay_within_the_ranges_and_reach_every_reflection():
    shape, augmentation = (50, 80), Augmentation(rotation=20, shift=0.1, zoom=(0.8, 1.2))
    centre = np.array([39.5, 24.5])
    signs, anisotropic = set(), 0
    for seed in range(200):
        M, b = augmentation.sample(np.random.default_rng(seed), shape)
        shift = (M @ centre + b - centre) / [80, 50]
        assert np.abs(shift).max() <= 0.1
        zoom = np.linalg.svd(M)[1]  # M is orthogonal but for the zoom
        assert 0.8 - 1e-9 <= zoom.min() <= zoom.max() <= 1.2 + 1e-9
        anisotropic += zoom[0] - zoom[1] > 0.02
        signs.add((bool(M[0, 0] > 0), bool(M[1, 1] > 0)))
    assert len(signs) == 4
    assert anisotropic > 100


def test_one_zoom_for_both_axes():
    augmentation = Augmentation(zoom_per_axis=False)
    for seed in range(10):
        M, _ = augmentation.sample(np.random.default_rng(seed), (10, 10))
        low, high = np.linalg.svd(M)[1]
        assert low == pytest.approx(high)


def test_a_switch_leaves_the_other_draws_as_they_were():
    with_flip, _ = Augmentation().sample(np.random.default_rng(4), (9, 9))
    without, _ = Augmentation(flip_horizontal=False, flip_vertical=False).sample(
        np.random.default_rng(4), (9, 9)
    )
    np.testing.assert_allclose(np.abs(with_flip), np.abs(without), atol=1e-12)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("rotation", -1, r"a float in the range \[0.0, 180.0\]. Got -1 instead"),
        ("rotation", "20", "Got '20' instead"),
        ("rotation", math.nan, "Got nan instead"),
        ("shift", 1.5, r"a float in the range \[0.0, 1.0\]. Got 1.5 instead"),
        ("zoom", 1.2, "a tuple"),
        ("zoom", (1.2, 0.8), r"Got \(1.2, 0.8\) instead"),
        ("zoom", (0, 1), "a tuple"),
        ("zoom_per_axis", "yes", "an instance of 'bool'"),
        ("flip_horizontal", 1, "an instance of 'bool'"),
        ("flip_vertical", None, "an instance of 'bool'"),
        ("at_ends", 0, "an instance of 'bool'"),
        ("reflect_angle", "none", "a finite float or None"),
        ("fill", "wrap", "a str among {'black', 'nearest'}. Got 'wrap' instead"),
        ("fill", ["nearest"], "a str among"),
    ],
)
def test_parameters_are_checked_at_use(name, value, expected):
    augmentation = Augmentation(**{name: value})
    with pytest.raises(
        InvalidParameterError, match=f"The '{name}' parameter of Augmentation must be.*{expected}"
    ):
        augmentation.augment(picture(), 0)


@pytest.mark.parametrize("bad", [picture().astype(float), picture()[..., 0], picture()[None]])
def test_only_uint8_rgb_is_warped(bad):
    with pytest.raises(DataError, match=r"uint8 RGB array of shape \(height, width, 3\)"):
        Augmentation().augment(bad, 0)


class Holder(BaseEstimator):
    def __init__(self, augment=None):
        self.augment = augment


def test_it_is_a_well_behaved_parameter():
    augmentation = Augmentation(rotation=5, zoom=(0.9, 1.1))
    assert pickle.loads(pickle.dumps(augmentation)) == augmentation
    assert copy.deepcopy(augmentation) == augmentation
    assert augmentation != Augmentation()
    assert hash(augmentation) == hash(Augmentation(rotation=5, zoom=(0.9, 1.1)))
    assert clone(Holder(augmentation)).augment == augmentation


def test_key_names_every_parameter():
    changed = {
        "rotation": 1.0,
        "shift": 0.2,
        "zoom": (0.9, 1.2),
        "zoom_per_axis": False,
        "flip_horizontal": False,
        "flip_vertical": False,
        "reflect_angle": 0.0,
        "fill": "black",
        "at_ends": True,
        **dict.fromkeys(KINDS, (1, 1)),
    }
    assert set(changed) == set(Augmentation.__dataclass_fields__)
    keys = {Augmentation(**{name: value}).key() for name, value in changed.items()}
    assert len(keys | {Augmentation().key()}) == len(changed) + 1
    assert Augmentation(rotation=20, zoom=[0.8, 1.2]).key() == Augmentation().key()


def test_without_kinds_pixels_and_keys_are_those_of_the_warp_alone():
    def warped(image, seed):
        rng = np.random.default_rng(seed)
        turn, right, down = rng.uniform(-1, 1, 3)
        zoom = rng.uniform(0.8, 1.2, 2)
        flips = rng.random(3) < 0.5
        M, b = Augmentation.matrix(
            image.shape,
            rotation=20 * turn,
            shift=(0.1 * right, 0.1 * down),
            zoom=zoom,
            flip_horizontal=flips[0],
            flip_vertical=flips[1],
        )
        size = image.shape[1], image.shape[0]
        return cv2.warpAffine(image, np.column_stack([M, b]), size, borderMode=cv2.BORDER_REPLICATE)

    image = picture()
    for seed in (*range(8), np.random.SeedSequence([1, 2, 3])):
        for off in (None, 0):
            augmentation = Augmentation(**dict.fromkeys(KINDS, off))
            np.testing.assert_array_equal(augmentation.augment(image, seed), warped(image, seed))
    assert (
        augmentation.key()
        == Augmentation().key()
        == (
            "augment=1;rotation=20.0;shift=0.1;zoom=0.8,1.2;per_axis=1;flips=1,1;reflect=None;"
            "fill=nearest"
        )
    )


def test_at_the_ends_nothing_between_is_drawn():
    augmentation = Augmentation(20, 0.1, (0.8, 1.2), zoom_per_axis=False, at_ends=True)
    seen = set()
    for seed in range(60):
        M, b = augmentation.sample(np.random.default_rng(seed), (50, 80))
        zoom = np.linalg.svd(M)[1][0]
        angle = math.degrees(math.atan(M[1, 0] / M[0, 0]))  # whatever was reflected
        moved = (M @ [39.5, 24.5] + b - [39.5, 24.5]) / [80, 50]
        seen.add((round(zoom, 9), round(abs(angle), 9), *np.round(np.sign(moved)).astype(int)))
        np.testing.assert_allclose(np.abs(moved), 0.1)
    assert {entry[:2] for entry in seen} == {(0.8, 20.0), (1.2, 20.0)}
    assert len({entry[2:] for entry in seen}) == 4
