"""Start the cases one after another, measure them, and write a line for each at once."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sklearn.metrics import cohen_kappa_score

from benchmarks.cases import Case, all_cases
from benchmarks.inputs import Inputs
from benchmarks.machine import ROOT, commit, machine, versions
from benchmarks.measure import measure

#: A case whose first repeat took longer runs once.
LONG_S = 300.0

COLUMNS = (
    "started", "commit", "machine", "versions", "load_average", "groups", "case", "repeat",
    "images", "wall_s", "cpu_s", "peak_rss_mib", "forward_passes", "decodes", "qwk", "figures",
    "error",
)  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """One run of the benchmarks.

    Parameters
    ----------
    inputs : Inputs
    results : Path
        The CSV; lines are appended.
    repeats : int
    """

    inputs: Inputs
    results: Path
    repeats: int = 3

    def run(self, groups: str, *, resume: bool = False) -> int:
        """Run all cases of some groups; return how many processes failed."""
        here = {"commit": commit(), "machine": machine(), "versions": json.dumps(versions())}
        done = dict(self._done(here)) if resume else {}
        failed = 0
        for cases in self._batches(groups):
            # whoever comes first reads libraries from disk; no case shall pay for it
            warm_up = (
                "import tensorflow" if any(case.contender for case in cases) else "import fundus"
            )
            subprocess.run([sys.executable, "-c", warm_up], capture_output=True, cwd=ROOT)
            for repeat in range(max(case.repeats or self.repeats for case in cases)):
                for case in cases:
                    first = done.get((case.name, 0), 0.0)
                    wanted = case.repeats or (1 if first > LONG_S else self.repeats)
                    if repeat >= wanted or (case.name, repeat) in done:
                        continue
                    line = here | self._once(case, repeat)
                    self._append(line)
                    _say(line)
                    done[case.name, repeat] = line["wall_s"]
                    failed += bool(line["error"])
            shutil.rmtree(self._caches, ignore_errors=True)
        return failed

    def _batches(self, groups: str) -> Iterator[list[Case]]:
        """Cases that are compared run in turns, so that a slow minute hits all of them."""
        left = [case for case in all_cases(self.inputs.settings) if set(case.groups) & set(groups)]
        while left:
            batch = [case for case in left if set(case.groups) & set(left[0].groups)]
            left = [case for case in left if case not in batch]
            yield batch

    @property
    def _caches(self) -> Path:
        return self.inputs.folder / "caches"

    def _once(self, case: Case, repeat: int) -> dict[str, Any]:
        cache = self._caches / f"{case.cache or case.name}-{repeat}".replace("/", " ")
        if case.warm and not cache.exists():  # the run was killed in between
            cold = next(
                c for c in all_cases(self.inputs.settings) if c.cache == case.cache and not c.warm
            )
            self._once(cold, repeat)
        if not case.warm:
            shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir(parents=True, exist_ok=True)
        logs = self.inputs.folder / "logs"
        logs.mkdir(exist_ok=True)
        log = logs / f"{case.name}-{repeat}.log".replace("/", " ")
        line: dict[str, Any] = {"groups": case.groups, "case": case.name, "repeat": repeat}
        answer_file = logs / "answer.json"
        answer_file.unlink(missing_ok=True)
        command = list(case.command)
        if case.contender:
            job = case.make_job(self.inputs)
            line["images"] = len(job.paths)
            job.write(logs / "job.json")
            files = [str(logs / "job.json"), str(answer_file)]
            command = [sys.executable, "-m", "benchmarks.contenders", *files]
        environment = os.environ | {
            "FUNDUS_CACHE_DIR": str(cache),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        }
        line["started"] = datetime.now(UTC).isoformat(timespec="seconds")
        line["load_average"] = round(os.getloadavg()[0], 2)
        usage = measure(command, log=log, env=environment, cwd=ROOT)
        line |= {
            "wall_s": round(usage.wall_s, 4),
            "cpu_s": round(usage.cpu_s, 4),
            "peak_rss_mib": round(usage.peak_bytes / 2**20, 1),
            "error": "",
        }
        if usage.exit_code:
            said = log.read_text(errors="replace").strip().splitlines() or ["said nothing"]
            return line | {"error": f"exit code {usage.exit_code}: {said[-1]}"}
        if not case.cache:
            shutil.rmtree(cache)
        return line | (self._score(answer_file) if case.contender else {})

    def _score(self, answer_file: Path) -> dict[str, Any]:
        """Kappa is computed here, by scikit-learn, from the grades a contender wrote."""
        answer = json.loads(answer_file.read_text())
        scored: dict[str, Any] = {
            "forward_passes": answer["forward_passes"],
            "decodes": answer["decodes"],
            "figures": json.dumps(answer["figures"]),
        }
        if answer["predictions"]:
            grades, predictions = self.inputs.grades, answer["predictions"]
            kappa = cohen_kappa_score(grades, predictions, labels=range(5), weights="quadratic")
            scored["qwk"] = round(float(kappa), 4)
        return scored

    def _append(self, line: dict[str, Any]) -> None:
        new = not self.results.exists()
        self.results.parent.mkdir(parents=True, exist_ok=True)
        with self.results.open("a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            if new:
                writer.writeheader()
            writer.writerow(line)

    def _done(self, here: dict[str, str]) -> Iterator[tuple[tuple[str, int], float]]:
        if not self.results.exists():
            return
        with self.results.open(newline="") as file:
            for line in csv.DictReader(file):
                same = line["commit"] == here["commit"] and line["machine"] == here["machine"]
                if same and not line["error"]:
                    yield (line["case"], int(line["repeat"])), float(line["wall_s"])


def _say(line: dict[str, Any]) -> None:
    kappa = f"  kappa {line['qwk']:.3f}" if "qwk" in line else ""
    what = f"{line['case']} ({line['repeat'] + 1})"
    print(
        f"{what:<55}{line['wall_s']:>9.2f} s{line['cpu_s']:>10.2f} s CPU"
        f"{line['peak_rss_mib']:>8.0f} MiB{kappa}  {line.get('figures', '')} {line['error']}",
        flush=True,
    )
