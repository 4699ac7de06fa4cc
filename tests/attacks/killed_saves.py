"""Attack: saves that are killed at random moments."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np


def killed_saves(count: int, seed: int, folder: Path) -> Counter[str]:
    """Kill a process `count` times with SIGKILL while it saves a model into one folder.

    It runs in a process of its own, whose children save and are killed.

    Returns
    -------
    Counter
        After each kill the folder was ``"absent"`` or ``"whole"`` (it loads and predicts the
        same), or else ``"half"``; hidden folders that the killed left are ``"leftovers"``, and
        those that the next save did not remove ``"leftovers kept"``.
    """
    command = [sys.executable, __file__, str(count), str(seed), str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return Counter(json.loads(done.stdout.splitlines()[-1]))


def _kills(count: int, seed: int, folder: Path) -> Counter[str]:
    import skops.io  # noqa: F401 - or the first save, which gives the time, would import it

    import fundus

    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(60, 64)), np.arange(60) % 5
    one = fundus.TransferClassifier("precomputed", "logistic", random_state=0)
    model = fundus.FoldEnsemble(one, cv=5, random_state=0).fit(X, y)
    expected = model.predict_proba(X)
    target = folder / "model"

    def hidden() -> int:
        return sum(path.name.startswith(".") for path in folder.iterdir())

    def started() -> int:
        pid = os.fork()
        if pid == 0:
            model.save(target)
            os._exit(0)
        return pid

    start = time.perf_counter()
    os.waitpid(started(), 0)
    whole = time.perf_counter() - start
    shutil.rmtree(target)
    seen: Counter[str] = Counter()
    for number in range(count):
        if number % 3 == 2:
            target.mkdir()  # an empty folder is replaced
        pid = started()
        time.sleep(rng.uniform(0, 1.5 * whole))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        if target.is_dir() and any(target.iterdir()):
            try:
                same = np.array_equal(fundus.load(target).predict_proba(X), expected)
            except Exception:  # any error at all means that it is not whole
                same = False
            seen["whole" if same else "half"] += 1
            shutil.rmtree(target)
        else:
            seen["absent"] += 1
        seen["leftovers"] += hidden()
        model.save(target)
        seen["leftovers kept"] += hidden()
        shutil.rmtree(target)
    return seen


if __name__ == "__main__":
    print(json.dumps(_kills(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))))
