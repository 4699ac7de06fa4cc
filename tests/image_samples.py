"""Small pictures, encoded, for the tests of decoding and of the field of view."""

import io

import numpy as np
import tifffile
from PIL import Image, ImageOps


def scene(height=64, width=96):
    """Ramps with a red mark at the top left, so that no two orientations look alike."""
    rows, columns = np.mgrid[:height, :width]
    image = np.dstack([columns * 255 // width, rows * 255 // height, 128 + 0 * rows])
    image[: height // 6, : width // 8] = (255, 0, 0)
    return image.astype(np.uint8)


def alpha(height=64, width=96):
    return (np.mgrid[:height, :width][0] * 255 // height).astype(np.uint8)


def encode(array, kind, mode=None, **options):
    image = Image.fromarray(array)
    buffer = io.BytesIO()
    (image if mode is None else image.convert(mode)).save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(array, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def pillow(data):
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


def difference(a, b):
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def retina(height, width, centre, radius, *, border=0, noise=0.0, clip=None, seed=0):
    """A vignetted disc on a dark, perhaps noisy ground."""
    rows, columns = np.mgrid[:height, :width]
    distance = np.hypot(rows - centre[0], columns - centre[1]) / radius
    light = np.where(distance <= 1, 1 - 0.5 * distance**2, 0)[..., None]
    image = border + light * np.array([190, 100, 50])
    image += np.random.default_rng(seed).normal(0, noise, image.shape)
    return image.clip(0, 255).astype(np.uint8)
