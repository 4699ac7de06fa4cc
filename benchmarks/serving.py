"""What ``fundus serve`` costs against ``fundus predict``, in time and in memory.

python -m benchmarks.serving RUN IMAGES --requests 300

It writes the rows of the table of docs/serving.md. Both have loaded their networks before a clock
starts; neither keeps anything on disc.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

WARM = 8


def photographs(folder: Path) -> list[Path]:
    kinds = {".jpg", ".jpeg", ".png", ".tif", ".tiff"}
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in kinds)


def files_of(paths: list[Path], count: int) -> list[tuple[str, bytes]]:
    """As many names and contents; no two are equal, since equal ones are computed once."""
    found = []
    for k, path in enumerate(itertools.islice(itertools.cycle(paths), count)):
        found.append((path.name, path.read_bytes() + b"\0" * (k // len(paths))))
    return found


def predicted(run: Path, paths: list[Path], count: int) -> float:
    """Photographs a second of `predict`, once its networks are loaded."""
    from fundus.cli.runs import open_run
    from fundus.grades.foreign import as_grader
    from fundus.reporting.predictions import predict_images

    model = open_run(run, None, verbose=False).model
    for reader in as_grader(model).readers():
        reader.model.set_params(cache=False)
    files = [data for _, data in files_of(paths, count)]
    predict_images(model, files[:WARM])
    began = time.perf_counter()
    predict_images(model, files)
    return count / (time.perf_counter() - began)


@contextlib.contextmanager
def server(run: Path) -> Iterator[tuple[str, int]]:
    """Start ``fundus serve``; its address and the number of its process."""
    command = [sys.executable, "-m", "fundus", "serve", str(run), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = re.search(r"http://\S+", process.stdout.readline())
        assert address is not None
        try:
            yield address[0], process.pid
        finally:
            process.terminate()


def asked(address: str, files: list[tuple[str, bytes]], clients: int, **query: str) -> np.ndarray:
    """Seconds of every request, as many clients asking one after another."""
    import httpx

    left, lock = iter(files), threading.Lock()

    def work(_: int) -> list[float]:
        seconds = []
        with httpx.Client(base_url=address, timeout=120) as client:
            while True:
                with lock:
                    one = next(left, None)
                if one is None:
                    return seconds
                began = time.perf_counter()
                client.post("/v1/grade", files={"file": one}, params=query).raise_for_status()
                seconds.append(time.perf_counter() - began)

    with ThreadPoolExecutor(clients) as pool:
        return np.array([one for found in pool.map(work, range(clients)) for one in found])


def measured(run: Path, images: Path, count: int, clients: int) -> dict[str, float]:
    """All numbers, by name."""
    import psutil

    code = "import sys; from benchmarks.serving import only_predict; only_predict(sys.argv[1:])"
    said = subprocess.run(
        [sys.executable, "-c", code, str(run), str(images), str(count)],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    found = {"predict, photographs/s": float(said.stdout.split()[-1])}
    files = files_of(photographs(images), count)
    with server(run) as (address, process):
        held = psutil.Process(process)
        sizes = [held.memory_info().rss]
        asked(address, files[:WARM], 1)
        alone = asked(address, files[: max(20, count // 10)], 1)
        found["one client, median, ms"] = 1000 * float(np.median(alone))
        found["one client, p95, ms"] = 1000 * float(np.percentile(alone, 95))
        for name, query in (("", {}), (", without quality", {"quality": "false"})):
            began = time.perf_counter()
            for part in range(0, count, max(1, count // 10)):
                asked(address, files[part : part + max(1, count // 10)], clients, **query)
                sizes.append(held.memory_info().rss)
            rate = count / (time.perf_counter() - began)
            found[f"{clients} clients{name}, photographs/s"] = rate
            found[f"{clients} clients{name} against predict"] = (
                rate / found["predict, photographs/s"]
            )
        found["requests"] = float(2 * count)
        found["memory before, MiB"] = sizes[0] / 2**20
        found["memory after a tenth, MiB"] = sizes[1] / 2**20
        found["memory at the end, MiB"] = sizes[-1] / 2**20
    return found


def only_predict(arguments: list[str]) -> None:
    run, folder, count = arguments
    print(predicted(Path(run), photographs(Path(folder)), int(count)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--clients", type=int, default=16)
    chosen = parser.parse_args()
    before = os.getloadavg()[0]
    found = measured(chosen.run, chosen.images, chosen.requests, chosen.clients)
    print(json.dumps({"load before": before, "processors": os.cpu_count(), **found}, indent=1))
    for name, value in found.items():
        print(f"| {name} | {value:.3g} |")


if __name__ == "__main__":
    main()
