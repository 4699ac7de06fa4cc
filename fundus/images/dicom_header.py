"""Headers of DICOM files, as bytes, read by pydicom.

A header holds names of people, and damage may put them anywhere. So values stay bytes until they
are read as a number, compared with known words, or are an id that is asked for; nothing that
pydicom says of them is passed on.
"""

from __future__ import annotations

import io
import logging
import struct
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fundus.images.formats import COPY_AGAIN, fail

#: What brings pydicom and the decoders.
INSTALL = "pip install 'fundus-zoo[dicom]'"

BIG_ENDIAN = "1.2.840.10008.1.2.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
#: Kinds of values whose length takes four bytes, in a file's description of itself.
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
#: Pieces in which a header is read, up to three for an element. Honest ones take some thousands.
_MOST_PIECES = 100_000
#: Name of an envelope around encrypted data (CMS), near its beginning.
_ENVELOPE = bytes.fromhex("06092a864886f70d010703")
_UNDEFINED = 0xFFFFFFFF

# filters of warnings and loggers are those of the whole process
_lock = threading.Lock()


@dataclass(frozen=True)
class Header:
    """Values of a DICOM header, as they stand in the file.

    Parameters
    ----------
    values : dict of str to bytes
        By keyword; those that the file lacks, and sequences, are left out.
    present : frozenset of str
        Keywords of all that the file has.
    syntax : str
        UID of the transfer syntax; "" where the file names none.
    pixels : tuple of (str or None, int or None)
        How the pixels are written, such as ``"OW"``, and their bytes; ``None`` where packed ones
        end with a mark.
    """

    values: dict[str, bytes]
    present: frozenset[str]
    syntax: str
    pixels: tuple[str | None, int | None] = (None, None)

    def text(self, keyword: str) -> str:
        """Return the first value of a text, without padding; "" where there is none."""
        raw = self.values.get(keyword, b"").split(b"\\")[0]
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            text = raw.decode("latin-1")
        return "".join(letter for letter in text if letter.isprintable()).strip()

    def numbers(self, keyword: str) -> tuple[int, ...]:
        """Return the 16-bit numbers of a value."""
        raw = self.values.get(keyword, b"")
        order = ">" if self.syntax == BIG_ENDIAN else "<"
        return struct.unpack_from(f"{order}{len(raw) // 2}H", raw)

    def number(self, keyword: str) -> int | None:
        """Return the first 16-bit number of a value; ``None`` where there is none."""
        return next(iter(self.numbers(keyword)), None)


def read_header(data: bytes, keywords: Sequence[str], name: str) -> Header:
    """Read some values of the header of a DICOM file.

    Parameters
    ----------
    data : bytes
        The whole file.
    keywords : sequence of str
        As DICOM calls them. Without "PixelData" among them, reading ends before the pixels.
    name : str
        Path of the file, for messages.

    Raises
    ------
    ImageReadError
        If pydicom is missing, or the file is encrypted, deflated or damaged.
    """
    read = _reader(name)
    if _ENVELOPE in data[:64]:
        fail(name, "a DICOM file", "an encrypted one (a CMS envelope)", "decrypt it")
    syntaxes = _syntaxes(data, name)
    syntax = syntaxes[-1] if syntaxes else ""
    if _DEFLATED in syntaxes:  # it would be unpacked at once, whatever it becomes
        found = "Deflated Explicit VR Little Endian"
        fail(name, "a DICOM file whose transfer syntax can be read", found, CONVERT)
    try:
        with silent_pydicom():
            found_set = read(
                _Pieces(data),
                stop_before_pixels="PixelData" not in keywords,
                force=True,
                specific_tags=list(keywords),
            )
            raw = {key: found_set.get_item(key) for key in keywords if key in found_set}
    except MemoryError:
        found = f"too little for a file of {len(data)} bytes"
        fail(name, "enough free memory", found, "close other programs")
    except _TooManyError:
        found = f"one of more than {_MOST_PIECES} pieces, while cameras write thousands"
        fail(name, "a DICOM header that is read in a moment", found, "take it out of the data")
    except Exception:  # damage raises whatever it leads to
        found = f"{len(data)} bytes whose header cannot be read (truncated or damaged)"
        fail(name, "a whole DICOM file", found, COPY_AGAIN)
    values = {key: item.value for key, item in raw.items() if isinstance(item.value, bytes)}
    pixels = raw.get("PixelData")
    length = getattr(pixels, "length", None)
    told = getattr(pixels, "VR", None), None if length == _UNDEFINED else length
    return Header(values, frozenset(raw), syntax, told)


#: What to do about a transfer syntax or a layout of pixels that is not read.
CONVERT = (
    "convert it to Explicit VR Little Endian with a tool such as dcmtk or gdcmconv, or export the "
    "photograph as PNG or JPEG"
)


@contextmanager
def silent_pydicom() -> Iterator[None]:
    """Pass on neither warnings nor log entries of pydicom and highdicom, which quote values."""
    logs = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    with _lock, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pydicom|highdicom")
        levels = [log.level for log in logs]
        try:
            for log in logs:
                log.setLevel(logging.CRITICAL + 1)
            yield
        finally:
            for log, level in zip(logs, levels, strict=True):
                log.setLevel(level)


def _reader(name: str) -> Callable[..., Any]:
    try:
        from pydicom import dcmread
    except ImportError:
        fail(
            name,
            "a photograph such as a JPEG, PNG or TIFF file",
            "a DICOM file, which pydicom reads, and that is not installed",
            INSTALL,
        )
    return dcmread


class _TooManyError(Exception):
    """A header has more elements than any camera writes."""


class _Pieces(io.BytesIO):
    """Bytes that are read in so many pieces and no more, as each takes a moment of one thread."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = _MOST_PIECES

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as any stream of bytes does."""
        self._left -= 1
        if self._left < 0:
            raise _TooManyError
        return super().read(size)


def _syntaxes(data: bytes, name: str) -> list[str]:
    """UIDs of the transfer syntax in a file's description of itself, one in an honest file.

    The description is walked as pydicom does, as what comes before it may hold anything.
    """
    at, found = 132 if data[128:132] == b"DICM" else 0, []
    while data[at : at + 2] == b"\x02\0":
        kind = data[at + 4 : at + 6]
        start, how = (at + 12, "<I") if kind in _LONG else (at + 8, "<H")
        size = struct.calcsize(how)
        (length,) = struct.unpack_from(how, data, start - size) if start <= len(data) else (-1,)
        if not (kind.isalpha() and kind.isupper()) or not 0 <= length <= len(data) - start:
            told = "one that cannot be followed (the file is truncated or damaged)"
            fail(name, "a DICOM file with a description of itself", told, COPY_AGAIN)
        if data[at + 2 : at + 4] == b"\x10\0":
            found.append(data[start : start + length].decode("latin-1").strip(" \0"))
        at = start + length
    return found
