"""Copies are found however they were made, and different eyes are not taken for copies."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import KFold

from fundus import FeatureExtractor, GuardedSplit, check_split, find_near_duplicates, make_fundus
from fundus.exceptions import DataError, InvalidParameterError, NearDuplicateWarning, SplitError
from fundus.images import ImageRecipe, load_image


def turned(image, angle):
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1)
    return cv2.warpAffine(image, matrix, (width, height))


def squeezed(image):
    small = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, image.shape[1::-1])


def compressed(image):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], 1)


COPIES = {
    "compressed again": (compressed, False),
    "resized": (squeezed, False),
    "cropped": (lambda image: cv2.resize(image[8:-6, 7:-10], (192, 192)), False),
    "darker": (lambda image: (image * 0.6).astype(np.uint8), False),
    "brighter": (lambda image: np.clip(image * 1.25, 0, 255).astype(np.uint8), False),
    "turned": (lambda image: turned(image, 5), False),
    "mirrored": (lambda image: image[:, ::-1], True),
    "upside down": (lambda image: image[::-1, ::-1], False),
    "mirrored, turned, compressed": (lambda image: compressed(turned(image[:, ::-1], 4)), True),
}


@pytest.fixture(scope="module")
def eyes(tmp_path_factory):
    """12 photographs of different eyes, uint8 (12, 192, 192, 3)."""
    data = make_fundus(24, 192, 3, out_dir=tmp_path_factory.mktemp("eyes"))
    return np.stack([load_image(path, ImageRecipe(192)) for path in data.paths[::2]])


@pytest.fixture(scope="module")
def extractor():
    return FeatureExtractor("tiny", weights="fixed", image_size=64)


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_found(eyes, extractor, kind):
    change, mirrored = COPIES[kind]
    X = np.concatenate([eyes, [np.ascontiguousarray(change(eyes[4]))]])
    pairs = find_near_duplicates(X, extractor)
    assert pairs[["first", "second"]].values.tolist() == [[4, 12]]
    assert pairs["mirrored"].tolist() == [mirrored]
    assert pairs["correlation"][0] > 0.6


def test_different_eyes_and_images_without_structure_are_no_copies(eyes, extractor):
    grey = np.full((2, 192, 192, 3), 90, np.uint8)
    grey[1] = 0
    pairs = find_near_duplicates(np.concatenate([eyes, grey]), extractor)
    assert pairs.empty
    assert pairs.dtypes.tolist() == [int, int, float, bool]


def test_identical_pixels_count_as_one(eyes, extractor):
    X = np.concatenate([eyes, eyes[:1], [eyes[0, :, ::-1]]])
    pairs = find_near_duplicates(X, extractor, n_neighbors=2, n_jobs=2)
    assert pairs[["first", "second"]].values.tolist() == [[0, 13]]
    assert find_near_duplicates(eyes[:1], extractor).empty


@pytest.mark.slow
def test_features_may_be_given(eyes, extractor):
    X = np.concatenate([eyes, eyes[2:3, ::-1]])
    given = find_near_duplicates(X, extractor.fit_transform(X))
    pd.testing.assert_frame_equal(given, find_near_duplicates(X, extractor))
    with pytest.raises(DataError, match=r"a row for each of the 13 images. Got shape \(3, 4\)"):
        find_near_duplicates(X, np.zeros((3, 4)))
    with pytest.raises(DataError, match="must be finite"):
        find_near_duplicates(X, np.full((13, 4), np.nan))
    with pytest.raises(InvalidParameterError, match="'n_neighbors'"):
        find_near_duplicates(X, extractor, n_neighbors=0)
    with pytest.raises(InvalidParameterError, match="'threshold'"):
        find_near_duplicates(X, extractor, threshold=1.5)


@pytest.mark.slow
def test_a_split_warns_and_names_them(eyes, extractor):
    X, y = np.concatenate([eyes, [turned(eyes[0], 3)]]), [0, 1] * 6 + [0]
    assert len(check_split(KFold(2), X, y)) == 2  # only where asked
    with pytest.warns(NearDuplicateWarning, match="1 pairs .* are row 0 and row 12, with a corr"):
        check_split(KFold(2), X, y, near_duplicates=extractor)
    with pytest.warns(NearDuplicateWarning):
        list(GuardedSplit(KFold(2), near_duplicates=extractor).split(X, y))
    with pytest.warns(NearDuplicateWarning):
        check_split(KFold(2), X, y, near_duplicates=extractor.fit_transform(X))
    together = [(np.arange(1, 12), np.array([0, 12]))]
    assert check_split(together, X, y, near_duplicates=extractor)
    X[12] = X[0]
    with pytest.raises(SplitError, match="the same image"):
        check_split(KFold(2), X, y, near_duplicates=extractor)


def test_tables_of_numbers_have_no_near_duplicates(blobs):
    X, y = blobs
    with pytest.raises(InvalidParameterError, match="holds no images"):
        check_split(3, X, y, near_duplicates=True)


def test_real_photographs(idrid):
    """Three pairs of IDRiD show one eye twice, as anyone can see; thumbnails are compared."""
    paths = idrid["path"].iloc[[12, 352, 303, 315, 39, 356, 326, 351, 47, 104]].tolist()
    pairs = find_near_duplicates(paths, np.random.default_rng(0).normal(size=(10, 4)))
    found = {tuple(pair) for pair in pairs[["first", "second"]].values.tolist()}
    assert found == {(0, 1), (2, 3), (4, 5)}
