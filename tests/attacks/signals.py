"""Attack: signals at random moments of a training from the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

TRAIN = "--recipe fast --backbone tiny --weights fixed --image-size 32 --folds 2 --quiet "
TRAIN += "--head logistic"


def _started(
    labels: Path, out: Path, cache: Path, jobs: int, more: Sequence[str]
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fundus.cli", "train", str(labels), *TRAIN.split(), *more]
    command += ["--out", str(out), "--cache-dir", str(cache), "--jobs", str(jobs)]
    # a session of its own, so that the signal of one process is not that of all
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _left_of_session(session: int) -> list[int]:
    """Processes of a session that live 5 seconds after it should have ended."""
    import psutil

    def living() -> list[int]:
        found = []
        for pid in psutil.pids():
            try:
                if os.getsid(pid) == session and psutil.Process(pid).status() != "zombie":
                    found.append(pid)
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue
        return found

    until = time.monotonic() + 5
    while (found := living()) and time.monotonic() < until:
        time.sleep(0.1)
    return found


def ended_by_signals(
    count: int, seed: int, folder: Path, *, more: Sequence[str] = ()
) -> Counter[str]:
    """Send SIGTERM or SIGHUP to `count` trainings with `more` options, each at a random moment.

    Returns
    -------
    Counter
        ``"in order"``: one line, the exit code of the signal, no process left and no run that
        looks whole. ``"had ended"``: the training was faster. ``"had not begun"``: Python was still
        starting, and the system ended it. Any other key is a fault.
    """
    import fundus

    rng = np.random.default_rng(seed)
    fundus.make_fundus(40, 48, 0, out_dir=folder / "photographs")
    labels = folder / "photographs" / "labels.csv"
    start = time.perf_counter()
    first = _started(labels, folder / "first", folder / "cache-first", 1, more)
    first.communicate()
    assert first.returncode == 0
    whole = time.perf_counter() - start
    seen: Counter[str] = Counter()
    for number in range(count):
        sent = (signal.SIGTERM, signal.SIGHUP)[number % 4 == 3]
        jobs = 1 + number % 2
        out = folder / f"run-{number}"
        # the cache is new each time, so that there is work to do
        process = _started(labels, out, folder / f"cache-{number}", jobs, more)
        time.sleep(rng.uniform(0.1 * whole, (0.7 + 0.5 * jobs) * whole))
        process.send_signal(sent)
        _, told = process.communicate()
        code, left = process.returncode, _left_of_session(process.pid)
        lines = told.strip().splitlines()
        complete = (out / "metrics.json").exists()
        # warnings about the data may stand before it
        in_order = lines[-1:] != [] and lines[-1].startswith(f"Error: Ended by {sent.name}.")
        in_order = in_order and "Traceback" not in told
        if left:
            seen[f"{len(left)} processes left after {jobs} jobs"] += 1
        elif code in (0, -sent) and complete:
            seen["had ended"] += 1
        elif code == -sent and not told and not out.exists():
            seen["had not begun"] += 1
        elif code == 128 + sent and in_order and not complete:
            seen["in order"] += 1
        else:
            seen[f"ended with {code}, {'a' if complete else 'no'} whole run: {told}"] += 1
    return seen
