"""Measures of photographs and of their files."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from fundus.data.inputs import as_images
from fundus.frozen.photographs import measure_photographs
from fundus.images.jpeg_quality import jpeg_quality


def disc(side: int, radius: float, width: int | None = None) -> np.ndarray:
    rows, columns = np.mgrid[:side, : width or side]
    inside = np.hypot(rows - side / 2, columns - (width or side) / 2) < radius
    return np.where(inside, 150, 0).astype(np.uint8)[..., np.newaxis].repeat(3, axis=2)


def as_jpeg(picture: np.ndarray, **how) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", **how)
    return stream.getvalue()


@pytest.mark.parametrize("quality", [1, 10, 40, 50, 75, 95, 100])
def test_quality_is_the_one_it_was_written_at(quality):
    assert jpeg_quality(as_jpeg(disc(64, 30), quality=quality)) == quality


def test_other_tables_have_the_quality_that_is_as_coarse():
    flat = as_jpeg(disc(64, 30), qtables=[[16] * 64, [16] * 64])
    fine = as_jpeg(disc(64, 30), qtables=[[2] * 64, [2] * 64])
    assert 50 < jpeg_quality(flat) < jpeg_quality(fine) < 100


def test_what_has_no_tables_has_no_quality():
    stream = io.BytesIO()
    Image.fromarray(disc(64, 30)).save(stream, "PNG")
    assert np.isnan([jpeg_quality(data) for data in (stream.getvalue(), b"", b"\xff\xd8")]).all()


def test_share_is_that_of_the_square_a_network_gets():
    whole, cut, none = disc(400, 150), disc(400, 260), np.full((400, 400, 3), 90, np.uint8)
    wide = np.zeros((400, 600, 3), np.uint8)
    wide[:, 40:560] = disc(400, 260, 520)
    found = measure_photographs(as_images([whole, cut, none, wide]), None)
    share = found["fov_share"].to_numpy()
    assert share[0] == pytest.approx(np.pi / 4, abs=0.02)  # whatever border is around it
    assert share[1] > 0.9
    assert share[2] == 1.0
    band = (wide[..., 0] > 0).sum() / 520**2  # cut off above and below
    assert share[3] == pytest.approx(band, abs=0.02)


def test_light_and_sharpness_have_the_columns_of_their_names():
    dim, bright = disc(512, 200), disc(512, 200) // 150 * 220
    noisy = bright.copy()
    noisy[::9, ::9] = np.minimum(noisy[::9, ::9], 90)
    found = measure_photographs(as_images([dim, bright, noisy]), None)
    assert found["brightness"].tolist()[:2] == pytest.approx([150, 220], abs=2)
    assert found["sharpness"][2] > 10 * max(found["sharpness"][1], 0.01)
    assert abs(found["brightness"][2] - 220) < 20


def test_pixels_are_those_of_the_file():
    data = as_jpeg(disc(900, 400, 1200), quality=80)
    found = measure_photographs(as_images([data, disc(900, 400, 1200)]), None)
    assert found["pixels"].tolist() == [900 * 1200] * 2
    assert found["jpeg_quality"].tolist()[0] == 80
    assert np.isnan(found["jpeg_quality"][1])
