"""The CSV of a run as tables and a picture in ``benchmarks/README.md``."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl
import pandas as pd

from benchmarks.cases import all_cases
from benchmarks.rows import Medians, rows
from benchmarks.settings import FULL

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


def newest_runs(lines: pd.DataFrame) -> pd.DataFrame:
    """Pick the last run of all cases that are compared, so that no ratio mixes two.

    Parameters
    ----------
    lines : DataFrame
        A CSV, of any number of runs.

    Returns
    -------
    DataFrame
        For every set of groups that share cases, the lines of the commit and machine that ran it
        last; of a repeat that ran twice, the last.
    """
    sets: list[set[str]] = []
    for groups in lines["groups"].unique():
        joined = set(groups).union(*(s for s in sets if s & set(groups)))
        sets = [*(s for s in sets if not s & joined), joined]
    kept = []
    for compared in sorted(sets, key=min):
        own = lines[[bool(set(groups) & compared) for groups in lines["groups"]]]
        last = own.iloc[-1]
        same = (own["commit"] == last["commit"]) & (own["machine"] == last["machine"])
        kept.append(own[same].drop_duplicates(["case", "repeat"], keep="last"))
    return pd.concat(kept)


def write_report(results: Path, readme: Path) -> None:
    """Put the tables of a CSV between the markers of a README, and a picture beside it.

    Parameters
    ----------
    results : Path
    readme : Path
    """
    lines = newest_runs(pd.read_csv(results))
    text = readme.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    picture = readme.parent / "wall-time.png"
    draw(lines, picture)
    body = f"{BEGIN}\n{report(lines)}\n![Wall time of every case]({picture.name})\n{END}"
    readme.write_text(before + body + after, encoding="utf-8")


def report(lines: pd.DataFrame) -> str:
    """Where and with what it ran, the rows with a target, and every case.

    Parameters
    ----------
    lines : DataFrame
        As `newest_runs` gives them.

    Returns
    -------
    str
        Markdown.
    """
    return "\n".join([_about(lines), "", _target_table(lines), "", _case_table(lines), ""])


def _about(lines: pd.DataFrame) -> str:
    runs = lines.groupby(["commit", "machine"], sort=False)
    return "\n\n".join(_about_run(run) for _, run in runs)


def _about_run(lines: pd.DataFrame) -> str:
    first = lines.iloc[0]
    versions = json.loads(first["versions"])
    loads = lines["load_average"]
    return (
        f"{', '.join(sorted(set(''.join(lines['groups']))))}: commit `{first['commit']}`, from "
        f"{lines['started'].min()} on: {first['machine']}. "
        f"Load average before a process {loads.min():.2f}–{loads.max():.2f}, the first one's "
        f"{first['load_average']:.2f}. "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + "."
    )


def _table(header: list[str], body: list[list[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in [header, ["---"] * len(header), *body]]
    return "\n".join(lines)


def _target_table(lines: pd.DataFrame) -> str:
    body = []
    for row in rows(lines):
        value = "–" if row.value is None else f"{_three_digits(row.value)} {row.unit}".strip()
        target = f"{'≥' if row.at_least else '≤'} {row.target:g} {row.unit}".strip()
        body.append([row.group, row.what, value, target, row.verdict, row.remark])
    return _table(["", "what", "figure", "target", "", "remark"], body)


def _median(column: pd.Series) -> float:
    """NaN of nothing but NaN, of which older releases of pandas warn."""
    return float(column.dropna().median())


def _case_table(lines: pd.DataFrame) -> str:
    medians = Medians(lines)
    body = []
    for name in medians.cases:
        own = medians.lines[medians.lines["case"] == name]
        wall = own["wall_s"]
        spread = "" if len(own) == 1 else f" ({_seconds(wall.min())}–{_seconds(wall.max())})"
        kappa = _median(own["qwk"])
        body.append(
            [
                str(own["groups"].iloc[0]),
                name,
                str(len(own)),
                _seconds(_median(wall)) + spread,
                _seconds(_median(own["cpu_s"])),
                f"{_median(own['peak_rss_mib']):.0f}",
                _count(_median(own["forward_passes"])),
                _count(_median(own["decodes"])),
                "" if pd.isna(kappa) else f"{kappa:.3f}",
            ]
        )
    failed = sorted(set(lines["case"]) - set(medians.cases))
    body += [["", name, "failed", *[""] * 6] for name in failed]
    header = ["", "case", "runs", "wall, s (min–max)", "CPU, s", "peak memory, MiB",
              "forward passes", "decodes", "kappa"]  # fmt: skip
    return _table(header, body)


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if value == 0 or value >= 100 else f"{value:.3g}"


def _seconds(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _count(value: float) -> str:
    return "" if pd.isna(value) else f"{value:,.0f}"


def draw(lines: pd.DataFrame, picture: Path) -> None:
    """Draw the median wall time of every case, with its spread.

    Parameters
    ----------
    lines : DataFrame
        The CSV of one run.
    picture : Path
        PNG.
    """
    mpl.use("agg")
    import matplotlib.pyplot as plt

    wall = Medians(lines).lines.groupby("case", sort=False)["wall_s"]
    median, low, high = wall.median(), wall.min(), wall.max()
    figure, ax = plt.subplots(figsize=(8, 0.25 * len(median) + 1), layout="constrained")
    ours = {case.name for case in all_cases(FULL) if case.contender.startswith("fundus_")}
    colours = ["C0" if name in ours or "fundus" in name else "0.6" for name in median.index]
    ax.barh(median.index, median, color=colours, xerr=[median - low, high - median])
    ax.set(xscale="log", xlabel="wall time of the whole process, s")
    ax.invert_yaxis()
    figure.savefig(picture, dpi=120)
    plt.close(figure)
