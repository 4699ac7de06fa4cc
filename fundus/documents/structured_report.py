"""Grades of DICOM files as DICOM Structured Reports: measurement reports of template TID 1500.

A report goes where its photograph came from, so it carries the patient and the study of the
photograph's header, and nothing else of it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

from fundus._version import __version__
from fundus.data.dicom_eyes import SIDES, eye_of, is_dicom_file
from fundus.data.patient_key import VARIABLE
from fundus.exceptions import DataError, MissingDependencyError
from fundus.grades.icdr import grade_labels
from fundus.images import read_bytes
from fundus.images.dicom_header import INSTALL, read_header, silent_pydicom
from fundus.images.formats import fail
from fundus.runtime.whole import whole_file

if TYPE_CHECKING:
    from fundus.reporting.predictions import Predictions

#: Coding scheme of what no public one has: private, as its beginning says.
SCHEME = "99FUNDUS"
MANUFACTURER = "fundus-zoo"
#: SOP class of the reports, Comprehensive SR, which viewers know best.
REPORT_CLASS = "1.2.840.10008.5.1.4.1.1.88.33"

# what a report must repeat, so that an archive finds whose it is; the rest of a header stays out
_UIDS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_PATIENT = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex")
_STUDY = ("StudyID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName")
_CHECKED = ("PatientBirthDate", "StudyDate", "StudyTime", *_UIDS)
_SEXES = ("", "M", "F", "O")
#: Characters of a code's meaning and of a device's name.
_LONGEST = 64
# a number that archives sort last, after those of a camera
_SERIES_NUMBER = 9001


@dataclass(frozen=True)
class Examined:
    """What a report repeats of the header of its photograph.

    Parameters
    ----------
    path : str
    header : pydicom.Dataset
        Patient, study, and the file's own UIDs.
    eye : str or None
        "left" or "right"; ``None`` where the header does not tell.
    """

    path: str
    header: Any = field(repr=False)  # it names a person
    eye: str | None = None


def examined(paths: Sequence[str | os.PathLike[str]]) -> list[Examined]:
    """Read what the reports of DICOM files repeat of their headers.

    Parameters
    ----------
    paths : sequence of path-like, length n

    Returns
    -------
    list of Examined, length n

    Raises
    ------
    MissingDependencyError
        If highdicom is missing.
    DataError
        If a key hides the ids of patients, which reports cannot do without, or a file is no
        DICOM file; the message counts them, and names the first.
    ImageReadError
        If a header is damaged, lacks a UID that a report refers to, or has a date, a time or a sex
        that is none.
    """
    _highdicom()
    if VARIABLE in os.environ:
        raise DataError(
            "A DICOM report carries the name and the id of its patient, and a key is set that "
            f"hides ids ({VARIABLE}): unset it, or write no reports."
        )
    names = [os.fspath(path) for path in paths]
    others = [name for name in names if not is_dicom_file(name)]
    if others:
        raise DataError(
            f"{len(others)} of {len(names)} photographs are no DICOM files, so that there is no "
            f"patient and no study to report them to, such as {others[0]!r}: give DICOM files "
            "only, or write no reports."
        )
    return [_examined(name) for name in names]


def _examined(name: str) -> Examined:
    data = read_bytes(name)
    raw = read_header(data, [*_UIDS, *SIDES], name)
    lacking = [key for key in _UIDS if not raw.text(key)]
    if lacking:
        fail(
            name,
            f"a DICOM file with {', '.join(_UIDS)}, to which a report refers",
            f"none of {', '.join(lacking)}" if lacking[1:] else f"no {lacking[0]}",
            "export it from the archive again, or write no report of it",
        )
    with silent_pydicom():
        try:
            header = _copied(data)
        except Exception:  # damage raises whatever it leads to, and quotes what it found
            header = None
    if header is None:
        expected = "a DICOM header with a patient and a study as the standard writes them"
        found = "a birth date, sex, date or time that is no such thing, or a damaged name"
        fail(name, expected, found, "mend the header, or write no report of it")
    return Examined(name, header, eye_of(raw))


def _copied(data: bytes) -> Any:
    """Patient, study and UIDs in a header of their own, in UTF-8 whatever they were in."""
    from pydicom import Dataset, dcmread
    from pydicom.config import RAISE
    from pydicom.datadict import dictionary_VR
    from pydicom.valuerep import validate_value

    keywords = [*_UIDS, *_PATIENT, *_STUDY]
    read = dcmread(io.BytesIO(data), stop_before_pixels=True, force=True, specific_tags=keywords)
    found = Dataset()
    found.SpecificCharacterSet = "ISO_IR 192"
    for keyword in keywords:
        value = read.get(keyword)
        setattr(found, keyword, "" if value is None else str(value))
    for keyword in _CHECKED:
        validate_value(dictionary_VR(keyword), found[keyword].value, RAISE)
    if found.PatientSex not in _SEXES:
        raise ValueError
    return found


def write_report(report: Any, path: str | os.PathLike[str]) -> None:
    """Write a report to a DICOM file, which is whole or absent.

    Raises
    ------
    WriteError
        If it cannot be written.
    """
    with whole_file(path) as part, silent_pydicom():
        report.save_as(part, enforce_file_format=True)


def structured_reports(
    photographs: Sequence[Examined],
    found: Predictions,
    class_names: Sequence[str],
    model: str,
) -> Iterator[Any]:
    """Make the report of each photograph.

    Reports of one study are a series, which is marked as research, unverified and preliminary.

    Parameters
    ----------
    photographs : sequence of Examined, length n
        As `examined` reads them.
    found : Predictions
        Of the same photographs.
    class_names : sequence of str
        Name of every grade, lowest first.
    model : str
        Name of the grader, which stands in the reports as the device that observed.

    Yields
    ------
    highdicom.sr.ComprehensiveSR
        A pydicom data set, for `write_report`.
    """
    from pydicom.uid import generate_uid

    labels = [label[:_LONGEST] for label in grade_labels(class_names)]
    series: dict[str, tuple[str, int]] = {}
    for k, photograph in enumerate(photographs):
        study = photograph.header.StudyInstanceUID
        uid, number = series.get(study, (str(generate_uid(None)), 0))
        series[study] = uid, number + 1
        with silent_pydicom():
            report = _report(photograph, found, k, labels, model[:_LONGEST], series[study])
        yield report


def _report(
    photograph: Examined,
    found: Predictions,
    k: int,
    labels: Sequence[str],
    model: str,
    series: tuple[str, int],
) -> Any:
    """Return the report of the k-th photograph."""
    sr = _highdicom()
    from highdicom import ContentQualificationValues
    from highdicom.coding_schemes import CodingSchemeIdentificationItem
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    device = sr.DeviceObserverIdentifyingAttributes(
        uid=f"2.25.{uuid5(NAMESPACE_URL, f'{MANUFACTURER}/{__version__}/{model}').int}",
        name=MANUFACTURER,
        manufacturer_name=MANUFACTURER,
        model_name=model,
    )
    sides = {"left": codes.SCT.Left, "right": codes.SCT.Right}
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(generate_uid(None), "photograph"),
        finding_type=_code("DR", "Diabetic retinopathy"),
        algorithm_id=sr.AlgorithmIdentification(name=model, version=__version__),
        finding_sites=[
            sr.FindingSite(codes.SCT.Retina, sides[photograph.eye] if photograph.eye else None)
        ],
        measurements=[
            sr.Measurement(name, value, codes.UCUM.NoUnits)
            for name, value in _measured(found, k, labels)
        ],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(name, value) for name, value in _judged(found, k, labels)
        ],
        source_images=[
            sr.SourceImageForMeasurementGroup(
                photograph.header.SOPClassUID, photograph.header.SOPInstanceUID
            )
        ],
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(codes.DCM.Device, device)
        ),
        procedure_reported=codes.DCM.OphthalmicPhotography,
        imaging_measurements=[group],
    )
    scheme = CodingSchemeIdentificationItem(SCHEME, name="Grades of fundus-zoo")
    return sr.ComprehensiveSR(
        evidence=[photograph.header],
        content=content,
        series_instance_uid=series[0],
        series_number=_SERIES_NUMBER,
        sop_instance_uid=generate_uid(None),
        instance_number=series[1],
        manufacturer=MANUFACTURER,
        manufacturer_model_name=model,
        software_versions=__version__,
        is_complete=True,
        content_qualification=ContentQualificationValues.RESEARCH,
        series_description="DR grades: research software, not a medical device",
        coding_schemes=[scheme],
    )


def _measured(found: Predictions, k: int, labels: Sequence[str]) -> Iterator[tuple[Any, float]]:
    """Name and value of what is a number."""
    if found.severity is None or found.proba is None:
        return
    yield _code("SEVERITY", "Severity, on the scale of grades"), round(float(found.severity[k]), 4)
    for grade, label in enumerate(labels):
        name = _code(f"PROBABILITY{grade}", f"Probability of {label}")
        yield name, round(float(found.proba[k, grade]), 6)


def _judged(found: Predictions, k: int, labels: Sequence[str]) -> Iterator[tuple[Any, Any]]:
    """Name and value of what is not."""
    from pydicom.sr.codedict import codes

    grade = int(found.grades[k])
    yield _code("GRADE", "Grade of diabetic retinopathy"), _code(f"GRADE{grade}", labels[grade])
    if found.referable is not None:
        answer = codes.SCT.Yes if found.referable[k] else codes.SCT.No
        yield _code("REFERABLE", "Referable at the operating point"), answer
    if found.sets is not None:
        low, high = (int(side[k]) for side in found.sets)
        yield _code("LOWEST", "Lowest grade of the set"), _code(f"GRADE{low}", labels[low])
        yield _code("HIGHEST", "Highest grade of the set"), _code(f"GRADE{high}", labels[high])


def _code(value: str, meaning: str) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(value, SCHEME, meaning[:_LONGEST])


def _highdicom() -> Any:
    try:
        from highdicom import sr
    except ImportError as error:
        raise MissingDependencyError(
            "DICOM reports are written by highdicom, which cannot be imported "
            f"({error}): {INSTALL}."
        ) from error
    return sr
