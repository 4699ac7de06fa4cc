"""Synthetic fundus photographs whose lesions follow the grade: data for demos and tests."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.utils import Bunch, check_random_state

from fundus.data.loaders import load_image_table
from fundus.data.synthetic.photograph import draw_fundus
from fundus.exceptions import DataError, InvalidParameterError
from fundus.grades.icdr import N_GRADES
from fundus.parameters import invalid
from fundus.runtime.opencv import cv2
from fundus.runtime.whole import make_folder, whole_file

__all__ = ["draw_fundus", "make_fundus"]

#: Default share of each grade.
GRADE_WEIGHTS = (0.35, 0.15, 0.25, 0.13, 0.12)

# Share of patients whose two eyes have the same grade; the others differ by one.
_CONCORDANCE = 0.75

# Patients among whom the grades are spread evenly.
_BLOCK = 10


@dataclass(frozen=True)
class _Plan:
    """One photograph to be made: what is drawn, and what the label says."""

    patient: int
    eye: str
    drawn: int
    grade: int
    seed: np.random.SeedSequence

    @property
    def path(self) -> str:
        return f"class{self.grade}/{self.patient}_{self.eye}.jpeg"


def make_fundus(
    n: int = 100,
    image_size: int = 256,
    random_state: int | np.random.RandomState | None = None,
    *,
    out_dir: str | os.PathLike[str],
    grade_weights: Sequence[float] | None = None,
    label_noise: float = 0.0,
) -> Bunch:
    """Write synthetic fundus photographs with lesions that follow the grade.

    Drawn are the field of view, background, macula, optic disc, arteries and veins, and by grade
    microaneurysms (from 1), haemorrhages, hard exudates and cotton wool spots (from 2), many of
    them in four quadrants and beaded veins (from 3), new vessels, preretinal haemorrhages and
    laser scars (4), under a camera of varying exposure, colour, sharpness and noise.

    Each patient has a left and a right eye, of the same grade or one apart. A photograph depends
    on the seed, its patient and its eye, not on `n`; only for small `n` may a few grades be
    changed so that from 20 photographs on each grade of positive weight occurs at least twice.

    Parameters
    ----------
    n : int, default=100
        Number of photographs.
    image_size : int, default=256
        Edge of the square photographs, in pixels; at least 32.
    random_state : int, RandomState or None, default=None
        Seed; with an int the files are the same each time.
    out_dir : path-like
        Folder to write to, made if need be. It gets ``class0`` … ``class4`` with files named
        ``<patient>_<left|right>.jpeg``, and ``labels.csv`` with the columns path, grade, patient,
        eye. Files are written whole or not at all, the table last.
    grade_weights : sequence of float, shape (5,), default=None
        Share of each grade; by default 0.35, 0.15, 0.25, 0.13, 0.12.
    label_noise : float, default=0.0
        Share of photographs, 0–1, whose label is one grade off.

    Returns
    -------
    Bunch
        The data set, as `fundus.data.loaders.load_image_table` returns it.

    Raises
    ------
    InvalidParameterError
        If a parameter lies outside what is named above.
    DataError
        If `out_dir` holds other images in its class folders.
    WriteError
        If a file cannot be written, as where the disk is full.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     data = make_fundus(20, image_size=64, random_state=0, out_dir=folder)
    >>> data.grades.shape, data.patients[:4].tolist()
    ((20,), ['1', '1', '2', '2'])
    >>> bool(np.bincount(data.grades).min() >= 2)
    True
    """
    weights = _check_parameters(n, image_size, grade_weights, label_noise)
    seed = _seed(random_state)
    plans = _plan(n, weights, label_noise, seed)
    folder = Path(out_dir)
    _check_folder(folder, plans)
    for grade in range(N_GRADES):
        make_folder(folder / f"class{grade}")

    def make(plan: _Plan) -> None:
        rng = np.random.default_rng(plan.seed)
        photo = draw_fundus(plan.drawn, image_size=image_size, eye=plan.eye, rng=rng)
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(85, 96))]
        encoded = cv2.imencode(".jpeg", photo[..., ::-1], quality)[1]
        _write(folder / plan.path, encoded.tobytes())

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(make, plans))  # a list, so that an error of a thread comes through
    labels = pd.DataFrame(
        [(plan.path, plan.grade, plan.patient, plan.eye) for plan in plans],
        columns=["path", "grade", "patient", "eye"],
    )
    _write(folder / "labels.csv", labels.to_csv(index=False, lineterminator="\n").encode())
    return load_image_table(folder / "labels.csv", min_classes=1)


def _check_parameters(
    n: int, image_size: int, grade_weights: Sequence[float] | None, label_noise: float
) -> np.ndarray:
    def refuse(name: str, expected: str, value: object) -> InvalidParameterError:
        return invalid("make_fundus", name, expected, value)

    if not isinstance(n, (int, np.integer)) or n < 1:
        raise refuse("n", "an int of at least 1", n)
    if not isinstance(image_size, (int, np.integer)) or image_size < 32:
        raise refuse("image_size", "an int of at least 32, in pixels", image_size)
    if not 0 <= label_noise <= 1:
        raise refuse("label_noise", "a number in 0–1", label_noise)  # noqa: RUF001
    weights = np.asarray(GRADE_WEIGHTS if grade_weights is None else grade_weights, dtype=float)
    if weights.shape != (N_GRADES,) or not (weights >= 0).all() or not 0 < weights.sum() < np.inf:
        expected = f"{N_GRADES} shares that are not negative and not all zero"
        raise refuse("grade_weights", expected, grade_weights)
    return weights / weights.sum()


def _seed(random_state: object) -> int:
    if not isinstance(random_state, (int, np.integer)):
        return int(check_random_state(random_state).randint(2**31))
    if random_state < 0:
        expected = "an int of at least 0, a RandomState or None"
        raise invalid("make_fundus", "random_state", expected, random_state)
    return int(random_state)


def _plan(n: int, weights: np.ndarray, label_noise: float, seed: int) -> list[_Plan]:
    bounds = np.cumsum(weights)[:-1]
    plans = []
    for patient in range((n + 1) // 2):
        # Within a block of patients each draws from another tenth of the distribution, so small
        # sets have about the shares asked for.
        block = np.random.default_rng(
            np.random.SeedSequence(seed, spawn_key=(0, patient // _BLOCK))
        )
        tenth = block.permutation(_BLOCK)[patient % _BLOCK]
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, patient)))
        first = int(np.searchsorted(bounds, (tenth + rng.random()) / _BLOCK, side="right"))
        second = _neighbour(first, weights, rng) if rng.random() > _CONCORDANCE else first
        pair = (first, second) if rng.random() < 0.5 else (second, first)
        for number, (eye, drawn) in enumerate(zip(("left", "right"), pair, strict=True)):
            noisy = rng.random() < label_noise
            grade = _neighbour(drawn, np.ones(N_GRADES), rng) if noisy else drawn
            key = np.random.SeedSequence(seed, spawn_key=(2, patient, number))
            plans.append(_Plan(patient + 1, eye, drawn, grade, key))
    return _ensure_all_grades(plans[:n], weights)


def _neighbour(grade: int, weights: np.ndarray, rng: np.random.Generator) -> int:
    """Return a grade one step away that has a positive weight, or the same if there is none."""
    near = [k for k in (grade - 1, grade + 1) if 0 <= k < N_GRADES and weights[k] > 0]
    return int(rng.choice(near)) if near else grade


def _ensure_all_grades(plans: list[_Plan], weights: np.ndarray) -> list[_Plan]:
    if len(plans) < 20:
        return plans
    for grade in np.flatnonzero(weights).tolist():
        while (counts := np.bincount([p.grade for p in plans], minlength=N_GRADES))[grade] < 2:
            common = int(np.argmax(counts))
            index = max(i for i, plan in enumerate(plans) if plan.grade == common)
            plans[index] = replace(plans[index], drawn=grade, grade=grade)
    return plans


def _check_folder(folder: Path, plans: list[_Plan]) -> None:
    """Refuse a folder in which images of another set would stay beside the new ones."""
    planned = {folder / plan.path for plan in plans}
    for path in sorted(folder.glob("class[0-9]*/[!.]*")):
        if path not in planned:
            raise DataError(
                f"The folder {str(folder)!r} already holds {str(path)!r}, which is not part of the "
                "set to be made: give an empty or new out_dir."
            )


def _write(path: Path, content: bytes) -> None:
    # drawn again in seconds, so that waiting for the disk after each photograph would not pay
    with whole_file(path, fsync=False) as part:
        part.write_bytes(content)
