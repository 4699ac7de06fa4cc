"""Run one contender, and count the images that OpenCV decodes meanwhile."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.job import Job


def count_decodes() -> Counter[str]:
    """Count calls of OpenCV's decoder, which all contenders use, whoever makes them."""
    import cv2

    calls: Counter[str] = Counter()

    def counted(name: str) -> Any:
        original = getattr(cv2, name)

        def decoder(*args: Any, **kwargs: Any) -> Any:
            calls["decodes"] += 1
            return original(*args, **kwargs)

        return decoder

    for name in ("imread", "imdecode"):
        setattr(cv2, name, counted(name))
    return calls


def main(job_file: str, answer_file: str) -> None:
    job = Job.read(Path(job_file))
    calls = count_decodes()
    answer = import_module(f"benchmarks.contenders.{job.contender}").run(job)
    fundus = sys.modules.get("fundus.frozen.work")
    own = 0 if fundus is None else fundus.work_done["decodes"]
    result = asdict(answer) | {"decodes": max(calls["decodes"], own)}
    Path(answer_file).write_text(json.dumps(result, default=lambda x: x.item()))


if __name__ == "__main__":
    main(*sys.argv[1:])
