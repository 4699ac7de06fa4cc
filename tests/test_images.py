import cv2
import numpy as np
import pytest
from image_samples import encode, retina, scene

from fundus.exceptions import DataError, InvalidParameterError
from fundus.images import (
    ImageRecipe,
    array_digest,
    decode,
    decode_bytes,
    image_digest,
    load_image,
    pad_to_square,
    prepare_array,
    resize,
    verify,
)


def test_paths_of_any_alphabet(tmp_path):
    path = tmp_path / "Œil gauche – 左眼 é.png"
    path.write_bytes(encode(scene(), "PNG"))
    want = resize(pad_to_square(scene()), 48)
    np.testing.assert_array_equal(load_image(path, ImageRecipe(48, "square")), want)
    np.testing.assert_array_equal(load_image(str(path), ImageRecipe(48, "square")), want)
    verify(path)


def test_a_small_field_of_view_is_decoded_again_at_a_larger_scale():
    photograph = retina(800, 1200, (400, 600), 200)
    grain = np.random.default_rng(0).integers(0, 2, (800, 1200, 1), np.uint8) * 60
    photograph = np.where(photograph > 20, photograph + grain, photograph)
    data = encode(photograph, "JPEG", quality=95)
    sharp = decode(data, ImageRecipe(290), name="eye")
    want = prepare_array(decode_bytes(data, name="eye"), ImageRecipe(290))
    assert np.abs(sharp.astype(int) - want).mean() < 1
    blurred = prepare_array(decode_bytes(data, name="eye", min_side=290), ImageRecipe(290))
    assert np.abs(blurred.astype(int) - want).mean() > 5


@pytest.mark.parametrize("crop", ["fov", "square", None])
@pytest.mark.parametrize("size", [1, 33, 200])
def test_decode_and_prepare_array_give_the_same(crop, size):
    recipe = ImageRecipe(size, crop)
    image = retina(120, 180, (60, 90), 50)
    data = encode(image, "PNG")
    result = decode(data, recipe, name="eye")
    assert result.shape == (size, size, 3)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, prepare_array(image, recipe))


def test_none_squashes_square_pads_and_fov_crops():
    image = retina(100, 200, (50, 80), 40)
    squashed = prepare_array(image, ImageRecipe(100, None))
    np.testing.assert_array_equal(squashed, cv2.resize(image, (100, 100), interpolation=3))
    padded = prepare_array(image, ImageRecipe(200, "square"))
    assert not padded[:50].any()
    np.testing.assert_array_equal(padded[50:150], image)
    filled = prepare_array(image, ImageRecipe(80, "fov"))
    assert filled[40].max(axis=1)[[2, -3]].min() > 60
    assert filled[[2, -3], 40].max(axis=1).min() > 60


def test_recipe_key_and_checks():
    keys = {ImageRecipe(s, c).key() for s in (8, 9) for c in ("fov", "square", None)}
    assert len(keys) == 6
    assert ImageRecipe(np.int64(8)).key() == ImageRecipe(8).key()
    for size in (0, -1, 2.5, "8", True, None):
        with pytest.raises(InvalidParameterError, match="'image_size' parameter of ImageRecipe"):
            ImageRecipe(size)
    with pytest.raises(InvalidParameterError, match="Got 'circle' instead"):
        ImageRecipe(8, "circle")


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        [[1]],
    ],
)
def test_prepare_array_takes_uint8_rgb_only(bad):
    with pytest.raises(DataError, match="non-empty uint8 RGB array"):
        prepare_array(bad, ImageRecipe(8))


def test_padding_centres_the_image():
    image = scene(5, 8)
    padded = pad_to_square(image)
    assert padded.shape == (8, 8, 3)
    np.testing.assert_array_equal(padded[1:6], image)
    assert not padded[[0, 6, 7]].any()
    np.testing.assert_array_equal(pad_to_square(image[:5, :5]), image[:5, :5])
    np.testing.assert_array_equal(pad_to_square(scene(8, 5))[:, 1:6], scene(8, 5))


def test_resize_averages_areas_and_keeps_an_equal_size():
    image = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)
    blocks = image.reshape(4, 3, 4, 3, 3).mean(axis=(1, 3))
    assert np.abs(resize(image, 4) - blocks).max() <= 0.51
    np.testing.assert_array_equal(resize(image, 12), image)
    assert resize(image, 30).shape == (30, 30, 3)


def test_resize_averages_the_side_that_shrinks_where_the_other_grows():
    stripes = np.zeros((4, 64, 3), np.uint8)
    stripes[:, ::4] = 200  # linear interpolation alone would show stripes of 0 and 200
    assert np.abs(resize(stripes, 16).astype(int) - 50).max() <= 1


def test_threads_neither_matter_nor_change():
    data = encode(retina(900, 1300, (450, 650), 400, noise=8.0), "JPEG", quality=90)
    threads = cv2.getNumThreads()
    result = decode(data, ImageRecipe(224), name="eye")
    assert cv2.getNumThreads() == threads
    try:
        cv2.setNumThreads(1)
        np.testing.assert_array_equal(result, decode(data, ImageRecipe(224), name="eye"))
    finally:
        cv2.setNumThreads(threads)


def test_digests():
    assert image_digest(b"").startswith("e3b0c44298fc1c149afbf4c8996fb924")
    image = scene()
    assert array_digest(image) == array_digest(np.asfortranarray(image))
    others = [image[:, ::-1], image.reshape(96, 64, 3), image.astype(np.int8), image[:-1]]
    assert len({array_digest(a) for a in [image, *others]}) == 5
