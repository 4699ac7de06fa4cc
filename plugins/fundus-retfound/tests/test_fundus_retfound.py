"""The plugin as its users meet it, and against the networks its weights come from."""

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import fundus_retfound
import numpy as np
import pytest
from fundus_retfound.checkpoint import expected_shapes
from fundus_retfound.config import GREEN, RETFOUND
from safetensors.numpy import save_file

import fundus
from fundus.backbones.build import build_backbone
from fundus.backbones.pooling import pooled
from fundus.backbones.splitting import split
from fundus.exceptions import BundleError, InvalidParameterError, WeightsNotAvailableError
from fundus.plugins import get_registry
from fundus.preprocessing import functions
from fundus.testing import check_backbone, check_plugin, check_preprocessor
from fundus.testing.probes import probe_images

sys.path.insert(0, str(Path(__file__).parent))
from reference import GOLDEN, SIZES, SMALL, make_state, timm_features

NORMALISE = {"retfound": fundus_retfound.imagenet, "retfound_green": fundus_retfound.half}
EVERY_SIZE = pytest.mark.parametrize(
    ("name", "size"), [(name, size) for name, sizes in SIZES.items() for size in sizes]
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FUNDUS_CACHE_DIR", str(tmp_path / "cache"))


def small_spec(name):
    """The registered record, for the small network."""
    config = SMALL[name]
    spec = get_registry().find("backbone", name).spec
    return replace(
        spec,
        name=f"small_{name}",
        build=partial(fundus_retfound._build, config),
        load_weights=partial(fundus_retfound._load_weights, config),
        image_size=config.image_size,
        min_image_size=2 * config.patch,
        parameters=sum(int(np.prod(shape)) for shape in expected_shapes(config).values()),
    )


def write(path, state):
    save_file({name: np.ascontiguousarray(value) for name, value in state.items()}, path)
    return path


def features(name, path, size):
    model = pooled(build_backbone(small_spec(name), image_size=size, weights=path), "avg")
    return np.asarray(model(NORMALISE[name](probe_images(4, size)), training=False))


def test_it_is_installed_and_loads():
    (status,) = [s for s in get_registry().statuses if s.distribution == "fundus-retfound"]
    assert (status.name, status.state) == ("retfound", "loaded"), status.details
    assert {"retfound", "retfound_green"} <= set(fundus.list_backbones())


@EVERY_SIZE
def test_features_are_those_of_timm(tmp_path, name, size):
    path = write(tmp_path / "w.safetensors", make_state(SMALL[name]))
    golden = json.loads(GOLDEN.read_text("utf-8"))[name][str(size)]
    np.testing.assert_allclose(features(name, path, size), golden, atol=1e-4)


@EVERY_SIZE
def test_features_are_those_of_timm_on_random_weights(tmp_path, name, size):
    pytest.importorskip("torch", reason="needs fundus-retfound[parity]")
    pytest.importorskip("timm", reason="needs fundus-retfound[parity]")
    rng = np.random.default_rng()
    state = {
        key: (value + rng.normal(0, 0.1, value.shape)).astype(np.float32)
        for key, value in make_state(SMALL[name]).items()
    }
    path = write(tmp_path / "w.safetensors", state)
    np.testing.assert_allclose(
        features(name, path, size), timm_features(name, state, size), atol=1e-4
    )


@pytest.mark.parametrize("name", SMALL)
def test_every_part_of_a_checkpoint_counts(tmp_path, name):
    """So that the golden values would notice a tensor that is read into the wrong place."""
    config = SMALL[name]
    model, x = build_backbone(small_spec(name), weights=None), probe_images(1, config.image_size)

    def outputs(state):
        path = write(tmp_path / "w.safetensors", state)
        fundus_retfound._load_weights(config, model, path)
        return np.asarray(model(NORMALISE[name](x), training=False))

    state = make_state(config)
    before = outputs(state)
    for key in expected_shapes(config):
        if ".0." in key or "blocks" not in key:
            assert np.abs(outputs(state | {key: state[key] * 1.5 + 0.1}) - before).max() > 1e-4, key


@pytest.mark.parametrize("name", SMALL)
def test_the_small_network_keeps_the_contract(tmp_path, name):
    path = write(tmp_path / "w.safetensors", make_state(SMALL[name]))
    check_backbone(small_spec(name), weights=path)


@pytest.mark.parametrize("name", SMALL)
def test_it_can_be_cut_after_every_layer(name):
    model = build_backbone(small_spec(name), weights=None, seed=0)
    x = NORMALISE[name](probe_images(4, SMALL[name].image_size))
    whole = np.asarray(model(x, training=False))
    blocks = [layer.name for layer in model.layers if layer.name.endswith("_add2")]
    assert len(blocks) == SMALL[name].depth
    for k, layer in enumerate(model.layers[1:-1], 2):
        parts = split(model, k)
        middle = parts.prefix(x, training=False)
        np.testing.assert_allclose(parts.suffix(middle, training=False), whole, atol=1e-5)
        if layer.name in blocks:
            assert len(parts.cut_shapes) == 1  # one tensor crosses between blocks


@pytest.mark.parametrize("name", SMALL)
def test_preprocessing_is_pinned(name):
    values = np.array([[[[0, 51, 255]]]], np.uint8)
    golden = {
        "retfound": [-2.117904, -1.142857, 2.64],
        "retfound_green": [-1.0, -0.6, 1.0],
    }
    np.testing.assert_allclose(NORMALISE[name](values).ravel(), golden[name], rtol=1e-5)


def test_preprocessors_keep_the_contract():
    images = probe_images(4, 8)
    check_preprocessor("retfound_imagenet", golden=functions.torch(images))
    check_preprocessor("retfound_half", golden=images / 127.5 - 1)


def test_the_plugin_keeps_the_contract():
    """All but the whole networks, which take minutes; the small ones are checked above."""
    only = ["preprocessor:retfound_imagenet", "preprocessor:retfound_half"]
    check_plugin("fundus-retfound", only=only)


@pytest.mark.zoo
def test_the_plugin_and_its_whole_networks_keep_the_contract():
    check_plugin("fundus-retfound")


def test_the_sizes_of_the_published_networks():
    for name, config in (("retfound", RETFOUND), ("retfound_green", GREEN)):
        shapes = expected_shapes(config)
        spec = get_registry().find("backbone", name).spec
        assert spec.parameters == sum(int(np.prod(shape)) for shape in shapes.values())
    assert expected_shapes(RETFOUND)["pos_embed"] == (1, 197, 1024)
    assert expected_shapes(RETFOUND)["blocks.23.attn.qkv.weight"] == (3072, 1024)
    assert expected_shapes(GREEN)["pos_embed"] == (1, 784, 384)


def test_a_pretraining_checkpoint(tmp_path):
    """The published file: an encoder with its last norm, a decoder, and no ``fc_norm``."""
    config = SMALL["retfound"]
    state = make_state(config)
    identity = {"fc_norm.weight": np.ones(24, "f4"), "fc_norm.bias": np.zeros(24, "f4")}
    expected = features("retfound", write(tmp_path / "a.safetensors", state | identity), 32)
    published = {name: value for name, value in state.items() if not name.startswith("fc_norm")}
    published |= {"norm.weight": np.full(24, 9, "f4"), "norm.bias": np.ones(24, "f4")}
    published |= {"mask_token": np.ones(3, "f4"), "decoder_embed.bias": np.ones(3, "f4")}
    got = features("retfound", write(tmp_path / "b.safetensors", published), 32)
    np.testing.assert_array_equal(got, expected)
    assert np.abs(got.mean(axis=1)).max() < 1e-5  # each vector is normalised


@pytest.mark.parametrize("name", SMALL)
def test_a_wrong_checkpoint_is_named(tmp_path, name):
    state = make_state(SMALL[name])
    del state["blocks.1.attn.qkv.bias"], state["cls_token"]
    state["blocks.9.ls3.gamma"] = np.zeros(2, "f4")
    state["patch_embed.proj.weight"] = np.zeros((5, 3, 2, 2), "f4")
    path = write(tmp_path / "wrong.safetensors", state)
    with pytest.raises(BundleError) as caught:
        build_backbone(small_spec(name), weights=path)
    message = str(caught.value)
    assert f"wrong.safetensors' is no checkpoint of {name!r}" in message
    assert "it lacks 'cls_token', 'blocks.1.attn.qkv.bias'" in message
    assert "it has the unknown 'blocks.9.ls3.gamma'" in message
    assert "'patch_embed.proj.weight' (5, 3, 2, 2) instead of (24, 3, " in message


@pytest.mark.parametrize("shape", [(1, 8, 24), (1, 17, 23), (17, 24), (1, 1, 24)])
def test_positions_of_no_square_are_refused(tmp_path, shape):
    state = make_state(SMALL["retfound"]) | {"pos_embed": np.zeros(shape, "f4")}
    path = write(tmp_path / "w.safetensors", state)
    with pytest.raises(BundleError, match=r"'pos_embed' of .* must have the shape \(1, 1 \+ n"):
        build_backbone(small_spec("retfound"), weights=path)


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"no tensors")
    with pytest.raises(BundleError, match=r"w\.safetensors' is damaged"):
        build_backbone(small_spec("retfound"), weights=tmp_path / "w.safetensors")
    (tmp_path / "w.pth").write_bytes(b"no tensors")
    with pytest.raises(BundleError, match=r"w\.pth' is damaged"):
        build_backbone(small_spec("retfound"), weights=tmp_path / "w.pth")
    with pytest.raises(WeightsNotAvailableError, match=r"no weights file"):
        fundus_retfound._load_weights(SMALL["retfound"], None, tmp_path / "missing.pth")
    with pytest.raises(InvalidParameterError, match="None or the path of a weights file"):
        build_backbone(get_registry().find("backbone", "retfound").spec, weights="imagenet")


def test_image_sizes_that_hold_no_whole_patches():
    spec = get_registry().find("backbone", "retfound_green").spec
    with pytest.raises(InvalidParameterError, match="multiple of 14 pixels.*such as 98 or 112"):
        build_backbone(spec, image_size=100, weights=None)


def test_a_pytorch_file(tmp_path):
    """As the authors' programs write it; only PyTorch can write one, none is needed to read it."""
    torch = pytest.importorskip("torch", reason="needs fundus-retfound[parity]")
    import argparse

    for name, config in SMALL.items():
        state = make_state(config)
        model = {key: torch.from_numpy(value) for key, value in state.items()}
        moments = {"state": {0: {"exp_avg": torch.zeros(5)}}, "param_groups": [{"lr": 0.1}]}
        args = argparse.Namespace(output_dir=Path("out"), device="cuda")
        content = {"model": model, "optimizer": moments, "epoch": 799, "args": args}
        for new in (True, False):
            torch.save(
                content if config.checkpoint_key else model,
                tmp_path / "w.pth",
                _use_new_zipfile_serialization=new,
            )
            got = features(name, tmp_path / "w.pth", config.image_size)
            same = features(name, write(tmp_path / "w.safetensors", state), config.image_size)
            np.testing.assert_array_equal(got, same)
