"""The folder of a run: made by ``fundus train``, read by ``evaluate`` and ``predict``."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from fundus.exceptions import BundleError, DataWarning
from fundus.reporting.run_files import METRICS as METRICS
from fundus.reporting.run_files import MODEL as MODEL
from fundus.reporting.run_files import OOF as OOF
from fundus.reporting.run_files import TRAINING_IMAGES as TRAINING_IMAGES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Folder of runs without ``--out``.
RUNS = "runs"
LOGS = "logs"
SCORES = "scores.csv"
VALIDATION = "validation.csv"
SITES = "sites.csv"
STRESS = "stress"
SKIPPED = "skipped.csv"
SKIPPED_HEADER = "file,path,row,reason"
#: What a run keeps until it is complete, so that it can go on after a kill.
INTERRUPTED = "resume"
#: The same of the images on which ``fundus adapt`` has set the cutpoints.
ADAPTING_IMAGES = "adapting_images.csv"


@dataclass(frozen=True)
class Run:
    """A model with the data that was saved with it.

    Parameters
    ----------
    model : classifier
        Fitted; its attributes hold the decisions of the training.
    class_names : list of str
        Name of every grade.
    digests : frozenset of str or None
        SHA-256 of the training images; ``None`` if they were not saved.
    adapted_on : frozenset of str, default=None
        SHA-256 of the images that set the cutpoints of an adapted run.
    """

    model: Any
    class_names: list[str]
    digests: frozenset[str] | None
    adapted_on: frozenset[str] | None = None


def new_run(out: Path | None, *, resume: bool = False) -> Path:
    """Make the folder of a new run, or return that of one that goes on.

    Parameters
    ----------
    out : Path or None
        ``--out``; ``None`` is a folder in ``runs``, with the time as its name.
    resume : bool, default=False
        Whether `out` may be the folder of a run that was interrupted.

    Raises
    ------
    typer.BadParameter
        If it is a file, or a folder with files in it.
    WriteError
        If it cannot be made.
    """
    if out is None:
        stem, number = time.strftime("%Y%m%d-%H%M%S"), 1
        while True:
            out = Path(RUNS) / (stem if number == 1 else f"{stem}-{number}")
            try:
                out.mkdir(parents=True)
                return out
            except FileExistsError:
                number += 1
    if resume and _is_interrupted(out):
        return out
    refuse_taken(out)
    from fundus.runtime.whole import make_folder

    make_folder(out)
    return out


def _is_interrupted(out: Path) -> bool:
    return (out / INTERRUPTED).is_dir() and not (out / METRICS).is_file()


def refuse_taken(out: Path) -> None:
    """Refuse a folder for a new run that is a file or has files in it.

    Raises
    ------
    typer.BadParameter
    """
    if _is_interrupted(out):
        raise typer.BadParameter(
            f"{str(out)!r} holds a run that was interrupted, or is at work: pass --resume to go "
            "on, or remove it, or choose another.",
            param_hint="--out",
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise typer.BadParameter(
            f"{str(out)!r} exists and is not an empty folder: remove it, or choose another.",
            param_hint="--out",
        )


def remove_if_empty(run: Path) -> None:
    """Remove the folder that `new_run` made for a training that failed; its logs stay."""
    if not any(run.iterdir()):
        run.rmdir()
        if run.parent == Path(RUNS) and not any(run.parent.iterdir()):
            run.parent.rmdir()


def folder_of_model(path: Path) -> Path:
    """Return the folder of the model of a run, of a saved model itself, or of a ready grader.

    A model on the Hub is returned as it is named: `fundus.saving.bundle` reads it by its name.

    Raises
    ------
    BundleError
        If there is neither such a folder nor such a name, or the run is not complete.
    UnknownNameError
        If several plugins offer a ready grader of the name.
    """
    from fundus.hub.address import hub_model
    from fundus.plugins.models import MANIFEST, models_here, opened, ready_model

    if hub_model(path) is not None:
        return path
    entry = ready_model(path)
    if entry is not None:
        with opened(entry) as folder:
            return folder
    if os.path.lexists(path / MANIFEST):
        return path
    if not path.is_dir():
        raise BundleError(
            f"There is no run {str(path)!r}, and no ready grader of that name: give the folder "
            f"that train made, or a name. {models_here()}"
        )
    if not (path / METRICS).is_file():
        raise BundleError(
            f"{str(path)!r} is not a complete run, since it lacks {METRICS}: give the folder "
            "of a training that has ended, or of a saved model."
        )
    return path / MODEL


def open_run(path: Path, cache_dir: Path | None, *, verbose: bool) -> Run:
    """Load the model of a run, a model that `fundus.save` has written, or a ready grader.

    Raises
    ------
    BundleError
        If the run is not complete or its model cannot be used.
    """
    from fundus.grades.foreign import as_grader
    from fundus.plugins.models import ready_model
    from fundus.reporting.predictions import names_of_grades
    from fundus.saving.bundle import load

    folder = folder_of_model(path)
    model = load(path if ready_model(path) else folder)
    grader = as_grader(model)
    if not grader.takes_images:
        raise BundleError(
            f"The model in {str(folder)!r} takes features, or more than images, so the command "
            "line cannot use it: load it in Python."
        )
    for reader in grader.readers():
        reader.model.set_params(
            cache=True if cache_dir is None else cache_dir, verbose=int(verbose)
        )
    adapted_on = read_digests(folder, ADAPTING_IMAGES)
    return Run(model, names_of_grades(model), read_digests(folder), adapted_on)


def files_of_run(path: Path) -> list[Path]:
    """Return the files and folders of a training, which no other command may replace.

    Results of other commands in the run's folder are not among them.
    """
    from fundus.plugins.models import ready_model

    entry = ready_model(path)
    if entry is not None:
        return [Path(entry.spec.folder)]
    try:
        written = json.loads((path / METRICS).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):  # a saved model, or a changed document
        return [path]
    return [path / METRICS, *(path / name for name in written)]


def digests_table(digests: Sequence[str], folds: NDArray[np.intp]) -> bytes:
    """Return the digests of the training images, each with its test fold, as CSV."""
    import pandas as pd

    from fundus.cli.files import csv_text

    return csv_text(pd.DataFrame({"pixels_sha256": digests, "fold": folds})).encode()


def read_digests(model: Path, name: str = TRAINING_IMAGES) -> frozenset[str] | None:
    """Read the digests of the training images of a saved model, if they were saved with it.

    Parameters
    ----------
    model : Path
        Its folder.
    name : str
        The table of digests.

    Raises
    ------
    BundleError
        If their table is damaged.
    """
    import pandas as pd

    from fundus.saving.bundle import read_more

    found = read_more(model, name)
    if found is None:
        return None
    try:
        table = pd.read_csv(io.BytesIO(found[0]), dtype=str)
        digests = table["pixels_sha256"]
        if not digests.str.fullmatch("[0-9a-f]{64}").fillna(False).all():
            raise ValueError("a row has no SHA-256")
        return frozenset(digests)
    except (ValueError, KeyError, AttributeError, OverflowError) as error:
        raise BundleError(
            f"The file {str(model / name)!r} is damaged: it must be a CSV file with a "
            f"column 'pixels_sha256' ({error})."
        ) from None


def warn_of_training_images(
    names: Sequence[str],
    digests: Sequence[str],
    trained: frozenset[str] | None,
    what: str = "ARE AMONG THE TRAINING IMAGES of this model",
    advice: str = "the scores are too good. Evaluate on other images, or read the out-of-fold "
    "scores of the run",
) -> int | None:
    """Warn of images that the model was trained on.

    Parameters
    ----------
    names : sequence of str
    digests : sequence of str
        SHA-256 of each image.
    trained : frozenset of str or None
        SHA-256 of the training images.
    what, advice : str
        What these images are, and what follows from it, in the message.

    Returns
    -------
    int or None
        Number of such images; ``None`` if it is not known.

    Warns
    -----
    DataWarning
        If there are any.
    """
    import warnings

    if trained is None:
        return None
    seen = [name for name, digest in zip(names, digests, strict=True) if digest in trained]
    if seen:
        warnings.warn(
            f"{len(seen)} of {len(names)} images {what}, such as {seen[0]!r}: {advice}.",
            DataWarning,
            stacklevel=2,
        )
    return len(seen)
