"""Write the table of promises in ``docs/reliability.md``, from the report of ``make soak``.

python -m pytest -m soak -n 2 --dist worksteal --junitxml=soak.xml tests
python docs/make_reliability.py soak.xml
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = HERE / "reliability.md"
START, END = "<!-- promises: written by docs/make_reliability.py -->", "<!-- end of promises -->"
#: What a test records with ``record_property``.
FIELDS = ("promise", "did", "times", "outcome")
HEADER = ("promise", "what was done", "times", "what came out", "test")
#: Packages whose versions are named.
PACKAGES = (
    *("tensorflow", "keras", "scikit-learn", "numpy", "pandas", "h5py", "skops", "lmdb"),
    *("opencv-python", "joblib", "filelock"),
)


@dataclass(frozen=True)
class Row:
    """One promise, as its test has recorded it."""

    topic: str
    promise: str
    did: str
    times: int
    outcome: str
    test: str

    def cells(self) -> list[str]:
        """Return the row as text."""
        return [self.promise, self.did, f"{self.times:,}", self.outcome, f"`{self.test}`"]


def rows_of(report: Path) -> list[Row]:
    """Read the rows from a report of pytest, by topic; a test that failed says so.

    Raises
    ------
    ValueError
        If a test lacks a field, or two tests make one promise.
    """
    rows = []
    for case in ET.parse(report).getroot().iter("testcase"):
        module = case.get("classname", "").rsplit(".", 1)[-1]
        if not module.startswith("test_attacked_"):
            continue
        test = case.get("name", "").split("[")[0]
        told = {p.get("name"): p.get("value", "") for p in case.iter("property")}
        failed = case.find("failure") is not None or case.find("error") is not None
        if case.find("skipped") is not None:
            continue
        missing = [field for field in FIELDS if field not in told]
        if missing and failed:
            raise ValueError(f"{module}.{test} failed before it had recorded {missing}")
        if missing:
            raise ValueError(f"{module}.{test} records no {missing}: see CONTRIBUTING.md")
        outcome = told["outcome"] + " **(failed)**" * failed
        topic = module.removeprefix("test_attacked_")
        promise, did, times = (told[field] for field in ("promise", "did", "times"))
        rows.append(Row(topic, promise, did, int(times), outcome, test))
    promises = [row.promise for row in rows]
    if len(promises) != len(set(promises)):
        raise ValueError("two tests make the same promise")
    return sorted(rows, key=lambda row: (row.topic, row.promise))


def table(rows: list[Row]) -> str:
    """Return a table for each topic, under its name and its file of tests."""
    lines = []
    for topic in dict.fromkeys(row.topic for row in rows):
        name = topic.replace("_", " ").capitalize()
        lines += [f"### {name}", "", f"`tests/test_attacked_{topic}.py`", ""]
        lines += [_line(HEADER), _line(["---", "---", "--:", "---", "---"])]
        lines += [_line(row.cells()) for row in rows if row.topic == topic]
        lines.append("")
    return "\n".join(lines)


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def rows_in(page: str) -> list[Row]:
    """Read the rows back from the page."""
    rows, topic = [], ""
    for line in page.split(START)[1].split(END)[0].splitlines():
        if found := re.fullmatch(r"`tests/test_attacked_(\w+)\.py`", line):
            topic = found[1]
        cells = [cell.replace("\\|", "|") for cell in re.split(r"(?<!\\) \| ", line.strip("| "))]
        if len(cells) == len(HEADER) and cells[-1].startswith("`test_"):
            promise, did, times, outcome, test = cells
            rows.append(
                Row(topic, promise, did, int(times.replace(",", "")), outcome, test.strip("`"))
            )
    return rows


def conditions(report: Path) -> str:
    """Say on which machine, commit and day, with which versions, and how long it took."""
    suite = next(ET.parse(report).getroot().iter("testsuite"))
    day = suite.get("timestamp", "")[:10]
    minutes = float(suite.get("time", 0)) / 60
    git = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--abbrev=10"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"One run of `make soak` on {day}, commit {commit or 'unknown'}, in {minutes:.0f} minutes: "
        f"{_processor()}, {os.cpu_count()} processors, {memory:.0f} GiB of memory, "
        f"{platform.system()} {platform.release().split('-')[0]}, Python "
        f"{platform.python_version()}, {versions}."
    )


def _processor() -> str:
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.machine()
    found = re.search(r"model name\s*: (.+)", told)
    return found[1].strip() if found else platform.machine()


def main() -> None:
    """Write the page."""
    report = Path(sys.argv[1])
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(START)
    after = rest.split(END)[1]
    made = f"{START}\n\n{conditions(report)}\n\n{table(rows_of(report))}\n{END}"
    PAGE.write_text(before + made + after, encoding="utf-8")


if __name__ == "__main__":
    main()
