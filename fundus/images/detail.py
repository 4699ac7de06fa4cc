"""Less detail in a photograph, as lenses, sensors and files leave it.

Images are arrays of uint8, shape (height, width, 3): RGB, 0–255.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fundus.images.kinds import Drawn
from fundus.runtime.opencv import cv2

#: Longer side of a picture for which a blur's standard deviation is told, in pixels.
TOLD_FOR = 320

#: Standard deviation of the blur against which sharpness is measured, in pixels of such a picture.
_SOFT = 1.0


def degrade(
    image: NDArray[np.uint8], inside: NDArray[np.uint8] | None, drawn: Mapping[str, Drawn]
) -> NDArray[np.uint8]:
    """Blur, sharpen, shrink, add noise and compress, whichever of these was drawn.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width, 3)
        RGB, 0–255.
    inside : ndarray of uint8, shape (height, width), or None
        Where there is noise: not 0 in the field of view; ``None`` for everywhere.
    drawn : mapping of str to Drawn
        By kind; other kinds are passed over.

    Examples
    --------
    >>> image = np.zeros((4, 4, 3), np.uint8)
    >>> image[:2] = 200
    >>> half = {"resolution": Drawn((0.25,), np.random.default_rng(0))}
    >>> degrade(image, None, half)[:, 0, 0].tolist()
    [100, 100, 100, 100]
    """
    if "blur" in drawn:
        image = _blurred(image, drawn["blur"].amount)
    if "sharpness" in drawn:
        factor = drawn["sharpness"].amount
        image = cv2.addWeighted(image, factor, _blurred(image, _SOFT), 1 - factor, 0)
    if "resolution" in drawn:
        image = _shrunk(image, drawn["resolution"].amount)
    if "noise" in drawn:
        image = _noisy(image, inside, drawn["noise"])
    if "jpeg" in drawn:
        image = _compressed(image, int(drawn["jpeg"].amount))
    return image


def _blurred(image: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    """Blur by a Gaussian whose standard deviation grows with the picture."""
    sigma *= max(image.shape[:2]) / TOLD_FOR
    return cv2.GaussianBlur(image, (0, 0), sigma) if sigma > 0 else image


def _shrunk(image: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    """Resize by area to a share of the pixels of a side, and linearly back."""
    height, width = image.shape[:2]
    small = max(1, round(width * share)), max(1, round(height * share))
    if small == (width, height):
        return image
    image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def _noisy(
    image: NDArray[np.uint8], inside: NDArray[np.uint8] | None, drawn: Drawn
) -> NDArray[np.uint8]:
    """Add Gaussian noise to each pixel and channel."""
    noise = drawn.rng.standard_normal(image.shape, dtype=np.float32)
    noise *= np.float32(drawn.amount)
    noise += image
    noisy = np.rint(noise, out=noise).clip(0, 255).astype(np.uint8)
    return noisy if inside is None else cv2.copyTo(noisy, inside, image.copy())


def _compressed(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Write as JPEG and read again; OpenCV takes the channels as blue, green, red."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
