"""The folder of a run: made by ``fundus train``, read by ``evaluate`` and ``predict``."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from fundus.exceptions import BundleError, DataWarning

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fundus.meta.conformal_sets import ConformalRule

#: Where runs go that are not told where.
RUNS = "runs"
MODEL = "model"
LOGS = "logs"
OOF = "oof.csv"
CONFUSION = "confusion.png"
ROC = "roc.png"
RELIABILITY = "reliability.png"
SCORES = "scores.csv"
SEVERITY = "severity.png"
VALIDATION = "validation.csv"
SKIPPED = "skipped.csv"
SKIPPED_HEADER = "file,path,row,reason"
#: Written last: a run that has it is whole.
METRICS = "metrics.json"
#: Digests of the images the folds were trained on, beside the model, so that they travel with it.
TRAINING_IMAGES = "training_images.csv"


@dataclass(frozen=True)
class Run:
    """A model, and what was saved with it.

    Parameters
    ----------
    model : FoldEnsemble or TransferClassifier
        Fitted.
    scale : ndarray, shape (n_grades,)
        Labels, lowest first.
    class_names : list of str
        Name of every grade.
    digests : frozenset of str or None
        SHA-256 of the training images; ``None`` where they were not saved.
    operating_points : dict or None
        Those chosen in training, by condition; ``None`` where they were not saved.
    conformal : OrdinalConformalClassifier or None
        Makes sets of grades of what the model predicts.
    with_dme : bool or None
        Whether macular oedema counted when the points were chosen.
    """

    model: Any
    scale: NDArray[Any]
    class_names: list[str]
    digests: frozenset[str] | None
    operating_points: dict[str, Any] | None = None
    conformal: Any = None
    with_dme: bool | None = None


def new_run(out: Path | None) -> Path:
    """Make the folder of a new run.

    Parameters
    ----------
    out : Path or None
        ``--out``; ``None`` is a folder in ``runs`` that is named by the time.

    Returns
    -------
    Path

    Raises
    ------
    typer.BadParameter
        If it is a file, or has files in it.
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
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise typer.BadParameter(
            f"{str(out)!r} is there already and is no empty folder: remove it, or choose another.",
            param_hint="--out",
        )
    out.mkdir(parents=True, exist_ok=True)
    return out


def remove_if_empty(run: Path) -> None:
    """Remove what `new_run` made for a training that failed; what it has logged stays."""
    if not any(run.iterdir()):
        run.rmdir()
        if run.parent == Path(RUNS) and not any(run.parent.iterdir()):
            run.parent.rmdir()


def open_run(path: Path, cache_dir: Path | None, *, verbose: bool) -> Run:
    """Load the model of a run, or a model that `fundus.save` has written.

    Parameters
    ----------
    path : Path
        The run's folder, or the model's.
    cache_dir : Path or None
        ``--cache-dir``.
    verbose : bool
        Whether the model shows its progress.

    Returns
    -------
    Run

    Raises
    ------
    BundleError
        If the run is not complete or its model cannot be used.
    """
    import fundus
    from fundus.grades.foreign import as_grader
    from fundus.saving.bundle import MANIFEST, read_record
    from fundus.saving.meta import with_rule

    folder = path
    if not (path / MANIFEST).is_file():
        folder = path / MODEL
        if not path.is_dir():
            raise BundleError(f"There is no run {str(path)!r}: give the folder that train made.")
        if not (path / METRICS).is_file():
            raise BundleError(
                f"{str(path)!r} is no complete run, since it lacks {METRICS}: give the folder of "
                "a training that has ended, or of a saved model."
            )
    about = read_record(folder)["about"]
    loaded = fundus.load(folder)
    conformal = loaded if isinstance(loaded, fundus.OrdinalConformalClassifier) else None
    model = loaded if conformal is None else conformal.ensemble_
    if about.get("conformal"):
        conformal = with_rule(model, model.ballot(), read_rule(about["conformal"]), prefit=False)
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
    scale = grader.grades_
    names = about.get("class_names") or _names(scale)
    digests = read_digests(folder / TRAINING_IMAGES)
    points, with_dme = about.get("operating_points"), about.get("with_dme")
    return Run(model, scale, names, digests, points, conformal, with_dme)


def files_of_run(path: Path) -> list[Path]:
    """Return what training wrote, which no other command may replace.

    Parameters
    ----------
    path : Path
        The run's folder, or the model's.

    Returns
    -------
    list of Path
        Files and folders. Results that lie in the run's folder are none of them.
    """
    try:
        written = json.loads((path / METRICS).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):  # a saved model, or a document changed since
        return [path]
    return [path / METRICS, *(path / name for name in written)]


def write_rule(rule: ConformalRule) -> dict[str, Any]:
    """Turn a conformal rule into JSON values."""
    return {"alpha": rule.alpha, "scores": [scores.tolist() for scores in rule.scores]}


def read_rule(record: dict[str, Any]) -> ConformalRule:
    """Build a conformal rule from its record."""
    import numpy as np

    from fundus.meta.conformal_sets import ConformalRule

    scores = tuple(np.array(scores, dtype=np.float64) for scores in record["scores"])
    return ConformalRule(record["alpha"], scores)


def _names(scale: NDArray[Any]) -> list[str]:
    """Names of grades that were saved without any: class0 …, or the labels themselves."""
    labels = scale.tolist()
    return (
        [f"class{k}" for k in labels] if labels == [*range(len(labels))] else list(map(str, labels))
    )


def write_digests(digests: Sequence[str], folds: NDArray[np.intp], path: Path) -> None:
    """Write the digests of the training images with the fold that each was left out of."""
    import pandas as pd

    from fundus.cli.files import write_csv

    write_csv(pd.DataFrame({"pixels_sha256": digests, "fold": folds}), path)


def read_digests(path: Path) -> frozenset[str] | None:
    """Read the digests of the training images, where they were saved."""
    import pandas as pd

    if not path.is_file():
        return None
    try:
        return frozenset(pd.read_csv(path, dtype=str)["pixels_sha256"])
    except (ValueError, KeyError) as error:
        raise BundleError(
            f"The file {str(path)!r} is damaged: it must be a CSV file with a column "
            f"'pixels_sha256' ({error})."
        ) from None


def warn_of_training_images(
    names: Sequence[str], digests: Sequence[str], trained: frozenset[str] | None
) -> int | None:
    """Warn of images that the model was trained on.

    Parameters
    ----------
    names : sequence of str
    digests : sequence of str
        SHA-256 of each image.
    trained : frozenset of str or None
        Those of the training images.

    Returns
    -------
    int or None
        How many there are; ``None`` where it is not known.

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
            f"{len(seen)} of {len(names)} images ARE AMONG THE TRAINING IMAGES of this model, "
            f"such as {seen[0]!r}: the scores are too good. Evaluate on other images, or read the "
            "out-of-fold scores of the run.",
            DataWarning,
            stacklevel=2,
        )
    return len(seen)
