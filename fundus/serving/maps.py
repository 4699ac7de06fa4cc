"""The map of a severity as pictures for a page: the photograph, and what lies over it."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.explain.explanation import Explanation
from fundus.explain.models import explain_images
from fundus.explain.overlay import LOWERS, RAISES, strongest
from fundus.explain.spreading import Place
from fundus.runtime.opencv import cv2

#: Longest side of the pictures, in pixels.
LONGEST = 1024


@dataclass(frozen=True)
class Mapped:
    """The map of one photograph.

    Parameters
    ----------
    of, method : str
        As `Explanation` has them.
    value, bias : float
        The map and the bias add up to the value.
    raised, lowered : float
        Sums of the map where it is above and below 0.
    photograph : bytes
        The photograph, upright, as JPEG.
    overlay : bytes
        The map, of the same size, as PNG: orange raises, blue lowers, and where it is 0 it is
        transparent.
    """

    of: str
    method: str
    value: float
    bias: float
    raised: float
    lowered: float
    photograph: bytes
    overlay: bytes

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, the pictures as data URIs."""
        found = dict(vars(self))
        found["photograph"] = _uri("image/jpeg", self.photograph)
        found["overlay"] = _uri("image/png", self.overlay)
        return found


def map_of(model: Any, data: bytes) -> Mapped:
    """Explain one photograph with a fitted model.

    Parameters
    ----------
    model : classifier
    data : bytes
        The file.

    Raises
    ------
    ImageReadError
        If it cannot be read.
    """
    found = explain_images(model, [data])
    photograph = found.photograph(0)
    height, width = photograph.shape[:2]
    share = min(1.0, LONGEST / max(height, width))
    size = max(1, round(height * share)), max(1, round(width * share))
    values = _at(found, size).map(0)
    small = cv2.resize(photograph, size[::-1], interpolation=cv2.INTER_AREA)
    return Mapped(
        found.of,
        found.method,
        float(found.value[0]),
        float(found.bias[0]),
        float(values[values > 0].sum()),
        float(values[values < 0].sum()),
        _encoded(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90]),
        _encoded(".png", overlay(values), []),
    )


def _at(found: Explanation, size: tuple[int, int]) -> Explanation:
    """The same of a smaller photograph: as many pixels of a map are made as are shown."""
    known: dict[int, Place] = {}

    def smaller(place: Place) -> Place:
        if id(place) not in known:
            at = place.placement
            down, across = size[0] / at.height, size[1] / at.width
            known[id(place)] = Place(
                replace(
                    at, height=size[0], width=size[1], top=at.top * down, left=at.left * across,
                    tall=at.tall * down, wide=at.wide * across,
                ),
                place.mask,
            )  # fmt: skip
        return known[id(place)]

    members = [
        replace(member, places=[smaller(place) for place in member.places])
        for member in found.members
    ]
    return Explanation(found.images, members, found.of)


def overlay(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colour a map: BGRA, as opaque as the map is strong.

    Parameters
    ----------
    values : ndarray of float, shape (height, width)

    Returns
    -------
    ndarray of uint8, shape (height, width, 4)

    Examples
    --------
    >>> overlay(np.array([[0.0, 1.0, -1.0]], np.float32))[0, :, 3].tolist()
    [0, 255, 255]
    """
    size = np.clip(np.abs(values) / strongest(values), 0, 1)
    colour = np.where(values[..., None] >= 0, np.array(RAISES), np.array(LOWERS))
    found = np.empty((*values.shape, 4), np.uint8)
    found[..., :3] = np.rint(colour[..., ::-1] * 255)
    found[..., 3] = np.rint(size * 255)
    return found


def _encoded(kind: str, pixels: NDArray[np.uint8], options: list[int]) -> bytes:
    data: bytes = cv2.imencode(kind, np.ascontiguousarray(pixels), options)[1].tobytes()
    return data


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
