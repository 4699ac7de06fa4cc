"""Options that several commands share, and how their text becomes values."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


class OnError(StrEnum):
    """What becomes of files that cannot be used."""

    RAISE = "raise"
    SKIP = "skip"


class Crop(StrEnum):
    """How a photograph becomes a square."""

    FOV = "fov"
    SQUARE = "square"
    NONE = "none"


class ClassWeight(StrEnum):
    """Weight of each grade in training."""

    BALANCED = "balanced"
    INVERSE_FREQUENCY = "inverse_frequency"
    NONE = "none"


class Sampling(StrEnum):
    """How training images are drawn."""

    OVER = "over"
    UNDER = "under"


class Calibrate(StrEnum):
    """How probabilities are calibrated."""

    NONE = "none"
    SIGMOID = "sigmoid"
    ISOTONIC = "isotonic"


class PatientsUnknown(StrEnum):
    """What becomes of images whose patients no column names."""

    WARN = "warn"
    OK = "ok"


_COLUMNS = "Columns of a table"
_MODEL = "Model"
TRAINING = "Training"

Backbone = Annotated[
    str, typer.Option(help="Name that 'fundus backbones' lists.", rich_help_panel=_MODEL)
]
Head = Annotated[str, typer.Option(help="Name that 'fundus heads' lists.", rich_help_panel=_MODEL)]
Weights = Annotated[
    str, typer.Option(help="imagenet, a weights file, or none.", rich_help_panel=_MODEL)
]
ImageSize = Annotated[
    int | None,
    typer.Option(
        help="Edge of the square input in pixels; by default the backbone's.",
        min=1,
        show_default=False,
        rich_help_panel=_MODEL,
    ),
]
CropOption = Annotated[
    Crop,
    typer.Option(
        help="Crop to the field of view, pad to a square, or squash.", rich_help_panel=_MODEL
    ),
]
Photometric = Annotated[
    str,
    typer.Option(
        help="What changes light and colour before the network's own scale: none, ben_graham, "
        "clahe, corpus_mean, green, grey_world, image_mean, or a plugin's.",
        rich_help_panel=_MODEL,
    ),
]
Freeze = Annotated[
    str,
    typer.Option(
        help="Initial layers that stay as they are: all, the first n (10), a fraction (0.5), "
        "those up to a named one, or 0.",
        rich_help_panel=_MODEL,
    ),
]
Pooling = Annotated[
    str,
    typer.Option(
        help="How maps become a vector: avg, max, avg+max, gem or flatten of the last; multilevel, "
        "multilevel_max or multilevel_avg+max of every stage.",
        rich_help_panel=_MODEL,
    ),
]
Power = Annotated[
    float | None,
    typer.Option(
        help="Exponent of the features, in (0, 1]; 0.5 is the signed square root.",
        show_default=False,
        rich_help_panel=_MODEL,
    ),
]
LearningRate = Annotated[
    str,
    typer.Option(
        help="auto is 1e-5 where the backbone is trained, else 1e-3.",
        rich_help_panel=TRAINING,
    ),
]
BatchSize = Annotated[int, typer.Option(help="Images per step.", min=1, rich_help_panel=TRAINING)]
Epochs = Annotated[
    int,
    typer.Option(help="Most passes over the training images.", min=1, rich_help_panel=TRAINING),
]
Augment = Annotated[
    bool,
    typer.Option(
        "--augment/--no-augment",
        help="Warp training images at random.",
        rich_help_panel=TRAINING,
    ),
]
SamplingOption = Annotated[
    Sampling | None,
    typer.Option(
        help="Repeat training images at random until every grade has as many as the most frequent, "
        "or leave out until as few as the rarest; weights then count what was drawn.",
        show_default=False,
        rich_help_panel=TRAINING,
    ),
]
ClassFolders = Annotated[
    str | None,
    typer.Option(
        help="The same as names in --grades.",
        show_default=False,
    ),
]
Data = Annotated[
    Path,
    typer.Argument(metavar="DATA", help="Folder of class folders, or a table: text or Parquet."),
]
GradesOption = Annotated[
    str | None,
    typer.Option(
        help="Length of the scale, by default 5; or the names that class folders or a table give "
        "the grades, lowest first, parted by commas.",
        show_default=False,
    ),
]

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Replace files that are there and are not this command's own."),
]
PlainText = Annotated[
    bool,
    typer.Option(
        "--plain-text",
        help="Put an apostrophe before text that spreadsheets take for a formula, such as a file "
        "name that begins with '='; such names no longer join with other tables.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show only warnings and errors.")]
OnErrorOption = Annotated[
    OnError,
    typer.Option(help="Whether unusable files are an error, or are set aside into skipped.csv."),
]
CacheDir = Annotated[
    Path | None,
    typer.Option(
        help="Where frozen work is kept; by default FUNDUS_CACHE_DIR or the user's cache folder.",
        show_default=False,
        file_okay=False,
    ),
]
ImageDir = Annotated[
    Path | None,
    typer.Option(
        help="Where the names in a table start; by default the table's folder.",
        show_default=False,
        rich_help_panel=_COLUMNS,
    ),
]
PathColumn = Annotated[
    str | None,
    typer.Option(
        help="Column with file names, if not recognised.",
        show_default=False,
        rich_help_panel=_COLUMNS,
    ),
]
GradeColumn = Annotated[
    str | None,
    typer.Option(
        help="Column with grades, if not recognised.",
        show_default=False,
        rich_help_panel=_COLUMNS,
    ),
]
PatientColumn = Annotated[
    str | None,
    typer.Option(
        help="Column with patients, if not recognised.",
        show_default=False,
        rich_help_panel=_COLUMNS,
    ),
]
PatientsUnknownOption = Annotated[
    PatientsUnknown,
    typer.Option(
        help="ok: nobody knows the patients, so each image without one in a column is its own; "
        "none is guessed from names.",
    ),
]


def as_freeze(text: str) -> str | int | float:
    """Read ``--freeze``: a number of layers, a fraction, "all", or the name of a layer.

    Parameters
    ----------
    text : str

    Returns
    -------
    str, int or float

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
    """Read an option in which "none" stands for nothing."""
    return None if text.lower() == "none" else text


def as_grades(text: str | None) -> int | list[str] | None:
    """Read ``--grades``: the length of the scale, or names that are parted by commas.

    Parameters
    ----------
    text : str or None

    Returns
    -------
    int, list of str or None

    Raises
    ------
    typer.BadParameter
        If it is neither.

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
            f"it must be at least two different names parted by commas, such as none,mild,severe. "
            f"Got {text!r}.",
            param_hint=option,
        )
    return names
