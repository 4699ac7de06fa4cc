"""The folder from which the fit of an ensemble goes on after it was killed.

``record.json`` says what is fitted: a fingerprint of data and parameters, the folds, the seeds that
were drawn. A finished fold is a saved model, ``fold-0``; the networks that are trained in a fold
have their checkpoints in ``fold-0-epochs`` until the fold is finished.
"""

from __future__ import annotations

import copy
import json
import os
import pickle
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from fundus.exceptions import BundleError, FundusWarning, ResumeError, WriteError
from fundus.meta.fingerprint import differences, fingerprint
from fundus.meta.finished import as_fitted, finished
from fundus.meta.out_of_fold import TrainingData, fit_fold
from fundus.model_selection.leaks import Folds
from fundus.parameters import invalid
from fundus.runtime.locks import held
from fundus.runtime.whole import whole_file, write_error
from fundus.saving.bundle import load, save
from fundus.training.checkpoints import kept_in, refuse_orphans

RECORD = "record.json"
LOCK = "fit.lock"

#: What an estimator that cannot be saved raises, from this library, skops or pickle.
UNSAVEABLE = (
    BundleError, TypeError, ValueError, AttributeError, NotImplementedError, RecursionError,
    pickle.PicklingError,
)  # fmt: skip


@dataclass(frozen=True)
class KeptFit:
    """A fit whose folds are kept.

    Parameters
    ----------
    folder : Path
    folds : list of (train, test)
        As drawn when the fit was begun.
    random_state : int, RandomState or None
        For what is drawn inside folds.
    drawn : int
        Makes the seeds of parameters that are ``random_state=None``.
    """

    folder: Path
    folds: Folds
    random_state: Any
    drawn: int

    def fold(self, number: int) -> KeptFold:
        """Return a fold, which other processes can fit."""
        return KeptFold(self.folder, number, os.getpid())

    def fold_state(self) -> Any:
        """Return the random state for one fold, which is the same whatever was fitted before."""
        return copy.deepcopy(self.random_state)

    def seeded(self, model: Any, fold: int) -> Any:
        """Set seeds where there are none, as in forests of scikit-learn; returns the model."""
        seeds = {}
        for name, value in model.get_params().items():
            *owners, last = name.split("__")
            # an estimator with a head seeds it itself
            if last == "random_state" and value is None and owners[-1:] != ["head"]:
                words = np.random.SeedSequence([self.drawn, fold, crc32(name.encode())])
                seeds[name] = int(words.generate_state(1)[0] >> 1)
        return model.set_params(**seeds) if seeds else model


@dataclass(frozen=True)
class KeptFold:
    """The files of one fold.

    Parameters
    ----------
    folder : Path
        That of the whole fit.
    number : int
    starter : int
        Process that started the fit.
    """

    folder: Path
    number: int
    starter: int

    @property
    def model(self) -> Path:
        """Folder of the finished model."""
        return self.folder / f"fold-{self.number}"

    @property
    def epochs(self) -> Path:
        """Folder of the checkpoints."""
        return self.folder / f"fold-{self.number}-epochs"

    def fit(self, model: Any, *data: Any, tell: bool = True, called: str = "") -> Any:
        """Return the finished model of an earlier attempt, or fit it, and keep it.

        The parameters are those of `fit_fold`.

        Warns
        -----
        FundusWarning
            If a finished model is damaged or cannot be saved.
        """
        # a process that the killed one has started may be in its last epoch
        with (
            held(self.folder / f"fold-{self.number}.lock", wait=True),
            kept_in(self.epochs, starter=self.starter),
        ):
            found = self._load(model)
            if found is None:
                found = fit_fold(model, *data, tell=tell, called=called)
                self._save(found, model)
            if self.model.is_dir():
                shutil.rmtree(self.epochs, ignore_errors=True)
            # a worker that sends a model to a dead process would wait for ever
            refuse_orphans()
            return found

    def _load(self, model: Any) -> Any:
        if not self.model.exists():
            return None
        try:
            return as_fitted(load(self.model), model)
        except (BundleError, OSError) as error:
            warnings.warn(
                f"Fold {self.number} is fitted again, since its finished model cannot be loaded: "
                f"{error}",
                FundusWarning,
                stacklevel=3,
            )
            shutil.rmtree(self.model)
            return None

    def _save(self, fitted: Any, model: Any) -> None:
        if fitted is getattr(model, "estimator", None):
            return  # frozen, and not fitted here
        try:
            save(finished(fitted), self.model)
        except WriteError:
            raise
        except UNSAVEABLE as error:
            warnings.warn(
                f"The finished model of fold {self.number} cannot be kept, so the fold is fitted "
                f"again if this fit is interrupted: {error}",
                FundusWarning,
                stacklevel=3,
            )


@contextmanager
def resuming(ensemble: Any, data: TrainingData) -> Iterator[KeptFit | None]:
    """Begin a fit in an ensemble's ``resume_dir``, or go on; ``None`` without such a folder.

    Raises
    ------
    InvalidParameterError
        If ``resume_dir`` is no path.
    ResumeError
        If another process is at work there, or the folder holds the fit of other data or
        parameters, or something else.
    WriteError
        If it cannot be written.
    """
    if ensemble.resume_dir is None:
        yield None
        return
    folder = Path(ensemble.resume_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from error
    with held(folder / LOCK):
        yield _begin(folder, ensemble, data)


def check_resume_dir(ensemble: Any) -> None:
    """Raise unless ``resume_dir`` is a path or ``None``."""
    given = ensemble.resume_dir
    if given is not None and not (isinstance(given, (str, os.PathLike)) and str(given)):
        raise invalid(ensemble, "resume_dir", "None or the path of a folder", given)


def _begin(folder: Path, ensemble: Any, data: TrainingData) -> KeptFit:
    now = fingerprint(ensemble, data)
    record = _read(folder)
    state = ensemble.random_state
    drawn = record["drawn"] if record else int(np.random.SeedSequence().generate_state(1)[0])
    if state is None:
        state = drawn
    if record is not None:
        _compare(folder, record["fit"], now)
    # drawn again too, as that moves a RandomState on
    folds = data.folds(ensemble.cv, ensemble.estimator, state)
    if record is None:
        rows = [[train.tolist(), test.tolist()] for train, test in folds]
        text = json.dumps({"fit": now, "drawn": drawn, "folds": rows})
        with whole_file(folder / RECORD) as part:
            part.write_text(text, encoding="utf-8")
    else:
        kept = [
            (np.array(a, dtype=np.intp), np.array(b, dtype=np.intp)) for a, b in record["folds"]
        ]
        given = not isinstance(ensemble.cv, (int, np.integer)) and not hasattr(ensemble.cv, "split")
        if given and not _equal(folds, kept):
            raise _refused(folder, ["the folds are others"])
        folds = kept
    return KeptFit(folder, folds, state, drawn)


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        return _checked(json.loads((folder / RECORD).read_text(encoding="utf-8")))
    except FileNotFoundError:
        strange = sorted(
            path.name for path in folder.iterdir() if path.stem != LOCK.split(".")[0]
            and not path.name.startswith(".")
        )  # fmt: skip
        if strange:
            raise ResumeError(
                f"The folder {str(folder)!r} holds no fit, but other files, such as "
                f"{strange[0]!r}: give a new or an empty one."
            ) from None
        return None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ResumeError(
            f"The file {str(folder / RECORD)!r} is damaged ({type(error).__name__}: {error}), so "
            "it is not known what was fitted: remove the folder to begin anew."
        ) from error


def _checked(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record if it has the parts of one."""
    for name in ("releases", "parameters", "data"):
        record["fit"][name].keys()
    len(record["fit"]["data"]["grade"])
    [(train[:0], test[:0]) for train, test in record["folds"]]
    record["drawn"] + 0
    return record


def _compare(folder: Path, then: dict[str, Any], now: dict[str, Any]) -> None:
    # as JSON gives it back: tuples are lists
    found = list(islice(differences(then, json.loads(json.dumps(now))), 50))
    if found:
        raise _refused(folder, found)


def _refused(folder: Path, found: list[str]) -> ResumeError:
    more = f"; and {len(found) - 3} more differences" if len(found) > 3 else ""
    return ResumeError(
        f"The fit in {str(folder)!r} was begun with other data or parameters: "
        f"{'; '.join(found[:3])}{more}. Give what it was begun with to go on, or another folder to "
        "begin anew."
    )


def _equal(folds: Folds, kept: Folds) -> bool:
    return [list(map(list, fold)) for fold in folds] == [list(map(list, fold)) for fold in kept]
