"""Command line of the benchmarks: ``python -m benchmarks --data FOLDER``."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.cases import GROUPS
from benchmarks.inputs import find_inputs
from benchmarks.machine import ROOT
from benchmarks.run import Bench
from benchmarks.settings import FULL, SMALL
from benchmarks.table import write_report

HERE = Path(__file__).resolve().parent

NEEDED = (
    "The benchmarks need the IDRiD photographs: a folder with labels.csv (columns file and "
    "grade) and the images it names. Give it as `make bench DATA=folder`, with --data, or in the "
    "environment variable FUNDUS_BENCH_DATA."
)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Run all contenders, append to a CSV, and write the tables of README.md.",
        epilog="Groups: " + "; ".join(f"{letter} {what}" for letter, what in GROUPS.items()) + ".",
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("FUNDUS_BENCH_DATA"))
    parser.add_argument(
        "--only", nargs="+", choices=list(GROUPS), metavar="GROUP", help="groups to run (all)"
    )
    parser.add_argument(
        "--repeats", type=int, default=3, help="repeats of what takes less than 5 minutes (3)"
    )
    parser.add_argument(
        "--out", type=Path, help="the CSV (results/results.csv; in the work folder for --small)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="skip what the CSV has of this commit and machine"
    )
    parser.add_argument(
        "--small", action="store_true",
        help="the tiny network on few images: shows that all runs; leaves README.md alone",
    )  # fmt: skip
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()) / "fundus-bench",
        help="where saved networks and made images go; kept for the next run",
    )  # fmt: skip
    parser.add_argument(
        "--table", action="store_true", help="only write README.md from the CSV that is there"
    )
    return parser.parse_args()


def main() -> int:
    given = options()
    given.out = given.out or (given.work if given.small else HERE / "results") / "results.csv"
    if not given.table:
        if given.data is None or not (Path(given.data) / "labels.csv").is_file():
            print(NEEDED + f" Got {given.data}.", file=sys.stderr)
            return 2
        settings = SMALL if given.small else FULL
        work = given.work / ("small" if given.small else "full")
        bench = Bench(find_inputs(Path(given.data), work, settings), given.out, given.repeats)
        failed = bench.run("".join(given.only or GROUPS), resume=given.resume)
        if failed:
            print(f"{failed} processes failed; their logs are in {work / 'logs'}", file=sys.stderr)
        if given.small:
            return bool(failed)
    else:
        failed = 0
    write_report(given.out, HERE / "README.md")
    print(f"{given.out} and {(HERE / 'README.md').relative_to(ROOT)} are written")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
