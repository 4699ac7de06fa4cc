"""Photographs as small squares, for sheets; those that cannot be read any more give a reason."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.data.inputs import Images
from fundus.exceptions import DataWarning, ImageReadError, warn_caller
from fundus.images import ImageRecipe
from fundus.runtime.threads import prefetch, thread_count

#: A photograph as pixels, or why there are none.
Thumbnail = NDArray[np.uint8] | str

#: Edge of the squares, in pixels: more than a sheet shows of one.
EDGE = 352


def thumbnails(images: Images, rows: Sequence[int], edge: int = EDGE) -> list[Thumbnail]:
    """Decode some photographs, cropped to the field of view; all others are left alone.

    Parameters
    ----------
    images : Images
    rows : sequence of int
    edge : int
        Of the squares, in pixels. A JPEG is decoded at no larger scale than they need.

    Returns
    -------
    list of ndarray of uint8, shape (edge, edge, 3), or str
        RGB, 0–255; or what to write in its place.

    Warns
    -----
    DataWarning
        If some cannot be read; the first is named.
    """
    recipe = ImageRecipe(edge)

    def read(row: int) -> NDArray[np.uint8] | ImageReadError:
        try:
            return images.picture(row, recipe)
        except ImageReadError as error:
            return error

    found: list[Thumbnail] = []
    errors = []
    for row, one in prefetch(read, list(rows), threads=thread_count(None), ahead=4):
        if isinstance(one, ImageReadError):
            errors.append(str(one))
            found.append(_why(images, row))
        else:
            found.append(one)
    if errors:
        more = f" {len(errors) - 1} more cannot be read either." if len(errors) > 1 else ""
        warn_caller(f"A cell of the sheet stays grey: {errors[0]}{more}", DataWarning)
    return found


def _why(images: Images, row: int) -> str:
    paths: Any = images.paths
    gone = paths is not None and not os.path.exists(paths[row])
    return "not there any more" if gone else "cannot be read"
