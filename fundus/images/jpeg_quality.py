"""The quality setting at which a JPEG was written, from its quantisation tables."""

from __future__ import annotations

import io

import numpy as np

#: Table of luminance that the standard proposes (ITU-T T.81, annex K.1), row by row.
_LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    dtype=float,
).ravel()


def jpeg_quality(data: bytes) -> float:
    """Estimate the quality, 1–100, at which a JPEG was written.

    It is the setting of the IJG library, libjpeg, whose table of luminance has the same mean as
    the file's. For programs with tables of their own it is the setting that is as coarse.

    Parameters
    ----------
    data : bytes
        The whole file.

    Returns
    -------
    float
        ``nan`` for anything but a JPEG, and for one without a table of luminance.

    Examples
    --------
    >>> from fundus.runtime.opencv import cv2
    >>> grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    >>> _, data = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 80])
    >>> jpeg_quality(data.tobytes()), jpeg_quality(b"P5 1 1 255 x")
    (80.0, nan)
    """
    if not data.startswith(b"\xff\xd8"):
        return float("nan")
    # not Image.open, which warns of large pictures; how large one may be is checked elsewhere
    from PIL.JpegImagePlugin import JpegImageFile

    try:
        with JpegImageFile(io.BytesIO(data)) as image:
            table = image.quantization.get(0)
    except (OSError, SyntaxError):
        return float("nan")
    if table is None or len(table) != len(_LUMINANCE):
        return float("nan")
    qualities = np.arange(1, 101)
    scales = np.where(qualities < 50, 5000 // qualities, 200 - 2 * qualities)[:, np.newaxis]
    tables = np.clip((_LUMINANCE * scales + 50) // 100, 1, 255)
    # 100 is the finest; of equally near ones the finer is taken
    distance = np.abs(tables.mean(axis=1) - np.mean(table))
    return float(qualities[::-1][distance[::-1].argmin()])
