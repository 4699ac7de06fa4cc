"""What 1,000, 10,000 and 100,000 photographs cost once their features are known.

python -m benchmarks.scale                      # all; about 15 minutes on two quiet cores
python -m benchmarks.scale --sizes 1000 10000   # some

Each cell is a process of its own. Features are drawn, not computed: 1,280 numbers an image whose
variance falls as a network's does, severities that grow with the grade, two images a patient, and a
hundredth of the images copied with noise. It prints the table of benchmarks/README.md, and writes
it to results/scale.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.runtime.whole import whole_file

SIZES = (1_000, 10_000, 100_000)
FEATURES, SHARES = 1280, (0.73, 0.07, 0.15, 0.03, 0.02)
RESULTS = Path(__file__).parent / "results" / "scale.csv"


Work = Callable[[], Any]


def grades_of(n: int) -> NDArray[np.intp]:
    return np.random.default_rng(0).choice(len(SHARES), n, p=SHARES)


def severities_of(n: int) -> NDArray[np.float64]:
    noise = np.random.default_rng(1).normal(0, 0.7, n)
    return np.clip(grades_of(n) + noise, 0, 4)


def features_of(n: int) -> NDArray[np.float32]:
    """Features ``(n, 1280)``, of which the last hundredth are copies of the first, with noise."""
    rng = np.random.default_rng(2)
    spread = (1 / np.sqrt(np.arange(1, FEATURES + 1))).astype(np.float32)
    found = rng.standard_normal((n, FEATURES), dtype=np.float32)
    found *= spread
    found += 3
    found[:, :8] += 0.3 * grades_of(n)[:, np.newaxis].astype(np.float32)
    copies = n // 100
    noise = rng.standard_normal((copies, FEATURES), dtype=np.float32)
    found[-copies:] = found[:copies] + 0.1 * spread * noise
    return found


def intervals(n: int) -> Work:
    from fundus.reporting.report import make_report

    grades, severity = grades_of(n), severities_of(n)
    pred = np.clip(np.round(severity), 0, 4).astype(int)
    patients = np.arange(n) // 2
    return lambda: make_report(grades, pred, severity=severity, groups=patients)


def screening(n: int) -> Work:
    from fundus.reporting.screening import screening_report

    grades, severity, patients = grades_of(n), severities_of(n), np.arange(n) // 2
    return lambda: screening_report(grades, severity, groups=patients)


def neighbours(n: int) -> Work:
    from fundus.model_selection.neighbours import neighbour_pairs

    features, copies = features_of(n), n // 100

    def work() -> str:
        pairs = {tuple(pair) for pair in neighbour_pairs(features, 10).tolist()}
        found = sum((k, n - copies + k) in pairs for k in range(copies))
        return f"{found} of {copies} copies among the candidates"

    return work


def ensemble(n: int) -> Work:
    from sklearn.model_selection import StratifiedGroupKFold

    from fundus import FoldEnsemble, TransferClassifier

    features, grades, patients = features_of(n), grades_of(n), np.arange(n) // 2
    cv = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    model = FoldEnsemble(TransferClassifier("precomputed", "ridge", grades=5), cv=cv)
    return lambda: model.fit(features, grades, groups=patients)


def evaluation(n: int) -> Work:
    from sklearn.model_selection import StratifiedKFold

    from fundus import FoldEnsemble, TransferClassifier, evaluate_out_of_fold

    features, grades = features_of(n), grades_of(n)
    cv = StratifiedKFold(5, shuffle=True, random_state=0)
    model = FoldEnsemble(TransferClassifier("precomputed", "ridge", grades=5), cv=cv)
    model.fit(features, grades)

    def work() -> str:
        found = evaluate_out_of_fold(model, (features, grades))
        return f"{len(found.ranked('errors'))} errors ranked"

    return work


CASES = {
    "intervals of a report, 2,000 resamples": intervals,
    "intervals of a screening report, 2,000 resamples": screening,
    "candidates of near duplicates": neighbours,
    "five ridge models on features": ensemble,
    "evaluation out of fold, errors ranked": evaluation,
}


def one(name: str, n: int) -> dict[str, Any]:
    """Run a case in this process."""
    import resource

    work = CASES[name](n)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu, wall = time.process_time(), time.perf_counter()
    said = work()
    return {
        "case": name,
        "images": n,
        "wall_s": round(time.perf_counter() - wall, 2),
        "cpu_s": round(time.process_time() - cpu, 2),
        "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "before_mib": before // 1024,
        "remark": said if isinstance(said, str) else "",
    }


def row_of(found: dict[str, Any]) -> str:
    more = found["memory_mib"] - found["before_mib"]
    return (
        f"| {found['case']} | {found['images']:,} | {found['wall_s']:.1f} | {found['cpu_s']:.1f} | "
        f"{found['before_mib']} | {more} | {found['remark']} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.case:
        print(json.dumps(one(asked.case, *asked.sizes)))
        return
    print("| what | images | wall, s | CPU, s | memory before, MiB | more at the peak | |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    rows = []
    for name in CASES:
        for n in asked.sizes:
            command = ["-m", "benchmarks.scale", "--case", name, "--sizes", str(n)]
            done = subprocess.run(
                [sys.executable, *command], check=True, stdout=subprocess.PIPE, text=True
            )
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print(row_of(rows[-1]), flush=True)
            with whole_file(RESULTS) as part, part.open("w", newline="") as file:
                writer = csv.DictWriter(file, rows[0])
                writer.writeheader()
                writer.writerows(rows)  # those that there are, so that none is lost


if __name__ == "__main__":
    main()
