"""No image file, whatever is in it, does more than raise an ImageReadError, soon and in little."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from attacks import bombs, images
from attacks.bombs import add_bad_files
from image_samples import encode, scene

import fundus
from fundus.exceptions import ImageReadError, InvalidParameterError, SetAsideWarning
from fundus.images import decode_bytes, read_bytes, verify
from fundus.images.limits import VARIABLE, ImageLimits, image_limits
from fundus.images.memory import pillow_rgb


@pytest.fixture(autouse=True)
def _default_limits(monkeypatch):
    monkeypatch.setenv(VARIABLE, "")


@pytest.mark.parametrize("count", [1000, pytest.param(20_000, marks=pytest.mark.soak)])
def test_damaged_images_are_read_or_refused(count, tmp_path, record_property):
    outcomes = images.attack(count, 0, tmp_path)
    assert set(outcomes) <= {"refused", "read"}, outcomes
    assert outcomes.total() == count
    assert min(outcomes["read"], outcomes["refused"]) > count // 10  # both were tried
    record_property(
        "promise",
        "A damaged image file is read or gives an ImageReadError; nothing else is raised, and no "
        "process ends.",
    )
    record_property("did", "whole files of 7 formats, changed at random, checked and decoded")
    record_property("times", count)
    record_property(
        "outcome", f"{outcomes['refused']:,} refused, {outcomes['read']:,} read, 0 else"
    )


@pytest.mark.parametrize(
    "within", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["refused", "within"]
)
def test_no_small_image_costs_seconds_or_gigabytes(within, tmp_path, record_property):
    made = bombs.bombs() | (bombs.costly() if within else {})
    for name, data in made.items():
        assert len(data) < 3_000_000, name
        (tmp_path / name).write_bytes(data)
    ends = images.read_files([tmp_path / name for name in made], tmp_path)
    refused = [name for name, end in ends.items() if end == "refused"]
    assert set(ends.values()) <= {"refused", "read"}, ends
    assert set(bombs.bombs()) <= set(refused), set(bombs.bombs()) - set(refused)
    record_property(
        "promise", "No image file under 3 MB takes over 2 s of processor time or 1.5 GB of memory."
    )
    record_property("did", "files made to fill memory or time: headers, scans, strips, packed rows")
    record_property("times", len(made))
    record_property("outcome", f"{len(refused)} refused, {len(made) - len(refused)} read in time")


@pytest.fixture
def nasty(tmp_path):
    """A folder with four photographs and one of each kind of bad file."""
    fundus.make_fundus(4, 32, 0, out_dir=tmp_path / "new")
    return add_bad_files(tmp_path / "new")


@pytest.mark.slow
def test_bad_files_among_good_ones_are_set_aside(nasty):
    paths = sorted(str(path) for path in nasty.rglob("*.*") if path.suffix != ".csv")
    with pytest.warns(SetAsideWarning):
        found = fundus.load_images(paths, on_error="skip")
    assert len(found.paths) == 4
    assert len(found.skipped) == len(paths) - 4
    features = fundus.FeatureExtractor(backbone="tiny", weights="fixed").fit_transform(found.paths)
    assert len(features) == 4


def test_what_looks_whole_and_cannot_be_decoded_is_told_only_by_decoding(nasty):
    for name in ("unpacked.png", "twelve.jpg"):
        verify(nasty / name)
        with pytest.raises(ImageReadError, match="cannot be decoded"):
            verify(nasty / name, decode=True)


def test_each_limit_can_be_set_for_one_call():
    data = encode(scene(), "JPEG", progressive=True)
    assert decode_bytes(data, name="eye").shape == (64, 96, 3)
    for limits, found in [
        (ImageLimits(max_side=95), "sides of 1 to 95 pixels, found width 96"),
        (ImageLimits(max_pixels=6143), "up to 6143 pixels, found width 96"),
        (ImageLimits(max_bytes=len(data) - 1), f"up to {len(data) - 1} bytes, found {len(data)}"),
        (ImageLimits(max_scans=9), "up to 9 scans, found 10"),
    ]:
        with pytest.raises(ImageReadError, match=f"'eye': expected .*{found}.*set_image_limits"):
            decode_bytes(data, name="eye", limits=limits)
        with pytest.raises(ImageReadError, match=found):
            verify("eye", data, limits=limits)
    assert decode_bytes(
        data, name="eye", limits=ImageLimits(96, 6144, len(data), max_scans=10)
    ).shape == (64, 96, 3)


def test_a_ratio_holds_for_large_pictures_only():
    data = bombs.png_header(7100, 7100, 8, 2)
    with pytest.raises(ImageReadError, match=f"up to 50 times the {len(data)} bytes"):
        decode_bytes(data, name="eye")
    with pytest.raises(ImageReadError, match="cannot be decoded"):  # the ratio let it pass
        decode_bytes(data, name="eye", limits=ImageLimits(max_ratio=10**7))


def test_limits_reach_threads_and_processes():
    data = encode(scene(), "PNG")
    fundus.set_image_limits(max_pixels=6143, max_side=100)
    assert image_limits() == ImageLimits(max_pixels=6143, max_side=100)
    raised = []

    def read():
        with pytest.raises(ImageReadError, match="up to 6143 pixels"):
            decode_bytes(data, name="eye")
        raised.append(True)

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert raised
    code = "from fundus.images.limits import image_limits; print(image_limits())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == repr(image_limits())
    from PIL import Image

    with pytest.raises(ImageReadError, match="up to 6143 pixels"):
        pillow_rgb(Image.new("RGB", (96, 64)), name="row 0")
    fundus.set_image_limits()
    assert image_limits() == ImageLimits()


def test_wrong_limits_are_named(monkeypatch):
    with pytest.raises(InvalidParameterError, match=r"'max_scans' parameter of set_image_limits"):
        fundus.set_image_limits(max_scans=0)
    with pytest.raises(InvalidParameterError, match="'max_side' parameter of ImageLimits"):
        ImageLimits(max_side=True)
    for text in (
        "max_pixel=3",
        "max_side",
        "max_side=-1",
        "max_side=1e4",
        "max_side=" + "9" * 5000,
    ):
        monkeypatch.setenv(VARIABLE, text)
        with pytest.raises(InvalidParameterError, match=VARIABLE):
            image_limits()


def test_a_large_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "large.tif"
    with path.open("wb") as stream:
        stream.truncate(2**40)  # a hole: it takes no room
    with pytest.raises(ImageReadError, match=f"up to {2**30} bytes, found {2**40}"):
        read_bytes(path)


def test_a_file_that_grows_is_read_up_to_the_limit(tmp_path, monkeypatch):
    path = tmp_path / "eye.png"
    path.write_bytes(encode(scene(), "PNG"))
    size, real = path.stat().st_size, os.fstat

    def before(descriptor):  # what it was before it grew
        found = list(real(descriptor))
        found[6] -= 100
        return os.stat_result(found)

    monkeypatch.setattr("fundus.images.decoding.os.fstat", before)
    assert len(read_bytes(path)) == size
    with pytest.raises(ImageReadError, match=f"up to {size - 1} bytes"):
        read_bytes(path, limits=ImageLimits(max_bytes=size - 1))


def test_too_little_memory_is_an_error_of_the_file(monkeypatch):
    def full(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr("fundus.images.decoding._to_rgb8", full)
    with pytest.raises(ImageReadError, match="enough free memory.*96 x 64"):
        decode_bytes(encode(scene(), "PNG"), name="eye")


def test_transparent_pixels_are_composited_in_bands(monkeypatch):
    rgba = np.random.default_rng(0).integers(0, 256, (97, 31, 4), dtype=np.uint8)
    want = np.round(rgba[..., :3] * (rgba[..., 3:] / 255.0))
    monkeypatch.setattr("fundus.images.decoding._BAND", 200)
    np.testing.assert_array_equal(decode_bytes(encode(rgba, "PNG"), name="eye"), want)


def test_a_tiff_of_jpegs_is_refused_for_their_scans():
    data = encode(scene(), "TIFF", compression="jpeg")
    assert decode_bytes(data, name="eye").shape == (64, 96, 3)
    at = data.index(b"\xff\xda")
    many = data[:at] + b"\xff\xda\0\x02" * 20 + data[at + 80 :]
    with pytest.raises(ImageReadError, match="up to 9 scans"):
        decode_bytes(many, name="eye", limits=ImageLimits(max_scans=9))
