"""Files that are given for images or tables and are neither: what each is, and what to do."""

from __future__ import annotations

import codecs
import os
from dataclasses import dataclass

#: As much of each end of a file as is looked at: a zip archive lists its content at its end.
_ENDS = 65_536


@dataclass(frozen=True)
class Foreign:
    """A kind of file that is neither image nor table here.

    Parameters
    ----------
    what : str
        With its article.
    advice : str
        What to do, to be put after a semicolon.
    """

    what: str
    advice: str


_EXCEL = (
    "save the sheet as CSV (in Excel: CSV UTF-8), or load it in Python with "
    "load_image_table(pandas.read_excel(...))"
)
_UNPACK = "unpack it and give the folder or the table that was in it"
_ARRAYS = "load its arrays in Python with numpy.load(...) and give these to fit and predict"
_FRAMES = "export its frames as PNG or JPEG and give these"
_CONVERT = "convert it to PNG or JPEG"

_WORKBOOK = Foreign("an Excel workbook (.xlsx)", _EXCEL)
_OLD_WORKBOOK = Foreign("an Excel workbook (.xls) or another old Office file", _EXCEL)
_OPEN_DOCUMENT = Foreign("an OpenDocument spreadsheet (.ods)", "save the sheet as CSV (UTF-8)")
_ZIP = Foreign("a zip archive", _UNPACK)
_NPZ = Foreign("NumPy arrays (.npz)", _ARRAYS)
_VIDEO = Foreign("a video", _FRAMES)
_HEIF = Foreign("a HEIC or AVIF photograph", _CONVERT)
_ARCHIVE = Foreign("a packed archive", _UNPACK)
_HDF = Foreign("an HDF5 file", "write its images as PNG files, or give their arrays from Python")

#: Where a table is expected, no foreign file.
PARQUET = Foreign("a Parquet table", "give it where a table is expected")

#: Where a photograph is expected, no foreign file.
DICOM = Foreign("a DICOM file", "give it where photographs are expected")

_SIGNATURES: tuple[tuple[bytes, Foreign], ...] = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _OLD_WORKBOOK),
    (b"\x93NUMPY", Foreign("a NumPy array (.npy)", _ARRAYS)),
    (b"\x1f\x8b", _ARCHIVE),
    (b"7z\xbc\xaf\x27\x1c", _ARCHIVE),
    (b"Rar!\x1a\x07", _ARCHIVE),
    (b"BZh91AY&SY", _ARCHIVE),
    (b"\xfd7zXZ\0", _ARCHIVE),
    (b"\x1aE\xdf\xa3", _VIDEO),  # Matroska, WebM
    (b"\0\0\x01\xba", _VIDEO),  # MPEG
    (b"0&\xb2u\x8ef\xcf\x11", _VIDEO),  # WMV
    (b"\x89HDF\r\n\x1a\n", _HDF),
    (b"%PDF-", Foreign("a PDF document", "export its pictures as PNG, or its table as CSV")),
    (b"\0\0\0\x0cjP  \r\n\x87\n", Foreign("a JPEG 2000 photograph", _CONVERT)),
)
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis")

# Where the bytes tell nothing: a damaged file.
_SUFFIXES = {
    ".dcm": DICOM,
    ".dicom": DICOM,
    ".xlsx": _WORKBOOK,
    ".xlsm": _WORKBOOK,
    ".xls": _OLD_WORKBOOK,
    ".ods": _OPEN_DOCUMENT,
    ".zip": _ZIP,
    ".npz": _NPZ,
    **dict.fromkeys((".mp4", ".avi", ".mov", ".mkv", ".wmv", ".mpg", ".mpeg", ".m4v"), _VIDEO),
    **dict.fromkeys((".heic", ".heif", ".avif"), _HEIF),
    **dict.fromkeys((".tar", ".gz", ".tgz", ".7z", ".rar"), _ARCHIVE),
}


def foreign_kind(data: bytes, name: str) -> Foreign | None:
    """Tell a file by its bytes, or by both its ends; where these tell nothing, by its extension.

    It is ``None`` for what may be an image, a text or nothing known.

    Examples
    --------
    >>> foreign_kind(b"\\0" * 128 + b"DICM...", "eye.jpg").what
    'a DICOM file'
    >>> foreign_kind(b"path,grade", "labels.csv") is None
    True
    """
    if data.startswith(b"PK\x03\x04"):
        return _zip_kind(data)
    if data.startswith(b"PAR1") and data.endswith(b"PAR1"):
        return PARQUET
    for signature, kind in _SIGNATURES:
        if data.startswith(signature):
            return kind
    if b"\0" in data[:512]:  # a text may have such words in these places
        if data[128:132] == b"DICM":
            return DICOM
        if data[257:262] == b"ustar":
            return _ARCHIVE
        if data[4:8] == b"ftyp":
            return _HEIF if data[8:12] in _HEIF_BRANDS else _VIDEO
        if data[4:8] in (b"moov", b"mdat", b"wide") or (data[:4], data[8:12]) == (b"RIFF", b"AVI "):
            return _VIDEO
    return None if _is_text(data) else _SUFFIXES.get(os.path.splitext(name)[1].lower())


def foreign_file(path: str | os.PathLike[str]) -> Foreign | None:
    """Tell what a file is, as `foreign_kind`; ``None`` also where there is no such file.

    Examples
    --------
    >>> foreign_file("no/such/file.zip") is None
    True
    """
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as stream:
        data = stream.read(_ENDS)
        size = os.fstat(stream.fileno()).st_size
        if size > _ENDS:
            stream.seek(max(_ENDS, size - _ENDS))
            data += stream.read()
    return foreign_kind(data, os.fspath(path))


def _zip_kind(data: bytes) -> Foreign:
    # names of members stand in a zip file as they are, the first one right at its beginning
    first = data[30 : 30 + int.from_bytes(data[26:28], "little")]
    if b"opendocument.spreadsheet" in data[:200]:
        return _OPEN_DOCUMENT
    if b"xl/workbook" in data:
        return _WORKBOOK
    return _NPZ if first.endswith(b".npy") else _ZIP


def _is_text(data: bytes) -> bool:
    """Whether a beginning may be that of a text, which is read whatever its file is called."""
    if data.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return True
    return b"\0" not in data and any(sign in data for sign in (b",", b";", b"\t"))
