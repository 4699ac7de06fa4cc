"""DICOM files: whether one holds a photograph that can be read, and its pixels, packed or not.

Messages show numbers, and names out of the tables below, but no text of a header.
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import DataWarning, warn_once
from fundus.images.codestreams import (
    is_transformed,
    jpeg_2000_size,
    jpeg_ls_size,
    jpeg_parts,
)
from fundus.images.dicom_header import BIG_ENDIAN, CONVERT, Header, read_header
from fundus.images.formats import COPY_AGAIN, check_jpeg, fail
from fundus.images.limits import Frame, ImageLimits, check_frame, check_sides

_ROOT = "1.2.840.10008."
_NATIVE = (_ROOT + "1.2", _ROOT + "1.2.1", BIG_ENDIAN)
_PACKED = {
    _ROOT + "1.2.5": "RLE",
    **{_ROOT + f"1.2.4.{k}": "JPEG" for k in (50, 51, 57, 70)},
    **{_ROOT + f"1.2.4.{k}": "JPEG-LS" for k in (80, 81)},
    **{_ROOT + f"1.2.4.{k}": "JPEG 2000" for k in (90, 91)},
}
_STORAGE = _ROOT + "5.1.4.1.1."
_TOMOGRAPHY = tuple(_STORAGE + f"77.1.5.{k}" for k in (4, 7, 8))
_SECONDARY = (_STORAGE + "7", *(_STORAGE + f"7.{k}" for k in (1, 2, 3, 4)))
#: Ophthalmic and external-camera photography; a file may also name none.
_OF_PHOTOGRAPHS = ("OP", "XC", "")
_OTHERS = re.compile(
    "AR|BI|BMD|CR|CT|DG|DX|ECG|ES|FA|FS|GM|IO|IVOCT|IVUS|KER|LEN|MG|MR|NM|OAM|OCT|OPM|OPT|OPTBSV|"
    "OPTENF|OPV|OSS|OT|PT|PX|RF|RG|SM|SR|SRF|ST|TG|US|VA|XA"
)
#: Samples of a pixel by what they mean.
_SAMPLES = {
    **dict.fromkeys(("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"), 1),
    **dict.fromkeys(("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"), 3),
}
#: What only the transform of JPEG 2000 makes, and undoes.
_OF_JPEG_2000 = ("YBR_ICT", "YBR_RCT")
_PALETTES = [f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue")]
_KEYWORDS = (
    *("SOPClassUID", "Modality", "NumberOfFrames", "Rows", "Columns", "SamplesPerPixel"),
    *("PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated", "BitsStored"),
    *("PixelRepresentation", "EncryptedAttributesSequence", "PixelData"),
    *(f"{palette}{what}" for palette in _PALETTES for what in ("Descriptor", "Data")),
)
_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
#: How a frame begins.
_BEGINS = {"JPEG": b"\xff\xd8", "JPEG-LS": b"\xff\xd8", "JPEG 2000": b"\xff\x4f\xff\x51"}
_ONE_FRAME = "write the frame that is wanted to a file of its own (docs/dicom.md shows how)"


@dataclass(frozen=True)
class Photograph:
    """The photograph in a DICOM file, its pixels as the file has them.

    Parameters
    ----------
    frame : Frame
    packing : {"native", "RLE", "JPEG", "JPEG-LS", "JPEG 2000"}
    stream : bytes
        The pixels, without what DICOM puts around packed ones.
    colours : str
        What the samples mean: ``"RGB"``, ``"YBR_FULL"``, ``"MONOCHROME2"``, …
    planar : bool
        Whether each sample is a plane of its own, where the pixels are native.
    swapped : bool
        Whether they are written as 16-bit words whose upper byte comes first.
    palette : ndarray of uint8, shape (n, 3), or None
        RGB of the values from `first` on.
    first : int
    """

    frame: Frame
    packing: str
    stream: bytes
    colours: str
    planar: bool = False
    swapped: bool = False
    palette: NDArray[np.uint8] | None = None
    first: int = 0

    @property
    def samples(self) -> int:
        """Samples of a pixel."""
        return _SAMPLES[self.colours]


#: Where doubts are noted instead of warned of; per thread.
_noted: ContextVar[list[str] | None] = ContextVar("noted", default=None)


@contextmanager
def doubts_of_dicom() -> Iterator[list[str]]:
    """Note, without the file's name, why a file may be no photograph, instead of warning of it.

    Only what is read in the same thread is noted.
    """
    noted: list[str] = []
    token = _noted.set(noted)
    try:
        yield noted
    finally:
        _noted.reset(token)


def photograph_of(data: bytes, name: str, limits: ImageLimits) -> Photograph:
    """Check a DICOM file as far as can be without decoding it.

    Parameters
    ----------
    data : bytes
        The whole file.
    name : str
        Path of the file, for messages.
    limits : ImageLimits

    Raises
    ------
    ImageReadError
        If pydicom is missing, or the file is damaged, encrypted, too large or holds no single
        8-bit picture of a kind that is read.

    Warns
    -----
    DataWarning
        If the picture is a secondary capture or of a modality that takes no photographs.
    """
    header = read_header(data, _KEYWORDS, name)
    if "PixelData" not in header.values:  # where pixels are cut off, what is before them is lost
        header = read_header(data, [key for key in _KEYWORDS if key != "PixelData"], name)
    _check_kind(header, name)
    _check_frames(header, name)
    packing = "native" if header.syntax in _NATIVE else _PACKED.get(header.syntax)
    if packing is None and header.syntax == "" and header.pixels[1] is not None:
        packing = "native"  # a file without the description of itself
    if packing is None:
        fail(name, "a DICOM file whose transfer syntax is read", _syntax_name(header), CONVERT)
    colours = _check_samples(header, packing, name)
    height, width = header.number("Rows") or 0, header.number("Columns") or 0
    check_sides(height, width, limits, name)
    stream = header.values["PixelData"]
    if packing != "native":
        stream = _unwrapped(stream, packing, name)
    frame = _checked_stream(stream, packing, Frame(height, width), header, name)
    check_frame(frame, len(data), limits, name)
    first, palette = _palette(header, name) if colours == "PALETTE COLOR" else (0, None)
    _tell_doubt(header, name)
    planar = header.number("PlanarConfiguration") == 1
    swapped = header.syntax == BIG_ENDIAN and header.pixels[0] == "OW"
    return Photograph(frame, packing, stream, colours, planar, swapped, palette, first)


def _uid_name(uid: str, otherwise: str) -> str:
    """Name of a UID that the standard has, and no other text."""
    from pydicom.uid import UID_dictionary

    return UID_dictionary[uid][0] if uid in UID_dictionary else otherwise


def _syntax_name(header: Header) -> str:
    return _uid_name(header.syntax, "one that is none of DICOM's" if header.syntax else "none")


def _check_kind(header: Header, name: str) -> None:
    """Refuse a file without pixels, or with those of a tomograph."""
    kind = header.text("SOPClassUID")
    if kind in _TOMOGRAPHY:
        found = f"{_uid_name(kind, '')}: slices or a volume of a tomograph (OCT)"
        fail(name, "a photograph", found, "give the colour photograph of the same eye")
    if "PixelData" in header.values:
        return
    if "EncryptedAttributesSequence" in header.present:
        fail(name, "a DICOM file that can be read", "one with encrypted content", "decrypt it")
    if "Rows" in header.present:
        found = "a header whose pixels are missing (the file is truncated or damaged)"
        fail(name, "a whole DICOM file", found, COPY_AGAIN)
    what = _uid_name(kind, "")
    found = "one without pixels" + f" ({what})" * bool(what)
    fail(name, "a DICOM file with a photograph", found, "take it out of the data")


def _check_frames(header: Header, name: str) -> None:
    text = header.text("NumberOfFrames")
    n_frames = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
    if n_frames == 1 or "NumberOfFrames" not in header.present or text == "":
        return
    advice = _ONE_FRAME if n_frames else COPY_AGAIN
    found = "a number that cannot be read" if n_frames is None else f"{n_frames} frames"
    fail(name, "a DICOM file of one frame", found, advice)


def _check_samples(header: Header, packing: str, name: str) -> str:
    """Return what the samples mean, of pixels that are read."""
    colours = header.text("PhotometricInterpretation")
    samples, allocated = header.number("SamplesPerPixel"), header.number("BitsAllocated")
    stored = header.number("BitsStored")
    signed = header.number("PixelRepresentation") == 1
    if (allocated, stored) != (8, 8) or signed:
        sign = "signed " if signed else ""
        found = f"{sign}samples of which {stored} of {allocated} bits are used"
        fail(name, "a DICOM file of unsigned 8-bit samples", found, "export it as 8-bit RGB")
    if samples is None or _SAMPLES.get(colours) != samples:
        known = colours if colours in _SAMPLES else "of another meaning"
        expected = f"a DICOM file whose pixels are among {', '.join(_SAMPLES)}"
        fail(name, expected, f"{samples} sample(s) a pixel, {known}", CONVERT)
    if colours in _OF_JPEG_2000 and packing != "JPEG 2000":
        found = f"{colours}, which only JPEG 2000 has, in {packing} pixels"
        fail(name, "a DICOM file whose colours are known", found, CONVERT)
    return colours


def _unwrapped(value: bytes, packing: str, name: str) -> bytes:
    """Join the fragments of the one frame, past the table of offsets."""
    fragments, at = [], 0
    while at < len(value) and value[at : at + 4] != _END:
        (length,) = struct.unpack_from("<I", value, at + 4) if at + 8 <= len(value) else (2**32,)
        if value[at : at + 4] != _ITEM or at + 8 + length > len(value):
            _stops(name)
        fragments.append(value[at + 8 : at + 8 + length])
        at += 8 + length
    if len(fragments) < 2:
        _stops(name)
    offsets, parts = fragments[0], fragments[1:]
    if packing == "RLE":  # a frame has a fragment of its own
        several = len(parts) > 1
    else:
        several = any(
            part.startswith(_BEGINS[packing]) and before.rstrip(b"\0").endswith(b"\xff\xd9")
            for before, part in itertools.pairwise(parts)
        )
    if several or len(offsets) > 4:
        found = "several, of which the header does not tell"
        fail(name, "a DICOM file of one frame", found, _ONE_FRAME)
    return b"".join(parts)


def _stops(name: str) -> NoReturn:
    found = "packed pixels that stop before their end (the file is truncated or damaged)"
    fail(name, "a whole DICOM file", found, COPY_AGAIN)


def _checked_stream(stream: bytes, packing: str, frame: Frame, header: Header, name: str) -> Frame:
    """Check that a stream is whole and of the header's size; return its frame."""
    colours = header.text("PhotometricInterpretation")
    samples = _SAMPLES[colours]
    if packing == "native":
        per_pixel = 2 if colours == "YBR_FULL_422" else samples
        expected = frame.height * frame.width * per_pixel
        halved = colours == "YBR_FULL_422" and frame.width % 2
        words = header.syntax == BIG_ENDIAN and header.pixels[0] == "OW"
        if len(stream) not in (expected, expected + 1) or halved or (words and len(stream) % 2):
            found = f"{len(stream)} (the file is truncated or damaged)"
            what = f"{expected} bytes for {frame.width} x {frame.height} pixels"
            fail(name, f"{what} in a DICOM file", found, COPY_AGAIN)
        return frame
    if packing == "RLE":
        _check_rle(stream, frame, samples, name)
        return frame
    jpeg = None
    if packing == "JPEG":
        if not stream.startswith(b"\xff\xd8"):
            _stops(name)
        jpeg = check_jpeg(stream, name)
        if not jpeg.scans:
            _stops(name)
        inside = (
            jpeg.height,
            jpeg.width,
            jpeg.pixel_bits // 8,
            stream[jpeg_parts(stream)[1][0] + 4],
        )
    else:
        read_size = jpeg_ls_size if packing == "JPEG-LS" else jpeg_2000_size
        try:
            inside = read_size(stream)
        except (struct.error, IndexError, ValueError):
            _stops(name)
        if not stream.rstrip(b"\0").endswith(b"\xff\xd9"):
            _stops(name)
        if packing == "JPEG 2000" and colours in _OF_JPEG_2000 and not is_transformed(stream):
            found = f"{colours} in the header, and pixels that were not transformed so"
            fail(name, "a DICOM file whose colours are known", found, CONVERT)
    if inside != (frame.height, frame.width, samples, 8):
        height, width, n, bits = inside
        fail(
            name,
            f"{packing} data of width {frame.width}, height {frame.height} and {samples} samples "
            "of 8 bits, as the DICOM header says",
            f"width {width}, height {height} and {n} samples of {bits} bits",
            COPY_AGAIN,
        )
    return jpeg or frame


def _check_rle(stream: bytes, frame: Frame, samples: int, name: str) -> None:
    offsets = struct.unpack_from("<16I", stream) if len(stream) >= 64 else (0,)
    ordered = offsets[1 : samples + 1]
    whole = offsets[0] == samples and ordered[:1] == (64,) and list(ordered) == sorted(ordered)
    # runs of one byte take two, so that no honest stream is longer
    most = 64 + samples * (2 * frame.height * frame.width + 64)
    if not whole or ordered[-1] >= len(stream) or len(stream) > most:
        _stops(name)


def _palette(header: Header, name: str) -> tuple[int, NDArray[np.uint8]]:
    """Return the first value of a palette and the colours from it on."""
    tables, first, deep = [], 0, False
    for palette in _PALETTES:
        described = header.numbers(f"{palette}Descriptor")
        entries = header.values.get(f"{palette}Data", b"")
        count = (described[0] or 65_536) if len(described) == 3 else 0
        if count < 1 or len(entries) < count:
            break
        first, deep = described[1], deep or described[2] == 16
        wide = len(entries) >= 2 * count  # 8 bits may stand in 16, too
        if not wide and header.syntax == BIG_ENDIAN:  # two share a word, the first its low byte
            entries = entries[: len(entries) // 2 * 2]
            entries = bytes(entries[k ^ 1] for k in range(len(entries)))
        table = header.numbers(f"{palette}Data") if wide else tuple(entries)
        tables.append(table[:count])
    if len(tables) != 3 or len({len(table) for table in tables}) != 1:
        fail(name, "a DICOM palette of three tables of one length", "another", CONVERT)
    colours = np.array(tables, np.uint32).T
    deep = deep and bool(colours.max() > 255)
    return first, ((colours + 128) // 257 if deep else colours & 255).astype(np.uint8)


def _tell_doubt(header: Header, name: str) -> None:
    """Warn, once for each kind, of pictures that may be no photographs."""
    modality = header.text("Modality")
    if header.text("SOPClassUID") in _SECONDARY:
        what = "a secondary capture, which may be a screenshot or a printed page"
        key = "dicom: secondary"
    elif modality not in _OF_PHOTOGRAPHS:
        called = modality if _OTHERS.fullmatch(modality) else "another one than DICOM's"
        what = f"of the modality {called}, while photographs are OP"
        key = f"dicom: {called}"
    else:
        return
    noted = _noted.get()
    if noted is not None:
        noted.append(what)
        return
    warn_once(
        f"The DICOM file {name!r} is {what}; it is read all the same, and later ones are without "
        "this warning: check that they are photographs of the retina.",
        DataWarning,
        key,
    )
