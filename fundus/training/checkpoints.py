"""What a neural fit keeps after every epoch, so that it goes on from there after a kill.

A context names the folder. Each fit in it has one file, named by a digest of all that decides the
fit's result; so the many fits of a search or of a calibration find their own.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import FundusWarning, ResumeError
from fundus.frozen.sources import Source, source_key
from fundus.runtime.arrays import save_arrays
from fundus.runtime.identity import code_identity
from fundus.runtime.keras_objects import as_config
from fundus.runtime.whole import make_folder, whole_file, writing

if TYPE_CHECKING:
    from fundus.training.tail import Tail, Training

#: What reading a file of another kind, or a damaged one, raises.
DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile)


@dataclass
class _Keeping:
    """The folder of the present fits, and how many logs each folder of logs has had in them."""

    folder: Path
    #: The parent of this process, where the fit was sent to it by another one.
    parent: int | None
    logs: Counter[str] = field(default_factory=Counter)


_present: ContextVar[_Keeping | None] = ContextVar("present", default=None)


@contextmanager
def kept_in(folder: Path | None, *, starter: int | None = None) -> Iterator[None]:
    """Keep the epochs of neural fits in a folder; ``None`` leaves all as it is.

    Parameters
    ----------
    folder : Path or None
        Made when something is written.
    starter : int or None
        Process that started the fit. In another process the fit ends with its parent.
    """
    now = _present.get()
    if folder is None or (now is not None and now.folder == folder):
        yield
        return
    sent = starter is not None and starter != os.getpid()
    token = _present.set(_Keeping(folder, os.getppid() if sent else None))
    try:
        yield
    finally:
        _present.reset(token)


def present_folder() -> Path | None:
    """Return the folder of the present fits, to be passed to other processes."""
    now = _present.get()
    return None if now is None else now.folder


def refuse_orphans() -> None:
    """Raise where the process that this one works for was killed.

    Raises
    ------
    ResumeError
        The fit that goes on elsewhere waits for this one.
    """
    now = _present.get()
    if now is not None and now.parent is not None and now.parent != os.getppid():
        raise ResumeError("The process that this fit was started for has ended.")


@dataclass(frozen=True)
class State:
    """What a fit has reached.

    Parameters
    ----------
    about : dict
        JSON values: ``done`` epochs, the ``history``, the state of callbacks; and whether the
        training ``stopped`` early or is ``finished``.
    arrays : dict of str to list of ndarray
    """

    about: dict[str, Any]
    arrays: dict[str, list[NDArray[Any]]]


@dataclass(frozen=True)
class Checkpoint:
    """The file of one fit, and what it held at the start."""

    path: Path
    found: State | None = None

    @classmethod
    def at(cls, path: Path) -> Checkpoint:
        """Read a file, if there is one."""
        return replace(cls(path), found=cls(path)._read())

    def _read(self) -> State | None:
        """Read it.

        Warns
        -----
        FundusWarning
            If it is damaged; the fit then begins anew.
        """
        if not self.path.exists():
            return None
        try:
            with self.path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                about = json.loads(str(file["about"]))
                arrays = {
                    name: [file[f"{name}{k}"] for k in range(count)]
                    for name, count in about.pop("arrays").items()
                }
        except DAMAGED as error:
            warnings.warn(
                f"The checkpoint {str(self.path)!r} is damaged ({error}), so its training begins "
                "anew.",
                FundusWarning,
                stacklevel=2,
            )
            return None
        return State(about, arrays)

    def write(self, state: State) -> None:
        """Write it, completely or not at all."""
        about = state.about | {"arrays": {k: len(v) for k, v in state.arrays.items()}}
        arrays = {
            f"{name}{k}": array if array.dtype.kind in "biuf" else array.astype(np.float32)
            for name, listed in state.arrays.items()
            for k, array in enumerate(listed)  # numpy cannot write bfloat16
        }
        # a power cut may then cost the file, which is noticed, and a kill may not
        with whole_file(self.path, fsync=False) as part, part.open("wb") as file:
            save_arrays(file, {"about": np.array(json.dumps(about)), **arrays})

    def begin_anew(self, why: str) -> None:
        """Say that a fit that was begun before begins anew, as its state cannot be kept.

        Warns
        -----
        FundusWarning
            If it was begun before.
        """
        begun = self.path.with_suffix(".begun")
        if begun.exists():
            warnings.warn(
                f"A training that was interrupted begins anew, as the state of {why} is not known.",
                FundusWarning,
                stacklevel=2,
            )
        else:
            with whole_file(begun) as part:
                part.touch()


def checkpoint_of(
    tail: Tail,
    training: Training,
    source: Source,
    rows: NDArray[np.intp],
    targets: NDArray[Any],
    weights: NDArray[np.float64] | None,
    held_out: NDArray[np.intp] | None,
    start: Sequence[NDArray[Any]] | None = None,
) -> Checkpoint | None:
    """Return the file of a fit, or None where none is kept; parameters as of `train_net`."""
    folder = present_folder()
    if folder is None:
        return None
    settled = replace(training, loss=as_config(training.loss), log_dir=None, verbose=0)
    if not settled.only_rates:  # others may hold anything, and their fit begins anew anyway
        settled = replace(settled, callbacks=())
    parts: tuple[Any, ...] = (
        tail, settled, source_key(source), rows, targets, weights, held_out,
        *(() if start is None else start),
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    return Checkpoint.at(folder / f"{code_identity_of(parts)[:40]}.npz")


def code_identity_of(parts: Sequence[Any]) -> str:
    """SHA-256, in hex, of objects by their code and state."""
    return hashlib.sha256("".join(map(code_identity, parts)).encode()).hexdigest()


def new_log(parent: Path) -> Path:
    """Make a new folder ``fit-001``, ``fit-002``, … so that no fit overwrites another's log.

    A fit that goes on gets the folder that it had.
    """
    make_folder(parent)
    now, k = _present.get(), 1
    names = [] if now is None else _names(now, parent)
    turn = 0 if now is None else now.logs[str(parent)]
    if now is not None:
        now.logs[str(parent)] += 1
    if turn < len(names):
        folder = parent / names[turn]
        make_folder(folder)
        return folder
    while True:
        folder = parent / f"fit-{k:03d}"
        k += 1
        if folder.exists():
            continue
        if now is not None:  # before it is made, so that a kill in between leaves none
            with whole_file(_list(now, parent)) as part:
                part.write_text(json.dumps([*names, folder.name]), encoding="utf-8")
        with writing(folder):
            try:
                folder.mkdir()
            except FileExistsError:
                continue
        return folder


def _list(now: _Keeping, parent: Path) -> Path:
    now.folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(str(parent.absolute()).encode("utf-8", "surrogateescape"))
    return now.folder / f"logs-{digest.hexdigest()[:16]}.json"


def _names(now: _Keeping, parent: Path) -> list[str]:
    try:
        return json.loads(_list(now, parent).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return []
