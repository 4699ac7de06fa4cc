"""Photographs in DICOM files: the pixels of every packing, what is refused, and what is said."""

from __future__ import annotations

import io
import os
import re
import struct
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import openjpeg
import pytest
from dicom_samples import (
    SECRET,
    header,
    jpeg,
    lossless_jpeg,
    native,
    packed,
    packings,
    photograph,
    with_palette,
    written,
)
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG2MPML,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EncapsulatedPDFStorage,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    OphthalmicTomographyImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)

import fundus
from fundus import exceptions
from fundus.exceptions import DataWarning, ImageReadError
from fundus.images import ImageRecipe, decode, decode_bytes, verify
from fundus.images.decoding import frame_of
from fundus.images.foreign import foreign_kind

ROOT = Path(__file__).resolve().parents[1]
EYE = photograph()
GREY = np.ascontiguousarray(EYE[..., 1])
PACKINGS = packings(EYE)
YBR_422 = {"PhotometricInterpretation": "YBR_FULL_422"}


@pytest.fixture(autouse=True)
def _warn_again(monkeypatch):
    monkeypatch.setattr(exceptions, "_given", set())


def pixels(data: bytes, **how):
    return decode_bytes(data, name="eye.dcm", **how)


def levels(one: np.ndarray, other: np.ndarray) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other.astype(int)).max())


@pytest.mark.parametrize("packing", PACKINGS)
def test_pixels_of_every_packing(packing):
    data = PACKINGS[packing]
    assert np.array_equal(pixels(data), EYE)
    assert (frame_of(data, name="eye").height, frame_of(data, name="eye").width) == EYE.shape[:2]
    verify("eye.dcm", data)
    grey = pixels(packings(GREY)[packing])
    assert np.array_equal(grey, np.dstack([GREY] * 3))


def test_a_dicom_file_is_told_by_its_content():
    assert np.array_equal(decode_bytes(PACKINGS["RLE"], name="eye.jpg"), EYE)
    found = header(EYE)
    found.PixelData = EYE.tobytes()
    del found.file_meta
    for implicit in (True, False):  # as older programs write them, without a preamble
        stream = io.BytesIO()
        found.save_as(stream, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
        assert stream.getvalue()[128:132] != b"DICM"
        assert np.array_equal(pixels(stream.getvalue()), EYE)


@pytest.mark.parametrize("told", ["RGB", "YBR_RCT", "YBR_ICT", "YBR_FULL", "YBR_FULL_422"])
def test_colours_that_jpeg_2000_has_transformed_are_made_rgb(told):
    """Whatever the header says, as one that was made for a JPEG before it was packed again."""
    data = packed([CODESTREAM], EYE, JPEG2000Lossless, PhotometricInterpretation=told)
    assert np.array_equal(pixels(data), EYE)


def test_colours_that_jpeg_2000_has_not_transformed_are_the_headers():
    ycc = cv2.cvtColor(EYE, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]]
    stream = bytes(openjpeg.encode(np.ascontiguousarray(ycc), bits_stored=8))
    data = packed([stream], EYE, JPEG2000Lossless, PhotometricInterpretation="YBR_FULL")
    assert levels(pixels(data), EYE) <= 2
    plain = packed([PLAIN_CODESTREAM], EYE, JPEG2000Lossless, PhotometricInterpretation="RGB")
    assert np.array_equal(pixels(plain), EYE)


def test_a_frame_may_have_several_fragments():
    found = header(EYE, **YBR_422)
    found.PixelData = encapsulate([JPEG_EYE], fragments_per_frame=3)
    found["PixelData"].VR = "OB"
    whole = packed([JPEG_EYE], EYE, JPEGBaseline8Bit, **YBR_422)
    assert np.array_equal(pixels(written(found, JPEGBaseline8Bit)), pixels(whole))


@pytest.mark.parametrize("sampling", [0x111111, 0x221111], ids=["4:4:4", "4:2:0"])
def test_pixels_of_a_jpeg_are_those_of_the_file(sampling):
    content = jpeg(EYE, 90, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling)
    data = packed([content], EYE, JPEGBaseline8Bit, **YBR_422)
    for min_side in (None, 40, 20, 5):  # at smaller scales, too
        of_file = decode_bytes(content, name="eye.jpg", min_side=min_side)
        assert np.array_equal(pixels(data, min_side=min_side), of_file)
    assert pixels(data, min_side=5).shape[0] == EYE.shape[0] // 8
    recipe = ImageRecipe(32)
    assert np.array_equal(
        decode(data, recipe, name="eye.dcm"), decode(content, recipe, name="eye.jpg")
    )
    in_pieces = header(EYE, **YBR_422)
    in_pieces.PixelData = encapsulate([content], fragments_per_frame=3)
    in_pieces["PixelData"].VR = "OB"
    assert np.array_equal(pixels(written(in_pieces, JPEGBaseline8Bit)), pixels(data))


def without_marks(content: bytes) -> bytes:
    """A JPEG without its JFIF segment, as cameras put them into DICOM."""
    assert content[2:4] == b"\xff\xe0"
    return content[:2] + content[4 + int.from_bytes(content[4:6], "big") :]


def test_colours_of_a_jpeg_that_does_not_tell_them():
    marked = jpeg(EYE, 100, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111)
    content = without_marks(marked)
    as_ybr = pixels(packed([content], EYE, JPEGBaseline8Bit, PhotometricInterpretation="YBR_FULL"))
    assert np.array_equal(as_ybr, decode_bytes(marked, name="eye.jpg"))
    assert levels(as_ybr, EYE) <= 4
    # the same numbers, called red, green and blue
    as_rgb = pixels(packed([content], EYE, JPEGBaseline8Bit))
    ycrcb = cv2.cvtColor(EYE, cv2.COLOR_RGB2YCrCb)
    assert levels(as_rgb, ycrcb[..., [0, 2, 1]]) <= 3
    # no one halves red and green: such a header is wrong, as is one beside a JFIF mark
    halved = without_marks(jpeg(EYE, 100, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x221111))
    for wrong in (halved, jpeg(EYE, 100)):
        told = pixels(packed([wrong], EYE, JPEGBaseline8Bit))
        assert np.array_equal(told, decode_bytes(wrong, name="eye.jpg"))


def ybr(rgb: np.ndarray) -> np.ndarray:
    """As the standard has it (PS3.3, C.7.6.3.1.2)."""
    weights = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
    return np.clip((rgb @ weights.T + [0, 128, 128]).round(), 0, 255).astype(np.uint8)


def test_colours_that_are_luminance_and_two_differences():
    full = ybr(EYE)
    told = {"PhotometricInterpretation": "YBR_FULL"}
    assert levels(pixels(native(full, **told)), EYE) <= 2
    assert levels(pixels(native(full, PlanarConfiguration=1, **told)), EYE) <= 2
    lossless = packed([lossless_jpeg(full)], full, JPEGLosslessSV1, **told)
    assert levels(pixels(lossless), EYE) <= 2
    smooth = np.repeat(EYE[:, ::2], 2, axis=1)
    pairs = ybr(smooth).reshape(EYE.shape[0], -1, 2, 3)
    halved = np.concatenate([pairs[..., 0], pairs[:, :, 0, 1:]], axis=2)
    found = header(EYE, **YBR_422)
    found.PixelData = halved.tobytes()
    found["PixelData"].VR = "OB"
    assert levels(pixels(written(found)), smooth) <= 2


@pytest.mark.parametrize("bits", [8, 16])
def test_colours_of_a_palette(bits):
    expected = np.dstack([255 - GREY, GREY, GREY // 2])
    assert np.array_equal(pixels(with_palette(GREY, bits)), expected)


def test_two_colours_of_a_palette_of_8_bits_share_a_word():
    swapped = with_palette(GREY)
    for colour in ("Red", "Green", "Blue"):
        table = dcmread(io.BytesIO(with_palette(GREY, 8)))[f"{colour}PaletteColorLookupTableData"]
        pairs = np.frombuffer(table.value, np.uint8).reshape(-1, 2)[:, ::-1].tobytes()
        data = {f"{colour}PaletteColorLookupTableData": pairs}
        swapped = data if isinstance(swapped, bytes) else swapped | data
    expected = np.dstack([255 - GREY, GREY, GREY // 2])
    assert np.array_equal(pixels(with_palette(GREY, 8, ExplicitVRBigEndian, **swapped)), expected)


def test_planes_inverted_grey_and_turned_words():
    assert np.array_equal(pixels(native(EYE, PlanarConfiguration=1)), EYE)
    inverted = pixels(native(GREY, PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(inverted, np.dstack([255 - GREY] * 3))
    found = header(EYE)
    found.PixelData = EYE.reshape(-1, 2)[:, ::-1].tobytes()
    found["PixelData"].VR = "OW"
    data = written(found, ExplicitVRBigEndian)
    assert np.array_equal(pixels(data), dcmread(io.BytesIO(data)).pixel_array)


def test_nothing_is_turned():
    """Neither PatientOrientation nor an EXIF mark within the packed JPEG turns a photograph."""
    assert np.array_equal(pixels(native(EYE, PatientOrientation=["R", "H"])), EYE)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    content = jpeg(EYE)
    turned = content[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + content[2:]
    assert decode_bytes(turned, name="eye.jpg").shape[:2] == EYE.shape[1::-1]
    found = pixels(packed([turned], EYE, JPEGBaseline8Bit, **YBR_422))
    assert np.array_equal(found, decode_bytes(content, name="eye.jpg"))


def of_bits(content: bytes, bits: int) -> bytes:
    """A lossless JPEG that says so of its samples."""
    place = content.index(b"\xff\xc3") + 4
    return content[:place] + bytes([bits]) + content[place + 1 :]


def of(**values) -> bytes:
    return native(EYE, **values)


def no_pixels(kind: str = EncapsulatedPDFStorage, **values) -> bytes:
    found = Dataset()
    found.file_meta = header(EYE).file_meta
    found.SOPClassUID, found.SOPInstanceUID, found.PatientName = kind, "1.2.3", SECRET
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return written(found)


def resized(data: bytes, rows: int, columns: int) -> bytes:
    """A file whose header says another size."""
    found = dcmread(io.BytesIO(data))
    found.Rows, found.Columns = rows, columns
    stream = io.BytesIO()
    found.save_as(stream)
    return stream.getvalue()


J2K, JLS, RLE = (PACKINGS[name] for name in ("JPEG 2000", "JPEG-LS", "RLE"))
#: A stream that claims to be much larger than the header says.
_SIZE = J2K.index(b"\xff\x4f\xff\x51") + 8
BOMB = J2K[:_SIZE] + (60_000).to_bytes(4, "big") * 2 + J2K[_SIZE + 8 :]
FILM = packed([b"\0" * 10], EYE, MPEG2MPML)
DEEP = EYE.astype(np.uint16) * 257


def two_frames(frames, syntax=JPEGBaseline8Bit, **values):
    return packed(frames, EYE, syntax, PhotometricInterpretation="RGB", **values)


def packed_table(frames):
    """A file whose table of offsets tells of several frames in one fragment."""
    found = header(EYE)
    joined = b"".join(frame + b"\0" * (len(frame) % 2) for frame in frames)
    table = struct.pack("<2I", 0, len(joined) // 2)
    item = b"\xfe\xff\0\xe0" + struct.pack("<I", 8) + table
    found.PixelData = item + b"\xfe\xff\0\xe0" + struct.pack("<I", len(joined)) + joined
    found["PixelData"].VR, found["PixelData"].is_undefined_length = "OB", True
    return written(found, JPEGBaseline8Bit)


DECOY = b"\x02\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0\0\0"
DEFLATED = written(dcmread(io.BytesIO(of())), DeflatedExplicitVRLittleEndian)
JPEG_EYE = jpeg(EYE)
CODESTREAM = bytes(openjpeg.encode(EYE, bits_stored=8, photometric_interpretation=1))
PLAIN_CODESTREAM = bytes(openjpeg.encode(EYE, bits_stored=8, photometric_interpretation=0))


#: In 16-bit words, the last of which lacks a byte.
ODD = native(EYE[:55, :63], ExplicitVRBigEndian)[:-1].replace(
    b"\x7f\xe0\0\x10OB\0\0" + struct.pack(">I", 10_396),
    b"\x7f\xe0\0\x10OW\0\0" + struct.pack(">I", 10_395),
)


REFUSED = {
    "without pixels": (no_pixels(), "found one without pixels (Encapsulated PDF Storage); take"),
    "of an unknown kind": (no_pixels("1.2.3.4"), "found one without pixels; take"),
    "encrypted": (
        no_pixels(EncryptedAttributesSequence=[Dataset()]),
        "found one with encrypted content; decrypt",
    ),
    "enveloped": (
        b"\x30\x82\x10\0\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03" + bytes(400),
        "do not begin like one (the file is damaged or encrypted)",
    ),
    "of a tomograph": (
        of(SOPClassUID=OphthalmicTomographyImageStorage, NumberOfFrames=1),
        "found Ophthalmic Tomography Image Storage: slices or a volume of a tomograph (OCT)",
    ),
    "of many frames": (of(NumberOfFrames=7), "found 7 frames; write the frame that is wanted"),
    "of no frames": (of(NumberOfFrames=0), "found 0 frames; copy"),
    "16-bit": (native(DEEP), "found samples of which 16 of 16 bits are used; export"),
    "12-bit": (native(DEEP, BitsStored=12), "of which 12 of 16 bits are used"),
    "signed": (of(PixelRepresentation=1), "found signed samples"),
    "of other colours": (of(PhotometricInterpretation="HSV"), "3 sample(s) a pixel, of another"),
    "of wrong samples": (of(PhotometricInterpretation="MONOCHROME2"), "3 sample(s) a pixel, MONO"),
    "huge": (resized(of(), 65_000, 65_000), "sides of 1 to 16384 pixels, found width 65000"),
    "large": (resized(of(), 16_000, 16_000), "up to 178956970 pixels, found width 16000"),
    "flat": (resized(of(), 0, 64), "sides of 1 to 16384 pixels, found width 64 and height 0"),
    "of another size": (resized(of(), 57, 64), "bytes for 64 x 57 pixels in a DICOM file, found 1"),
    "a bomb": (BOMB, "as the DICOM header says, found width 60000, height 60000"),
    "packed in another size": (resized(JLS, 50, 64), "found width 64, height 56 and 3 samples"),
    "JPEG of another size": (
        resized(packed([jpeg(EYE)], EYE, JPEGBaseline8Bit, **YBR_422), 50, 64),
        "found width 64, height 56",
    ),
    "a film": (FILM, "found MPEG2 Main Profile / Main Level; conv"),
    "of no syntax": (
        FILM.replace(b".10008.1.2.4.100", b".99999.1.2.4.100"),
        "found one that is none of DICOM's",
    ),
    "deflated": (
        written(dcmread(io.BytesIO(of())), DeflatedExplicitVRLittleEndian),
        "found Deflated Explicit VR Little Endian; convert",
    ),
    "deflated, with a decoy": (
        bytes(40) + DECOY + bytes(128 - 40 - len(DECOY)) + DEFLATED[128:],
        "found Deflated Explicit VR Little Endian; convert",
    ),
    "deflated, behind much": (
        DEFLATED[:132]
        + b"\x02\0\x02\x01OB\0\0"
        + struct.pack("<I", 70_000)
        + bytes(70_000)
        + DEFLATED[132:],
        "found Deflated Explicit VR Little Endian; convert",
    ),
    "of a description that leads out": (
        of()[:132] + b"\x02\0\x02\x01OB\0\0\xff\xff\xff\xff" + of()[132:],
        "found one that cannot be followed (the file is truncated",
    ),
    "of a million elements": (
        of()[: of().index(b"\x08\0\x16\0UI")]
        + b"\x09\0\x10\x10LO\0\0" * 120_000
        + of()[of().index(b"\x08\0\x16\0UI") :],
        "found one of more than 100000 pieces, while",
    ),
    "of two frames that are not told": (two_frames([JPEG_EYE] * 2), "found several, of which the"),
    "of two frames, told as one": (
        two_frames([JPEG_EYE] * 2, NumberOfFrames=1),
        "found several, of which the header",
    ),
    "of two frames of JPEG 2000": (
        two_frames([CODESTREAM] * 2, JPEG2000Lossless),
        "found several, of which the header",
    ),
    "of a table of two frames": (
        packed_table([JPEG_EYE] * 2),
        "found several, of which the header does not tell; write",
    ),
    "of YBR_ICT, not packed": (
        of(PhotometricInterpretation="YBR_ICT"),
        "found YBR_ICT, which only JPEG 2000 has, in nat",
    ),
    "of YBR_RCT that is none": (
        packed([PLAIN_CODESTREAM], EYE, JPEG2000Lossless, PhotometricInterpretation="YBR_RCT"),
        "found YBR_RCT in the header, and pixels that were not transformed so; convert",
    ),
    "of half a word": (ODD, "bytes for 63 x 55 pixels in a DICOM file, found 10395"),
    "of a wrong syntax": (packed([jpeg(EYE)], EYE, JPEG2000Lossless), "stop before their end"),
    "of another wrong syntax": (
        packed([jpeg(EYE)], EYE, JPEGLSLossless),
        "expected a whole DICOM file, found packed pixels that stop before their end",
    ),
    "of runs that are none": (packed([jpeg(EYE)], EYE, RLELossless), "stop before their end"),
    "native, called packed": (
        of().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0", 1),
        "stop before their end",
    ),
    "with half a palette": (
        with_palette(GREY, BluePaletteColorLookupTableData=b"\0\1"),
        "palette of three tables of one length",
    ),
    "with a palette that is not described": (
        with_palette(GREY, RedPaletteColorLookupTableDescriptor=[256]),
        "palette of three tables of one length",
    ),
    "truncated": (of()[:-100], "bytes for 64 x 56 pixels in a DICOM file, found 10652"),
    "truncated, packed": (RLE[:-9], "found a header whose pixels are missing (the file is trunc"),
    "of no bytes": (native(EYE[:0], Rows=56), "found a header whose pixels are missing"),
    "of pixels that are a list": (
        RLE.replace(b"\xe0\x7f\x10\0OB", b"\xe0\x7f\x10\0SQ"),
        "whose pixels are missing|whose header cannot be read",
    ),
    "truncated header": (of()[:180], "that cannot be followed (the file is truncated or damaged)"),
    "a JPEG without a scan": (
        packed(
            [jpeg(EYE)[: jpeg(EYE).index(b"\xff\xda")] + b"\xff\xd9"],
            EYE,
            JPEGBaseline8Bit,
            **YBR_422,
        ),
        "truncated or damaged",
    ),
    "a JPEG of 7 bits": (
        packed([of_bits(lossless_jpeg(EYE), 7)], EYE, JPEGLosslessSV1),
        "3 samples of 7 bits",
    ),
    "truncated JPEG": (
        packed([jpeg(EYE)[:-200]], EYE, JPEGBaseline8Bit, **YBR_422),
        "whole JPEG that closes with an end-of-image marker",
    ),
    "garbage": (b"\x08\0\x05\0" * 40, "found 160 bytes that do not begin like one"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_photograph_is_refused(what, capfd):
    data, found = REFUSED[what]
    with pytest.raises(
        ImageReadError, match=r"Cannot read image 'eye\.dcm': expected .*; "
    ) as told:
        pixels(data)
    assert re.search(found if "|" in found else re.escape(found), str(told.value)), told.value
    assert SECRET not in str(told.value)
    with pytest.raises(ImageReadError, match=r"'eye\.dcm'"):
        verify("eye.dcm", data, decode=True)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"SOPClassUID": SecondaryCaptureImageStorage},
            "a secondary capture, which may be a",
        ),
        ({"Modality": "OPT"}, "of the modality OPT, while photographs are OP"),
        ({"SOPClassUID": CTImageStorage, "Modality": "CT"}, "of the modality CT"),
        ({"Modality": "ZZYZX"}, "of the modality another one than DICOM's"),
    ],
)
def test_pictures_that_may_be_no_photographs_are_read_with_a_warning(values, said):
    with pytest.warns(DataWarning, match=rf"DICOM file 'eye\.dcm' is {said}"):
        assert np.array_equal(pixels(of(**values)), EYE)
    pixels(of(**values))  # said once


def test_modalities_of_photographs():
    for modality in ("OP", "XC", ""):
        assert np.array_equal(pixels(of(Modality=modality)), EYE)


def test_limits_hold_within_dicom(monkeypatch):
    monkeypatch.setenv("FUNDUS_IMAGE_LIMITS", "max_scans=2,max_pixels=3000")
    with pytest.raises(ImageReadError, match="up to 3000 pixels"):
        pixels(of())
    monkeypatch.setenv("FUNDUS_IMAGE_LIMITS", "max_scans=2")
    slow = jpeg(EYE, 95, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    with pytest.raises(ImageReadError, match="JPEG of up to 2 scans"):
        pixels(packed([slow], EYE, JPEGBaseline8Bit, **YBR_422))


def test_without_the_extra(monkeypatch):
    install = r"pip install 'fundus-zoo\[dicom\]'"
    for module, data in (("openjpeg", J2K), ("jpeg_ls", JLS), ("pydicom", RLE)):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            with pytest.raises(ImageReadError, match=rf"'eye\.dcm'.*DICOM.*{install}"):
                pixels(data)
    assert np.array_equal(pixels(J2K), EYE)


def test_a_table_that_is_a_photograph():
    assert foreign_kind(of(), "labels.csv").what == "a DICOM file"


def test_no_package_of_the_extra_is_gpl():
    """Nor does any ask for one: the decoder of JPEG that pydicom offers under GPL stays away."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extra = project["optional-dependencies"]["dicom"]
    wanted, seen = [re.match(r"[\w.-]+", name)[0].lower() for name in extra], set()
    assert len(wanted) >= 4
    while wanted:
        name = wanted.pop()
        seen.add(name)
        about = metadata.metadata(name)
        texts = [about.get("License-Expression", ""), about.get("License", "")]
        texts += [text for text in about.get_all("Classifier", []) if text.startswith("License")]
        licence = " ".join(text.split("\n")[0] for text in texts)
        assert licence.strip(), name
        assert not re.search(r"GPL|General Public", licence), (name, licence)
        for asked in metadata.requires(name) or []:
            plain = re.match(r"[\w.-]+", asked)[0].lower()
            if "extra ==" not in asked and plain not in seen:
                wanted.append(plain)
    assert "pylibjpeg-libjpeg" not in seen
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.version("pylibjpeg-libjpeg")


def test_importing_fundus_loads_no_pydicom():
    code = "import sys, fundus, fundus.images.decoding; sys.exit('pydicom' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0
    assert fundus.load_images is not None
