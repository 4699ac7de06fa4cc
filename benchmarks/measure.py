"""Wall time, CPU time and memory of a process and all its descendants."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

#: Seconds between two looks at a process tree.
INTERVAL = 0.05


@dataclass(frozen=True)
class Usage:
    """What a process tree took.

    Parameters
    ----------
    wall_s : float
        Seconds from start to exit.
    cpu_s : float
        Seconds of user and system time, descendants included.
    peak_bytes : int
        Most memory at one moment; see `tree_memory`.
    exit_code : int
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int
    exit_code: int


@dataclass
class _Tree:
    """Samples of a process tree, taken by a thread."""

    root: psutil.Process
    peak: int = 0
    cpu: dict[int, float] = field(default_factory=dict)

    def look(self) -> None:
        processes = [self.root]
        try:
            processes += self.root.children(recursive=True)
        except psutil.Error:
            return
        self.peak = max(self.peak, tree_memory(processes))
        for process in processes:
            try:
                times = process.cpu_times()
            except psutil.Error:  # it ended between two looks
                continue
            self.cpu[process.pid] = times.user + times.system


def tree_memory(processes: Sequence[psutil.Process]) -> int:
    """Memory of several processes, in bytes, pages that they share counted once.

    One process: its resident set, which is cheap to read. Several: the sum of their proportional
    set sizes, or of their unique ones where the system has no proportional ones.
    """
    total = 0
    for process in processes:
        try:
            if len(processes) == 1:
                total += process.memory_info().rss
            else:
                full = process.memory_full_info()
                total += getattr(full, "pss", 0) or full.uss
        except psutil.Error:  # it ended, or is a zombie
            continue
    return total


def measure(
    command: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    interval: float = INTERVAL,
) -> Usage:
    """Run a command to its end and measure it.

    Parameters
    ----------
    command : sequence of str
    log : Path
        Where its output goes.
    env : mapping, default=None
        Its environment; ``None`` is this process's own.
    cwd : Path, default=None
    interval : float, default=0.05
        Seconds between two samples of memory.

    Returns
    -------
    Usage
    """
    done = threading.Event()
    with log.open("wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            list(command), stdout=output, stderr=subprocess.STDOUT, env=env, cwd=cwd
        )
        tree = _Tree(psutil.Process(process.pid))

        def watch() -> None:
            while not done.is_set():
                tree.look()
                done.wait(interval)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            # unlike polling it returns at once, and brings the CPU time of all who were waited for
            _, status, spent = os.wait4(process.pid, 0)
        except BaseException:
            for child in [*tree.root.children(recursive=True), tree.root]:
                child.kill()
            raise
        finally:
            done.set()
            watcher.join()
        wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    # descendants that outlived their parent are in the samples only
    cpu = max(spent.ru_utime + spent.ru_stime, sum(tree.cpu.values()))
    return Usage(wall, cpu, tree.peak, process.returncode)
