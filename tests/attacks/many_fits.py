"""Attack: many fits in one process, of all kinds of heads, which must leave nothing behind."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

#: Heads and how much of the backbone is frozen; in turn.
MODELS = (
    ("softmax", "all"),
    ("corn", "all"),
    ("softmax", 0.75),
    ("relu", 0.75),
    ("logistic", "all"),
    ("ordinal_ridge", "all"),
)
NEURAL = ("softmax", "corn", "relu")
#: Fits after which the first measurement is made: by then everything has been used once.
WARM = 5


def many_fits(count: int, seed: int, folder: Path) -> Counter[str]:
    """Fit, predict, save and load `count` models in a fresh process.

    Returns
    -------
    Counter
        By ``"rss"``, ``"threads"`` and ``"descriptors"`` what was counted after the last fit,
        by the same names with ``" early"`` what it was after the fifth.
    """
    command = [sys.executable, __file__, str(count), str(seed), str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return Counter(json.loads(done.stdout.splitlines()[-1]))


def _measured(name: str) -> dict[str, int]:
    import psutil

    gc.collect()
    process = psutil.Process()
    return {
        f"rss{name}": process.memory_info().rss,
        f"threads{name}": threading.active_count(),
        f"descriptors{name}": process.num_fds(),
    }


def _fits(count: int, seed: int, folder: Path) -> dict[str, int]:
    import fundus

    data = fundus.make_fundus(24, 64, seed, out_dir=folder / "photographs")
    seen: dict[str, int] = {}
    for number in range(count):
        head, freeze = MODELS[number % len(MODELS)]
        model = fundus.TransferClassifier(
            "tiny",
            head,
            weights="fixed",
            freeze=freeze,
            cache=folder / "cache",
            random_state=seed + number,
        )
        if head in NEURAL:
            model.set_params(epochs=2)
        model.fit(data.paths, data.grades)
        model.predict_proba(data.paths)
        model.save(folder / f"model-{number}")
        fundus.load(folder / f"model-{number}")
        if "-v" in sys.argv:
            print(number, head, freeze, _measured(""), file=sys.stderr, flush=True)
        if number + 1 == WARM:
            seen |= _measured(" early")
    return seen | _measured("")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    print(json.dumps(_fits(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))))
