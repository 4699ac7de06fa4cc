"""Tables of graded images: recognising their columns."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from fundus.data.layouts import is_header_of_a_layout, layout_for, normal_name
from fundus.exceptions import DataError, Mention, Message

#: Extensions of image files, in lower case.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".dcm", ".dicom")

# Names of columns, in lower case with single spaces. Within a role the first group with a match
# counts, and two matches in one group are ambiguous: "file" beats "image" (often a bare id).
_PATH = (
    ("path", "file", "filename", "file name", "filepath", "file path", "image path"),
    ("image", "image id", "image name", "id code", "id"),
)
_GRADE = (
    (
        "grade",
        "level",  # EyePACS
        "diagnosis",  # APTOS 2019
        "retinopathy grade",  # IDRiD
        "adjudicated dr grade",  # Messidor-2
        "dr grade",
        "label",
        "class",
        "target",
    ),
    ("dr icdr", "final icdr"),  # BRSET and mBRSET, whose tables have other gradings beside it
)
_PATIENT = (("patient", "patient id", "subject", "subject id"),)
_EYE = (("eye", "laterality"), ("exam eye",))  # exam_eye: BRSET
_GRADABLE = (("adjudicated gradable", "gradable"),)  # Messidor-2
_DME = {"dme": {0: 0, 1: 1, 2: 2}, "risk of macular edema": {0: 0, 1: 1, 2: 2}}  # IDRiD
# Messidor-2 knows referable oedema only: exudates within one disc diameter of the fovea, IDRiD's 2
_DME["adjudicated dme"] = {0: 0, 1: 2}

_RECOGNISED = (
    "path or file, grade (optionally patient, eye); id_code, diagnosis (APTOS); image, level "
    "(EyePACS); Image name, Retinopathy grade (IDRiD); image_id, adjudicated_dr_grade "
    "(Messidor-2); image_id, DR_ICDR (BRSET)"
)


@dataclass(frozen=True)
class Columns:
    """Which column of a table, by its name there, plays which role; None where there is none.

    Where a plugin's layout reads the table, `eye_codes` is what its numbers of eyes stand for, and
    `named` are its columns of files and patients.
    """

    path: str
    grade: str | None
    patient: str | None
    eye: str | None
    gradable: str | None
    eye_codes: dict[int, str] | None = field(default=None, repr=False, hash=False)
    named: tuple[str, ...] = field(default=(), repr=False)


#: Letters of a column's name that a message shows: a damaged table may be all one name.
_SHOWN = 80


def recognise_columns(
    columns: Iterable[object],
    *,
    path: str | None = None,
    grade: str | None = None,
    patient: str | None = None,
    eye: str | None = None,
    labelled: bool = True,
) -> Columns:
    """Recognise the columns of a table by their names; those that the caller gives are not guessed.

    Case, surrounding spaces and underscores do not matter. Where the table is not `labelled`, no
    grade is looked for unless `grade` is given. Layouts of plugins are asked only about tables
    that would be refused without them, so that no plugin changes how another table is read.

    Raises
    ------
    DataError
        If a role that is needed has no column or more than one, or a given name is absent.

    Examples
    --------
    >>> recognise_columns(["Image name", "Retinopathy grade", "Risk of macular edema "])
    Columns(path='Image name', grade='Retinopathy grade', patient=None, eye=None, gradable=None)
    """
    names, given = [str(name) for name in columns], (path, grade, patient, eye)
    try:
        own = _recognised(names, *given, labelled=labelled)
        return replace(own, eye_codes=eye_codes(own.eye))
    except DataError:
        found = layout_for(names, labelled=labelled)
        if found is None:
            raise
    roles = found.roles
    kinds = zip(("path", "grade", "patient", "eye"), given, strict=True)
    told = {role: roles.get(role) if name is None else name for role, name in kinds}
    read = _recognised(names, **told, labelled=labelled)
    # the codes are of the layout's own column, not of another one that the caller names
    codes = found.eye_codes if read.eye is not None and read.eye == roles.get("eye") else None
    return replace(
        read,
        eye_codes=codes or eye_codes(read.eye),
        named=tuple(roles[role] for role in ("path", "patient") if role in roles),
    )


def _recognised(
    names: list[str],
    path: str | None,
    grade: str | None,
    patient: str | None,
    eye: str | None,
    *,
    labelled: bool,
) -> Columns:
    listed = [name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..." for name in names]

    def find(role: str, given: str | None, groups: tuple[tuple[str, ...], ...]) -> str | None:
        if given is not None:
            if given in names:
                return given
            text = (
                f"The table has no column {given!r} for {Mention(role)}; its columns are {listed}."
            )
            raise DataError(Message(text, Mention(role)))
        for group in groups:
            hits = [name for name in names if normal_name(name) in group]
            if len(hits) > 1:
                text = (
                    f"Columns {hits} could each be the {role}, of all columns {listed}: say which "
                    f"with {Mention(role)}."
                )
                raise DataError(Message(text, Mention(role)))
            if hits:
                return hits[0]
        return None

    path_column = find("path", path, _PATH)
    grade_column = find("grade", grade, _GRADE) if labelled or grade is not None else None
    for role, column in (("path", path_column), ("grade", grade_column)):
        if column is None and (role == "path" or labelled):
            if role == "path" and labelled and any(map(_names_image, names)):
                scale = Mention("grades", ...)
                text = (
                    f"The first line, {listed}, seems to be a row and no header, and nothing in it "
                    "is a grade: for names, list them from the lowest to the highest as "
                    f"{scale}, or put a line such as file,grade before it."
                )
                raise DataError(Message(text, scale))
            text = (
                f"No column for the {role} of an image among {listed}; recognised are "
                f"{_RECOGNISED}: name the column with {Mention(role)}, or put a line with names of "
                "columns before a table that has none."
            )
            raise DataError(Message(text, Mention(role)))
    assert path_column is not None
    return Columns(
        path_column,
        grade_column,
        find("patient", patient, _PATIENT),
        find("eye", eye, _EYE),
        find("gradable", None, _GRADABLE),
    )


def _names_image(text: str) -> bool:
    """Whether a line or cell has a word with the extension of an image."""
    return any(word.lower().endswith(IMAGE_SUFFIXES) for word in text.replace('"', "").split())


def is_text_column(name: object) -> bool:
    """Whether a column holds names of files or patients, which keep their leading zeros."""
    return any(normal_name(name) in group for group in (*_PATH, *_PATIENT))


def is_header(cells: Collection[str], *, labelled: bool = True) -> bool:
    """Whether a row names a column of image files, or all columns of a plugin's layout."""
    own = any(normal_name(cell) in group for cell in cells for group in _PATH)
    return own or is_header_of_a_layout(cells, labelled=labelled)


def eye_codes(name: object) -> dict[int, str] | None:
    """Return what numbers in a column of eyes stand for by its name; ``None`` where it has words.

    Examples
    --------
    >>> eye_codes("exam_eye")
    {1: 'right', 2: 'left'}
    """
    return {1: "right", 2: "left"} if normal_name(name) == "exam eye" else None  # BRSET


def dme_codes(name: object) -> dict[int, int] | None:
    """Return the values of a column of macular oedema and what each is on IDRiD's scale, 0–2.

    ``None`` where the column is none of macular oedema.
    """
    return _DME.get(normal_name(name))
