"""An upload before the model sees it: whether it can be read, and how good the picture is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fundus.audit.notes import BLURRED, DARK, LEAST_FOV
from fundus.exceptions import ImageReadError
from fundus.images import decode, decode_bytes, verify
from fundus.images.decoding import frame_of
from fundus.images.dicom import doubts_of_dicom
from fundus.images.limits import Frame, ImageLimits
from fundus.images.quality import MEASURED_AT, Quality, measure_quality
from fundus.serving.problems import Problem, unreadable
from fundus.serving.uploads import Upload, too_large

#: An orientation of EXIF that turns a picture by 90 degrees, as little and as big endian.
_TURNS = re.compile(rb"\x12\x01\x03\0\x01\0\0\0[\x05-\x08]\0|\x01\x12\0\x03\0\0\0\x01\0[\x05-\x08]")
#: Bytes at either end of a file in which it is looked for.
_END = 2**17


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
            height, width = _upright(frame, data, name)
            if not quality:
                verify(name, data)
            measured = measure_quality(decode(data, MEASURED_AT, name=name)) if quality else None
    except ImageReadError as error:
        raise unreadable(error, name) from None
    return Checked(upload, height, width, measured, doubts[0] if doubts else None)


def _upright(frame: Frame, data: bytes, name: str) -> tuple[int, int]:
    """Height and width after the orientation in the file, as it is decoded."""
    height, width = frame.height, frame.width
    if any(_TURNS.search(part) for part in (data[:_END], data[-_END:])):  # or what looks like one
        tall, wide = decode_bytes(data, name=name, min_side=1).shape[:2]
        if (height - width) * (tall - wide) < 0:
            return width, height
    return height, width


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
