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
#: How the element that names the transfer syntax begins, in a file's description of itself.
_SYNTAX = b"\x02\0\x10\0UI"
#: Bytes from the beginning within which it ends.
_DESCRIPTION = 65_536
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
    syntax = _syntax(data)
    if syntax == _DEFLATED:  # it would be unpacked at once, whatever it becomes
        found = "Deflated Explicit VR Little Endian"
        fail(name, "a DICOM file whose transfer syntax can be read", found, CONVERT)
    try:
        with silent_pydicom():
            found_set = read(
                io.BytesIO(data),
                stop_before_pixels="PixelData" not in keywords,
                force=True,
                specific_tags=list(keywords),
            )
            raw = {key: found_set.get_item(key) for key in keywords if key in found_set}
    except MemoryError:
        found = f"too little for a file of {len(data)} bytes"
        fail(name, "enough free memory", found, "close other programs")
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


def _syntax(data: bytes) -> str:
    """UID of the transfer syntax that a file names in its description of itself."""
    at = data.find(_SYNTAX, 0, _DESCRIPTION)
    if at < 0 or at + 8 > len(data):
        return ""
    (length,) = struct.unpack_from("<H", data, at + 6)
    return data[at + 8 : at + 8 + length].decode("latin-1").strip(" \0")
