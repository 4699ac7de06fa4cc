"""Patient and eye of a photograph, read from the header of its DICOM file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from fundus.data.file_names import EYES
from fundus.data.patient_key import hidden
from fundus.exceptions import DataError, ImageReadError, Mention, Message
from fundus.images import read_bytes
from fundus.images.dicom_header import Header, read_header
from fundus.images.formats import image_kind

#: Bytes that tell a DICOM file.
_BEGINNING = 144
#: Bytes that hold most headers, and a keyword behind all that are looked for.
_HEAD, _LATER = 262_144, "Rows"
#: Keywords of the eye, the first that is there counts.
SIDES = ("ImageLaterality", "Laterality")
_KEYWORDS = ("PatientID", *SIDES)
#: Values of ImageLaterality and Laterality that are no eye: both, and one that is in the middle.
_NO_EYE = ("B", "U")

_NOBODY_KNOWS = Mention("patients_unknown", "ok")


def is_dicom_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins like a DICOM file; False where it cannot be read.

    Examples
    --------
    >>> is_dicom_file("no/such/file.dcm")
    False
    """
    try:
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as stream:
            return image_kind(stream.read(_BEGINNING)) == "DICOM"
    except OSError:
        return False


def from_headers(paths: Sequence[str]) -> list[tuple[str | None, str | None]]:
    """Read patient and eye, "left" or "right", from DICOM files; None where a file tells neither.

    A patient's id is the one in the header, or what stands for it (`set_patient_key`). Files of
    other formats, and those that cannot be read, tell nothing.

    Examples
    --------
    >>> from_headers(["no/such/file.dcm"])
    [(None, None)]
    """
    with ThreadPoolExecutor(min(16, 4 * (os.cpu_count() or 1))) as pool:
        return list(pool.map(_from_header, paths))


def _from_header(path: str) -> tuple[str | None, str | None]:
    if not is_dicom_file(path):
        return None, None
    try:
        header = _beginning_of(path) or read_header(read_bytes(path), _KEYWORDS, path)
    except ImageReadError:  # reported where the file is checked
        return None, None
    patient = header.text("PatientID")
    return hidden(patient) if patient else None, eye_of(header)


def _beginning_of(path: str) -> Header | None:
    """The header of a file whose pixels are not read; None where it is longer than usual."""
    try:
        with open(path, "rb") as stream:
            header = read_header(stream.read(_HEAD), [*_KEYWORDS, _LATER], path)
    except (OSError, ImageReadError):  # told by who reads the whole file
        return None
    return header if _LATER in header.present else None


def eye_of(header: Header) -> str | None:
    """Return the eye that a header tells, "left" or "right"; None where it tells neither.

    Examples
    --------
    >>> eye_of(Header({"Laterality": b"R "}, frozenset(["Laterality"]), ""))
    'right'
    """
    side = header.text("ImageLaterality") or header.text("Laterality")
    return None if side in _NO_EYE else EYES.get(side.lower())


def refuse_one_id(patients: Sequence[str | None]) -> None:
    """Raise `DataError` where most images are DICOM files with one and the same patient id."""
    told = {patient for patient in patients if patient is not None}
    n = sum(patient is not None for patient in patients)
    if len(told) != 1 or n <= 2 or 2 * n < len(patients):
        return
    text = (
        f"{n} of {len(patients)} images are DICOM files with one and the same patient id "
        "(PatientID), as files have whose ids were taken out: add a column 'patient' to a table of "
        f"the images, or pass {_NOBODY_KNOWS} to count each image as a patient of its own."
    )
    raise DataError(Message(text, _NOBODY_KNOWS))
