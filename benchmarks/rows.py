"""The rows that have a target: ratios of medians within one run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd

from benchmarks.cases import HEADS

MIB = 2**20


@dataclass(frozen=True)
class Row:
    """A figure beside its target.

    Parameters
    ----------
    group : str
    what : str
    value : float or None
        ``None`` where its cases did not run.
    target : float
    at_least : bool
        Whether the target is a lower bound.
    remark : str
    unit : str
        Stands behind value and target.
    """

    group: str
    what: str
    value: float | None
    target: float
    at_least: bool = True
    remark: str = ""
    unit: str = "×"

    @property
    def verdict(self) -> str:
        """Met, not met, or not run."""
        if self.value is None:
            return "not run"
        met = self.value >= self.target if self.at_least else self.value <= self.target
        return "met" if met else "**not met**"


class Medians:
    """Medians over the repeats of every case that did not fail.

    Parameters
    ----------
    lines : DataFrame
        The CSV of one run.
    """

    def __init__(self, lines: pd.DataFrame) -> None:
        good = lines[lines["error"].fillna("") == ""].copy()
        good["figures"] = [json.loads(f) if isinstance(f, str) else {} for f in good["figures"]]
        self.lines = good
        self.cases = list(good["case"].drop_duplicates())

    def of(self, case: str, column: str) -> float:
        """Median of a column, or of a figure the contender gave.

        Raises
        ------
        KeyError
            If the case did not run, or lacks the figure.
        """
        lines = self.lines[self.lines["case"] == case]
        if lines.empty:
            raise KeyError(case)
        if column in lines.columns:
            return float(lines[column].dropna().median())
        return float(pd.Series([figures[column] for figures in lines["figures"]]).dropna().median())

    def ratio(self, case: str, other: str, column: str = "wall_s") -> float:
        """The first case's median over the other's."""
        return self.of(case, column) / self.of(other, column)


def rows(lines: pd.DataFrame) -> list[Row]:
    """All rows with a target, in the order of their groups.

    Parameters
    ----------
    lines : DataFrame
        The CSV of one run.

    Returns
    -------
    list of Row
    """
    medians = Medians(lines)
    makers = (_chapter, _like_for_like, _warm, _grid, _extraction, _limit, _tuning, _ensemble,
              _memory, _start_up)  # fmt: skip
    return [row for make in makers for row in make(medians)]


def _value(compute: Callable[[], float]) -> float | None:
    try:
        return compute()
    except KeyError:
        return None


def _best_head(m: Medians, state: str) -> str | None:
    """The fastest of the heads whose out-of-fold kappa reaches the chapter's."""
    try:
        wanted = m.of("chapter's loop", "qwk")
        names = [f"fundus {head}, {state}" for head in HEADS]
        able = [name for name in names if m.of(name, "qwk") >= wanted]
        return min(able, key=lambda name: m.of(name, "wall_s"), default="")
    except KeyError:
        return None


def _against_chapter(m: Medians, state: str, target: float, group: str) -> Row:
    best = _best_head(m, state)
    what = f"equal or better kappa, against the chapter's loop, {state}"
    if best is None:
        return Row(group, what, None, target)
    kappa = m.of("chapter's loop", "qwk")
    if not best:
        return Row(group, what, 0.0, target, remark=f"no head reached its kappa of {kappa:.3f}")
    remark = f"{best}: kappa {m.of(best, 'qwk'):.3f}, the loop's {kappa:.3f}"
    return Row(group, what, m.ratio("chapter's loop", best), target, remark=remark)


def _chapter(m: Medians) -> Iterator[Row]:
    yield _against_chapter(m, "cold", 50, "A")


def _plain(m: Medians, state: str, target: float, group: str) -> Row:
    ours, plain = f"fundus softmax, {state}", "Keras trainable=False"
    value = _value(lambda: m.ratio(plain, ours))
    remark = ""
    if value is not None:
        remark = f"kappa {m.of(ours, 'qwk'):.3f} and {m.of(plain, 'qwk'):.3f}"
    what = f"softmax head against Keras with `trainable=False`, {state}"
    return Row(group, what, value, target, remark=remark)


def _like_for_like(m: Medians) -> Iterator[Row]:
    yield _plain(m, "cold", 15, "B")


def _warm(m: Medians) -> Iterator[Row]:
    yield _against_chapter(m, "warm", 150, "C")
    yield _plain(m, "warm", 25, "C")
    names = [n for n in m.cases if n.startswith("fundus ") and n.endswith(", warm")]
    for column, what in (("decodes", "decodes"), ("forward_passes", "forward passes")):
        most = max((m.of(name, column) for name in names), default=None)
        yield Row("C", f"{what} of a warm run", most, 0, at_least=False, unit="")


def _grid(m: Medians) -> Iterator[Row]:
    what = "grid of `logistic` and `svm` against a Keras pipeline, cold"
    yield Row("D", what, _value(lambda: m.ratio("Keras pipeline grid", "fundus grid")), 15)

    def over() -> float:
        alone = m.of("heads alone", "fit_s")
        return m.of("fundus grid", "wall_s") / (
            m.of("fundus grid, one candidate", "wall_s") + alone
        )

    what = "grid against one candidate and the heads' own fits"
    value = _value(over)
    remark = "" if value is None else f"the fits alone take {m.of('heads alone', 'fit_s'):.1f} s"
    yield Row("D", what, value, 1.10, at_least=False, remark=remark)


def _extraction(m: Medians) -> Iterator[Row]:
    cases = "OpenCV loop, large", "fundus extraction, large"
    value = _value(lambda: m.ratio(*cases, "extract_s"))
    yield Row("E", "features of large JPEGs against a loop of `predict`", value, 5)


def _limit(m: Medians) -> Iterator[Row]:
    for which in ("large", "IDRiD"):
        ours, limit = f"fundus extraction, {which}", f"limit, {which}"

        def share(ours: str = ours, limit: str = limit) -> float:
            rate = m.of(ours, "images") / m.of(ours, "extract_s")
            return rate / m.of(limit, "limit_per_s")

        value, remark = _value(share), ""
        if value is not None:
            remark = (
                f"of {m.of(limit, 'limit_per_s'):.1f} images/s: decoding "
                f"{1e3 * m.of(limit, 'decode_cpu_s'):.1f} ms and forward pass "
                f"{1e3 * m.of(limit, 'forward_cpu_s'):.1f} ms of CPU each"
            )
        yield Row("F", f"extraction against its limit, {which}", value, 0.85, remark=remark)


def _tuning(m: Medians) -> Iterator[Row]:
    for name in [n for n in m.cases if n.startswith("fundus fine-tuning, ")]:
        what = name.removeprefix("fundus fine-tuning, ")
        plain = f"Keras fine-tuning, {what}"
        if plain not in m.cases:
            continue
        if m.of(name, "trained") != m.of(plain, "trained"):
            raise ValueError(f"{name} and {plain} trained different numbers of weights")
        suffix = m.ratio(name, plain, "forward_s")
        bound = (1 + 2 * suffix) / (3 * suffix)
        gain = m.ratio(plain, name, "epoch_s")
        # what Keras would gain if it trained the suffix alone, on arrays in memory
        able = m.of(plain, "epoch_s") / (m.of(name, "steps") * m.of(name, "step_s"))
        passes = m.of(name, "step_s") / m.of(name, "forward_s")
        remark = (
            f"{gain:.2f} × faster an epoch, bound {bound:.2f} (suffix {suffix:.0%} of forward); a "
            f"training step takes {passes:.1f} forward passes, not 3, so the suffix alone on "
            f"arrays in memory gains {able:.2f} ×"
        )
        yield Row("G", f"fine-tuning against its bound, {what}", gain / bound, 0.8, remark=remark)


def _ensemble(m: Medians) -> Iterator[Row]:
    cases = "ensemble predicts, softmax", "one model predicts, softmax"
    value = _value(lambda: m.ratio(*cases, "predict_s"))
    yield Row("H", "ensemble's prediction against one model's", value, 1.15, at_least=False)


def _memory(m: Medians) -> Iterator[Row]:
    cases = [n for n in m.cases if n.startswith("fundus extraction, ") and n.endswith(" images")]
    value, what = None, "peak memory at ten times the images, without the feature matrix"
    if len(cases) == 2:
        few, many = sorted(cases, key=lambda name: m.of(name, "images"))
        peaks = [
            m.of(name, "peak_rss_mib") - m.of(name, "matrix_bytes") / MIB for name in (few, many)
        ]
        value = peaks[1] / peaks[0]
        what = (
            f"peak memory at {m.of(many, 'images'):,.0f} images against "
            f"{m.of(few, 'images'):,.0f}, without the feature matrix"
        )
    yield Row("I", what, value, 1.15, at_least=False)


def _start_up(m: Medians) -> Iterator[Row]:
    base = 'python -c "import numpy"'
    for name, target in (('python -c "import fundus"', 3), ("fundus --help", 5)):
        value = _value(lambda name=name: m.ratio(name, base))
        yield Row("J", f"`{name}` against `{base}`", value, target, at_least=False)
