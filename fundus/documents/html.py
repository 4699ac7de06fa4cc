"""A document as one HTML file that needs nothing else: pictures, style and all inside."""

from __future__ import annotations

import base64
import re
from importlib import resources
from typing import Any

from fundus.documents.blocks import Document, Picture

#: Bytes of a PNG from which on it becomes a JPEG, so that a report stays small enough to send.
LARGE = 300_000

#: The same of photographs inside an SVG.
LARGE_INSIDE = 20_000

_INSIDE = re.compile(rb"data:image/png;base64,([A-Za-z0-9+/=\s]+)")
_TYPES = {".png": "image/png", ".svg": "image/svg+xml"}


def to_html(document: Document) -> str:
    """Return a document as HTML.

    Text of a user's, such as names of files and grades, is escaped. There is no script.

    Parameters
    ----------
    document : Document
    """
    from jinja2 import Environment

    source = resources.files("fundus.documents").joinpath("page.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    pages = environment.from_string(source)
    return pages.render(document=document, embedded=embedded)


def embedded(picture: Picture) -> str:
    """Return a picture as a data URL; of photographs as JPEG, a tenth of their PNG."""
    kind, content = _TYPES[picture.file.suffix], picture.file.read_bytes()
    if kind == "image/svg+xml" and picture.wide:
        content = _INSIDE.sub(_as_small, content)
    elif kind == "image/png" and len(content) > LARGE:
        kind, content = "image/jpeg", as_jpeg(content)
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _as_small(found: re.Match[bytes]) -> bytes:
    """A picture inside an SVG as JPEG, on the white of the figure around it."""
    import numpy as np

    from fundus.runtime.opencv import cv2

    content = base64.b64decode(found[1])
    if len(content) < LARGE_INSIDE:
        return found[0]
    pixels: Any = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        share = pixels[..., 3:] / 255
        pixels = np.rint(share * pixels[..., :3] + 255 * (1 - share)).astype(np.uint8)
    return b"data:image/jpeg;base64," + base64.b64encode(_jpeg(pixels))


def as_jpeg(content: bytes) -> bytes:
    """Return a PNG of photographs as JPEG, whose quality the eye does not tell from it."""
    import numpy as np

    from fundus.runtime.opencv import cv2

    return _jpeg(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR))


def _jpeg(pixels: Any) -> bytes:
    from fundus.runtime.opencv import cv2

    found: bytes = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
    return found
