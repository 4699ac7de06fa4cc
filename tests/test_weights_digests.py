"""Files of weights of one's own: names, forms, and the notes beside them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_weights import put, saved_weights, small_backbone

import fundus
from fundus import TransferClassifier
from fundus.backbones.build import build_backbone, weights_digest
from fundus.backbones.weights_digests import problem_of
from fundus.backbones.weights_files import (
    check_format,
    formats_of,
    named_file,
    weights_folder,
)
from fundus.builtin import tiny
from fundus.exceptions import (
    BundleError,
    InvalidParameterError,
    WeightsNotAvailableError,
)
from fundus.plugins import get_registry


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


def noted(path: Path, text: str | None = None, **how) -> Path:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(path.name + ".sha256").write_text(text or f"{digest}  {path.name}\n", **how)
    return path


@pytest.mark.parametrize("given", ["name", "path"])
def test_a_file_of_the_folder_that_was_changed_since_it_was_added_is_refused(
    saved, folder, tmp_path, given
):
    spec = get_registry().find("backbone", "tiny").spec
    own = noted(put(saved[0], folder))
    weights = own.name if given == "name" else own
    assert weights_digest(build_backbone(spec, weights=weights)) == saved[1]
    tiny.build(image_size=32, weights=None).save_weights(own)
    with pytest.raises(BundleError, match="is not the one that was added: expected the SHA-256"):
        build_backbone(spec, weights=weights)
    own.with_name(own.name + ".sha256").unlink()
    assert weights_digest(build_backbone(spec, weights=weights)) != saved[1]
    elsewhere = noted(put(saved[0], tmp_path), "0" * 64)  # where nobody but the user puts files
    assert named_file(elsewhere) == elsewhere


@pytest.mark.parametrize(
    ("text", "encoding", "problem"),
    [
        ("{upper}  x.h5", "utf-8", ""),
        ("\\{lower}  x.h5", "utf-8-sig", ""),
        ("{lower}  x.h5", "utf-16", "is no UTF-8 text"),
        ("{lower}"[:3] + "12", "utf-8", "begins with no SHA-256"),
        (" \n", "utf-8", "begins with no SHA-256"),
    ],
)
def test_notes_of_other_tools_are_read_or_named(folder, text, encoding, problem):
    path = folder / "x.h5"
    path.write_bytes(b"x")
    digest = hashlib.sha256(b"x").hexdigest()
    text = text.replace("{upper}", digest.upper()).replace("{lower}", digest)
    noted(path, text, encoding=encoding)
    found = problem_of(path)
    assert problem in found
    assert bool(found) == bool(problem)
    if problem:
        assert repr(str(folder / "x.h5.sha256")) in found


def test_what_cannot_be_read_is_told_with_the_variable(saved, folder, monkeypatch):
    path = noted(put(saved[0], folder))
    is_file, read_text = Path.is_file, Path.read_text

    def refuse(function, name):
        def call(self, *args, **kwargs):
            if self.name == name:
                raise PermissionError(13, "Permission denied", str(self))
            return function(self, *args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", refuse(read_text, path.name + ".sha256"))
        assert "the note" in problem_of(path)
        assert "cannot be read (Permission denied)" in problem_of(path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_file", refuse(is_file, path.name))
        with pytest.raises(WeightsNotAvailableError, match="denied.* FUNDUS_WEIGHTS_DIR"):
            named_file(path.name)
    monkeypatch.setattr("fundus.backbones.weights_digests._digest", lambda *a: folder.read_bytes())
    assert problem_of(path) == "it cannot be read (Is a directory)"


def test_a_folder_of_a_user_who_is_not_known_is_told(monkeypatch):
    assert named_file("~nosuch/x.h5") is None
    monkeypatch.setenv("FUNDUS_WEIGHTS_DIR", "~nosuch/w")
    with pytest.raises(InvalidParameterError, match="FUNDUS_WEIGHTS_DIR must .* Got '~nosuch/w'"):
        weights_folder()


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
