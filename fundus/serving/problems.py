"""What a server answers where it cannot do what was asked: what, why, and what to do."""

from __future__ import annotations

import json
from typing import Any

from fundus.exceptions import FundusError

#: Media type of a problem: RFC 9457.
MEDIA_TYPE = "application/problem+json"


class Problem(FundusError):
    """An answer other than the one that was wanted.

    Parameters
    ----------
    status : int
        Of HTTP.
    title : str
        What is wrong, in a few words.
    detail : str
        Why.
    advice : str
        What to do.
    file : str, default=None
        The photograph that it is about.
    retry_after : int, default=None
        Seconds after which it may be tried again.

    Examples
    --------
    >>> Problem(404, "Not found", "There is no page '/x'.", "Open '/'.").to_dict()["status"]
    404
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        advice: str,
        *,
        file: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(f"{title}: {detail} {advice}")
        self.status, self.title, self.detail, self.advice = status, title, detail, advice
        self.file, self.retry_after = file, retry_after

    def of(self, file: str) -> Problem:
        """Return the same, about a photograph."""
        return Problem(
            self.status,
            self.title,
            self.detail,
            self.advice,
            file=file,
            retry_after=self.retry_after,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        found: dict[str, Any] = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "advice": self.advice,
        }
        return found if self.file is None else found | {"file": self.file}

    def body(self) -> bytes:
        """Return it as JSON."""
        return json.dumps(self.to_dict()).encode()

    def headers(self) -> dict[str, str]:
        """Return headers of the answer."""
        found = {"content-type": MEDIA_TYPE}
        if self.retry_after is not None:
            found["retry-after"] = str(self.retry_after)
        if self.status == 401:
            found["www-authenticate"] = "Bearer"
        return found


def unreadable(error: OSError, file: str) -> Problem:
    """Return the problem of a file that is no image, or cannot be decoded.

    Examples
    --------
    >>> from fundus.exceptions import ImageReadError
    >>> error = ImageReadError("Cannot read image 'a.jpg': expected an image, found text; copy it.")
    >>> unreadable(error, "a.jpg").advice
    'Copy it.'
    """
    why, _, advice = str(error).rpartition("; ")
    why = why or str(error)
    advice = advice if why != advice else "export it again as JPEG, PNG or TIFF."
    return Problem(
        422,
        "The photograph cannot be read",
        why if why.endswith(".") else f"{why}.",
        advice[:1].upper() + advice[1:],
        file=file,
    )


def busy(detail: str, seconds: float) -> Problem:
    """Return the problem of a server that has enough to do."""
    wait = max(1, round(seconds))
    advice = f"Try again after {wait} s, which is in the header Retry-After too."
    return Problem(503, "The server is busy", detail, advice, retry_after=wait)
