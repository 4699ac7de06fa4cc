"""Photometric steps: uint8 RGB images to uint8 RGB images with other light and colour.

They run on the square picture, before the scale that a network's weights were trained with, so
whatever they do, the network gets values of its own range.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import DataError
from fundus.preprocessing import functions

__all__ = ["ben_graham", "clahe", "corpus_mean", "green", "grey_world", "image_mean"]

#: The mean that steps give an image where they shift it: the middle of 0 to 255, as Graham's grey.
MID_GREY = 128.0


def _checked(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise DataError(
            "Images for a photometric step must be a uint8 RGB array of shape "
            f"(n, height, width, 3); got {images.dtype} of shape {images.shape}: convert them "
            "first."
        )
    return images


def _to_uint8(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0.0, 255.0).astype(np.uint8)


def _each(
    images: NDArray[np.uint8], change: Callable[[NDArray[np.uint8]], NDArray[np.floating]]
) -> NDArray[np.uint8]:
    """Change image after image, as floats of a whole batch take eight times its memory."""
    output = np.empty_like(_checked(images))
    for image, out in zip(images, output, strict=True):
        out[...] = _to_uint8(change(image))
    return output


def ben_graham(images: NDArray[np.uint8], *, sigma: float | None = None) -> NDArray[np.uint8]:
    """Subtract the local mean colour and raise the contrast fourfold around mid grey.

    Each image becomes ``4 x − 4 gaussian(x) + 128``, rounded and clipped: even illumination turns
    to mid grey (128), small lesions and vessels stand out. Graham blurred with a thirtieth of the
    retina's radius and cut off the outer tenth; here the default is a thirtieth of the shorter
    edge, and nothing is cut off.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, height, width, 3)
        RGB, 0–255.
    sigma : float, default=None
        Standard deviation of the Gaussian, in pixels; ``None`` is a thirtieth of the shorter
        edge.

    Returns
    -------
    ndarray of uint8, shape (n, height, width, 3)

    References
    ----------
    .. [1] B. Graham, "Kaggle diabetic retinopathy detection competition report", University of
       Warwick, 6 August 2015.

    Examples
    --------
    >>> ben_graham(np.full((1, 60, 60, 3), 200, np.uint8))[0, 30, 30].tolist()
    [128, 128, 128]
    """
    return _to_uint8(functions.ben_graham(_checked(images), sigma=sigma))


def clahe(
    images: NDArray[np.uint8], *, clip_limit: float = 2.0, tiles: int = 8
) -> NDArray[np.uint8]:
    """Equalise the local contrast of the lightness, with a limit; the colours keep their hue.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, height, width, 3)
        RGB, 0–255.
    clip_limit : float, default=2.0
        Limit of the contrast, as `cv2.createCLAHE` takes it.
    tiles : int, default=8
        Tiles along each edge.

    Returns
    -------
    ndarray of uint8, shape (n, height, width, 3)

    References
    ----------
    .. [1] K. Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV,
       1994. :doi:`10.1016/B978-0-12-336156-1.50061-6`

    Examples
    --------
    >>> ramp = np.tile(np.arange(100, 132, dtype=np.uint8)[:, None], (32, 1, 1, 3))
    >>> bool(np.ptp(clahe(ramp.reshape(1, 32, 32, 3))) > np.ptp(ramp))
    True
    """
    equaliser = cv2.createCLAHE(clipLimit=clip_limit, tileGridSize=(tiles, tiles))
    output = np.empty_like(_checked(images))
    for image, out in zip(images, output, strict=True):
        lab = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2LAB)
        lab[..., 0] = equaliser.apply(np.ascontiguousarray(lab[..., 0]))
        out[...] = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    return output


def grey_world(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Multiply the channels of each image so that its mean colour is grey; clipped.

    The black around the field of view counts in all channels alike, so it changes nothing. A
    channel that is 0 everywhere stays so.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, height, width, 3)
        RGB, 0–255.

    Returns
    -------
    ndarray of uint8, shape (n, height, width, 3)

    References
    ----------
    .. [1] G. Buchsbaum, "A spatial processor model for object colour perception", Journal of the
       Franklin Institute 310(1), 1980. :doi:`10.1016/0016-0032(80)90058-7`

    Examples
    --------
    >>> grey_world(np.array([[[[100, 50, 30]]]], np.uint8)).ravel().tolist()
    [60, 60, 60]
    """

    def balanced(image: NDArray[np.uint8]) -> NDArray[np.floating]:
        means = image.mean(axis=(0, 1), dtype=np.float64)
        gains = np.divide(means.mean(), means, out=np.ones_like(means), where=means > 0)
        return image * gains

    return _each(images, balanced)


def green(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put the green channel, in which red lesions and vessels are darkest, into all channels.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, height, width, 3)
        RGB, 0–255.

    Returns
    -------
    ndarray of uint8, shape (n, height, width, 3)

    Examples
    --------
    >>> green(np.array([[[[200, 80, 20]]]], np.uint8)).ravel().tolist()
    [80, 80, 80]
    """
    return np.repeat(_checked(images)[..., 1:2], 3, axis=3)


def corpus_mean(images: NDArray[np.uint8], *, mean: Sequence[float]) -> NDArray[np.uint8]:
    """Shift colours so that the training images have mid grey (128) as their mean; clipped.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, height, width, 3)
        RGB, 0–255.
    mean : sequence of 3 floats
        Red, green and blue, 0–255, as `fundus.preprocessing.functions.fit_corpus_mean` finds them.

    Returns
    -------
    ndarray of uint8, shape (n, height, width, 3)

    Examples
    --------
    >>> corpus_mean(np.array([[[[100, 60, 250]]]], np.uint8), mean=[110, 60, 20]).ravel().tolist()
    [118, 128, 255]
    """
    shift = MID_GREY - np.asarray(mean, np.float64)
    return _each(images, lambda image: image + shift)


def image_mean(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shift the colours of each image so that its mean is mid grey (128); clipped.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, height, width, 3)
        RGB, 0–255.

    Returns
    -------
    ndarray of uint8, shape (n, height, width, 3)

    Examples
    --------
    >>> image_mean(np.array([[[[1, 2, 3], [3, 2, 1]]]], np.uint8)).ravel().tolist()
    [127, 128, 129, 129, 128, 127]
    """
    return _each(images, lambda image: image + (MID_GREY - image.mean((0, 1), dtype=np.float64)))
