import functools
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from fundus.builtin.preprocessors import fundus_preprocessors
from fundus.exceptions import DataError
from fundus.frozen.steps import FORMER_SCALES
from fundus.preprocessing import functions as normalise
from fundus.preprocessing.functions import check_normalised, code_identity, identity_of

SPECS = {spec.name: spec for spec in fundus_preprocessors() if spec.kind == "scale"}
# what models of bundle format 1 may hold
SPECS |= FORMER_SCALES


def batch(n=3, height=20, width=30, seed=0):
    images = np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), np.uint8)
    images[0, 0, 0], images[0, 0, 1] = 0, 255
    return images


def apply(name, images):
    spec = SPECS[name]
    return spec.apply(images, **(spec.fit([images]) if spec.fit else {}))


def test_names():
    assert list(SPECS) == [
        "none", "tf", "scale", "torch", "caffe", "lite", "corpus_mean", "image_mean", "ben_graham",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["tf", "torch", "caffe"])
def test_keras_modes_are_matched_exactly(name):
    from keras.applications import imagenet_utils

    images = batch()
    want = imagenet_utils.preprocess_input(
        images.astype(np.float32), data_format="channels_last", mode=name
    )
    np.testing.assert_array_equal(apply(name, images), want)


@pytest.mark.parametrize("name", SPECS)
def test_contract(name):
    images = batch()
    images.flags.writeable = False
    before = images.copy()
    output = apply(name, images)
    assert output.dtype == np.float32
    assert output.shape == images.shape
    assert output.flags.c_contiguous
    np.testing.assert_array_equal(images, before)
    state = SPECS[name].fit([images]) if SPECS[name].fit else {}
    alone = [SPECS[name].apply(images[k : k + 1], **state) for k in range(len(images))]
    np.testing.assert_array_equal(output, np.concatenate(alone))
    assert check_normalised(output, images, name=name) is output
    assert SPECS[name].apply(images[:0], **state).shape == (0, 20, 30, 3)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize(
    "bad", [batch().astype(np.float32), batch()[0], batch()[..., :1], batch().astype(np.uint16)]
)
def test_only_uint8_rgb_batches_are_taken(name, bad):
    state = {"mean": [0, 0, 0]} if name == "corpus_mean" else {}
    with pytest.raises(DataError, match="uint8 RGB"):
        SPECS[name].apply(bad, **state)


def test_ranges_are_as_documented():
    ends = batch()
    for name, low, high in [
        ("none", 0, 255),
        ("tf", -1, 1),
        ("scale", 0, 1),
        ("torch", -2.12, 2.64),
        ("caffe", -123.68, 151.06),
        ("lite", -0.992, 1),
    ]:
        output = apply(name, ends)
        assert output.min() == pytest.approx(low, abs=5e-3), name
        assert output.max() == pytest.approx(high, abs=5e-3), name


def test_lite():
    np.testing.assert_array_equal(
        apply("lite", batch()), ((batch().astype(np.float64) - 127) / 128).astype(np.float32)
    )


def test_corpus_mean_counts_every_pixel_once():
    batches = [batch(2, 10, 10, 1), batch(1, 10, 30, 2), batch(3, 4, 4, 3)]
    pixels = np.concatenate([b.reshape(-1, 3) for b in batches]).astype(np.float64)
    state = normalise.fit_corpus_mean(iter(batches))
    np.testing.assert_allclose(state["mean"], pixels.mean(axis=0), rtol=1e-14)
    assert all(type(value) is float for value in state["mean"])
    images = batch()
    want = images.astype(np.float64) - pixels.mean(axis=0)
    np.testing.assert_allclose(normalise.corpus_mean(images, **state), want, atol=1e-4)


@pytest.mark.parametrize("batches", [[], [np.zeros((0, 4, 4, 3), np.uint8)]])
def test_corpus_mean_of_nothing_is_an_error(batches):
    with pytest.raises(DataError, match="at least one image"):
        normalise.fit_corpus_mean(batches)


def test_corpus_mean_refuses_floats():
    with pytest.raises(DataError, match="uint8 RGB"):
        normalise.fit_corpus_mean([batch().astype(float)])


def test_image_mean_is_zero_per_image_and_channel():
    output = apply("image_mean", batch()).astype(np.float64)
    np.testing.assert_allclose(output.mean(axis=(1, 2)), 0, atol=1e-4)
    shifted = (batch() // 2 + 50).astype(np.uint8)
    np.testing.assert_allclose(
        apply("image_mean", shifted), apply("image_mean", batch() // 2), atol=1e-3
    )


def test_ben_graham_is_four_times_the_difference_from_a_gaussian_mean():
    image = batch(1, 60, 90)[0] // 4 + 80  # low contrast, so that little is clipped
    x = np.arange(-8, 9)
    kernel = np.exp(-(x**2) / (2 * 2.0**2))
    kernel /= kernel.sum()
    padded = np.pad(image.astype(np.float64), ((8, 8), (8, 8), (0, 0)), mode="reflect")
    rows = sum(k * padded[i : i + 60] for i, k in enumerate(kernel))
    blurred = sum(k * rows[:, i : i + 90] for i, k in enumerate(kernel))
    want = np.clip(4.0 * image - 4 * blurred + 128, 0, 255)
    output = apply("ben_graham", image[None])[0]  # 60 / 30 = 2 pixels
    assert np.abs(output - want).max() < 0.5
    assert output.min() >= 0
    assert output.max() <= 255


def test_ben_graham_removes_even_illumination():
    ramp = np.broadcast_to(np.arange(120, dtype=np.uint8)[:, None], (120, 120))
    output = normalise.ben_graham(np.dstack([ramp] * 3)[None])[0]
    np.testing.assert_allclose(output[30:-30], 128, atol=1)


def test_check_normalised_hands_floats_on():
    images = batch()
    assert check_normalised(images / 255.0, images, name="x").dtype == np.float32
    assert check_normalised((images / 255.0).tolist(), images, name="x").dtype == np.float32


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x - 128, "'mine' must return floating-point values; got uint8"),
        (lambda x: x.astype(np.int32), "got int32"),
        (lambda x: x.astype(np.float32).mean(axis=3), "must return an array of the shape"),
        (lambda x: np.where(x == 0, np.nan, 1.0), "must return finite values; got .* in image 0"),
        (lambda x: x * np.float64(1e300), "must return finite values"),
        (lambda x: None, "must return an array of the shape"),
    ],
)
def test_check_normalised_names_what_is_wrong(function, message):
    images = batch()
    with pytest.raises(DataError, match=message):
        check_normalised(function(images), images, name="mine")


# Identities -----------------------------------------------------------------------------------


class Scale:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, images):
        return self._scaled(images)

    def _scaled(self, images):
        return images.astype(np.float32) * np.float32(self.factor)

    def method(self, images):
        return self(images)


class SlottedScale:
    __slots__ = ("factor",)

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, images):
        return images.astype(np.float32) * self.factor


def closure(factor):
    def inner(images):
        return images.astype(np.float32) * factor

    return inner


def scaled(images, factor):
    return images.astype(np.float32) * factor


PAIRS = {
    "lambda": (lambda x: x * np.float32(2.0), lambda x: x * np.float32(3.0)),
    "unreached constant": (
        lambda x: x / 2.0 if len(x) < 99 else x / 3.0,
        lambda x: x / 2.0 if len(x) < 99 else x / 4.0,
    ),
    "closure": (closure(2.0), closure(3.0)),
    "array in a closure": (closure(np.float32([1, 2, 3])), closure(np.float32([1, 2, 4]))),
    "partial": (functools.partial(scaled, factor=2.0), functools.partial(scaled, factor=3.0)),
    "object": (Scale(2.0), Scale(3.0)),
    "slots": (SlottedScale(2.0), SlottedScale(3.0)),
    "method": (Scale(2.0).method, Scale(3.0).method),
    "partial of a method": (
        functools.partial(Scale(2.0).method), functools.partial(Scale(3.0).method),
    ),
    "name": (normalise.none, normalise.scale_01),
    "state": (normalise.corpus_mean, functools.partial(normalise.corpus_mean, mean=[0, 0, 0])),
}  # fmt: skip


@pytest.mark.parametrize("kind", PAIRS)
def test_different_functions_have_different_identities(kind):
    first, second = PAIRS[kind]
    assert identity_of(first) != identity_of(second)
    assert code_identity(first) != code_identity(second)
    assert identity_of(first) == identity_of(first)
    assert len(bytes.fromhex(identity_of(first))) == 32


@pytest.mark.parametrize("make", [closure, Scale, SlottedScale])
def test_equal_functions_made_twice_have_one_identity(make):
    assert identity_of(make(1.5)) == identity_of(make(1.5))


def test_a_value_that_only_the_output_shows_changes_the_identity():
    class Hidden:
        factors = [2.0]  # noqa: RUF012 - a class attribute is out of the code's sight

        def __call__(self, images):
            return images.astype(np.float32) * self.factors[0]

    before, code_before = identity_of(Hidden()), code_identity(Hidden())
    Hidden.factors[0] = 3.0
    assert code_identity(Hidden()) == code_before
    assert identity_of(Hidden()) != before


def test_functions_written_in_c_are_told_apart_by_name():
    assert identity_of(np.float32) != identity_of(np.sqrt)
    assert len({code_identity(f) for f in (np.sqrt, np.cbrt, len, max)}) == 4


def test_cycles_end():
    def recursive(images):
        return images / 255.0 if len(images) else recursive(images)

    loop = Scale(1.0)
    loop.myself = loop
    assert identity_of(recursive) != identity_of(loop)


def test_keras_preprocessing_has_an_identity():
    from keras.applications import resnet, resnet_v2

    assert identity_of(resnet.preprocess_input) != identity_of(resnet_v2.preprocess_input)


def test_identity_refuses_what_is_no_normaliser():
    with pytest.raises(DataError, match="floating-point"):
        identity_of(lambda x: x)


def test_probe_output_is_not_passed_on_to_the_next_call():
    def overwrites(images):
        images[...] = 0
        return images.astype(np.float32) + 1

    assert identity_of(overwrites) == identity_of(overwrites)


SCRIPT = textwrap.dedent(
    """
    import functools
    import numpy as np
    from fundus.preprocessing import functions as normalise
    from fundus.preprocessing.functions import identity_of

    TABLE = (1.5, "a", frozenset({"x", "y", "z", "w"}))

    class Callable:
        def __init__(self):
            self.names, self.table = {"p", "q", "r"}, {"b": 1, "a": [2.0, None]}
        def __call__(self, images):
            return images / (1.0 + len(self.names))

    def helper(x):
        return x * np.float32(TABLE[0])

    def closed(members):
        return lambda x: helper(x) if "x" in {"x", "y", "z"} and members else x / 1.0

    functions = [
        normalise.torch, normalise.ben_graham, normalise.corpus_mean,
        functools.partial(normalise.corpus_mean, mean=[1.0, 2.0, 3.0]),
        lambda x: x / 255.0, Callable(), Callable().__call__,
        closed({"m", "n", "o", "p"}), functools.partial(helper),
    ]
    print(*map(identity_of, functions))
    """
)


def test_identities_are_the_same_in_another_process():
    def run(script, hash_seed):
        env = os.environ | {"PYTHONHASHSEED": hash_seed}
        return subprocess.run(
            [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True
        ).stdout.split()

    first = run(SCRIPT, "1")
    assert len(first) == len(set(first)) == 9
    assert run(SCRIPT, "2") == first
    changed = run(SCRIPT.replace("TABLE = (1.5", "TABLE = (2.5"), "1")
    assert [a == b for a, b in zip(first, changed, strict=True)] == [True] * 7 + [False] * 2
    assert first[0] == identity_of(normalise.torch)
