"""Kills of ``fundus train`` at random moments, each resumed until the run is complete."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np

import fundus

#: Options of the runs, in turn.
RUNS = (
    ["--head", "softmax"],
    ["--head", "softmax", "--jobs", "2"],
    ["--head", "corn", "--cutpoints"],
    ["--head", "relu", "--freeze", "0.5", "--augment", "--epochs", "3", "--learning-rate", "0.001"],
)


def kills_of_train(
    count: int,
    seed: int,
    folder: Path,
    *,
    epochs: int = 25,
    each: int = 5,
    more: Sequence[str] = (),
) -> Counter[str]:
    """Kill trainings `count` times; the outcome is whether results equal a whole run's, to the bit.

    A run is killed with SIGKILL a random moment after a random change of its folder, since a moment
    drawn by the clock alone depends on what else the machine does; sometimes before any change. It
    is resumed and killed again, until one attempt ends before its moment, or after `each` kills.
    All runs have `more` options.
    """
    rng = np.random.default_rng(seed)
    images = folder / "images"
    fundus.make_fundus(48, 48, 0, out_dir=images, grade_weights=[0.2] * 5)
    wholes: dict[int, tuple[dict[str, object], int]] = {}
    outcomes: Counter[str] = Counter()
    n_runs = 0
    while outcomes["kills"] < count:
        turn = n_runs % len(RUNS)
        options = ["--epochs", str(epochs), *RUNS[turn], *more]
        if turn not in wholes:
            place = folder / f"whole{turn}"
            code, changes = _watched(_started(images, options, place), place, None, 0)
            assert code == 0, f"the whole run {turn} ended with {code}"
            wholes[turn] = results_of(place / "run"), changes
        whole, changes = wholes[turn]
        place = folder / f"killed{n_runs}"
        code, kills = _until_complete(rng, images, options, place, changes, each)
        outcomes["kills"] += kills
        if code:
            outcomes[f"ended with {code}"] += 1
        else:
            differ = _differing(whole, results_of(place / "run"))
            outcomes["equal to the bit" if not differ else f"differing: {differ[0]}"] += 1
        n_runs += 1
    return outcomes


def _until_complete(
    rng: np.random.Generator,
    images: Path,
    options: list[str],
    place: Path,
    changes: int,
    each: int,
) -> tuple[int, int]:
    kills = 0
    while True:
        most = int(rng.integers(0, max(2, changes // 2))) if kills < each else None
        code, _ = _watched(_started(images, options, place), place, most, rng.uniform(0, 0.2))
        if code is not None:
            return code, kills
        kills += 1


def _watched(
    process: subprocess.Popen[bytes], place: Path, most: int | None, delay: float
) -> tuple[int | None, int]:
    """Wait for a process, or kill it some seconds after so many changes of its run's folder."""
    seen, changes = _snapshot(place / "run"), 0
    while (code := process.poll()) is None:
        if most is not None and changes >= most:
            time.sleep(delay)
            if process.poll() is None:
                process.kill()
            # it may have ended first
            return (None if process.wait() < 0 else process.returncode), changes
        time.sleep(0.005)
        now = _snapshot(place / "run")
        changes += now != seen
        seen = now
    return code, changes


def _snapshot(run: Path) -> dict[str, int]:
    found = {}
    for folder, _, names in os.walk(run):
        for name in names:
            with suppress(FileNotFoundError):  # moved meanwhile
                found[f"{folder}/{name}"] = os.stat(f"{folder}/{name}").st_mtime_ns
    return found


def _started(images: Path, options: list[str], place: Path) -> subprocess.Popen[bytes]:
    place.mkdir(exist_ok=True)
    command = [
        *(sys.executable, "-m", "fundus.cli", "train", str(images), "--recipe", "fast"),
        *("--backbone", "tiny"),
        *("--weights", "fixed", "--image-size", "32", "--folds", "3"),
        *("--out", "run", "--resume", "--quiet", "--cache-dir", str(images.parent / "cache")),
        *options,
    ]  # fmt: skip
    root = str(Path(fundus.__file__).parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    with (place / "errors.txt").open("ab") as errors:
        return subprocess.Popen(
            command, cwd=place, env=os.environ | {"PYTHONPATH": path}, stderr=errors
        )


def results_of(run: Path) -> dict[str, object]:
    """Everything that a run has written, by file; without its duration and its pictures."""
    found: dict[str, object] = {}
    for file in sorted(run.rglob("*")):
        name = str(file.relative_to(run))
        if file.is_dir() or file.suffix == ".png" or file.name == "manifest.json":
            continue
        if file.suffix == ".h5":
            found[name] = _arrays_of(file)
        elif file.suffix == ".npz":
            with np.load(file) as arrays:
                found[name] = {k: (a.dtype.str, a.shape, a.tobytes()) for k, a in arrays.items()}
        elif file.name == "metrics.json":
            found[name] = {k: v for k, v in json.loads(file.read_text()).items() if k != "seconds"}
        else:
            found[name] = file.read_bytes()
    return found


def _arrays_of(file: Path) -> dict[str, bytes]:
    """Arrays of an HDF5 file, whose other bytes hold times."""
    arrays: dict[str, bytes] = {}

    def keep(name: str, part: h5py.HLObject) -> None:
        if isinstance(part, h5py.Dataset):
            arrays[name] = np.asarray(part).tobytes()

    with h5py.File(file) as stored:
        stored.visititems(keep)
    return arrays


def _differing(whole: dict[str, object], other: dict[str, object]) -> list[str]:
    return sorted(k for k in {*whole, *other} if whole.get(k) != other.get(k))
