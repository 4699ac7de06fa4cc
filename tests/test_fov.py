import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from image_samples import difference, pillow, retina

from fundus.images import ImageRecipe, crop_to_fov, decode_bytes, find_fov, prepare_array

DATA = Path(os.environ.get("FUNDUS_DATA", "../shared/data")) / "idrid_train" / "images"


def assert_box(box, want, tolerance):
    assert np.abs(np.array(box) - want).max() <= tolerance, (box, want)


@pytest.mark.parametrize("scale", [1, 4])
@pytest.mark.parametrize(
    ("centre", "options"),
    [
        ((100, 150), {}),
        ((100, 150), {"border": 12, "noise": 6.0}),
        ((95, 105), {"noise": 4.0}),
        ((105, 200), {"border": 5}),
    ],
)
def test_the_disc_is_found(scale, centre, options):
    radius, (row, column) = 80, centre
    shape, centre = (200 * scale, 300 * scale), (row * scale, column * scale)
    box = find_fov(retina(*shape, centre, radius * scale, **options))
    want = np.array([row - radius, row + radius, column - radius, column + radius]) * scale
    assert_box(box, want, 3 * scale)


def test_a_disc_cut_at_top_and_bottom_as_in_idrid():
    image = retina(200, 300, (100, 150), 120, noise=2.0)
    assert_box(find_fov(image), (0, 200, 30, 270), 3)


def test_captions_and_specks_in_the_border_are_left_out():
    image = retina(200, 300, (100, 150), 80)
    cv2.putText(image, "OD 2019", (2, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255))
    image[190:192, 290:292] = 255
    assert_box(find_fov(image), (20, 180, 70, 230), 3)


def test_dark_lesions_do_not_split_the_retina():
    image = retina(200, 300, (100, 150), 80)
    image[:, 148:151] = 0
    assert_box(find_fov(image), (20, 180, 70, 230), 3)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((50, 80, 3), np.uint8),
        np.full((50, 80, 3), 3, np.uint8),
        np.full((50, 80, 3), 200, np.uint8),
        np.random.default_rng(0).integers(0, 256, (50, 80, 3), np.uint8),
        np.random.default_rng(0).integers(0, 9, (300, 400, 3), np.uint8),
        retina(60, 80, (30, 40), 5),
        retina(100, 100, (50, 50), 400),
        np.full((1, 1, 3), 9, np.uint8),
        np.full((1, 600, 3), 9, np.uint8),
    ],
    ids=["black", "nearly black", "flat", "noise", "dark noise", "speck", "no border", "1", "row"],
)
def test_without_a_field_of_view_the_whole_image_is_kept(image):
    height, width = image.shape[:2]
    assert find_fov(image) == (0, height, 0, width)
    np.testing.assert_array_equal(crop_to_fov(image), image)
    assert prepare_array(image, ImageRecipe(16)).shape == (16, 16, 3)


def test_tiny_images():
    image = retina(28, 28, (14, 14), 13)
    assert_box(find_fov(image), (0, 28, 0, 28), 3)


def test_real_photographs_are_cropped_to_the_disc():
    files = sorted(DATA.glob("*.jpg"))[::40]
    if not files:
        pytest.skip(f"the IDRiD photographs are not at {DATA}")
    for file in files:
        image = decode_bytes(file.read_bytes(), name=str(file))
        top, bottom, left, right = find_fov(image)
        # 512 × 340 pixels; the disc is cut at top and bottom and about 408 pixels wide
        assert (top, bottom) == (0, 340)
        assert 400 <= right - left <= 416
        assert difference(image, pillow(file.read_bytes())) <= 1
