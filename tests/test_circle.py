"""`aperture="circle"`: the same black border for every camera."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

import fundus
from fundus import FeatureExtractor, TransferClassifier
from fundus.cli import app
from fundus.exceptions import BundleError, InvalidParameterError
from fundus.frozen.loading import work_done
from fundus.images import ImageRecipe, load_image, prepare_array
from fundus.images.aperture import field_of_view
from fundus.images.circle import centre_square, in_circle
from fundus.transfer.saved import _recipe_of


def brute_disc(size):
    middle = (size - 1) / 2
    return np.array([
        [(i - middle) ** 2 + (j - middle) ** 2 <= (size / 2) ** 2 for j in range(size)]
        for i in range(size)
    ])  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 7, 32, 33])
def test_what_is_outside_the_circle_is_black_and_the_rest_untouched(size):
    picture = np.random.default_rng(0).integers(1, 256, (size, size, 3), dtype=np.uint8)
    before = picture.copy()
    found, disc = in_circle(picture), brute_disc(size)
    assert np.array_equal(found[disc], picture[disc])
    assert (found[~disc] == 0).all()
    assert np.array_equal(picture, before)
    assert found.dtype == np.uint8


@pytest.mark.parametrize("shape", [(4, 4), (4, 7), (9, 4)])
def test_the_middle_square(shape):
    picture = np.arange(np.prod(shape)).reshape(shape)[:, :, None] * np.ones(3, int)
    found = centre_square(picture.astype(np.uint8))
    assert found.shape == (4, 4, 3)
    top, left = (shape[0] - 4) // 2, (shape[1] - 4) // 2
    assert np.array_equal(found, picture[top : top + 4, left : left + 4].astype(np.uint8))


def camera(cut):
    """A round field of view of which a camera cuts off so much at the top and the bottom."""
    picture = np.zeros((200, 300, 3), np.uint8)
    rows, columns = np.mgrid[:200, :300]
    inside = (rows - 100) ** 2 + (columns - 150) ** 2 < 95**2
    picture[inside] = (180, 90, 40)
    picture[: 5 + cut] = picture[195 - cut :] = 0
    return picture


def test_cameras_show_the_same_border():
    masks = {
        aperture: [
            field_of_view(prepare_array(camera(cut), ImageRecipe(96, "fov", aperture))[None])[0]
            for cut in (0, 15, 30)
        ]
        for aperture in (None, "circle")
    }
    disc = brute_disc(96)
    for mask in masks["circle"]:
        assert (mask != disc).mean() < 0.04  # a rim comes out a pixel wider
    apart = {name: max((m != few[0]).mean() for m in few) for name, few in masks.items()}
    assert apart[None] > 0.1
    assert apart["circle"] < 0.02


def test_real_cameras_show_the_same_border(shared_data):
    shares = {None: [], "circle": []}
    for folder in ("idrid_train", "second_camera"):
        paths = sorted((shared_data / folder / "images").iterdir())[:6]
        for aperture, found in shares.items():
            some = [load_image(path, ImageRecipe(128, "fov", aperture)) for path in paths]
            found += field_of_view(np.stack(some)).mean(axis=(1, 2)).tolist()
    assert np.ptp(shares["circle"]) < np.ptp(shares[None])
    assert np.mean(shares["circle"]) == pytest.approx(np.pi / 4, abs=0.03)


def test_files_and_arrays_are_one_thing(tmp_path):
    picture = camera(20)
    assert cv2.imwrite(str(tmp_path / "a.png"), picture[:, :, ::-1])
    recipe = ImageRecipe(64, aperture="circle")
    made = load_image(tmp_path / "a.png", recipe)
    assert np.array_equal(made, prepare_array(picture, recipe))
    assert (made[~brute_disc(64)] == 0).all()
    square = centre_square(prepare_array(picture, ImageRecipe(64)))
    assert not np.array_equal(in_circle(square), made), "it is cut before it is made smaller"


def test_keys():
    none, circle = ImageRecipe(64), ImageRecipe(64, aperture="circle")
    assert none.key().endswith(";image_size=64;crop=fov"), "as in earlier releases"
    assert circle.key() == f"{none.key()};circle=1"


def test_features_are_kept_apart(photographs, tmp_path):
    options = {"weights": "fixed", "image_size": 32, "cache": tmp_path}
    X = photographs.paths[:6]
    plain = FeatureExtractor("tiny", **options).fit_transform(X)
    before = work_done["forward_passes"]
    circle = FeatureExtractor("tiny", aperture="circle", **options)
    found = circle.fit_transform(X)
    assert work_done["forward_passes"] - before == len(X)
    assert not np.allclose(found, plain)
    pictures = np.stack([load_image(p, ImageRecipe(32, aperture="circle")) for p in X])
    direct = FeatureExtractor("tiny", **options, crop=None).fit_transform(pictures)
    np.testing.assert_allclose(found, direct, rtol=1e-5)
    assert np.array_equal(circle.fit_transform(X), found)
    assert circle.frozen_.about()["aperture"] == "circle"
    assert "aperture" not in FeatureExtractor("tiny", **options).fit(X).frozen_.about()


def classifier(tmp_path, **options):
    return TransferClassifier(
        "tiny", "logistic", weights="fixed", image_size=32, cache=tmp_path / "cache", **options
    )


def test_a_saved_model_keeps_its_aperture(photographs, tmp_path):
    X, y = photographs.paths, photographs.grades
    model = classifier(tmp_path, aperture="circle").fit(X, y)
    model.save(tmp_path / "model")
    loaded = fundus.load(tmp_path / "model")
    assert (loaded.aperture, loaded.frozen_.recipe.aperture) == ("circle", "circle")
    assert np.array_equal(loaded.predict_proba(X), model.predict_proba(X))
    plain = classifier(tmp_path).fit(X, y)
    assert not np.allclose(plain.predict_proba(X), model.predict_proba(X))


def test_a_record_that_cannot_be_is_refused(photographs, tmp_path):
    with pytest.raises(BundleError, match="aperture"):
        _recipe_of({"image_size": 32, "crop": None, "aperture": "circle"})
    assert _recipe_of({"image_size": 32, "crop": None}) == ImageRecipe(32, None)


@pytest.mark.parametrize(
    ("options", "must"),
    [
        ({"aperture": "round"}, "must be one of None, 'circle'. Got 'round' instead."),
        ({"aperture": "circle", "crop": "square"}, "must be None unless crop='fov'"),
        ({"aperture": "circle", "crop": None}, "must be None unless crop='fov'"),
    ],
)
def test_what_cannot_be_is_refused(options, must, photographs, tmp_path):
    with pytest.raises(InvalidParameterError) as caught:
        classifier(tmp_path, **options).fit(photographs.paths, photographs.grades)
    assert f"The 'aperture' parameter of TransferClassifier {must}" in str(caught.value)


@pytest.mark.parametrize("recipe", [{"aperture": "round"}, {"aperture": "circle", "crop": None}])
def test_recipes_are_checked(recipe):
    with pytest.raises(InvalidParameterError, match="'aperture' parameter of ImageRecipe"):
        ImageRecipe(32, **recipe)


@pytest.mark.slow
def test_the_command_line_takes_it(photographs, tmp_path):
    folder = Path(photographs.paths[0]).parents[1]
    options = ["--backbone", "tiny", "--weights", "fixed", "--head", "ridge", "--folds", "3"]
    options += ["--recipe", "fast", "--no-audit", "--no-maps", "--dpi", "30"]
    options += ["--aperture", "circle", "--out", str(tmp_path / "run"), "--quiet"]
    result = CliRunner().invoke(app, ["train", str(folder), *options])
    assert result.exit_code == 0, result.output
    model = fundus.load(tmp_path / "run" / "model")
    assert model.ensemble_.estimators_[0].frozen_.recipe.aperture == "circle"
