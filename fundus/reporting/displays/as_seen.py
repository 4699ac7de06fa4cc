"""What the network of a fitted estimator sees of photographs, for displays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from fundus.data.inputs import Images
from fundus.exceptions import DataError
from fundus.grades.foreign import as_grader, unwrapped
from fundus.images.decoding import decode_bytes
from fundus.reporting.displays.thumbnails import EDGE
from fundus.runtime.opencv import cv2


def reader_of(estimator: Any) -> Any:
    """Return the part of a fitted estimator that reads photographs, of an ensemble the first.

    Raises
    ------
    DataError
        If it reads none.
    """
    inner = unwrapped(estimator)
    check_is_fitted(inner)
    first = inner.steps[0][1] if isinstance(inner, Pipeline) else inner
    if hasattr(first, "frozen_"):
        return first
    readers = as_grader(inner).readers() if hasattr(inner, "predict") else []
    if not readers:
        raise DataError(
            "What a network sees can be drawn of estimators that read photographs, such as "
            f"TransferClassifier. Got {type(inner).__name__}, which takes its input as it is."
        )
    return readers[0].model


def small(images: Images, row: int) -> NDArray[np.uint8]:
    """Return a whole photograph with its own proportions, the longer side no longer than `EDGE`."""
    content: Any = images.content(row)
    if isinstance(content, bytes):
        content = decode_bytes(content, name=images.where(row), min_side=EDGE)
    height, width = content.shape[:2]
    share = EDGE / max(height, width)
    if share >= 1:
        return np.asarray(content)
    size = max(1, round(width * share)), max(1, round(height * share))
    return np.asarray(cv2.resize(content, size, interpolation=cv2.INTER_AREA))


def name_of(images: Images, row: int) -> str:
    """Name a row below its picture."""
    return f"row {row}" if images.paths is None else str(images.paths[row])


def called(function: Any) -> str:
    """Name a step of light and colour."""
    return function if isinstance(function, str) else getattr(function, "__name__", "a function")
