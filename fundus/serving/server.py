"""The program that listens: a socket, and uvicorn with times for clients that send nothing."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Collection
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from fundus.exceptions import FundusError
from fundus.serving.guard import host_name
from fundus.serving.limits import ServingLimits

#: Seconds for which answers that are being made are waited for at the end.
#: Connections at the same time; more are told to come again.
_CONNECTIONS = 512
_GRACE = 10


class AddressError(FundusError, OSError):
    """The server cannot listen at an address."""


def bound(host: str, port: int) -> socket.socket:
    """Take an address, before a model is loaded; nobody can connect until the server runs.

    Parameters
    ----------
    host : str
        Name or address of this machine.
    port : int
        0 for any that is free.

    Raises
    ------
    AddressError
        If it cannot be taken.

    Examples
    --------
    >>> with bound("127.0.0.1", 0) as taken:
    ...     taken.getsockname()[1] > 0
    True
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        taken = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise AddressError(
            f"This machine cannot be asked as {host!r} ({error}): give --host one of its "
            "addresses, or leave it out for 127.0.0.1."
        ) from None
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
    except OSError as error:
        taken.close()
        raise AddressError(
            f"Port {port} of {host!r} cannot be used ({error.strerror}): end the program that "
            "uses it, or give --port another one, or 0 for any that is free."
        ) from None
    return taken


def names_of(host: str, more: Collection[str] = ()) -> tuple[set[str], bool]:
    """Return under which names a server may be asked, and whether under any address.

    Parameters
    ----------
    host : str
        Where it listens.
    more : collection of str
        Further names.

    Examples
    --------
    >>> sorted(names_of("127.0.0.1")[0]), names_of("0.0.0.0")[1]
    (['127.0.0.1', '::1', 'localhost'], True)
    """
    names = {"localhost", "127.0.0.1", "::1", host.lower(), *map(host_name, more)}
    everywhere = host in ("0.0.0.0", "::")
    return names - {"0.0.0.0", "::"}, everywhere


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server there.

    Examples
    --------
    >>> is_loopback("localhost"), is_loopback("127.0.0.2"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def address_of(taken: socket.socket) -> str:
    """Return the address of the page."""
    host, port = taken.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def make_server(app: ASGIApp, limits: ServingLimits) -> uvicorn.Server:
    """Make the server of an application; its `run` takes the bound sockets."""

    class Impatient(H11Protocol):
        """Ends connections that do not begin a request."""

        _waits: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._wait()

        def data_received(self, data: bytes) -> None:
            before = self.cycle
            super().data_received(data)
            if self.cycle is not before and self._waits is not None:
                self._waits.cancel()
                self._waits = None
            elif self._waits is None and (self.cycle is None or self.cycle.response_complete):
                self._wait()  # the next request of this connection

        def connection_lost(self, exc: Exception | None) -> None:
            if self._waits is not None:
                self._waits.cancel()
            super().connection_lost(exc)

        def _wait(self) -> None:
            self._waits = self.loop.call_later(limits.header_seconds, self._end)

        def _end(self) -> None:
            if self.cycle is None or self.cycle.response_complete:
                self.transport.close()

    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=Impatient,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=_GRACE,
            h11_max_incomplete_event_size=32 * 1024,
            limit_concurrency=max(_CONNECTIONS, 4 * limits.max_waiting),
        )
    )
