"""A document as one HTML file that needs nothing else: pictures, style and all inside."""

from __future__ import annotations

import base64
from importlib import resources

from fundus.documents.blocks import Document, Picture

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
    content = base64.b64encode(picture.file.read_bytes()).decode("ascii")
    return f"data:{_TYPES[picture.file.suffix]};base64,{content}"
