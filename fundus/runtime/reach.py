"""Whether an address answers, told within a time limit even where the look-up of its name hangs."""

from __future__ import annotations

import http.client
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

#: More is no time to wait, and may be more than the system can count.
_MOST_SECONDS = 24 * 60 * 60

#: Answers that say that a file is gone. Others may be about the question, which comes without the
#: name, the password or the method of a download.
_GONE = (404, 410)

#: How long a host that accepted one may take to answer.
_ANSWER_SECONDS = 15


def seconds_to_connect() -> float:
    """Return how long a host may take to accept a connection.

    Raises
    ------
    InvalidParameterError
        If ``FUNDUS_NETWORK_SECONDS`` is no number of seconds, or more than a day's.

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
    if not 0 <= seconds <= _MOST_SECONDS:
        raise InvalidParameterError(
            f"The environment variable {VARIABLE} must be a number of seconds, such as 15, and at "
            f"most {_MOST_SECONDS}, or 0 to ask no host at all. Got {text!r} instead."
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
    named, why = _connected(url, seconds)
    if why:
        return why
    request = urllib.request.Request(url, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=_ANSWER_SECONDS).close()
    except urllib.error.HTTPError as error:
        error.close()
        return f"{named} answered {error.code}, {error.reason}" if error.code in _GONE else ""
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"{named} does not answer ({_told(error)})"
    return ""


def why_no_connection(url: str) -> str:
    """Say in one clause why a host accepts no connection; empty where it does.

    As `why_out_of_reach`, without asking for the address itself.

    Parameters
    ----------
    url : str

    Returns
    -------
    str

    Examples
    --------
    >>> bool(why_no_connection("http://127.0.0.1:9"))  # where no server listens
    True
    """
    seconds = seconds_to_connect()
    if seconds == 0:
        return f"{VARIABLE}=0 allows no download"
    return _connected(url, seconds)[1]


def _connected(url: str, seconds: float) -> tuple[str, str]:
    """Connect to what is asked first; return how to name it, and why that failed, or nothing.

    In a thread, since no time limit applies to the look-up of a name, nor to that of a proxy.
    """
    names = [_host_in(url)]
    ended: list[str] = []

    def connect() -> None:
        try:
            host, port, name = _first_host(url)
            names.append(name)
            socket.create_connection((host, port), timeout=seconds).close()
        except _NoAddressError as error:
            ended.append(str(error))
        except (OSError, UnicodeError) as error:
            ended.append(f"{names[-1]} does not answer ({_told(error)})")
        else:
            ended.append("")

    thread = threading.Thread(target=connect, name="fundus-reach", daemon=True)
    thread.start()
    thread.join(seconds)
    late = f"{names[-1]} does not answer (no connection within {seconds:g} s)"
    return names[-1], ended[0] if ended else late


class _NoAddressError(Exception):
    """An address has no host, or no port that is one."""


def _first_host(url: str) -> tuple[str, int, str]:
    """Return host and port that are asked first, and how to name them."""
    host, port = _host_and_port(url, f"{url!r} is no address")
    scheme = urlsplit(url).scheme
    proxy = urllib.request.getproxies().get(scheme)
    if proxy is None or urllib.request.proxy_bypass(host):
        return host, port, host
    # without the name and the password that its address may hold, also where it is misspelt
    why = f"{scheme}_proxy names no proxy, such as http://proxy.example:3128"
    host, port = _host_and_port(proxy if "://" in proxy else f"http://{proxy}", why)
    return host, port, f"the proxy {host}"


def _host_and_port(url: str, why: str) -> tuple[str, int]:
    try:
        address = urlsplit(url)
        host, port = address.hostname, address.port
    except ValueError:
        host = port = None
    if not host:
        raise _NoAddressError(why)
    return host, port or (443 if address.scheme == "https" else 80)


def _host_in(url: str) -> str:
    try:
        return urlsplit(url).hostname or url
    except ValueError:
        return url


def _told(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return " ".join(str(text).split())
