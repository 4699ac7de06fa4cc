"""A document as one HTML file that needs nothing else: pictures, style and all inside."""

from __future__ import annotations

import base64
from importlib import resources

from fundus.documents.blocks import Document, Picture

#: Bytes of a PNG from which on it becomes a JPEG, so that a report stays small enough to send.
LARGE = 300_000

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
    return pages.render(document=document, embedded=_embedded)


def _embedded(picture: Picture) -> str:
    """A picture as a data URL."""
    kind, content = _TYPES[picture.file.suffix], picture.file.read_bytes()
    if kind == "image/png" and len(content) > LARGE:  # photographs: as JPEG a tenth of it
        kind, content = "image/jpeg", as_jpeg(content)
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def as_jpeg(content: bytes) -> bytes:
    """Return a PNG of photographs as JPEG, whose quality the eye does not tell from it."""
    import numpy as np

    from fundus.runtime.opencv import cv2

    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
