"""Photometric steps: what they do to pixels, and that a network gets values of its own range."""

from __future__ import annotations

import hashlib
import json
import pickle
from importlib import metadata

import numpy as np
import pytest

import fundus
from fundus import FeatureExtractor, TransferClassifier
from fundus.backbones.network import weights_identity
from fundus.data.inputs import as_images
from fundus.exceptions import DataError, FundusWarning, InvalidParameterError, UnknownNameError
from fundus.frozen.function import _origin
from fundus.frozen.normaliser import Normaliser
from fundus.frozen.prepare import prepare
from fundus.frozen.settings import FrozenSettings
from fundus.frozen.work import run_frozen
from fundus.hookspecs import BackboneSpec
from fundus.plugins import BUILTIN, get_registry
from fundus.preprocessing import functions, photometric
from fundus.runtime.identity import identity_of
from fundus.testing import probe_images
from fundus.testing.ranges import check_range

STEPS = ["ben_graham", "clahe", "corpus_mean", "green", "grey_world", "image_mean"]
FORMER = ["ben_graham", "corpus_mean", "image_mean"]


def registered(kind):
    return [e.spec for e in get_registry().entries[kind] if e.plugin == BUILTIN]


def tiny(head="logistic", **options):
    return TransferClassifier(
        "tiny", head, **({"weights": "fixed", "cache": False, "random_state": 0} | options)
    )


@pytest.fixture(scope="module")
def photos(photographs):
    """Eight photographs, uint8, shape (8, 64, 64, 3)."""
    import cv2

    return np.stack([cv2.imread(path)[..., ::-1] for path in photographs.paths[:8]])


def by_hand(name, images):
    """What a step should give, in plain arithmetic."""
    x = images.astype(np.float64)
    if name == "ben_graham":
        values = [graham_by_hand(image) for image in x]
    elif name == "corpus_mean":
        values = x - x.reshape(-1, 3).mean(axis=0) + 128
    elif name == "image_mean":
        values = [image - image.reshape(-1, 3).mean(axis=0) + 128 for image in x]
    elif name == "green":
        values = np.stack([x[..., 1]] * 3, axis=3)
    else:
        means = [image.reshape(-1, 3).mean(axis=0) for image in x]
        values = [image * m.mean() / m for image, m in zip(x, means, strict=True)]
    return np.clip(np.round(values), 0, 255)


def graham_by_hand(image):
    sigma = min(image.shape[:2]) / 30
    reach = 8 * int(np.ceil(sigma))
    x = np.arange(-reach, reach + 1)
    kernel = np.exp(-(x**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    height, width = image.shape[:2]
    padded = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    rows = sum(k * padded[i : i + height] for i, k in enumerate(kernel))
    blurred = sum(k * rows[:, i : i + width] for i, k in enumerate(kernel))
    return 4 * image - 4 * blurred + 128


@pytest.mark.parametrize("name", [name for name in STEPS if name != "clahe"])
def test_steps_do_what_they_say(photos, name):
    spec = get_registry().find("preprocessor", name).spec
    state = spec.fit(iter([photos[:3], photos[3:]])) if spec.fit else {}
    output = spec.apply(photos, **state)
    assert output.dtype == np.uint8
    # OpenCV cuts the tails of a Gaussian off, and four times that is what it changes
    allowed = 4 if name == "ben_graham" else 0
    assert np.abs(output - by_hand(name, photos)).max() <= allowed


def test_steps_that_shift_the_mean_reach_mid_grey(photos):
    dim = photos // 4 + 60  # far from both ends, so that nothing is clipped
    means = photometric.image_mean(dim).mean(axis=(1, 2))
    np.testing.assert_allclose(means, 128, atol=0.5)
    state = functions.fit_corpus_mean([dim])
    shifted = photometric.corpus_mean(dim, **state)
    np.testing.assert_allclose(shifted.mean(axis=(0, 1, 2)), 128, atol=0.5)
    assert shifted.mean(axis=(1, 2)).std() > 1  # and photographs stay as unlike as they were


def test_grey_world_makes_the_mean_grey_and_leaves_an_empty_channel(photos):
    dim = photos // 4 + 20
    means = photometric.grey_world(dim).mean(axis=(1, 2))
    assert np.ptp(means, axis=1).max() < 0.5
    dim[..., 2] = 0
    assert (photometric.grey_world(dim)[..., 2] == 0).all()


def test_clahe_changes_lightness_and_not_colour():
    from skimage.color import lab2rgb, rgb2lab

    x, y = np.meshgrid(np.arange(64.0), np.arange(64.0))
    lightness = 50 + 4 * np.sin(x / 3) + y / 16  # weak waves on a ramp
    lab = np.dstack([lightness, np.full_like(x, 18.0), np.full_like(x, 20.0)])
    image = np.round(lab2rgb(lab) * 255).astype(np.uint8)
    before, after = rgb2lab(image), rgb2lab(photometric.clahe(image[None])[0])
    assert np.abs(after[..., 1:] - before[..., 1:]).max() < 3
    waves = [np.ptp(l[20:44, :, 0], axis=1).mean() for l in (before, after)]  # noqa: E741
    assert waves[1] > 1.5 * waves[0]


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize(
    "bad", [np.zeros((1, 8, 8, 3), np.float32), np.zeros((8, 8, 3), np.uint8)], ids=["float", "3-D"]
)
def test_only_uint8_rgb_batches_are_taken(name, bad):
    state = {"mean": [0, 0, 0]} if name == "corpus_mean" else {}
    with pytest.raises(DataError, match="uint8 RGB"):
        getattr(photometric, name)(bad, **state)


# --- what reaches a network ----------------------------------------------------------------------


def invert(images):
    return 255 - images


def own_range(spec):
    """By channel, over images of one grey."""
    apply = get_registry().find("preprocessor", spec.normalise).spec.apply
    greys = apply(np.arange(256, dtype=np.uint8).repeat(3).reshape(256, 1, 1, 3))
    return greys.min(axis=(0, 1, 2)), greys.max(axis=(0, 1, 2))


@pytest.mark.parametrize("spec", registered("backbone"), ids=lambda spec: spec.name)
def test_every_step_keeps_the_range_of_every_network(photos, spec):
    low, high = own_range(spec)
    scale = get_registry().find("preprocessor", spec.normalise).spec.apply
    for step in [None, *STEPS, invert]:
        owner = FeatureExtractor(spec.name, weights=None, image_size=None, photometric=step)
        made = prepare(FrozenSettings.of(owner, freeze="all"), as_images(photos), seed=0).normaliser
        values = made.apply(photos)
        assert (values >= low).all(), step
        assert (values <= high).all(), step
        changed = photos if made.photometric is None else made.photometric.apply(photos)
        assert np.array_equal(values, scale(changed)), step


@pytest.mark.parametrize("name", FORMER)
@pytest.mark.parametrize("backbone", ["tiny", "efficientnet_lite0", "vgg16"])
def test_former_names_are_followed_by_the_networks_own_scale(photos, backbone, name):
    spec = get_registry().find("backbone", backbone).spec
    owner = TransferClassifier(backbone, weights=None, normalise=name)
    with pytest.warns(FutureWarning, match=f"photometric='{name}'.*next minor release"):
        made = prepare(FrozenSettings.of(owner, freeze="all"), as_images(photos), seed=0)
    owner = TransferClassifier(backbone, weights=None, photometric=name)
    new = prepare(FrozenSettings.of(owner, freeze="all"), as_images(photos), seed=0)
    assert made.key() == new.key()
    values = made.normaliser.apply(photos)
    assert np.array_equal(values, new.normaliser.apply(photos))
    low, high = own_range(spec)
    assert (values >= low).all()
    assert (values <= high).all()


def test_trained_layers_get_the_step_too(photos):
    owner = tiny("softmax", freeze=1, photometric="green")
    frozen = prepare(FrozenSettings.of(owner), as_images(photos), seed=0)
    (found,) = run_frozen(frozen, photos)  # what such layers are trained on
    expected = photos[..., [1, 1, 1]].astype(np.float64) / 127.5 - 1
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_corpus_mean_is_of_what_was_trained_on(photos):
    model = tiny(photometric="corpus_mean", crop=None, image_size=64).fit(photos[:4], [0, 1, 0, 1])
    state = dict(model.frozen_.normaliser.photometric.state)
    assert state["mean"] == pytest.approx(photos[:4].reshape(-1, 3).mean(axis=0))


def test_a_scale_that_is_fitted_sees_what_the_step_makes(photos):
    spec = BackboneSpec(
        name="mine", build=dict, image_size=64, normalise="corpus_mean", parameters=1, licence="MIT"
    )
    owner = TransferClassifier(spec, weights=None, photometric=invert, crop=None, pool_over="all")
    made = prepare(FrozenSettings.of(owner, freeze="all"), as_images(photos), seed=0).normaliser
    # a backbone may have been trained with the mean subtracted; its record means that scale
    np.testing.assert_allclose(made.apply(photos).mean(axis=(0, 1, 2)), 0, atol=0.01)


def test_another_scale_than_the_networks_own_is_taken_with_a_warning(photos):
    with pytest.warns(FundusWarning, match=r"-124 to 151, where .* with -1 to 1 \(weights='fixed'"):
        made = tiny(normalise="caffe").fit(photos, [0, 1] * 4)
    assert made.frozen_.normaliser.function == "caffe"
    with pytest.warns(FundusWarning, match="values of 0 to 255"):
        tiny(normalise=lambda x: x.astype(np.float32)).fit(photos, [0, 1] * 4)
    # no warning: as good as the network's own, of the network's range, or weights of no known scale
    for fine in ("lite", "backbone", lambda x: x / np.float32(127.5) - 1):
        tiny(normalise=fine).fit(photos, [0, 1] * 4)
    tiny(normalise="caffe", weights=None).fit(photos, [0, 1] * 4)
    mask = np.ones((40, 40, 1), np.float32)  # for pictures of one size
    tiny(normalise=lambda x: mask * x / 255, image_size=40).fit(photos, [0, 1] * 4)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"photometric": "tf"}, InvalidParameterError, "'tf' is a scale .*clahe, .*normalise='tf'"),
        ({"photometric": 3}, InvalidParameterError, "'photometric' parameter of TransferClassifier"
         " must be None, the name .* Got 3 instead"),
        ({"photometric": "ben_grahm"}, UnknownNameError, "Did you mean 'ben_graham'"),
        ({"normalise": "clahe"}, InvalidParameterError, "Pass it as photometric='clahe'"),
        ({"normalise": 3}, InvalidParameterError, "'normalise' parameter .* Got 3 instead"),
        ({"normalise": "ben_graham", "photometric": "green"}, InvalidParameterError,
         "'normalise' parameter .*photometric='green'.* Got 'ben_graham' instead"),
        ({"photometric": lambda x: x / 255}, DataError, "must return uint8; got float64"),
        ({"photometric": lambda x: x[..., :1]}, DataError, "the shape it was given"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(photos, options, error, message):
    with pytest.raises(error, match=message):
        tiny(**options).fit(photos, [0, 1] * 4)


def test_names_are_listed_by_kind():
    scales = {"none", "tf", "scale", "torch", "caffe", "lite"}
    assert set(STEPS) <= set(fundus.list_preprocessors("photometric"))
    assert scales <= set(fundus.list_preprocessors("scale"))
    both = fundus.list_preprocessors("scale") + fundus.list_preprocessors("photometric")
    assert sorted(both) == fundus.list_preprocessors()
    with pytest.raises(InvalidParameterError, match="Got 'colour' instead"):
        fundus.list_preprocessors("colour")


# --- keys and pickles ----------------------------------------------------------------------------


def test_without_a_step_cached_work_keeps_its_name(photos):
    """The key as it was composed before there were photometric steps."""
    frozen = tiny(pool_over="all").fit(photos, [0, 1] * 4).frozen_
    network = frozen.network
    what = {
        "backbone": "tiny",
        "origin": _origin(network.backbone),
        "keras": metadata.version("keras"),
        "tensorflow": metadata.version("tensorflow"),
        "precision": "float32",
        "weights": weights_identity(network),
        "image": frozen.recipe.key(),
        "normaliser": f"{identity_of(functions.scale_pm1)} ()",
        "freeze": "str all",
        "pooling": "avg",
    }
    key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
    assert frozen.key() == key


def test_every_step_has_a_key_of_its_own(photos):
    halved = {"photometric": lambda x: x // 2}
    third = {"photometric": lambda x: x // 3}
    options = [{}, halved, third, *({"photometric": name} for name in STEPS)]
    names = [tiny(**one).fit(photos, [0, 1] * 4).frozen_.key() for one in options]
    other = tiny(photometric="corpus_mean").fit(photos[:6], [0, 1] * 3).frozen_.key()
    assert len({*names, other}) == len(names) + 1


def test_a_pickle_from_before_the_step_is_read():
    old = Normaliser.__new__(Normaliser)
    old.__dict__.update(function="ben_graham", state=())
    again = pickle.loads(pickle.dumps(old))
    images = probe_images(4, 30)
    assert np.array_equal(again.apply(images), functions.ben_graham(images))


# --- the kit -------------------------------------------------------------------------------------


def test_the_kit_finds_a_network_whose_range_is_left():
    def sometimes_bytes(images):  # images of little contrast are left as they are
        values, contrast = images.astype(np.float32), np.ptp(images, axis=(1, 2, 3), keepdims=True)
        return np.where((contrast > 0) & (contrast < 20), values, values / 255).astype(np.float32)

    with pytest.raises(AssertionError, match="'mine'.* give values of .*trained with 0 to 1"):
        check_range(sometimes_bytes, lambda x: x // 32 + 100, "The backbone 'mine'")


def test_the_kit_finds_a_step_that_is_no_photometric_one():
    check_range("caffe", "ben_graham", "A backbone")
    with pytest.raises(AssertionError, match="must return uint8"):
        check_range("caffe", lambda x: x / 255, "A backbone")
