"""Whether an address answers, told within a time limit even where the look-up of its name hangs."""

from __future__ import annotations

import math
import os
import socket
import threading
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from fundus.exceptions import InvalidParameterError

#: How long a host may take to accept a connection, in seconds; another number in the environment.
SECONDS = 0.5
VARIABLE = "FUNDUS_NETWORK_SECONDS"

#: How long a host that accepted one may take to answer.
_ANSWER_SECONDS = 15


def seconds_to_connect() -> float:
    """Return how long a host may take to accept a connection.

    Raises
    ------
    InvalidParameterError
        If ``FUNDUS_NETWORK_SECONDS`` is no number of seconds.

    Examples
    --------
    >>> seconds_to_connect()
    0.5
    """
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InvalidParameterError(
            f"The environment variable {VARIABLE} must be a number of seconds, such as 15, or 0 to "
            f"ask no host at all. Got {text!r} instead."
        )
    return seconds


def why_out_of_reach(url: str) -> str:
    """Say in one clause why an address cannot be had; empty where it answers.

    The proxy that the environment names is asked where there is one. A host that does not accept a
    connection in `seconds_to_connect` counts as out of reach; one that does has longer to answer.

    Parameters
    ----------
    url : str
        It starts with ``http://`` or ``https://``.

    Returns
    -------
    str

    Examples
    --------
    >>> bool(why_out_of_reach("http://127.0.0.1:9/weights.h5"))  # where no server listens
    True
    """
    seconds = seconds_to_connect()
    if seconds == 0:
        return f"{VARIABLE}=0 allows no download"
    host, port, named = _first_host(url)
    why = _why_no_connection(host, port, seconds)
    if why:
        return f"{named} does not answer ({why})"
    request = urllib.request.Request(url, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=_ANSWER_SECONDS).close()
    except urllib.error.HTTPError as error:
        error.close()
        return f"{named} answered {error.code}, {error.reason}"
    except (OSError, ValueError) as error:
        return f"{named} does not answer ({_told(error)})"
    return ""


def _first_host(url: str) -> tuple[str, int, str]:
    """Return host and port that are asked first, and how to name them."""
    address = urlsplit(url)
    host = address.hostname or ""
    proxy = urllib.request.getproxies().get(address.scheme)
    if proxy is None or urllib.request.proxy_bypass(host):
        return host, address.port or (80 if address.scheme == "http" else 443), host
    there = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    default = 443 if there.scheme == "https" else 80
    # without the name and the password that its address may hold
    return there.hostname or "", there.port or default, f"the proxy {there.hostname}"


def _why_no_connection(host: str, port: int, seconds: float) -> str:
    """Connect in a thread, since no time limit applies to the look-up of a name."""
    ended: list[str] = []

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout=seconds).close()
        except (OSError, UnicodeError) as error:
            ended.append(_told(error))
        else:
            ended.append("")

    thread = threading.Thread(target=connect, name="fundus-reach", daemon=True)
    thread.start()
    thread.join(seconds)
    return ended[0] if ended else f"no connection within {seconds:g} s"


def _told(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return " ".join(str(text).split())
