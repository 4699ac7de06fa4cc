"""The conformance kit on preprocessors, and its fixed inputs."""

import numpy as np
import pytest

from fundus.hookspecs import PreprocessorSpec
from fundus.testing import check_preprocessor, probe_features, probe_images

# --- probes --------------------------------------------------------------------------------------


def test_probe_images_tell_channels_axes_and_levels_apart():
    images = probe_images(6, 16)
    assert images.dtype == np.uint8
    ramp, black, white, *noise = images
    assert not np.array_equal(ramp, ramp[..., ::-1])
    assert not np.array_equal(ramp, ramp.transpose(1, 0, 2))
    assert (black == 0).all()
    assert (white == 255).all()
    assert not np.array_equal(noise[0], noise[1])
    # noise of every level, about evenly: 3 sigma of the mean of 768 draws
    assert abs(np.mean(noise[0]) - 127.5) < 3 * 73.9 / np.sqrt(noise[0].size)


def test_probe_images_are_the_same_for_ever():
    assert probe_images(4, 2)[3].tolist() == NOISE
    np.testing.assert_array_equal(probe_images(2, 5), probe_images(7, 5)[:2])


NOISE = [[[33, 170, 66], [156, 100, 1]], [[234, 8, 181], [149, 71, 110]]]


def test_probe_features_rise_with_the_grade():
    X, y = probe_features(50, 5)
    assert X.dtype == np.float32
    assert np.corrcoef(X[:, 0], y)[0, 1] > 0.9
    assert np.abs(X[:, 1:]).max() <= 1


# --- preprocessors -------------------------------------------------------------------------------


def floats(images):
    return images.astype(np.float32)


def batch_mean(images):
    return images.astype(np.float32) - images.mean(axis=0, dtype=np.float32)


def in_place(images):
    images[:] = 255 - images
    return floats(images)


def per_image_deviation(images):
    return floats(images) / floats(images).std(axis=(1, 2, 3), keepdims=True)


def fit_mean_of_batches(batches):
    return {"mean": float(np.mean([batch.mean() for batch in batches]))}


def fit_array(batches):
    return {"mean": sum(batch.sum(axis=(0, 1, 2), dtype=float) for batch in batches)}


def fit_list(batches):
    return {"mean": float(np.mean([len(batches)]))}


def minus(images, mean=0.0):
    return floats(images) - np.float32(mean)


_draws = np.random.default_rng(0)

FAULTY_PREPROCESSORS = {
    "in place": ({"apply": in_place}, "must leave its input as it is"),
    "float64": ({"apply": lambda x: x / 255}, "must return float32. Got float64"),
    "batch": ({"apply": batch_mean}, "must treat every image on its own"),
    "grey": ({"apply": lambda x: floats(x)[..., :1]}, "an ndarray of the shape it was given"),
    "random": (
        {"apply": lambda x: floats(x) + _draws.random(x.shape, np.float32)},
        "must return the same every time",
    ),
    "nan": ({"apply": per_image_deviation}, "must return finite values.*one colour"),
    "raises": ({"apply": lambda x, mean: x}, "failed with TypeError"),
    "mean of means": (
        {"apply": minus, "fit": fit_mean_of_batches},
        "must not depend on how the images are batched",
    ),
    "array": ({"apply": minus, "fit": fit_array}, "not JSON serializable.* value.tolist"),
    "length": ({"apply": minus, "fit": fit_list}, "an iterable .* read once"),
    "lambda": ({"apply": lambda x: floats(x)}, None),  # goes by its name, so it is saved
    "photometric": ({"apply": lambda x: 255 - x, "kind": "photometric"}, None),
    "photometric floats": (
        {"apply": floats, "kind": "photometric"},
        "must return uint8. Got float32.*kind='scale'",
    ),
    "photometric batch": (
        {"apply": lambda x: np.maximum(x, x.min(axis=0)[None] + 1), "kind": "photometric"},
        "must treat every image on its own",
    ),
    "no kind": ({"apply": floats, "kind": "colour"}, "'kind' must be 'scale' or 'photometric'"),
}


@pytest.mark.filterwarnings("ignore:.* encountered in divide")
@pytest.mark.parametrize("fault", FAULTY_PREPROCESSORS)
def test_faults_of_preprocessors(fault):
    fields, message = FAULTY_PREPROCESSORS[fault]
    spec = PreprocessorSpec(name="candidate", description="One.", **fields)
    if message is None:
        check_preprocessor(spec)
        return
    with pytest.raises(AssertionError, match=f"(?s)'candidate'.*{message}"):
        check_preprocessor(spec)


def test_golden_values_of_a_preprocessor_that_is_fitted():
    images = probe_images(3, 6).astype(float)
    expected = np.clip(np.rint(images - images.mean(axis=(0, 1, 2)) + 128), 0, 255)
    check_preprocessor("corpus_mean", golden=expected)
    with pytest.raises(AssertionError, match="give the entry a new name"):
        check_preprocessor("corpus_mean", golden=expected + 1)
    with pytest.raises(AssertionError, match="golden must have the shape"):
        check_preprocessor("corpus_mean", golden=expected[0])
