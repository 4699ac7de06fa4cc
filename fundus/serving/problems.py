"""What a server answers where it cannot do what was asked: what, why, and what to do."""

from __future__ import annotations

import json
import logging
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


def mistake(error: Exception, file: str) -> Problem:
    """Return the problem of a photograph at which the program itself fails, and log where.

    The log is without the photograph's name, and the answer without the error's text, which may
    hold what a file's header says.

    Examples
    --------
    >>> mistake(ZeroDivisionError(), "a.jpg").status
    500
    """
    logging.getLogger("fundus.serving").error("A photograph could not be graded", exc_info=error)
    return Problem(
        500,
        "The server has an error",
        f"At {file!r} it fails with {type(error).__name__}; other photographs are not touched.",
        "Tell whoever runs the server; its terminal says more.",
        file=file,
    )


def no_memory(file: str) -> Problem:
    """Return the problem of a photograph for which the memory does not suffice."""
    return Problem(
        507,
        "There is too little memory",
        f"The server cannot hold {file!r}.",
        "Send a smaller photograph.",
        file=file,
    )


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
    if advice.startswith("pip install"):  # which is no matter of whoever sends a photograph
        advice = f"whoever runs the server can install what reads it: {advice}"
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
