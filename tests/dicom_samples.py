"""DICOM files of one photograph, written by pydicom in every way that is read."""

from __future__ import annotations

import io
import struct
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import jpeg_ls
import numpy as np
import openjpeg
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    OphthalmicPhotography8BitImageStorage,
    RLELossless,
)

from fundus.data.synthetic import make_fundus

#: What must never leave a header.
SECRET = "Zzyzx^Quentin"


def photograph(size: int = 64, seed: int = 0) -> np.ndarray:
    """A drawn photograph, uint8 RGB, wider than high."""
    with TemporaryDirectory() as folder:
        made = make_fundus(1, size, seed, out_dir=folder)
        image = cv2.imread(made.paths[0])[..., ::-1]
    return np.ascontiguousarray(image[4:-4])


def header(pixels: np.ndarray, **values: Any) -> Dataset:
    """A header of a photograph of the eye, of someone."""
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.SOPClassUID = OphthalmicPhotography8BitImageStorage
    found.SOPInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    found.PatientName, found.PatientID, found.PatientBirthDate = SECRET, "0042", "19500102"
    found.StudyDate, found.InstitutionName = "20200203", f"{SECRET} clinic"
    found.Modality, found.ImageLaterality, found.PatientOrientation = "OP", "L", ["L", "F"]
    found.Rows, found.Columns = pixels.shape[:2]
    found.SamplesPerPixel = 1 if pixels.ndim == 2 else pixels.shape[2]
    found.BitsAllocated = found.BitsStored = 8 * pixels.dtype.itemsize
    found.HighBit, found.PixelRepresentation = found.BitsStored - 1, 0
    found.PhotometricInterpretation = "MONOCHROME2" if found.SamplesPerPixel == 1 else "RGB"
    if found.SamplesPerPixel == 3:
        found.PlanarConfiguration = 0
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return found


def written(found: Dataset, syntax: str = ExplicitVRLittleEndian, **how: Any) -> bytes:
    found.file_meta.TransferSyntaxUID = syntax
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID
    stream = io.BytesIO()
    found.save_as(stream, enforce_file_format=how.pop("enforce_file_format", True), **how)
    return stream.getvalue()


def native(pixels: np.ndarray, syntax: str = ExplicitVRLittleEndian, **values: Any) -> bytes:
    found = header(pixels, **values)
    data = np.moveaxis(pixels, -1, 0) if values.get("PlanarConfiguration") == 1 else pixels
    found.PixelData = data.tobytes() + b"\0" * (data.size % 2)
    found["PixelData"].VR = "OW" if syntax == ImplicitVRLittleEndian else "OB"
    return written(found, syntax)


def packed(frames: list[bytes], pixels: np.ndarray, syntax: str, **values: Any) -> bytes:
    """A file of streams that are packed already."""
    found = header(pixels, **values)
    found.PixelData = encapsulate(frames)
    found["PixelData"].VR = "OB"
    return written(found, syntax)


def jpeg(pixels: np.ndarray, quality: int = 95, *options: int) -> bytes:
    bgr = pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., ::-1])
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality, *options])[1].tobytes()


def packings(pixels: np.ndarray) -> dict[str, bytes]:
    """Files of the same pixels, without loss, by the way they are packed."""
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    raw = header(pixels)
    raw.PixelData, raw.file_meta.TransferSyntaxUID = pixels.tobytes(), ExplicitVRLittleEndian
    rle = get_encoder(RLELossless).encode(raw, encoding_plugin="pydicom")
    colour = 1 if samples == 3 else 2
    j2k = openjpeg.encode(pixels, bits_stored=8, photometric_interpretation=colour)
    jls = bytes(jpeg_ls.encode_array(pixels))
    return {
        "explicit": native(pixels),
        "implicit": native(pixels, ImplicitVRLittleEndian),
        "big endian": native(pixels, ExplicitVRBigEndian),
        "RLE": packed([rle], pixels, RLELossless),
        "JPEG 2000": packed([bytes(j2k)], pixels, JPEG2000Lossless),
        "JPEG-LS": packed([jls], pixels, JPEGLSLossless),
        "lossless JPEG": packed([lossless_jpeg(pixels)], pixels, JPEGLosslessSV1),
    }


def lossless_jpeg(pixels: np.ndarray) -> bytes:
    """A lossless JPEG (ITU-T T.81, annex H): what differs from the left, by one table of lengths.

    Every difference has one of 17 categories, whose codes all take 5 bits.
    """
    values = pixels.reshape(*pixels.shape[:2], -1).astype(int)
    height, width, n = values.shape
    before = np.empty_like(values)
    before[:, 1:], before[1:, 0], before[0, 0] = values[:, :-1], values[:-1, 0], 128
    bits = []
    for difference in (values - before).ravel():
        category = int(abs(difference)).bit_length()
        bits.append(f"{category:05b}")
        if category:
            low = difference if difference > 0 else difference + 2**category - 1
            bits.append(f"{low:0{category}b}")
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    scan = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")

    def segment(marker: int, content: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content

    parts = b"".join(bytes([k + 1, 0x11, 0]) for k in range(n))
    lengths = bytes([0, 0, 0, 0, 17, *[0] * 11])
    selectors = b"".join(bytes([k + 1, 0]) for k in range(n))
    return (
        b"\xff\xd8"
        + segment(0xC3, struct.pack(">BHHB", 8, height, width, n) + parts)
        + segment(0xC4, b"\0" + lengths + bytes(range(17)))
        + segment(0xDA, bytes([n]) + selectors + bytes([1, 0, 0]))
        + scan
        + b"\xff\xd9"
    )


def with_palette(
    places: np.ndarray, bits: int = 16, syntax: str = ExplicitVRLittleEndian, **values: Any
) -> bytes:
    """A file whose values are places in a palette of mirrored colours."""
    ramp = np.arange(256)
    tables = {"Red": 255 - ramp, "Green": ramp, "Blue": ramp // 2}
    told = {}
    for colour, table in tables.items():
        entries = (table * 257).astype("<u2") if bits == 16 else table.astype(np.uint8)
        told[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        told[f"{colour}PaletteColorLookupTableData"] = entries.tobytes()
    values = {"PhotometricInterpretation": "PALETTE COLOR", **told, **values}
    return native(places, syntax, **values)
