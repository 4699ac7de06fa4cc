"""Where and with what a benchmark ran."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]

_PACKAGES = (
    "fundus-zoo", "tensorflow", "keras", "scikeras", "scikit-learn", "numpy", "scipy",
    "opencv-python", "lmdb", "psutil",
)  # fmt: skip


def cores() -> int:
    """Processors this process may use."""
    try:  # not on macOS
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def machine() -> str:
    """Processor, memory and system, in one line; no names."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].split(":", 1)[1].strip() if names else cpu
    memory = psutil.virtual_memory().total / 2**30
    return f"{cpu}, {cores()} processors, {memory:.0f} GiB, {platform.system()}"


def versions() -> dict[str, str]:
    """Python and the packages that matter here."""
    return {"python": platform.python_version()} | {n: metadata.version(n) for n in _PACKAGES}


def commit() -> str:
    """Commit of the checkout, marked where its code was changed since."""
    written = ("results", "README.md", "wall-time.png")  # by the benchmarks themselves
    code = ["fundus", "benchmarks", *(f":!benchmarks/{name}" for name in written)]
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", *code)
    return _git("rev-parse", "--short=12", "HEAD") + ("+changes" if changed else "")


def _git(*arguments: str) -> str:
    result = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return result.stdout.strip() or ("" if arguments[0] == "status" else "unknown")
