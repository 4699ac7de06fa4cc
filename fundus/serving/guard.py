"""What every request passes: its host, its origin, its token; and headers of every answer."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import time
from collections.abc import Callable, Collection
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fundus.serving.problems import Problem

#: What a browser may do with the pages: nothing but what comes from here.
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}

#: Paths that need the token, where there is one: all that tells of the model or uses it.
SECRET = ("/v1", "/metrics")

# of a refused request, so that its client reads the answer and not that the connection ended
_DRAINED_SECONDS, _DRAINED_BYTES = 5.0, 2**30
#: For a client to take a part of its answer.
_SENT_SECONDS = 60.0


class Guard:
    """ASGI middleware around the whole application.

    Parameters
    ----------
    app : ASGIApp
    hosts : collection of str
        Names and addresses under which the server may be asked, in lower case and without a port.
    addresses : bool, default=False
        Whether any IP address will do, for a server that listens on all of them: who rebinds DNS
        needs a name.
    token : str, default=None
        What ``Authorization: Bearer …`` must hold.
    answered : callable, default=None
        Told of path, status and seconds of every answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Collection[str],
        addresses: bool = False,
        token: str | None = None,
        answered: Callable[[str, int, float], None] | None = None,
    ) -> None:
        self._app, self._hosts, self._addresses = app, frozenset(hosts), addresses
        self._token = None if token is None else token.encode()
        self._answered = answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request, and pass it on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        began = time.monotonic()
        headers = Headers(scope=scope)
        body = _Body(receive, waits="100-continue" in headers.get("expect", "").lower())

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    if name not in given:
                        given[name] = value
                if message["status"] >= 400 and message["status"] != 408:  # it was slow
                    await body.drain()
                if self._answered is not None:
                    self._answered(scope["path"], message["status"], time.monotonic() - began)
            try:
                async with asyncio.timeout(_SENT_SECONDS):
                    await send(message)
            except TimeoutError:  # whoever asked does not read the answer
                raise _UnreadError from None

        try:
            self._check(scope, headers)
        except Problem as problem:
            await respond(problem, sending)
            return
        try:
            await self._app(scope, body.receive, sending)
        except _UnreadError:
            return  # without an end of the answer the connection is closed
        except Exception:
            # it was answered by the handler of the application; the connection stays
            logging.getLogger("fundus.serving").exception("A request could not be answered")

    def _check(self, scope: Scope, headers: Headers) -> None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            raise Problem(
                421,
                "This server has another name",
                f"It was asked as {host[:100]!r}, which is not one of its names.",
                "Open it by the address that fundus serve has printed, or start it with "
                "--allow-host and this name.",
            )
        if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            _check_origin(headers, host)
        secret = any(scope["path"] == at or scope["path"].startswith(f"{at}/") for at in SECRET)
        if self._token is not None and secret:
            self._check_token(headers)

    def _is_ours(self, host: str) -> bool:
        name = host_name(host)
        if name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._addresses

    def _check_token(self, headers: Headers) -> None:
        kind, _, given = headers.get("authorization", "").partition(" ")
        assert self._token is not None
        # in the time that the wanted one takes, whatever is given
        same = hmac.compare_digest(given.strip().encode("latin-1", "replace"), self._token)
        if kind.lower() != "bearer" or not same:
            raise Problem(
                401,
                "A token is needed",
                "The request has none, or another one." if given else "The request has none.",
                "Send the header 'Authorization: Bearer TOKEN' with the token that fundus serve "
                "was given.",
            )


def _check_origin(headers: Headers, host: str) -> None:
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    same = origin is None or origin.partition("://")[2].lower() == host.lower()
    if not same or site not in ("same-origin", "none"):
        raise Problem(
            403,
            "Another site may not use this server",
            f"The request comes from {(origin or site)[:100]!r}.",
            "Use the server's own page, or a program that sends no Origin.",
        )


def host_name(host: str) -> str:
    """Return the name of a Host header, without its port.

    Examples
    --------
    >>> host_name("LOCALHOST:8000"), host_name("[::1]:8000"), host_name("[::1]")
    ('localhost', '::1', '::1')
    """
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


async def respond(problem: Problem, send: Send) -> None:
    """Answer with a problem."""
    headers = [(n.encode(), v.encode("latin-1")) for n, v in problem.headers().items()]
    body = problem.body()
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _UnreadError(Exception):
    """A client does not read its answer."""


class _Body:
    """The body of a request, and how much of it has come."""

    def __init__(self, receive: Receive, *, waits: bool) -> None:
        self._receive, self._waits, self._done = receive, waits, False

    async def receive(self) -> Message:
        message = await self._receive()
        self._waits = False
        if message["type"] != "http.request" or not message.get("more_body"):
            self._done = True
        return message

    async def drain(self) -> None:
        """Read what is left and forget it; a client that waits to be asked is not asked."""
        left = _DRAINED_BYTES
        try:
            async with asyncio.timeout(_DRAINED_SECONDS):
                while not (self._done or self._waits) and left > 0:
                    message: dict[str, Any] = dict(await self.receive())
                    left -= len(message.get("body", b""))
        except TimeoutError:
            self._done = True  # it is too slow to be told
