"""An upload before the model sees it: whether it can be read, and how good the picture is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fundus.audit.notes import BLURRED, DARK, LEAST_FOV
from fundus.exceptions import ImageReadError
from fundus.images import decode, verify
from fundus.images.decoding import frame_of
from fundus.images.dicom import doubts_of_dicom
from fundus.images.limits import Frame, ImageLimits
from fundus.images.quality import MEASURED_AT, Quality, measure_quality
from fundus.serving.problems import Problem, unreadable
from fundus.serving.uploads import Upload, too_large

#: What is in files that may hold an orientation: JPEG and WebP, and PNG.
_MAY_TURN = (b"Exif\0\0", b"EXIF", b"eXIf")


@dataclass(frozen=True)
class Checked:
    """A photograph that can be read.

    Parameters
    ----------
    upload : Upload
    height, width : int
        Pixels.
    quality : Quality, default=None
        ``None`` where it was not asked for.
    doubt : str, default=None
        What the file says that a photograph of a retina would not.
    """

    upload: Upload
    height: int
    width: int
    quality: Quality | None = None
    doubt: str | None = None


def check(upload: Upload, limits: ImageLimits, *, quality: bool = True) -> Checked:
    """Read a photograph's header, and measure its picture.

    Parameters
    ----------
    upload : Upload
    limits : ImageLimits
    quality : bool, default=True
        Decode it and measure its quality.

    Raises
    ------
    Problem
        If it is no image, damaged, or larger than the limits.

    Examples
    --------
    >>> check(Upload("grey.pgm", b"P5 2 1 255\\n" + bytes([90, 90])), ImageLimits()).width
    2
    """
    name, data = upload.name, upload.data
    if len(data) > limits.max_bytes:
        raise too_large(limits.max_bytes, name)
    try:
        with doubts_of_dicom() as doubts:
            frame = frame_of(data, name=name)
            if frame.height * frame.width > limits.max_pixels:
                raise _too_many_pixels(frame.width, frame.height, limits, name)
            picture = None
            if quality:
                picture = decode(data, MEASURED_AT, name=name)
            else:
                verify(name, data)
                if any(mark in data for mark in _MAY_TURN):
                    picture = decode(data, 1, name=name)
    except ImageReadError as error:
        raise unreadable(error, name) from None
    height, width = _upright(frame, picture)
    measured = measure_quality(picture) if quality and picture is not None else None
    return Checked(upload, height, width, measured, doubts[0] if doubts else None)


def _upright(frame: Frame, picture: NDArray[np.uint8] | None) -> tuple[int, int]:
    """Height and width after the orientation in the file, which `decode` has applied."""
    height, width = frame.height, frame.width
    turned = picture is not None and (height - width) * (picture.shape[0] - picture.shape[1]) < 0
    return (width, height) if turned else (height, width)


def _too_many_pixels(width: int, height: int, limits: ImageLimits, name: str) -> Problem:
    return Problem(
        413,
        "The photograph has too many pixels",
        f"It has {width} x {height}; {limits.max_pixels / 1e6:.3g} megapixels may be sent.",
        "Make it smaller; whoever runs the server can give fundus serve more --max-megapixels.",
        file=name,
    )


def warnings_of(photograph: Checked, image_size: int) -> list[dict[str, str]]:
    """Say what is wrong with a picture, if anything.

    Parameters
    ----------
    photograph : Checked
    image_size : int
        Edge of the square that the model sees, in pixels.

    Returns
    -------
    list of dict
        With ``issue``, as `fundus.audit_images` names it or ``no_photograph``, and ``text``.

    Examples
    --------
    >>> dark = Checked(Upload("eye", b""), 900, 900, Quality(0.6, 8.0, 3.0))
    >>> [found["issue"] for found in warnings_of(dark, 320)]
    ['dark']
    """
    found: list[dict[str, str]] = []

    def add(issue: str, text: str) -> None:
        found.append({"issue": issue, "text": text})

    if photograph.doubt is not None:
        add("no_photograph", f"It is {photograph.doubt}: check that it is one of the retina.")
    side = min(photograph.height, photograph.width)
    if side < image_size:
        add(
            "small",
            f"It is {photograph.width} x {photograph.height} pixels; the model looks at "
            f"{image_size} x {image_size}, so fine lesions may be missing.",
        )
    quality = photograph.quality
    if quality is None:
        return found
    if quality.fov_share < LEAST_FOV:
        add("no_field_of_view", "No round field of view is found: is it a photograph of a retina?")
    if quality.brightness < DARK:
        add("dark", "It is dark, so lesions may not be seen.")
    if quality.sharpness < BLURRED:
        add("blurred", "It is blurred or hazy, so small lesions may not be seen.")
    return found
