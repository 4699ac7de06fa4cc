"""What extraction on an engine costs and gains: one process, and one, two and four workers.

python -m benchmarks.engines                                   # the engine itself; 10 minutes
python -m benchmarks.engines --backbone efficientnet_lite0     # with a network, on quiet processors

By default the network is a tiny one with a step before it that waits 50 ms for each photograph,
which is what decoding and EfficientNet-Lite0 take on one processor (benchmarks/README.md, F). So
the engine is measured, on as many workers as there are, and not how many processors are free.
Photographs are 64 drawn ones of 256 px, JPEG, each of them many times with other bytes at its end:
all are decoded, and none is found in a cache. The time starts when the workers have loaded
TensorFlow and built the network, on photographs of their own. It prints the table of
docs/scaling.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.runtime.terminal import new_table

#: Number of workers; 0 is a process without an engine.
CASES = (0, 1, 2, 4)
DRAWN, EDGE, WARM = 64, 256, 8
SECONDS = 0.05  # a photograph


def recorded(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Wait as long as a network takes."""
    time.sleep(SECONDS * len(images))
    return images


def draw(folder: Path, n: int) -> list[str]:
    """Write `n` photographs, no two of which have the same bytes."""
    from fundus import make_fundus

    drawn = make_fundus(DRAWN, EDGE, 0, out_dir=folder / "drawn").paths
    contents = [Path(path).read_bytes() for path in drawn]
    paths = []
    for k in range(n):
        path = folder / f"{k}{Path(drawn[k % DRAWN]).suffix}"
        path.write_bytes(contents[k % DRAWN] + k.to_bytes(8, "big"))
        paths.append(str(path))
    return paths


def extractor(options: argparse.Namespace, cache: Any) -> Any:
    from benchmarks.engines import recorded as step  # by its name, not as of __main__
    from fundus import FeatureExtractor

    if options.backbone is None:
        return FeatureExtractor("tiny", weights="fixed", photometric=step, cache=cache)
    return FeatureExtractor(options.backbone, cache=cache)


def bind(dask_worker: Any = None) -> None:
    """Bind this process to one processor, that of the worker's number, as a network takes all."""
    name = 0 if dask_worker is None else int(dask_worker.name)
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {allowed[name % len(allowed)]})


def alone(options: argparse.Namespace, warm: list[str], paths: list[str]) -> dict[str, Any]:
    from fundus.distributed.shards import peak_bytes

    if options.backbone is not None:
        bind()
    with tempfile.TemporaryDirectory() as folder:
        model = extractor(options, folder).fit(paths)
        model.transform(warm)
        started = time.perf_counter()
        model.transform(paths)
        return {"seconds": time.perf_counter() - started, "peak_bytes": [peak_bytes()]}


def on_workers(
    options: argparse.Namespace, warm: list[str], paths: list[str], n: int
) -> dict[str, Any]:
    from distributed import Client, LocalCluster

    from fundus.distributed import extract

    settings = {"n_workers": n, "threads_per_worker": 1, "dashboard_address": ":0"}
    with tempfile.TemporaryDirectory() as folder:
        with LocalCluster(**settings) as cluster, Client(cluster) as client:
            if options.backbone is not None:
                client.run(bind)
            model = extractor(options, f"{folder}/caller").fit(paths)
            common = {"client": client, "extractor": model, "worker_cache": f"{folder}/workers"}
            # small shards, so that every worker has some
            extract(warm, shard_size=1, **common)
            started = time.perf_counter()
            found = extract(paths, shard_size=options.shard_size, **common)
            seconds = time.perf_counter() - started
        records = list(found.workers.values())
    return {
        "seconds": seconds,
        "peak_bytes": [record.peak_bytes for record in records],
        "images": [record.n_images for record in records],
        "n_bytes": sum(record.n_bytes for record in records),
    }


def run(options: argparse.Namespace) -> None:
    """Run each case in a process of its own, in turn, and print the table."""
    found: dict[int, list[dict[str, Any]]] = {case: [] for case in CASES}
    for _ in range(options.repeats):
        for case in CASES:
            program = [sys.executable, "-m", "benchmarks.engines"]
            command = [*program, *sys.argv[1:], "--case", str(case)]
            result = subprocess.run(command, capture_output=True, text=True, check=True)
            found[case].append(json.loads(result.stdout.splitlines()[-1]))
            print(case, found[case][-1], file=sys.stderr, flush=True)
    headings = ("case", "seconds (least–most)", "photographs/s")
    table = new_table("", *headings, "memory of a worker, MiB", "bytes a photograph")
    for case, runs in found.items():
        seconds = [entry["seconds"] for entry in runs]
        middle = statistics.median(seconds)
        peak = max(max(entry["peak_bytes"]) for entry in runs) / 2**20
        moved = runs[0].get("n_bytes", 0) / options.photographs
        table.add_row(
            "one process, no engine" if case == 0 else f"Dask, {case} worker{'s' * (case > 1)}",
            f"{middle:.1f} ({min(seconds):.1f}–{max(seconds):.1f})",
            f"{options.photographs / middle:.1f}",
            f"{peak:.0f}",
            f"{moved:,.0f}",
        )
    from rich.console import Console

    Console(width=120).print(table)
    middle = {c: statistics.median(entry["seconds"] for entry in runs) for c, runs in found.items()}
    print(f"overhead of the engine {middle[1] / middle[0] - 1:+.1%}")
    for n in CASES[2:]:
        print(f"speed-up from 1 to {n} workers {middle[1] / middle[n]:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--shard-size", type=int, default=32)
    parser.add_argument("--backbone", default=None)
    parser.add_argument("--case", type=int, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case is None:
        run(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        paths = draw(Path(folder), options.photographs + WARM)
        warm, paths = paths[:WARM], paths[WARM:]
        if options.case == 0:
            found = alone(options, warm, paths)
        else:
            found = on_workers(options, warm, paths, options.case)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
