"""Photographs that are nearly the same: candidates by features, confirmed by fine structure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fundus.data.inputs import Images, as_images
from fundus.exceptions import DataError
from fundus.frozen.loading import load_rows
from fundus.frozen.pixel_digests import pixel_digests
from fundus.images import ImageRecipe
from fundus.images.fov import fov_mask
from fundus.model_selection.neighbours import neighbour_pairs
from fundus.parameters import invalid
from fundus.runtime.opencv import cv2
from fundus.runtime.progress import track
from fundus.runtime.threads import prefetch, thread_count
from fundus.store import open_store
from fundus.transfer.features import FeatureExtractor

#: Photographs are compared at this size: vessels are seen, compression is not.
COMPARED_AT = ImageRecipe(64, "fov")

#: Among candidates in IDRiD, different eyes reach 0.49 (and 0.43 but for one pair) and three pairs
#: that show one eye twice 0.63 and more; copies made of its photographs reach at least 0.8.
THRESHOLD = 0.55

_FINE = 2.0  # standard deviation of the low-pass that is taken off, in pixels
_STEPS = cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 1e-3
_LEAST_OVERLAP = 0.5
# mean square; that of a photograph is 0.2 to 0.8, that of an even surface next to nothing
_LEAST_STRUCTURE = 0.01
# how much an alignment may shrink or stretch the area; a larger change finds agreement in a corner
_AREAS = 0.6, 1.6


def find_near_duplicates(
    X: Any,
    features: ArrayLike | FeatureExtractor | None = None,
    *,
    n_neighbors: int = 10,
    threshold: float = THRESHOLD,
    exact: bool = False,
    cache: Any = True,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> pd.DataFrame:
    """Find pairs of photographs that show one eye from one side, also mirrored or upside down.

    Fundus photographs look alike, so near features are not enough. Each image's nearest neighbours
    by the cosine of their standardised features are only candidates. A pair is confirmed where the
    fine structure (the vessels: green channel within the field of view, less its low-pass, brought
    to one local contrast) correlates after an affine alignment, in one of four orientations. A copy
    that was compressed again, resized, cropped, turned a little, mirrored, darkened or brightened
    is found, and a second photograph of the same eye may be.

    Images of identical pixels count as one, the first of them; `check_split` finds those.

    Of more than 20,000 images the candidates come from an index, if the extra ``large`` is
    installed. It looks at a part of the images for each, so pairs that are less near, such as
    mirrored or cropped copies, may be missed; `exact` compares all.

    Parameters
    ----------
    X : images
        Paths, a frame with a ``path`` column, or uint8 RGB arrays (n, height, width, 3).
    features : array-like of float, shape (n_samples, n_features), or FeatureExtractor, default=None
        Of the images, or what computes them; by default `FeatureExtractor`'s own default backbone.
    n_neighbors : int, default=10
        Candidates for each image. The search compares features by blocks of distances, in memory
        that does not grow with the square of the images, and of more than 20,000 images asks an
        index, with the extra ``large`` (else all pairs are compared, and a warning says how long
        that takes). What costs is to confirm, about 5 ms of a processor for a candidate pair, and
        there are at most ``n_neighbors`` times as many as images.
    threshold : float, default=0.55
        Smallest correlation, in (0, 1).
    exact : bool, default=False
        Whether all pairs are compared, however many images there are.
    cache : bool, path or Cache, default=True
        Where digests, and features that are computed here, are kept.
    n_jobs : int, default=None
        Threads; ``None`` and -1 mean one per processor.
    verbose : int, default=0
        1 shows progress.

    Returns
    -------
    DataFrame
        A row for each pair, the most alike first: ``first`` and ``second``, row numbers in `X`;
        ``correlation``; and ``mirrored``, whether one is the other's mirror image.

    Raises
    ------
    DataError
        If the features have another number of rows, or hold nan.
    ImageReadError
        If files cannot be read; the first is named, the rest counted.
    InvalidParameterError
        If a parameter lies outside what is named above.

    References
    ----------
    .. [1] G. D. Evangelidis and E. Z. Psarakis, "Parametric image alignment using enhanced
       correlation coefficient maximization", IEEE TPAMI 30(10), 2008.
       :doi:`10.1109/TPAMI.2008.113`

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from fundus import make_fundus
    >>> from fundus.images import load_image
    >>> with TemporaryDirectory() as folder:
    ...     data = make_fundus(5, 96, 0, out_dir=folder)
    ...     images = np.stack([load_image(path, ImageRecipe(96)) for path in data.paths])
    >>> X = np.concatenate([images, images[:1, :, ::-1]])
    >>> tiny = FeatureExtractor("tiny", weights="fixed", cache=False)
    >>> find_near_duplicates(X, tiny, cache=False).round(1)
       first  second  correlation  mirrored
    0      0       5          1.0      True
    """
    images = as_images(X)
    if not isinstance(n_neighbors, (int, np.integer)) or n_neighbors < 1:
        raise invalid("find_near_duplicates", "n_neighbors", "an int of at least 1", n_neighbors)
    if not 0 < threshold < 1:
        raise invalid("find_near_duplicates", "threshold", "a float in (0, 1)", threshold)
    if features is None:
        features = FeatureExtractor(cache=cache, n_jobs=n_jobs, verbose=verbose)
    if isinstance(features, FeatureExtractor):
        extractor = features
        features = (
            extractor.transform(images)
            if hasattr(extractor, "frozen_")
            else extractor.fit_transform(images)
        )
    vectors = np.asarray(features, dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != len(images):
        raise DataError(
            f"features must have a row for each of the {len(images)} images. "
            f"Got shape {vectors.shape}."
        )
    if not np.isfinite(vectors).all():
        row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise DataError(f"features must be finite. Got {vectors[row]} for {images.where(row)}.")
    content = pixel_digests(images, open_store(cache), n_jobs=n_jobs)
    kept = np.sort(np.unique(content, return_index=True)[1])
    candidates = kept[neighbour_pairs(vectors[kept], n_neighbors, exact=exact, n_jobs=n_jobs)]
    found = _confirm(images, candidates, threshold, n_jobs, verbose)
    pairs = pd.DataFrame(found, columns=["first", "second", "correlation", "mirrored"])
    pairs = pairs.astype({"first": int, "second": int, "correlation": float, "mirrored": bool})
    return pairs.sort_values("correlation", ascending=False, kind="stable", ignore_index=True)


def _confirm(
    images: Images,
    candidates: NDArray[np.intp],
    threshold: float,
    n_jobs: int | None,
    verbose: int,
) -> list[tuple[int, int, float, bool]]:
    rows = np.unique(candidates).tolist()
    thumbnails: dict[int, NDArray[np.uint8]] = {}
    batches = load_rows(images, rows, COMPARED_AT, n_jobs=n_jobs)
    shown = track(batches, total=len(rows), what="Reading thumbnails", show=verbose)
    for done, batch in shown:
        thumbnails.update(zip(done, map(_lit_green, batch), strict=True))

    def compare(pair: tuple[int, int]) -> tuple[float, bool]:
        return correlation(thumbnails[pair[0]], thumbnails[pair[1]])

    pairs = [(int(a), int(b)) for a, b in candidates]
    results = (
        ([pair], result)
        for pair, result in prefetch(compare, pairs, threads=thread_count(n_jobs), ahead=256)
    )
    compared = track(results, total=len(pairs), what="Comparing photographs", show=verbose)
    return [(*pair, *result) for (pair,), result in compared if result[0] >= threshold]


def _lit_green(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Green channel, in which vessels stand out; 0 means outside the field of view."""
    green = np.maximum(image[:, :, 1], 1)
    mask = fov_mask(image)
    return green if mask is None else green * mask


def correlation(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> tuple[float, bool]:
    """Correlate the fine structure of two thumbnails, aligned, in the best of four orientations.

    Parameters
    ----------
    first, second : ndarray of uint8, shape (size, size)
        0 means outside the field of view.

    Returns
    -------
    correlation : float
        -1–1.
    mirrored : bool
        Whether it is that of a mirror image.
    """
    fixed = _fine_structure(first)
    scores = []
    for rows in (1, -1):
        for columns in (1, -1):
            moving = _fine_structure(np.ascontiguousarray(second[::rows, ::columns]))
            scores.append((_aligned_correlation(fixed, moving), rows != columns))
    return max(scores)


Structure = tuple[NDArray[np.float32], NDArray[np.float32]]


def _fine_structure(green: NDArray[np.uint8]) -> Structure:
    """High-pass of one local contrast, and the mask in which it holds."""
    # the rim is an edge that all photographs of a camera share
    inside = cv2.erode(
        (green > 0).astype(np.uint8),
        np.ones((5, 5), np.uint8),
        borderType=cv2.BORDER_CONSTANT,
        borderValue=0,
    ).astype(np.float32)

    def mean(values: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
        weight = cv2.GaussianBlur(inside, (0, 0), sigma) + 1e-3
        return cv2.GaussianBlur(values * inside, (0, 0), sigma) / weight

    values = green.astype(np.float32)
    fine = (values - mean(values, _FINE)) * inside
    contrast = np.sqrt(mean(fine * fine, 2 * _FINE)) + 1.0
    return (fine / contrast).astype(np.float32), inside


def _aligned_correlation(fixed: Structure, moving: Structure) -> float:
    """Pearson correlation within both masks; -1 where there is no alignment."""
    if min(float((fine * fine).mean()) for fine, _ in (fixed, moving)) < _LEAST_STRUCTURE:
        return -1.0
    try:
        _, warp = cv2.findTransformECC(
            fixed[0], moving[0], np.eye(2, 3, dtype=np.float32), cv2.MOTION_AFFINE, _STEPS, None, 5
        )
    except cv2.error as error:
        if error.code != cv2.Error.StsNoConv:
            raise
        return -1.0
    if not _AREAS[0] < abs(float(np.linalg.det(warp[:, :2]))) < _AREAS[1]:
        return -1.0
    size = fixed[0].shape[::-1]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    turned, mask = (cv2.warpAffine(part, warp, size, flags=flags) for part in moving)
    weight = fixed[1] * mask
    if weight.sum() < _LEAST_OVERLAP * min(fixed[1].sum(), moving[1].sum()):
        return -1.0
    a, b = (part - np.average(part, weights=weight) for part in (fixed[0], turned))
    power = (weight * a * a).sum() * (weight * b * b).sum()
    return float((weight * a * b).sum() / np.sqrt(power)) if power > 0 else -1.0
