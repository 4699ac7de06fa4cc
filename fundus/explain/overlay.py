"""Maps drawn over photographs, as pixels and as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fundus.runtime.whole import whole_file

#: Text ``Software`` in pictures, by which the command line knows its own.
SOFTWARE = "fundus"

#: RGB, 0–1: what raises the value, what lowers it, and where members disagree.
RAISES, LOWERS, DISAGREES = (1.0, 0.45, 0.05), (0.15, 0.5, 1.0), (0.2, 0.95, 0.45)

# share of pixels that are at the end of the colours
_BRIGHTEST = 99.7
# how much of a map's colour covers the photograph at most
_COVER = 0.8


def strongest(values: NDArray[np.float32]) -> float:
    """Size of a map at which its colour is full; 1 for a map of zeros.

    Examples
    --------
    >>> round(strongest(np.linspace(-2, 1, 1001, dtype=np.float32)), 1)
    2.0
    """
    found = float(np.percentile(np.abs(values), _BRIGHTEST))
    if found > 0:
        return found
    most = float(np.abs(values).max())
    return most if most > 0 else 1.0


def coloured(
    photograph: NDArray[np.uint8], values: NDArray[np.float32], *, disagreement: bool = False
) -> NDArray[np.uint8]:
    """Draw a map over a photograph, which is made grey so that the colours are the map's.

    Parameters
    ----------
    photograph : ndarray of uint8, shape (height, width, 3)
        RGB, 0–255.
    values : ndarray of float, shape (height, width)
    disagreement : bool, default=False
        Whether they are deviations, which have a colour of their own.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        RGB, 0–255.

    Examples
    --------
    >>> grey = np.full((1, 2, 3), 100, np.uint8)
    >>> red, blue = coloured(grey, np.array([[1.0, -1.0]], np.float32))[0]
    >>> bool(red[0] > red[2]), bool(blue[0] < blue[2])
    (True, True)
    """
    size = np.clip(np.abs(values) / strongest(values), 0, 1)[..., None]
    grey = photograph.astype(np.float32).mean(axis=2, keepdims=True) / 255
    base = 0.75 * grey + 0.25 * photograph / np.float32(255)
    upper = np.array(DISAGREES if disagreement else RAISES, np.float32)
    colour = np.where(values[..., None] >= 0, upper, np.array(LOWERS, np.float32))
    cover = _COVER * size
    # the photograph shows through: its light stays in the colour
    drawn = base * (1 - cover) + colour * cover * (0.35 + 0.65 * base)
    return np.clip(drawn * 255 + 0.5, 0, 255).astype(np.uint8)


def write_png(picture: NDArray[np.uint8], path: Path) -> None:
    """Write RGB pixels as PNG, whole or not at all.

    Raises
    ------
    WriteError
        If the file cannot be written.
    """
    from matplotlib.image import imsave

    with whole_file(path) as part:
        imsave(part, picture, format="png", metadata={"Software": SOFTWARE})
