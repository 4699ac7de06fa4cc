"""Displays of what a network sees: the steps before it, and the views that it is trained on."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline

from fundus import (
    Augmentation,
    AugmentationDisplay,
    FeatureExtractor,
    FoldEnsemble,
    PreprocessingDisplay,
    TransferClassifier,
)
from fundus.data.inputs import as_images
from fundus.exceptions import DataError, ImageReadError, InvalidParameterError
from fundus.frozen.views import with_views
from fundus.images import ImageRecipe, load_image
from fundus.images.aperture import field_of_view
from fundus.preprocessing.photometric import green


def arrays(row):
    return [np.asarray(image.get_array()) for image in row]


@pytest.fixture(scope="module")
def fitted(photographs):
    """A classifier with a step of light and colour, and views; and its photographs."""
    model = TransferClassifier(
        "tiny", "ridge", weights="fixed", photometric="green", pool_over="fov", image_size=48,
        augment=Augmentation.cameras(), augment_views=1, cache=False, random_state=3,
    )  # fmt: skip
    return model.fit(photographs.paths, photographs.grades), list(photographs.paths)


def test_each_step_is_drawn_as_the_network_gets_it(fitted):
    import matplotlib.pyplot as plt

    model, paths = fitted
    before = plt.get_fignums()
    display = PreprocessingDisplay.from_estimator(model, paths[:2])
    for path, row, names in zip(paths, display.pictures_, display.names, strict=False):
        whole, square, lit, pooled, network = arrays(row)
        expected = load_image(path, ImageRecipe(48))
        mask = field_of_view(expected[None])[0]
        assert whole.shape == (64, 64, 3)
        np.testing.assert_array_equal(square, expected)
        np.testing.assert_array_equal(lit, green(expected[None])[0])
        np.testing.assert_array_equal(pooled[mask], lit[mask])
        assert len(np.unique(pooled[~mask], axis=0)) == 1
        values = model.frozen_.normaliser.apply(expected[None])[0]
        scaled = (values - values.min()) / (values.max() - values.min())
        assert np.abs(network / 255 - scaled).max() <= 0.5 / 255 + 1e-6
        assert names[0] == f"photograph\n{path}"
        assert names[1] == "cropped and resized\n48 x 48 pixels"
        assert names[2].startswith("green\n")
        assert names[3] == f"what is pooled\n{100 * mask.mean():.0f} % of the picture"
        assert names[4].endswith(f"{values.min():.3g} to {values.max():.3g}")
    assert display.figure_ is display.ax_.figure
    assert plt.get_fignums() == before


def test_steps_that_there_are_not_are_not_drawn(photographs):
    model = FeatureExtractor("tiny", weights="fixed", pool_over="all", crop=None, cache=False)
    display = PreprocessingDisplay.from_estimator(
        model.fit(photographs.paths), photographs.paths[:1]
    )
    assert [name.split("\n")[0] for name in display.names[0]] == [
        "photograph",
        "resized",
        "the network's input",
    ]


def test_views_are_those_of_the_training_and_their_seed_s(fitted):
    model, paths = fitted
    display = AugmentationDisplay.from_estimator(model, paths[:2], n_views=3, random_state=5)
    rows = with_views(as_images(paths[:2]), model.augment, 5, 3)
    for k, row in enumerate(display.pictures_):
        original, *views = arrays(row)
        np.testing.assert_array_equal(
            original, green(load_image(paths[k], ImageRecipe(48))[None])[0]
        )
        for v, view in enumerate(views, start=1):
            expected = green(rows.picture(4 * k + v, ImageRecipe(48))[None])[0]
            np.testing.assert_array_equal(view, expected)
    again = AugmentationDisplay.from_estimator(model, paths[:2], n_views=3, random_state=5)
    other = AugmentationDisplay.from_estimator(model, paths[:2], n_views=3, random_state=6)
    same, different = ([*map(np.concatenate, d.views)] for d in (again, other))
    drawn = [*map(np.concatenate, display.views)]
    np.testing.assert_array_equal(drawn, same)
    assert not np.array_equal(drawn, different)


def test_an_augmentation_is_drawn_before_anything_is_fitted(photographs):
    ax = Figure(figsize=(8, 4)).subplots()
    augmentation = Augmentation(tone=(0.5, 0.6))
    display = AugmentationDisplay.from_augmentation(
        augmentation, photographs.paths[:2], image_size=40, n_views=2, ax=ax
    )
    assert display.ax_ is ax
    assert [[p.shape for p in row] for row in display.views] == [[(40, 40, 3)] * 3] * 2
    assert display.views[0][1].mean() > display.views[0][0].mean()  # brighter
    display.figure_.canvas.draw()


@pytest.mark.parametrize("n_views", [0, 2.0, True])
def test_parameters_are_checked(photographs, n_views):
    with pytest.raises(InvalidParameterError, match="'n_views' parameter"):
        AugmentationDisplay.from_augmentation(
            Augmentation(), photographs.paths[:1], n_views=n_views
        )
    with pytest.raises(InvalidParameterError, match="'augmentation' parameter"):
        AugmentationDisplay.from_augmentation("cameras", photographs.paths[:1])
    with pytest.raises(InvalidParameterError, match="'random_state' parameter"):
        AugmentationDisplay.from_augmentation(
            Augmentation(), photographs.paths[:1], random_state=-1
        )


def test_models_inside_others_are_found(fitted, photographs):
    model, paths = fitted
    ensemble = FoldEnsemble(model, cv=2, random_state=0)
    ensemble.fit(photographs.frame, photographs.grades)
    extractor = FeatureExtractor("tiny", weights="fixed", image_size=48, cache=False)
    pipeline = make_pipeline(extractor, Ridge()).fit(paths, photographs.grades)
    for outer, n in ((ensemble, 5), (pipeline, 4)):
        assert len(PreprocessingDisplay.from_estimator(outer, paths[:1]).pictures_[0]) == n
    assert len(AugmentationDisplay.from_estimator(ensemble, paths[:1]).pictures_[0]) == 5
    with pytest.raises(DataError, match="photographs as they are"):
        AugmentationDisplay.from_estimator(pipeline, paths[:1])


def test_tiny_and_grey_photographs_and_odd_names(fitted, tmp_path):
    model, _ = fitted
    path = tmp_path / ("左眼$_" + "n" * 80 + ".png")
    cv2.imencode(".png", np.full((3, 5), 90, np.uint8))[1].tofile(path)
    for display in (PreprocessingDisplay, AugmentationDisplay):
        drawn = display.from_estimator(model, [str(path)])
        drawn.figure_.canvas.draw()
        arrays = [np.asarray(picture.get_array(), float) for picture in drawn.pictures_[0]]
        assert all(array.size and np.isfinite(array).all() for array in arrays)


def test_what_cannot_be_drawn_is_refused(fitted, tmp_path):
    model, _ = fitted
    numbers = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    for display in (PreprocessingDisplay, AugmentationDisplay):
        with pytest.raises(DataError, match="LogisticRegression, which takes its input as it is"):
            display.from_estimator(numbers, [[0.0]])
        with pytest.raises(NotFittedError):
            display.from_estimator(TransferClassifier("tiny"), ["a.png"])
        with pytest.raises(ImageReadError, match=r"gone\.png"):
            display.from_estimator(model, [str(tmp_path / "gone.png")])
