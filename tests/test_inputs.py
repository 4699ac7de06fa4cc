"""What users pass as X: columns, Pillow images, bytes, arrays of mixed sizes, and one image."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import BaggingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import fundus
from fundus import (
    FeatureExtractor,
    FoldEnsemble,
    LogisticHead,
    TransferClassifier,
    check_split,
)
from fundus.data.inputs import as_images, is_image_data
from fundus.exceptions import DataError, ImageReadError, SplitError
from fundus.frozen.work import digests
from fundus.images import ImageRecipe, decode_bytes, prepare_array
from fundus.images.memory import pillow_rgb
from fundus.model_selection.splits import GuardedSplit


def tiny(head="logistic", **options):
    options = {"weights": "fixed", "cache": False, "random_state": 0, **options}
    return TransferClassifier("tiny", head, **options)


def extractor():
    return FeatureExtractor("tiny", weights="fixed", cache=False)


def column(rows):
    """An array of objects, shape (n, 1)."""
    array = np.empty((len(rows), 1), dtype=object)
    for k, row in enumerate(rows):
        array[k, 0] = row
    return array


@pytest.fixture(scope="module")
def contents(photographs):
    return [Path(path).read_bytes() for path in photographs.paths]


@pytest.fixture(scope="module")
def mixed(contents):
    """Decoded photographs, every other one cut to another size."""
    arrays = [decode_bytes(data, name="eye") for data in contents]
    return [a if k % 2 else np.ascontiguousarray(a[4:, 2:]) for k, a in enumerate(arrays)]


# --- rows -----------------------------------------------------------------------------------------


def test_every_form_of_a_column_is_its_paths(photographs):
    paths = photographs.paths
    forms = [
        np.array(paths, dtype=object)[:, np.newaxis],
        np.array(paths.tolist())[:, np.newaxis],
        [[path] for path in paths],
        pd.DataFrame({"file": paths}),
    ]
    for X in forms:
        assert is_image_data(X)
        assert as_images(X).paths.tolist() == paths.tolist()
    assert not is_image_data(np.zeros((4, 1)))
    assert not is_image_data([[0.5], [0.7]])
    assert not is_image_data(pd.DataFrame({"age": [50, 60]}))
    with pytest.raises(DataError, match=r"2 columns.*X\[:, \[0\]\]"):
        as_images(np.array([["a.jpg", "left"], ["b.jpg", "right"]]))
    with pytest.raises(DataError, match="array of 3 columns"):
        as_images(photographs.frame.to_numpy())


def test_bytes_are_what_their_files_are(photographs, contents, tmp_path):
    paths, y = photographs.paths, photographs.grades
    expected = tiny().fit(paths, y).predict_proba(paths)
    assert np.array_equal(tiny().fit(contents, y).predict_proba(column(contents)), expected)
    # in the store they are one: what was computed of files is there for their bytes
    assert digests(as_images(contents), None) == digests(as_images(paths), None)
    with pytest.raises(DataError, match="drops zero bytes"):
        as_images(np.array(contents[:2]))


@pytest.mark.parametrize("wrap", [list, column, pd.Series])
def test_arrays_of_mixed_sizes(mixed, photographs, wrap):
    y = photographs.grades
    recipe = ImageRecipe(32)
    squares = np.stack([prepare_array(image, recipe) for image in mixed])
    expected = tiny(crop=None).fit(squares, y).predict_proba(squares)
    X = wrap(mixed)
    assert np.allclose(tiny().fit(X, y).predict_proba(X), expected, atol=1e-6)


def test_memory_holds_no_second_copy_of_arrays(mixed):
    images = as_images(mixed)
    assert all(images.content(row) is mixed[row] for row in range(len(mixed)))


def test_pillow_images(photographs, mixed):
    y = photographs.grades
    X = [Image.fromarray(array) for array in mixed]
    expected = tiny().fit(mixed, y).predict_proba(mixed)
    assert np.array_equal(tiny().fit(X, y).predict_proba(X), expected)
    assert digests(as_images(X), None) == digests(as_images(mixed), None)


def test_an_opened_pillow_image_keeps_no_pixels(photographs):
    opened = [Image.open(path) for path in photographs.paths[:3]]
    values = extractor().fit_transform(opened)
    assert all(image.tile for image in opened), "Pillow has not been made to read them"
    loaded = [image.copy() for image in opened]
    assert np.array_equal(values, extractor().fit_transform(loaded))
    # a scale that was asked for while opening is kept
    small = Image.open(photographs.paths[0])
    small.draft("RGB", (16, 16))
    assert pillow_rgb(small, name="eye").shape == (16, 16, 3)
    assert pillow_rgb(opened[0], name="eye").shape == (64, 64, 3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_pillow_modes_are_as_in_files(mode):
    random = np.random.default_rng(0)
    if mode == "I;16":
        image = Image.fromarray(random.integers(0, 65_536, (9, 7), dtype=np.uint16))
    else:
        image = Image.fromarray(random.integers(0, 256, (9, 7, 4), dtype=np.uint8)).convert(mode)
    file = io.BytesIO()
    image.save(file, "png")
    from_file = decode_bytes(file.getvalue(), name="eye")
    assert np.array_equal(pillow_rgb(image, name="eye"), from_file)


def test_the_orientation_of_a_pillow_image_is_applied():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png", exif=exif)
    image = Image.open(file)
    assert np.array_equal(pillow_rgb(image, name="eye"), np.rot90(pixels, -1))


def test_what_cannot_be_read_is_named_by_its_row(contents, photographs):
    cut = [*contents[:2], contents[2][:200], b""]
    with pytest.raises(ImageReadError, match=r"Row 2: .*'row 2'.* 1 more rows"):
        extractor().fit(cut).transform(cut)
    closed = [Image.open(photographs.paths[0]), Image.open(photographs.paths[1])]
    closed[1].filename = ""
    closed[1].close()
    with pytest.raises(ImageReadError, match="Row 1: Cannot read image 'row 1'"):
        extractor().fit(closed).transform(closed)
    grey = Image.fromarray(np.zeros((4, 4), np.float32))
    with pytest.raises(ImageReadError, match="floating-point"):
        extractor().fit([grey]).transform([grey])


def test_rows_that_do_not_go_together(contents, mixed):
    with pytest.raises(DataError, match="'a.jpg' in row 1 instead, and other rows of another kind"):
        as_images([contents[0], "a.jpg"])
    with pytest.raises(DataError, match="a bytes in row 1 instead, and other rows of another kind"):
        as_images(["a.jpg", contents[0]])
    with pytest.raises(DataError, match=r"float64 and shape \(4, 4, 3\) in row 1"):
        as_images([mixed[0], np.zeros((4, 4, 3))])


def test_copies_in_memory_are_found(contents, mixed):
    rows = [*contents[:3], contents[0]]
    with pytest.raises(SplitError, match="same image"):
        check_split([([0, 1], [2, 3])], rows, [0, 1, 0, 1], cache=False)
    with pytest.raises(SplitError, match="same image"):
        check_split([([0, 1], [2, 3])], [*mixed[:3], mixed[0]], [0, 1, 0, 1], cache=False)
    # other compression of one lossless picture
    files = [io.BytesIO(), io.BytesIO()]
    for file, level in zip(files, (0, 9), strict=True):
        Image.fromarray(mixed[0]).save(file, "png", compress_level=level)
    first, again = (file.getvalue() for file in files)
    with pytest.raises(SplitError, match="same image"):
        check_split([([0, 1], [2, 3])], [first, *contents[:2], again], [0, 1, 0, 1], cache=False)


def test_copies_in_memory_stay_on_one_side(contents):
    """An over-sampler repeats the same objects; early stopping must not watch its own rows."""
    rows = contents[:4]
    assert as_images(rows).units is None
    assert as_images([*rows, rows[1], rows[1]]).units.tolist() == [0, 1, 2, 3, 1, 1]


# --- one image ------------------------------------------------------------------------------------

SINGLE = {
    "str": "a.jpg",
    "path": Path("a.jpg"),
    "0-d": np.array("a.jpg"),
    "bytes": b"\xff\xd8",
    "pillow": Image.new("RGB", (8, 8)),
}


@pytest.mark.parametrize("name", SINGLE)
def test_one_image_is_refused_everywhere(name, photographs):
    X, y = SINGLE[name], [0]
    fitted = tiny().fit(photographs.paths, photographs.grades)
    calls = [
        lambda: tiny().fit(X, y),
        lambda: fitted.predict(X),
        lambda: extractor().fit(X),
        lambda: extractor().fit(photographs.paths).transform(X),
        lambda: check_split(2, X, y),
        lambda: list(GuardedSplit(2).split(X, y)),
        lambda: FoldEnsemble(tiny()).fit(X, y),
        lambda: fundus.TunedCutpointClassifierCV(tiny()).fit(X, y),
        lambda: fundus.FixedCutpointClassifier(tiny()).fit(X, y),
        lambda: fundus.SecondStageClassifier(tiny()).fit(X, y),
        lambda: fundus.OrdinalConformalClassifier(tiny()).fit(X, y),
        lambda: fundus.CumulativeCalibratedClassifierCV(tiny()).fit(X, y),
        lambda: fundus.find_near_duplicates(X),
    ]
    for call in calls:
        with pytest.raises(DataError, match=r"Got (the|a) .*put it in a list"):
            call()


# --- scikit-learn and imbalanced-learn ------------------------------------------------------------


@pytest.mark.parametrize("kind", ["paths", "bytes", "arrays", "pillow"])
def test_bagging_draws_by_weight(kind, photographs, contents, mixed):
    X = {
        "paths": column(photographs.paths),
        "bytes": column(contents),
        "arrays": column(mixed),
        "pillow": column([Image.fromarray(array) for array in mixed]),
    }[kind]
    y = photographs.grades
    bag = BaggingClassifier(tiny(), n_estimators=2, random_state=0).fit(X, y)
    # the same by hand: a bootstrap is a weight for every row, so that no row is there twice
    for member, drawn in zip(bag.estimators_, bag.estimators_samples_, strict=True):
        weight = np.bincount(drawn, minlength=len(y)).astype(float)
        alone = tiny(random_state=member.random_state).fit(X, y, sample_weight=weight)
        assert np.array_equal(alone.predict_proba(X), member.predict_proba(X))
    assert bag.predict(X).shape == y.shape


def test_bagging_of_a_pipeline_repeats_rows(photographs):
    X, y = column(photographs.paths), photographs.grades
    model = make_pipeline(extractor(), LogisticRegression(C=1e-3))
    bag = BaggingClassifier(model, n_estimators=3, random_state=0).fit(X, y)
    assert 0 < len(set(bag.estimators_samples_[0].tolist())) < len(y)
    assert bag.predict_proba(X).shape == (40, 5)


def test_a_bootstrap_may_leave_a_grade_out(photographs):
    """Support vectors lose a grade whose rows all weigh nothing, and then failed to predict."""
    X, y = photographs.paths, photographs.grades
    weight = np.where(y == 1, 0.0, 1.0)
    proba = tiny("svm").fit(X, y, sample_weight=weight).predict_proba(X)
    kept = weight > 0
    alone = tiny("svm").fit(X[kept], y[kept]).predict_proba(X)
    assert np.allclose(proba[:, [0, 2, 3, 4]], alone)
    assert (proba[:, 1] == 0).all()


@pytest.mark.parametrize("kind", ["paths", "bytes", "arrays"])
def test_samplers_of_imbalanced_learn(kind, photographs, contents, mixed):
    samplers = pytest.importorskip("imblearn.over_sampling")
    under = pytest.importorskip("imblearn.under_sampling")
    X = column({"paths": photographs.paths, "bytes": contents, "arrays": mixed}[kind])
    y = photographs.grades
    more, labels = samplers.RandomOverSampler(random_state=0).fit_resample(X, y)
    assert len(labels) == 5 * np.bincount(y).max()
    model = tiny(duplicates="allow").fit(more, labels)
    rows = samplers.RandomOverSampler(random_state=0)
    rows.fit_resample(X, y)
    chosen = [X[k, 0] for k in rows.sample_indices_]
    by_hand = tiny(duplicates="allow").fit(chosen, labels)
    assert np.array_equal(model.predict_proba(X), by_hand.predict_proba(X))
    fewer, labels = under.RandomUnderSampler(random_state=0).fit_resample(X, y)
    assert len(labels) == 5 * np.bincount(y).min()
    assert tiny().fit(fewer, labels).predict(X).shape == y.shape


def test_column_transformer(photographs):
    frame = pd.DataFrame({"file": photographs.paths, "age": np.arange(40.0)})
    expected = extractor().fit_transform(photographs.paths)
    for X, chosen in [(frame, "file"), (frame, ["file"]), (frame.to_numpy(), [0])]:
        steps = ColumnTransformer([("eye", extractor(), chosen)], remainder="passthrough")
        both = np.asarray(steps.fit_transform(X), dtype=float)
        assert np.allclose(both[:, :-1], expected)
        assert both[:, -1].tolist() == frame["age"].tolist()


# --- parameters of a head that goes by name -------------------------------------------------------


@pytest.mark.slow
def test_a_named_head_is_searched(photographs):
    X, y = photographs.paths, photographs.grades
    grid = {"head__C": [1e-4, 1.0]}
    found = GridSearchCV(tiny("logistic"), grid, cv=2).fit(X, y)
    by_object = GridSearchCV(tiny(LogisticHead()), grid, cv=2).fit(X, y)
    assert np.array_equal(
        found.cv_results_["mean_test_score"], by_object.cv_results_["mean_test_score"]
    )
    assert found.best_params_["head__C"] == found.best_estimator_.head.C
    assert found.estimator.head == "logistic"


def test_parameters_of_a_named_head():
    model = tiny("softmax").set_params(head="logistic", head__C=0.5)
    assert (type(model.head), model.head.C) == (LogisticHead, 0.5)
    ensemble = FoldEnsemble(tiny("logistic")).set_params(estimator__head__C=2.0)
    assert ensemble.estimator.head.C == 2.0
    with pytest.raises(ValueError, match="Invalid parameter 'D' for estimator LogisticHead"):
        tiny("logistic").set_params(head__D=1)
    assert tiny("logistic").set_params(batch_size=4).head == "logistic"
