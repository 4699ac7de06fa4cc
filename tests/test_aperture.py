"""The mask of the field of view in the square picture that a network gets."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from image_samples import retina

from fundus import Augmentation, exceptions
from fundus.exceptions import DataWarning
from fundus.images import ImageRecipe, load_image
from fundus.images.aperture import field_of_view, picture_mask
from fundus.images.fov import fov_mask


def disc(size, centre, radius):
    rows, columns = np.mgrid[:size, :size]
    return np.hypot(rows - centre[0], columns - centre[1]) <= radius


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize("size", [32, 65, 320])
@pytest.mark.parametrize(
    ("centre", "radius", "options"),
    [
        ((0.5, 0.5), 0.5, {}),
        ((0.5, 0.5), 0.58, {"noise": 3.0}),  # cut at all four sides, as in screening programmes
        ((0.5, 0.5), 0.5, {"border": 20, "noise": 5.0}),
        ((0.45, 0.6), 0.35, {"noise": 5.0}),
    ],
)
def test_a_disc_is_found(size, centre, radius, options):
    middle = [size * part for part in centre]
    picture = retina(size, size, middle, radius * size, **options)
    mask = field_of_view(picture[None])[0]
    assert mask.dtype == bool
    # a pixel wider at a sharp rim
    assert overlap(mask, disc(size, middle, radius * size)) > 1 - 7 / size


def test_vessels_lesions_and_a_dark_side_are_inside_and_specks_change_little():
    plain = retina(64, 64, (32, 32), 30)
    marked = plain.copy()
    marked[10:54, 31:33] = 0
    marked[30:40, 20:30] = 0
    expected = field_of_view(plain[None])[0]
    found = field_of_view(marked[None])[0]
    assert found[4:60, 20:44].all()
    assert overlap(found, expected) > 0.98  # the light is a little less, and so is the threshold
    caption = plain.copy()
    caption[60:63, 1:9] = 255
    found = field_of_view(caption[None])[0]
    assert (found[expected]).all()
    assert (found & ~expected).sum() < 0.02 * expected.sum()
    dim = plain.copy()
    dim[:, :32] //= 3
    assert overlap(field_of_view(dim[None])[0], expected) > 0.95


WHOLE = {
    "black": np.zeros((40, 40, 3), np.uint8),
    "flat": np.full((40, 40, 3), 90, np.uint8),
    "noise": np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8),
    "dark noise": np.random.default_rng(0).integers(0, 7, (40, 40, 3), np.uint8),
    "inside the retina": retina(40, 40, (20, 20), 90),
    "one pixel": np.zeros((1, 1, 3), np.uint8),
}


@pytest.mark.parametrize("name", WHOLE)
def test_without_a_border_or_light_all_is_inside(name):
    assert field_of_view(WHOLE[name][None]).all()


def test_the_first_such_picture_is_told_and_no_other(monkeypatch):
    monkeypatch.setattr(exceptions, "_given", set())
    assert not picture_mask(retina(40, 40, (20, 20), 18), "row 0").all()
    with pytest.warns(DataWarning, match=r"No field of view is found in row 1: .*pool_over='all'"):
        assert picture_mask(WHOLE["flat"], "row 1").all()
    with np.testing.assert_no_warnings():
        assert picture_mask(WHOLE["noise"], "row 2").all()


def pictures(size):
    rng = np.random.default_rng(size)
    made = [
        retina(size, size, rng.uniform(0.3, 0.7, 2) * size, rng.uniform(0.1, 0.8) * size,
               border=int(rng.integers(0, 60)), noise=float(rng.uniform(0, 12)), seed=k)
        for k in range(6)
    ]  # fmt: skip
    made += [rng.integers(0, high, (size, size, 3), np.uint8) for high in (2, 9, 256)]
    made += [np.full((size, size, 3), value, np.uint8) for value in (0, 255)]
    return np.stack(made)


@pytest.mark.parametrize("size", [1, 2, 19, 32, 64, 99])
def test_numpy_and_keras_give_the_same_bits(size):
    batch = pictures(size)
    expected = field_of_view(batch)
    found = np.asarray(field_of_view(batch, keras.ops))
    assert found.dtype == bool
    assert np.array_equal(found, expected)
    assert np.array_equal(np.stack([field_of_view(one[None])[0] for one in batch]), expected)


def test_it_can_be_traced_into_a_network():
    inputs = keras.Input((64, 64, 3), dtype="uint8")
    model = keras.Model(inputs, field_of_view(inputs, keras.ops))
    batch = pictures(64)
    assert np.array_equal(model.predict_on_batch(batch), field_of_view(batch))


@pytest.mark.parametrize("crop", ["fov", "square"])
def test_it_agrees_with_the_search_in_whole_photographs(photographs, crop):
    made = np.stack([load_image(path, ImageRecipe(96, crop)) for path in photographs.paths[:12]])
    for picture, mask in zip(made, field_of_view(made), strict=True):
        assert overlap(fov_mask(picture), mask) > 0.94


def test_real_photographs(idrid):
    made = np.stack([load_image(path, ImageRecipe(128)) for path in idrid["path"][:8]])
    share = field_of_view(made).mean(axis=(1, 2))
    assert ((share > 0.69) & (share < 0.77)).all()


# --- views -------------------------------------------------------------------------------------


def test_a_mask_is_warped_with_its_picture():
    picture = retina(64, 64, (32, 32), 30)
    mask = field_of_view(picture[None])[0]
    augmentation = Augmentation(rotation=90, shift=0.3, zoom=(0.6, 0.9))
    for seed in range(5):
        view, moved = augmentation.augment_pair(picture, mask, seed)
        assert np.array_equal(view, augmentation.augment(picture, seed))
        M, b = augmentation.sample(np.random.default_rng(seed), picture.shape)
        assert moved.dtype == bool
        bright = np.dstack([np.where(mask, 255, 0).astype(np.uint8)] * 3)
        outside = Augmentation(fill="black").apply(bright, M, b)[..., 0] < 128
        assert np.array_equal(moved, ~outside)
    still = Augmentation(0, 0, (1, 1), flip_horizontal=False, flip_vertical=False)
    assert np.array_equal(still.augment_pair(picture, mask, 0)[1], mask)
