"""Child processes in which files are read, so that a crash is an outcome."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any


def run_module(name: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run ``attacks.NAME`` as a program, with this process's ways to find modules."""
    paths = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-m", f"attacks.{name}", *map(str, arguments)]
    return subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, check=False, **options)


def peak_megabytes() -> float:
    """Most memory that this program has had.

    On Linux not by `getrusage`, which begins with what the process that started it had.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    return int(lines["VmHWM"].split()[0]) / 1024
