"""Attack: a disk that gets full, and a limit on the size of files, at random sizes.

It runs in a process of its own, since the limit holds for all that a process writes. The small
disk is a tmpfs, which only root may mount.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

WHAT = ("save", "predict", "evaluate", "train", "neural save", "store")


def full_disk(count: int, seed: int, folder: Path) -> Counter[str]:
    """Save, predict, evaluate, train and keep features `count` times where there is no room.

    Returns
    -------
    Counter
        ``"finished"``: all was written. ``"told"``: an error in one line that names a file or the
        cache, after which every file is whole or as before. Any other key is a fault. Keys that
        begin with ``"on "`` count where there was no room, ``"small disk"`` or ``"size limit"``.
    """
    command = [sys.executable, __file__, str(count), str(seed), str(folder)]
    if small_disks():
        command = ["unshare", "--mount", *command]  # what is mounted ends with the process
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return Counter(json.loads(done.stdout.splitlines()[-1]))


def small_disks() -> bool:
    """Whether this process may mount a disk of a given size."""
    if not all(map(shutil.which, ("mount", "umount", "unshare"))):
        return False
    with tempfile.TemporaryDirectory() as place:  # a container may forbid it to root
        command = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", place]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def _small_disk(place: Path, size: int) -> Iterator[None]:
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    subprocess.run(command, check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@contextlib.contextmanager
def _size_limit(place: Path, size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        shutil.rmtree(place)
        place.mkdir()


class _Commands:
    """What is tried, with models and photographs that were made while there was room."""

    def __init__(self, seed: int, folder: Path) -> None:
        import fundus

        self.place, self.kept = folder / "small", folder / "kept"
        self.place.mkdir()
        self.data = fundus.make_fundus(30, 48, seed, out_dir=folder / "photographs")
        self.labels = folder / "photographs" / "labels.csv"
        one = fundus.TransferClassifier("tiny", weights="fixed", cache=self.kept, epochs=1)
        self.model = one.set_params(head="logistic").fit(self.data.paths, self.data.grades)
        self.model.save(folder / "model")
        self.neural = fundus.TransferClassifier(
            "tiny", weights=None, cache=self.kept, epochs=1, random_state=seed
        ).fit(self.data.paths, self.data.grades)
        self.saved = folder / "model"

    def run(self, *arguments: Any, cache: Path | None = None) -> tuple[int, str]:
        """Run a command in this process."""
        from typer.testing import CliRunner

        from fundus.cli import app

        given = [str(a) for a in (*arguments, "--cache-dir", cache or self.kept, "--quiet")]
        result = CliRunner().invoke(app, given)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stderr

    def save(self, model: Any) -> tuple[int, str]:
        """Save a model; the error in the words of the command line."""
        from fundus.exceptions import FundusError

        try:
            model.save(self.place / "model")
        except FundusError as error:
            return 1, f"Error: {error}"
        return 0, ""

    def do(self, what: str) -> tuple[int, str]:
        """Do one thing; return the exit code and what stands on standard error."""
        out = self.place / "out.csv"
        if what == "save":
            return self.save(self.model)
        if what == "neural save":
            return self.save(self.neural)
        if what == "predict":
            return self.run("predict", self.saved, self.labels, "-o", out)
        if what == "evaluate":
            return self.run("evaluate", self.saved, self.labels, "-o", out)
        if what == "store":
            other = self.place / "cache"
            return self.run("predict", self.saved, self.labels, "-o", out, cache=other)
        options = "--recipe fast --backbone tiny --weights fixed --image-size 32 --folds 2"
        words = [*options.split(), "--head", "logistic", "--out", self.place / "run"]
        return self.run("train", self.labels, *words)


def _half(place: Path) -> list[str]:
    """Names of what is not whole."""
    import fundus

    found = []
    ends = {".csv": (b"\n",), ".json": (b"}", b"}\n"), ".png": (b"IEND\xaeB`\x82",)}
    for path in sorted(place.rglob("*")):
        if path.is_dir() and not path.name.endswith(".part"):
            continue
        if path.name.startswith(".") and path.name.endswith(".part"):
            found.append(path.name)
        elif path.name == "manifest.json":
            fundus.load(path.parent)
        elif (path.parent / "manifest.json").exists() or place / "cache" in path.parents:
            continue  # the manifest's business, and the store's
        elif not path.read_bytes().endswith(ends.get(path.suffix, (b"",))):
            found.append(path.name)
    return found


def _attack(count: int, seed: int, folder: Path) -> Counter[str]:
    import warnings

    # of the small data, not of the disk
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(seed)
    commands = _Commands(seed, folder)
    ways: list[tuple[str, Callable[[Path, int], Any]]] = [("size limit", _size_limit)]
    if small_disks():
        ways.append(("small disk", _small_disk))
    seen: Counter[str] = Counter()
    for number in range(count):
        what = WHAT[number % len(WHAT)]
        name, way = ways[number // len(WHAT) % len(ways)]
        size = int(np.exp(rng.uniform(np.log(4_096), np.log(1_500_000))))
        start = time.perf_counter()
        with way(commands.place, size):
            try:
                code, told = commands.do(what)
            except Exception as error:  # whatever it is, it is counted as a fault
                code, told = -1, f"{type(error).__name__}: {error}"
            lines = told.strip().splitlines()
            named = any(f"'{place}" in told for place in (commands.place, commands.kept))
            good = code == 0 or (code == 1 and lines[-1].startswith("Error: ") and named)
            half = _half(commands.place) if good else []
        outcome = "finished" if code == 0 else "told"
        if not good:
            outcome = f"{what} ended with {code}: {told}"
        if half:
            outcome = f"{what} left {half}"
        seen[outcome] += 1
        seen[f"on {name}"] += 1
        if "-v" in sys.argv:
            took = f"{time.perf_counter() - start:.1f} s"
            print(name, what, size, took, outcome, told, file=sys.stderr, flush=True)
    return seen


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    print(json.dumps(_attack(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))))
