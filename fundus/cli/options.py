"""Options that several commands share, and the parsing of their text."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


class OnError(StrEnum):
    """Handling of files that cannot be used."""

    RAISE = "raise"
    SKIP = "skip"


class Crop(StrEnum):
    """How a photograph is made square."""

    FOV = "fov"
    SQUARE = "square"
    NONE = "none"


class Aperture(StrEnum):
    """What of the field of view is kept."""

    CIRCLE = "circle"
    NONE = "none"


class EngineName(StrEnum):
    """What spreads work over machines."""

    DASK = "dask"
    RAY = "ray"


class ClassWeight(StrEnum):
    """Weight of each grade in training."""

    BALANCED = "balanced"
    INVERSE_FREQUENCY = "inverse_frequency"
    NONE = "none"


class Augmentation(StrEnum):
    """How training images are changed at random; `fundus.recipes.table` has the same names."""

    NONE = "none"
    WARP = "warp"
    CAMERAS = "cameras"


class Sampling(StrEnum):
    """How training images are drawn."""

    OVER = "over"
    UNDER = "under"


class Distribution(StrEnum):
    """Values of ``--distribution``."""

    EMPIRICAL = "empirical"
    NORMAL = "normal"


class Calibrate(StrEnum):
    """How probabilities are calibrated."""

    NONE = "none"
    SIGMOID = "sigmoid"
    ISOTONIC = "isotonic"


class FigureFormat(StrEnum):
    """Kinds of files that figures are written as."""

    PNG = "png"
    PDF = "pdf"
    SVG = "svg"


class PatientsUnknown(StrEnum):
    """Handling of images whose patients are in no column."""

    WARN = "warn"
    OK = "ok"


MODEL = "Model"
TRAINING = "Training"
SCORES = "Scores"
FIGURES = "Figures"
#: Pixels per inch without ``--dpi``.
DPI = 120
_COLUMNS = "Columns of a table"


def option(help: str, panel: str | None = None, *names: str, **more: Any) -> Any:
    """Return a `typer.Option` with its help, under the heading `panel`."""
    return typer.Option(*names, help=help, rich_help_panel=panel, **more)


Data = Annotated[
    Path,
    typer.Argument(metavar="DATA", help="Folder of class folders, or a table: text or Parquet."),
]


def run_of(text: str) -> Path:
    """Return the path of a run; one that is written as a path never means a ready grader.

    A model on the Hub gets the commit that it has now, so that a command sees one and no other.

    Examples
    --------
    >>> run_of("idrid").is_absolute(), run_of("./idrid").is_absolute()
    (False, True)
    """
    from fundus.hub.address import hub_model
    from fundus.hub.fetching import pinned

    online, path = hub_model(text), Path(text)
    if online is not None:
        return Path(str(pinned(online)))
    return path if text == path.as_posix() else path.absolute()


Trust = Annotated[
    list[str] | None,
    typer.Option(
        "--trust",
        help="Further class that the model may hold, as package.module.Class; can be repeated.",
        show_default=False,
    ),
]

Run = Annotated[
    Path,
    typer.Argument(
        parser=run_of,
        metavar="RUN",
        help="Folder that train made, a saved model, a name that 'fundus models' lists (a folder "
        "of that name comes first), or a model on the Hub, such as hf://owner/name@commit.",
    ),
]
Backbone = Annotated[str, option("Name that 'fundus backbones' lists.", MODEL)]
Weights = Annotated[str, option("imagenet, a weights file, or none.", MODEL)]
ImageSize = Annotated[
    int | None,
    option(
        "Edge of the square input in pixels; by default the backbone's.",
        MODEL,
        min=1,
        show_default=False,
    ),
]
ClassFolders = Annotated[str | None, option("The same as names in --grades.", show_default=False)]
GradesOption = Annotated[
    str | None,
    option(
        "Number of grades, by default 5; or their names in class folders or a table, lowest "
        "first, separated by commas.",
        show_default=False,
    ),
]
Json = Annotated[
    bool, option("Print one JSON document on stdout and nothing else.", None, "--json")
]
Force = Annotated[
    bool, option("Replace existing files that this command has not written.", None, "--force")
]
PlainText = Annotated[
    bool,
    option(
        "Put an apostrophe before text that spreadsheets read as a formula, such as a file name "
        "that begins with '='; such names no longer join with other tables.",
        None,
        "--plain-text",
    ),
]
FigureFormatOption = Annotated[
    FigureFormat, option("Kind of the files that figures are written as.", FIGURES)
]
Dpi = Annotated[
    int,
    option(
        "Pixels per inch of figures as PNG, and of what is drawn as pixels in others.",
        FIGURES,
        min=30,
        max=1200,
    ),
]
Quiet = Annotated[bool, option("Show only warnings and errors.", None, "--quiet", "-q")]
OnErrorOption = Annotated[
    OnError,
    option("Whether unusable files are an error, or are set aside into skipped.csv."),
]
CacheDir = Annotated[
    Path | None,
    option(
        "Folder of the cache; by default FUNDUS_CACHE_DIR or the user's cache folder.",
        show_default=False,
        file_okay=False,
    ),
]
ImageDir = Annotated[
    Path | None,
    option(
        "Folder that names in a table are relative to; by default the table's.",
        _COLUMNS,
        show_default=False,
    ),
]
PathColumn = Annotated[
    str | None, option("Column with file names, if not recognised.", _COLUMNS, show_default=False)
]
GradeColumn = Annotated[
    str | None, option("Column with grades, if not recognised.", _COLUMNS, show_default=False)
]
PatientColumn = Annotated[
    str | None, option("Column with patients, if not recognised.", _COLUMNS, show_default=False)
]
PatientsUnknownOption = Annotated[
    PatientsUnknown,
    option(
        "ok: patients are unknown, so each image without one in a column is its own patient; "
        "none is guessed from names."
    ),
]


def as_freeze(text: str) -> str | int | float:
    """Read ``--freeze``: a number of layers, a fraction, "all", or the name of a layer.

    Examples
    --------
    >>> as_freeze("10"), as_freeze("0.5"), as_freeze("all"), as_freeze("block3_pool")
    (10, 0.5, 'all', 'block3_pool')
    """
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    if re.fullmatch(r"[+-]?(\d+\.\d*|\.\d+)", text):
        return float(text)
    return text


def as_stages(text: str | None) -> slice | list[int | str] | None:
    """Read ``--stages``: a slice, or numbers and names that are separated by commas.

    Examples
    --------
    >>> as_stages(":-1"), as_stages("0,block3"), as_stages(None)
    (slice(None, -1, None), [0, 'block3'], None)
    """
    if text is None:
        return None
    end = r"(-?\d+)?"
    if re.fullmatch(rf"{end}:{end}(:{end})?", text.strip()):
        return slice(*(int(end) if end else None for end in text.strip().split(":")))
    parts = (part.strip() for part in text.split(","))
    return [int(part) if re.fullmatch(r"-?\d+", part) else part for part in parts]


def stages_as_given(stages: slice | None) -> str | None:
    """Write stages as ``--stages`` has them: those of a recipe are a slice or None.

    Examples
    --------
    >>> stages_as_given(slice(None, -1)), stages_as_given(None)
    (':-1', None)
    """
    if stages is None:
        return None
    ends = [stages.start, stages.stop, *([] if stages.step is None else [stages.step])]
    return ":".join("" if end is None else str(end) for end in ends)


def as_learning_rate(text: str) -> str | float:
    """Read ``--learning-rate``: a number or "auto"."""
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(
            f"it must be a number or 'auto'. Got {text!r}.", param_hint="--learning-rate"
        ) from None


def or_none(text: str) -> str | None:
    """Read an option in which "none" means None."""
    return None if text.lower() == "none" else text


def as_grades(text: str | None) -> int | list[str] | None:
    """Read ``--grades``: the length of the scale, or names that are separated by commas.

    Parameters
    ----------
    text : str or None

    Returns
    -------
    int, list of str or None

    Raises
    ------
    typer.BadParameter
        If it is not valid.

    Examples
    --------
    >>> as_grades("5"), as_grades("none, mild,severe"), as_grades(None)
    (5, ['none', 'mild', 'severe'], None)
    """
    if text is None or not re.fullmatch(r"\s*[+-]?\d+\s*", text):
        return _as_names(text, "--grades")
    if int(text) < 2:
        raise typer.BadParameter(
            f"a scale has at least 2 grades. Got {text!r}.", param_hint="--grades"
        )
    return int(text)


def as_scale(grades: str | None, class_folders: str | None) -> dict[str, Any]:
    """Read ``--grades`` and its other name ``--class-folders``.

    Parameters
    ----------
    grades, class_folders : str or None

    Returns
    -------
    dict
        ``class_names`` and ``grades`` of `fundus.cli.data.load_graded`.

    Raises
    ------
    typer.BadParameter
        If one cannot be read, or they differ.
    """
    length, names = as_grades(grades), _as_names(class_folders, "--class-folders")
    if isinstance(length, list):
        if names not in (None, length):
            raise typer.BadParameter(
                f"it must name the grades as --grades does, or be left out. Got {class_folders!r} "
                f"beside {grades!r}.",
                param_hint="--class-folders",
            )
        names, length = length, len(length)
    elif names is not None and length not in (None, len(names)):
        raise typer.BadParameter(
            f"it must be the number of names in --class-folders, {len(names)}, or be left out. "
            f"Got {grades!r}.",
            param_hint="--grades",
        )
    return {"class_names": names, "grades": length}


def _as_names(text: str | None, option: str) -> list[str] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(set(names)) < max(2, len(names)):
        raise typer.BadParameter(
            "it must be at least two different names separated by commas, such as none,mild,severe."
            f" Got {text!r}.",
            param_hint=option,
        )
    return names
