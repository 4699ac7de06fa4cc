import io
import os
import struct
import sys
import zlib

import cv2
import numpy as np
import pytest
from image_samples import alpha, difference, encode, pillow, scene, tiff
from PIL import Image

from fundus.exceptions import ImageReadError
from fundus.images.decoding import decode_bytes, read_bytes, verify


def read(data):
    image = decode_bytes(data, name="eye")
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    return image


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(kind, orientation):
    if kind == "WEBP" and int(cv2.__version__.split(".")[0]) < 5:
        pytest.skip("OpenCV before 5 ignores the orientation of WebP files")
    exif = Image.Exif()
    exif[0x112] = orientation
    options = {"tiffinfo": {274: orientation}} if kind == "TIFF" else {"exif": exif}
    options |= {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    data = encode(scene(), kind, **options)
    assert difference(read(data), pillow(data)) <= 1


@pytest.mark.parametrize("orientation", [1, 6])
def test_orientation_holds_at_reduced_scale_and_with_alpha(orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    data = encode(scene(256, 384), "JPEG", exif=exif, quality=95)
    reduced = decode_bytes(data, name="eye", min_side=64)
    want = cv2.resize(pillow(data), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    assert np.abs(reduced.astype(int) - want).mean() < 2
    data = encode(np.dstack([scene(), np.full((64, 96), 255, np.uint8)]), "PNG", exif=exif)
    assert difference(read(data), pillow(data)) == 0


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *[("PNG", mode) for mode in ("L", "1", "P", "RGB")],
        *[("TIFF", mode) for mode in ("L", "1", "P", "RGB", "CMYK")],
        *[("BMP", mode) for mode in ("L", "1", "P", "RGB")],
        ("GIF", "P"),
        ("GIF", "L"),
        ("PPM", "RGB"),
        ("PPM", "L"),
    ],
)
def test_lossless_formats_agree_with_pillow(kind, mode):
    data = encode(scene(), kind, mode)
    assert difference(read(data), pillow(data)) == 0


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_agrees_with_pillow(mode, progressive):
    data = encode(scene(), "JPEG", mode, quality=95, progressive=progressive)
    assert difference(read(data), pillow(data)) <= 1


def test_ycck_and_bare_cmyk_jpeg_agree_with_pillow():
    data = encode(scene(), "JPEG", "CMYK", quality=95)
    at = data.index(b"Adobe")
    ycck = data[: at + 11] + b"\x02" + data[at + 12 :]
    assert difference(read(ycck), pillow(ycck)) <= 2
    assert difference(read(ycck), read(data)) > 50


@pytest.mark.parametrize("layout", ["big-endian", "tiled", "planar", "white is zero", "BigTIFF"])
def test_tiff_layouts(layout):
    options = {
        "big-endian": {"byteorder": ">"},
        "tiled": {"tile": (32, 32)},
        "planar": {"planarconfig": "separate"},
        "white is zero": {},
        "BigTIFF": {"bigtiff": True},
    }[layout]
    if layout == "white is zero":
        data, want = tiff(scene()[..., 0], photometric="miniswhite"), 255 - scene()[..., [0, 0, 0]]
    else:
        array = np.moveaxis(scene(), -1, 0) if layout == "planar" else scene()
        data, want = tiff(array, photometric="rgb", **options), scene()
    np.testing.assert_array_equal(read(data), want)


def test_first_page_of_a_tiff_is_read():
    data = tiff(np.stack([scene(), 255 - scene()]), photometric="rgb")
    np.testing.assert_array_equal(read(data), scene())


def sixteen(array):
    """16-bit values whose rounding to 8 bits is neither a shift nor a clip."""
    return array.astype(np.uint16) * 250 + 131


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_16_bit_values_are_scaled_and_rounded(byteorder):
    deep = sixteen(scene())
    deep[0, 0], deep[0, 1] = 0, 65_535
    want = np.round(deep / 257).astype(np.uint8)
    png = cv2.imencode(".png", deep[..., ::-1])[1].tobytes()
    np.testing.assert_array_equal(read(png), want)
    np.testing.assert_array_equal(read(tiff(deep, photometric="rgb", byteorder=byteorder)), want)
    grey = cv2.imencode(".png", deep[..., 0])[1].tobytes()
    np.testing.assert_array_equal(read(grey), want[..., [0, 0, 0]])
    np.testing.assert_array_equal(read(tiff(deep[..., 0])), want[..., [0, 0, 0]])
    inverted = read(tiff(deep[..., 0], photometric="miniswhite"))
    np.testing.assert_array_equal(inverted, 255 - want[..., [0, 0, 0]])
    ppm = b"P6\n# made by hand\n96 64\n65535\n" + deep.astype(">u2").tobytes()
    np.testing.assert_array_equal(read(ppm), want)


def test_every_16_bit_value_is_rounded():
    values = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    want = np.round(values / 257).astype(np.uint8)
    np.testing.assert_array_equal(read(cv2.imencode(".png", values)[1].tobytes())[..., 0], want)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_composited_on_black(kind):
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    data = encode(np.dstack([scene(), alpha()]), kind, **options)
    assert difference(read(data), np.round(scene() * (alpha()[..., None] / 255.0))) <= 1


def test_other_kinds_of_transparency():
    want = np.round(scene() * (alpha()[..., None] / 255.0))
    grey = encode(np.dstack([scene()[..., 0], alpha()]), "PNG")
    assert difference(read(grey), want[..., [0, 0, 0]]) <= 1
    red_is_clear = encode(scene(), "PNG", transparency=(255, 0, 0))
    np.testing.assert_array_equal(
        read(red_is_clear), np.where((scene() == (255, 0, 0)).all(2, keepdims=True), 0, scene())
    )
    palette = encode(scene(), "PNG", "P", transparency=0)
    index = np.asarray(Image.open(io.BytesIO(palette)))
    opaque = np.asarray(Image.open(io.BytesIO(palette)).convert("RGBA"))[..., :3]
    np.testing.assert_array_equal(read(palette), np.where(index[..., None] == 0, 0, opaque))
    deep = np.dstack([scene(), alpha()]).astype(np.uint16) * 257
    png = cv2.imencode(".png", deep[..., [2, 1, 0, 3]])[1].tobytes()
    assert difference(read(png), want) <= 1
    straight = tiff(deep, photometric="rgb", extrasamples=["unassalpha"])
    assert difference(read(straight), want) <= 1
    applied = tiff(deep, photometric="rgb", extrasamples=["assocalpha"])
    np.testing.assert_array_equal(read(applied), scene())


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (tiff(scene()[..., 0].astype(np.float32)), "32-bit floating-point samples"),
        (tiff(scene().astype(np.float64), photometric="rgb"), "64-bit floating-point samples"),
        (tiff(scene()[..., 0].astype(np.uint32)), "32-bit unsigned samples"),
        (tiff(scene()[..., 0].astype(np.int8)), "8-bit signed samples"),
        (
            tiff(np.moveaxis(sixteen(scene()), -1, 0), photometric="rgb", planarconfig="separate"),
            "16-bit unsigned samples, in planes",
        ),
        (b"P5 1 1 1023\n\0\0", "maximum 1023"),
        (b"P5 x", "none that can be read"),
        (b"\0" * 128 + b"DICM", "a DICOM file|one without pixels"),
        (b"not an image at all", "19 bytes that begin with b'not an image'"),
        (b"", "an empty file"),
    ],
)
def test_unsupported_kinds_are_named(data, found, capfd):
    with pytest.raises(ImageReadError, match=rf"Cannot read image 'eye'.*expected .*{found}.*; "):
        decode_bytes(data, name="eye")
    with pytest.raises(ImageReadError, match="'eye'"):
        verify("eye", data)
    assert capfd.readouterr() == ("", "")


def thumbnailed():
    """A JPEG whose EXIF block holds a thumbnail, with an end-of-image marker of its own."""
    thumbnail = encode(scene(16, 24), "JPEG")
    tail = b"Exif\0\0" + thumbnail
    data = encode(scene(), "JPEG", quality=95)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(tail) + 2) + tail + data[2:]


WHOLE = {
    "JPEG": encode(scene(), "JPEG", quality=95),
    "progressive JPEG": encode(scene(), "JPEG", quality=95, progressive=True),
    "JPEG with restarts": encode(scene(), "JPEG", quality=95, restart_marker_rows=1),
    "JPEG with thumbnail": thumbnailed(),
    "PNG": encode(scene(), "PNG"),
    "TIFF": tiff(scene(), photometric="rgb"),
    "tiled TIFF": tiff(scene(), photometric="rgb", tile=(32, 32)),
    "WebP": encode(scene(), "WEBP"),
    "BMP": encode(scene(), "BMP"),
    "GIF": encode(scene(), "GIF", "P"),
    "PPM": encode(scene(), "PPM"),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_whole_files_pass(kind):
    data = WHOLE[kind]
    verify("eye", data)
    assert difference(read(data), pillow(data)) <= (80 if kind == "WebP" else 1)


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.99])
def test_truncated_files_are_refused(kind, share):
    data = WHOLE[kind]
    data = data[: int(len(data) * share)]
    with pytest.raises(ImageReadError, match=r"Cannot read image 'eye'.*\d+ bytes"):
        decode_bytes(data, name="eye")
    with pytest.raises(ImageReadError):
        verify("eye", data)


@pytest.mark.parametrize("kind", ["JPEG", "progressive JPEG", "JPEG with thumbnail", "PNG"])
def test_every_truncation_is_refused_without_noise(kind, capfd):
    data = WHOLE[kind]
    for length in [*range(0, len(data), 7), *range(len(data) - 40, len(data))]:
        with pytest.raises(ImageReadError):
            decode_bytes(data[:length], name="eye")
    assert capfd.readouterr() == ("", "")


def test_a_jpeg_filled_up_with_zeros_is_refused():
    data = WHOLE["JPEG"]
    with pytest.raises(ImageReadError, match="end-of-image"):
        decode_bytes(data[: len(data) // 2] + bytes(len(data) // 2), name="eye")


def test_bytes_after_the_end_and_fill_bytes_are_harmless():
    for kind in ("JPEG", "PNG"):
        np.testing.assert_array_equal(read(WHOLE[kind] + bytes(100)), read(WHOLE[kind]))
    data = WHOLE["JPEG"]
    np.testing.assert_array_equal(read(data[:2] + b"\xff\xff" + data[2:]), read(data))


def test_a_damaged_png_chunk_is_refused():
    data = bytearray(WHOLE["PNG"])
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(ImageReadError, match="damaged IDAT chunk"):
        decode_bytes(bytes(data), name="eye")


def png_claiming(width, height):
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + WHOLE["PNG"][33:]


def jpeg_claiming(width, height):
    data = bytearray(WHOLE["JPEG"])
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        png_claiming(100_000, 100_000),
        png_claiming(20_000, 4),
        png_claiming(0, 4),
        jpeg_claiming(65_000, 65_000),
        jpeg_claiming(4, 0),
        b"P5 99999 1 255\n" + bytes(99_999),
    ],
)
def test_absurd_sizes_are_refused_before_decoding(data):
    with pytest.raises(ImageReadError, match="sides of 1 to 16384 pixels, found width"):
        decode_bytes(data, name="eye")


@pytest.mark.parametrize(
    ("min_side", "factor"),
    [(None, 1), (340, 1), (171, 1), (170, 2), (86, 2), (85, 4), (44, 4), (43, 8), (1, 8)],
)
def test_jpeg_is_decoded_at_the_smallest_scale_that_suffices(min_side, factor):
    data = encode(scene(340, 512), "JPEG", quality=95)
    image = decode_bytes(data, name="eye", min_side=min_side)
    assert image.shape == (-(-340 // factor), -(-512 // factor), 3)


def test_other_formats_are_decoded_in_full():
    assert decode_bytes(WHOLE["PNG"], name="eye", min_side=4).shape == (64, 96, 3)


def test_missing_files_and_directories(tmp_path):
    for path in (tmp_path / "no.png", str(tmp_path / "no.png")):
        with pytest.raises(ImageReadError, match=r"no\.png'.*found nothing at that path") as caught:
            read_bytes(path)
        assert isinstance(caught.value, OSError)
    with pytest.raises(ImageReadError, match="found a directory"):
        read_bytes(tmp_path)
    with pytest.raises(ImageReadError, match="null"):
        read_bytes("a\0b.png")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ImageReadError, match=r"empty\.jpg.*an empty file \(0 bytes\)"):
        verify(tmp_path / "empty.jpg")
    with pytest.raises(ImageReadError, match="found nothing"):
        verify(tmp_path / "no.png")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
def test_special_files_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageReadError, match="no regular file"):
        read_bytes(tmp_path / "pipe.jpg")
