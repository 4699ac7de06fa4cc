"""Normalisers: uint8 RGB images to the float32 a network expects, and names for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import DataError
from fundus.runtime.identity import check_normalised, code_identity, identity_of
from fundus.runtime.opencv import cv2

__all__ = [
    "ben_graham",
    "caffe",
    "check_normalised",
    "code_identity",
    "corpus_mean",
    "fit_corpus_mean",
    "identity_of",
    "image_mean",
    "lite",
    "none",
    "scale_01",
    "scale_pm1",
    "torch",
]

# ImageNet statistics, RGB: of images scaled to 0–1 (torch) and of images of 0–255 (Caffe).
_IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)
_CAFFE_MEAN_BGR = np.array([103.939, 116.779, 123.68], np.float32)


def _floats(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise DataError(
            "Images to normalise must be a uint8 RGB array of shape (n, height, width, 3); "
            f"got {images.dtype} of shape {images.shape}: convert them first."
        )
    return images.astype(np.float32)


def none(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Leave the values as they are; output 0 to 255.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, height, width, 3)
        RGB, 0–255.

    Returns
    -------
    ndarray of float32, shape (n, height, width, 3)

    Examples
    --------
    >>> none(np.full((1, 1, 1, 3), 255, np.uint8)).ravel().tolist()
    [255.0, 255.0, 255.0]
    """
    return _floats(images)


def scale_pm1(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scale to −1 to 1, as Keras's ``"tf"`` mode does.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, height, width, 3)
        RGB, 0–255.

    Returns
    -------
    ndarray of float32, shape (n, height, width, 3)

    Examples
    --------
    >>> scale_pm1(np.array([[[[0, 51, 255]]]], np.uint8)).ravel().round(3).tolist()
    [-1.0, -0.6..., 1.0]
    """
    values = _floats(images)
    values /= 127.5
    values -= 1.0
    return values


def scale_01(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scale to 0 to 1.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, height, width, 3)
        RGB, 0–255.

    Returns
    -------
    ndarray of float32, shape (n, height, width, 3)

    Examples
    --------
    >>> scale_01(np.array([[[[0, 0, 255]]]], np.uint8)).ravel().tolist()
    [0.0, 0.0, 1.0]
    """
    values = _floats(images)
    values /= 255.0
    return values


def torch(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scale to 0–1, subtract ImageNet's mean and divide by its deviation; output −2.12 to 2.64.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, height, width, 3)
        RGB, 0–255.

    Returns
    -------
    ndarray of float32, shape (n, height, width, 3)

    Examples
    --------
    >>> torch(np.zeros((1, 1, 1, 3), np.uint8)).ravel().round(2).tolist()
    [-2.1..., -2.0..., -1.7...]
    """
    values = _floats(images)
    values /= 255.0
    values -= _IMAGENET_MEAN
    values /= _IMAGENET_STD
    return values


def caffe(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Reorder to BGR and subtract ImageNet's mean; output −123.68 to 151.06, channels BGR.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, height, width, 3)
        RGB, 0–255.

    Returns
    -------
    ndarray of float32, shape (n, height, width, 3)
        BGR.

    Examples
    --------
    >>> caffe(np.array([[[[255, 0, 0]]]], np.uint8)).ravel().round(2).tolist()
    [-103.9..., -116.7..., 131.3...]
    """
    values = np.ascontiguousarray(_floats(images)[..., ::-1])
    values -= _CAFFE_MEAN_BGR
    return values


def lite(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Subtract 127 and divide by 128, as EfficientNet-Lite expects; output −0.992 to 1.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, height, width, 3)
        RGB, 0–255.

    Returns
    -------
    ndarray of float32, shape (n, height, width, 3)

    Examples
    --------
    >>> lite(np.array([[[[127, 191, 255]]]], np.uint8)).ravel().tolist()
    [0.0, 0.5, 1.0]
    """
    values = _floats(images)
    values -= 127.0
    values /= 128.0
    return values


def corpus_mean(images: NDArray[np.uint8], *, mean: Sequence[float]) -> NDArray[np.float32]:
    """Subtract the mean colour of the training images; output within −255 to 255, RGB.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, height, width, 3)
        RGB, 0–255.
    mean : sequence of 3 floats
        Red, green and blue, 0–255, as `fit_corpus_mean` finds them.

    Returns
    -------
    ndarray of float32, shape (n, height, width, 3)

    Examples
    --------
    >>> corpus_mean(np.full((1, 1, 1, 3), 9, np.uint8), mean=[10, 5, 1]).ravel().tolist()
    [-1.0, 4.0, 8.0]
    """
    values = _floats(images)
    values -= np.asarray(mean, np.float32)
    return values


def fit_corpus_mean(batches: Iterable[NDArray[np.uint8]]) -> dict[str, Any]:
    """Mean colour of a stream of images, every pixel counting once.

    Parameters
    ----------
    batches : iterable of ndarray of uint8, shape (n, height, width, 3)
        The training images only.

    Returns
    -------
    dict
        ``{"mean": [red, green, blue]}``, 0–255.

    Raises
    ------
    DataError
        If there is no image.

    Examples
    --------
    >>> fit_corpus_mean([np.zeros((1, 2, 2, 3), np.uint8), np.full((1, 2, 2, 3), 8, np.uint8)])
    {'mean': [4.0, 4.0, 4.0]}
    """
    total, pixels = np.zeros(3, np.uint64), 0
    for batch in batches:
        batch = np.asarray(batch)
        _floats(batch[:0])  # refuses what is no uint8 RGB batch
        total += batch.sum(axis=(0, 1, 2), dtype=np.uint64)
        pixels += batch[..., 0].size
    if not pixels:
        raise DataError(
            "The mean of the training corpus needs at least one image; got none: "
            "fit on a non-empty set of images."
        )
    return {"mean": (total / np.float64(pixels)).tolist()}


def image_mean(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Subtract from each image its own mean colour; output within −255 to 255, RGB, mean 0.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, height, width, 3)
        RGB, 0–255.

    Returns
    -------
    ndarray of float32, shape (n, height, width, 3)

    Examples
    --------
    >>> image_mean(np.array([[[[1, 2, 3], [3, 2, 1]]]], np.uint8)).ravel().tolist()
    [-1.0, 0.0, 1.0, 1.0, 0.0, -1.0]
    """
    values = _floats(images)
    values -= values.mean(axis=(1, 2), keepdims=True, dtype=np.float64).astype(np.float32)
    return values


def ben_graham(images: NDArray[np.uint8], *, sigma: float | None = None) -> NDArray[np.float32]:
    """Subtract the local mean colour and raise the contrast fourfold; output 0 to 255, RGB.

    Each image becomes ``4 x − 4 gaussian(x) + 128``, clipped: even illumination turns to mid
    grey (128), small lesions and vessels stand out. Graham blurred with a thirtieth of the
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
    ndarray of float32, shape (n, height, width, 3)

    References
    ----------
    .. [1] B. Graham, "Kaggle diabetic retinopathy detection competition report", University of
       Warwick, 6 August 2015.

    Examples
    --------
    >>> ben_graham(np.full((1, 60, 60, 3), 200, np.uint8))[0, 30, 30].round().tolist()
    [128.0, 128.0, 128.0]
    """
    values = _floats(images)
    if sigma is None:
        sigma = min(values.shape[1:3]) / 30
    for image in values:
        blurred = cv2.GaussianBlur(image, (0, 0), sigma)
        np.clip(4.0 * (image - blurred) + 128.0, 0.0, 255.0, out=image)
    return values
