"""Photographs out of the body of a request: bounded, in memory, never on disc."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from fundus.serving.limits import ServingLimits
from fundus.serving.problems import Problem, busy

#: Bytes of the headers of one part of a form, and of a field that is no file.
_MOST_OF_A_FIELD = 8192
_LONGEST_NAME = 200
_RAW = re.compile(r"image/[\w.+-]+|application/(?:dicom|octet-stream)", re.ASCII)
#: Of a file whose name is given only in the long form of RFC 5987, which forms should not have.
_EXTENDED = re.compile(rb";\s*filename\*\s*=\s*[\w-]*'[\w-]*'([^;\s]*)", re.IGNORECASE)
_ADVICE = (
    "Send the photograph as multipart/form-data in a field 'file', or its bytes as image/jpeg."
)


@dataclass(frozen=True)
class Upload:
    """A photograph as it was sent.

    Parameters
    ----------
    name : str
        Name of the file, without folders.
    data : bytes
    """

    name: str
    data: bytes


@dataclass
class Held:
    """Bytes of uploads that are in memory, of all requests together.

    Parameters
    ----------
    most : int
    """

    most: int
    bytes: int = 0


@dataclass
class Lease:
    """The bytes that one request holds; they are given back at the end of the ``with`` block."""

    held: Held
    bytes: int = 0

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.held.bytes -= self.bytes
        self.bytes = 0

    def take(self, count: int) -> None:
        """Take room for bytes that have arrived.

        Raises
        ------
        Problem
            If there is none.
        """
        if self.held.bytes + count > self.held.most:
            raise busy(
                f"The uploads that are being graded take {self.held.bytes} bytes of the "
                f"{self.held.most} that may be held.",
                5,
            )
        self.held.bytes += count
        self.bytes += count


@dataclass
class _Form:
    """The files of a form, as the parser tells of them."""

    limits: ServingLimits
    files: list[Upload] = field(default_factory=list)
    ended: bool = False
    _header: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _disposition: bytes = b""
    _file: str | None = None
    _data: bytearray = field(default_factory=bytearray)

    def callbacks(self) -> Any:
        return {
            name: getattr(self, name)
            for name in (
                "on_part_begin", "on_part_data", "on_part_end", "on_header_field",
                "on_header_value", "on_header_end", "on_headers_finished", "on_end",
            )
        }  # fmt: skip

    def on_part_begin(self) -> None:
        self._disposition, self._file, self._data = b"", None, bytearray()
        self._header, self._value = bytearray(), bytearray()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._grow(self._header, data[start:end])

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._grow(self._value, data[start:end])

    def on_header_end(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"filename", b"").decode("utf-8", "replace")
        if b"filename" not in options:
            extended = _EXTENDED.search(self._disposition)
            if extended is None:
                return
            name = unquote(extended[1].decode("latin-1"), errors="replace")
        if len(self.files) == self.limits.max_files:
            raise Problem(
                413,
                "Too many photographs",
                f"One request may hold {self.limits.max_files} photographs.",
                "Send the others in further requests.",
            )
        self._file = clean_name(name)

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is None:
            self._grow(self._data, data[start:end])
            return
        self._data += memoryview(data)[start:end]
        if len(self._data) > self.limits.max_bytes:
            raise too_large(self.limits.max_bytes, self._file)

    def on_part_end(self) -> None:
        if self._file is not None:
            self.files.append(Upload(self._file, bytes(self._data)))
        self._data = bytearray()

    def on_end(self) -> None:
        self.ended = True

    def _grow(self, what: bytearray, more: bytes) -> None:
        what += more
        if len(what) > _MOST_OF_A_FIELD:
            raise Problem(
                413,
                "The form is too large",
                f"A field or a header of the form takes more than {_MOST_OF_A_FIELD} bytes.",
                _ADVICE,
            )


def clean_name(text: str) -> str:
    """Return the name of a file as it may be shown: no folders, nothing that is no text.

    Examples
    --------
    >>> clean_name("C:\\\\eyes\\\\10_left.jpeg"), clean_name("../a\\nb.png"), clean_name("")
    ('10_left.jpeg', 'a b.png', 'photograph')
    """
    name = re.split(r"[/\\]", text)[-1]
    name = "".join(c if c.isprintable() else " " for c in name).strip()
    return name[-_LONGEST_NAME:] or "photograph"


def too_large(most: int, file: str | None) -> Problem:
    """Return the problem of a file of too many bytes."""
    return Problem(
        413,
        "The file is too large",
        f"A photograph may take {most / 2**20:.3g} MiB.",
        "Save it as JPEG, or smaller; whoever runs the server can give fundus serve a larger "
        "--max-megabytes.",
        file=file,
    )


async def read_uploads(request: Request, limits: ServingLimits, lease: Lease) -> list[Upload]:
    """Read the photographs of a request.

    Parameters
    ----------
    request : Request
        A form of files, or the bytes of one image.
    limits : ServingLimits
    lease : Lease

    Raises
    ------
    Problem
        If the body is too large, too slow, cut off, of another kind or without a photograph, or
        there is no room.
    ClientDisconnect
        If the client has left.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    text = kind.decode("latin-1")
    form = text == "multipart/form-data"
    if not (form and options.get(b"boundary")) and not _RAW.fullmatch(text):
        got = f"Content-Type {text[:80]!r}" if text else "no Content-Type"
        raise Problem(415, "The request holds no photograph", f"It has {got}.", _ADVICE)
    most = limits.max_request if form else limits.max_bytes
    length = request.headers.get("content-length", "")
    if length.isdecimal() and len(length) < 19 and int(length) > most:
        raise too_large(limits.max_bytes, None) if not form else _request_too_large(most)
    try:
        async with asyncio.timeout(limits.upload_seconds):
            if form:
                files = await _read_form(request, options[b"boundary"], limits, lease)
            else:
                files = await _read_raw(request, limits, lease)
    except TimeoutError:
        raise Problem(
            408,
            "The upload took too long",
            f"It must arrive within {limits.upload_seconds:g} s.",
            "Try again over a faster connection, or with a smaller file.",
        ) from None
    if not files:
        raise Problem(
            422, "The request holds no photograph", "Its form has no file, or is empty.", _ADVICE
        )
    return files


async def _chunks(request: Request, most: int, lease: Lease) -> AsyncIterator[bytes]:
    total = 0
    async for chunk in request.stream():
        total += len(chunk)
        if total > most:
            raise _request_too_large(most)
        lease.take(len(chunk))
        yield chunk


def _request_too_large(most: int) -> Problem:
    return Problem(
        413,
        "The request is too large",
        f"All photographs of a request together may take {most / 2**20:.3g} MiB.",
        "Send fewer photographs in one request, or smaller ones.",
    )


async def _read_form(
    request: Request, boundary: bytes, limits: ServingLimits, lease: Lease
) -> list[Upload]:
    form = _Form(limits)
    try:
        parser = MultipartParser(boundary, form.callbacks())
        async for chunk in _chunks(request, limits.max_request, lease):
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise Problem(400, "The form cannot be read", f"{error}.", _ADVICE) from None
    if not form.ended:
        raise Problem(
            400,
            "The upload was cut off",
            "The form has no end.",
            "Send the whole file again.",
        )
    return form.files


async def _read_raw(request: Request, limits: ServingLimits, lease: Lease) -> list[Upload]:
    data = bytearray()
    try:
        async for chunk in _chunks(request, limits.max_bytes, lease):
            data += chunk
    except Problem as problem:
        raise too_large(limits.max_bytes, None) if problem.status == 413 else problem from None
    name = clean_name(request.query_params.get("name", ""))
    return [Upload(name, bytes(data))] if data else []
