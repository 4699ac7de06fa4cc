"""What the folder of a run says: its scores and its predictions, without loading its model."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fundus.exceptions import BundleError
from fundus.reporting.run_files import METRICS, MODEL, OOF, TRAINING_IMAGES

_NEEDED = ("settings", "data", "folds", "out_of_fold", "files")
#: Columns of the predictions without which nothing can be said.
_COLUMNS = ("target", "prediction")


@dataclass(frozen=True)
class RunRecord:
    """The documents of a complete run.

    Parameters
    ----------
    path : Path
        Its folder.
    metrics : dict
        Its scores and settings, as in metrics.json.
    """

    path: Path
    metrics: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.path.resolve().name

    @property
    def class_names(self) -> list[str]:
        """Names of the grades, lowest first."""
        return list(self.metrics["data"]["class_names"])

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """The out-of-fold predictions, a row for each training image.

        Raises
        ------
        BundleError
            If they cannot be read.
        """
        # of objects, since pandas' own text refuses names that are not UTF-8
        text = dict.fromkeys(("file_name", "file", "patient"), object)
        try:
            found = pd.read_csv(
                self.path / OOF, dtype=text, keep_default_na=False, na_values={"severity": [""]},
                encoding_errors="surrogateescape",
            )  # fmt: skip
        except (OSError, ValueError) as error:
            raise _damaged(self.path / OOF, error) from error
        missing = [name for name in _COLUMNS if name not in found]
        if missing:
            raise _damaged(self.path / OOF, f"it has no column {missing[0]!r}")
        return found

    def table(self, name: str, text: Collection[str] = ("file",)) -> pd.DataFrame | None:
        """A table of the run; ``None`` if the file is not there any more.

        Parameters
        ----------
        name : str
            Of the file.
        text : collection of str
            Columns that hold text, in which nothing is missing; all others hold numbers or words.

        Raises
        ------
        BundleError
            If it cannot be read, or lacks a column of `text`.
        """
        file = self.path / name
        if not file.is_file():
            return None
        try:
            found = pd.read_csv(
                file, dtype=dict.fromkeys(text, object), keep_default_na=False, na_values=[""],
                encoding_errors="surrogateescape",
            )  # fmt: skip
        except (OSError, ValueError) as error:
            raise _damaged(file, error) from error
        if missing := [column for column in text if column not in found]:
            raise _damaged(file, f"it lacks the column {missing[0]!r}")
        return found.fillna(dict.fromkeys(text, ""))

    @property
    def severity(self) -> NDArray[np.float64] | None:
        """Severities ``(n_images,)``, if there are any."""
        found = self.predictions
        return found["severity"].to_numpy(dtype=float) if "severity" in found else None

    @property
    def proba(self) -> NDArray[np.float64] | None:
        """Probabilities ``(n_images, n_grades)``, if there are any; rounded, and summing to 1."""
        columns = [f"probability_{k}" for k in range(len(self.class_names))]
        if not set(columns) <= set(self.predictions):
            return None
        found = self.predictions[columns].to_numpy(dtype=float)
        return found / found.sum(axis=1, keepdims=True)

    @property
    def patients(self) -> NDArray[Any] | None:
        """Patients ``(n_images,)``, where they are known."""
        found = self.predictions
        return found["patient"].to_numpy() if "patient" in found else None

    @cached_property
    def digests(self) -> list[str]:
        """SHA-256 of the pixels of each training image, in the order of the predictions.

        Raises
        ------
        BundleError
            If they cannot be read, or are not as many.
        """
        file = self.path / MODEL / TRAINING_IMAGES
        try:
            found = pd.read_csv(file, dtype=str)["pixels_sha256"].tolist()
        except (OSError, ValueError, KeyError) as error:
            raise _damaged(file, error) from error
        if len(found) != len(self.predictions):
            raise _damaged(file, f"it has {len(found)} rows, and {OOF} {len(self.predictions)}")
        return found


def read_record(path: Path) -> RunRecord:
    """Read the documents of a run.

    Parameters
    ----------
    path : Path
        Its folder.

    Raises
    ------
    BundleError
        If it is no complete run, or its scores cannot be read or are of a newer form.
    """
    file = path / METRICS
    if not path.is_dir():
        raise BundleError(f"There is no run {str(path)!r}: give the folder that train made.")
    if not file.is_file():
        raise BundleError(
            f"{str(path)!r} is not a complete run, since it lacks {METRICS}: give the folder of a "
            "training that has ended; one that was interrupted goes on with train --resume."
        )
    try:
        metrics = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(file, error) from error
    if isinstance(metrics, dict) and "adapted" in metrics:
        raise BundleError(
            f"{str(path)!r} is a run that was adapted, which has no out-of-fold scores of its own: "
            "give the run that it was adapted from."
        )
    missing = [name for name in _NEEDED if not isinstance(metrics, dict) or name not in metrics]
    if missing:
        raise BundleError(
            f"{str(file)!r} lacks {', '.join(missing)}: it is not a document of `fundus train`, or "
            "one of another release. Train again, or read it with the release that wrote it."
        )
    return RunRecord(path, metrics)


def _damaged(file: Path, why: object) -> BundleError:
    return BundleError(f"{str(file)!r} cannot be read, {why}: train again, or restore the file.")
