"""Predictive values of the operating points of a screening report, at a given prevalence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fundus.exceptions import DataError
from fundus.metrics.predictive import check_prevalence, predictive_values
from fundus.reporting.bootstrap import Measure
from fundus.reporting.tables import percent
from fundus.runtime.shown import Shown
from fundus.runtime.terminal import new_table

if TYPE_CHECKING:
    from rich.table import Table

    from fundus.reporting.screened import PointScore, ScreeningReport


@dataclass(frozen=True, eq=False, repr=False)
class PredictiveReport(Shown):
    """Predictive values for referable disease; `predictive_report` makes it.

    Parameters
    ----------
    prevalence : float
        Share of referable disease.
    points : tuple of PointScore
        The operating points.
    ppv, npv : tuple of Measure
        Positive and negative predictive value at each point.
    """

    prevalence: float
    points: tuple[PointScore, ...]
    ppv: tuple[Measure, ...]
    npv: tuple[Measure, ...]

    def _rows(self) -> Iterator[tuple[PointScore, Measure, Measure]]:
        yield from zip(self.points, self.ppv, self.npv, strict=True)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values; ``nan`` becomes ``None``."""
        points = [
            {
                "wanted": scored.point.wanted,
                "goal": scored.point.goal,
                "threshold": scored.point.threshold,
                "ppv": ppv.to_dict(),
                "npv": npv.to_dict(),
            }
            for scored, ppv, npv in self._rows()
        ]
        return {"prevalence": self.prevalence, "operating_points": points}

    def measures(self) -> dict[str, Measure]:
        """Return every value by its name."""
        return {
            f"referable at {scored.point.wanted} {scored.point.goal:g}: {name}": measure
            for scored, ppv, npv in self._rows()
            for name, measure in (("ppv", ppv), ("npv", npv))
        }

    def to_table(self) -> Table:
        """Return the report for a terminal."""
        table = new_table(
            f"Predictive values where {100 * self.prevalence:g} % have referable disease",
            caption="From sensitivity and specificity by Bayes' rule; the ends are those of both "
            "intervals together, so the intervals, 95 %, hold at least as often as theirs.",
            pad_edge=False,
            padding=(0, 1, 0, 0),
        )
        for name in ("at", "positive (PPV)", "negative (NPV)"):
            table.add_column(name, no_wrap=True)
        for scored, ppv, npv in self._rows():
            point = scored.point
            at = f"severity ≥ {point.threshold:.3f}, {point.wanted} {point.goal:g}"
            table.add_row(at, percent(ppv, 1), percent(npv, 1))
        if not self.points:
            table.add_row("no operating point", "-", "-")
        return table


def predictive_report(screening: ScreeningReport | None, prevalence: float) -> PredictiveReport:
    """Return predictive values of the operating points for referable disease.

    Parameters
    ----------
    screening : ScreeningReport or None
    prevalence : float
        Share of referable disease among those screened, in (0, 1).

    Returns
    -------
    PredictiveReport

    Raises
    ------
    InvalidParameterError
        If `prevalence` is not in (0, 1).
    DataError
        If there is no screening report.

    Notes
    -----
    Both values rise with sensitivity and with specificity, so the lower end of an interval is the
    value at the lower ends of theirs, and the upper at the upper ends.

    Examples
    --------
    >>> from fundus import screening_report
    >>> screening = screening_report([0, 0, 1, 2, 2, 4] * 5, [0.1, 0.8, 1.2, 1.1, 2.0, 3.5] * 5)
    >>> found = predictive_report(screening, 0.1)
    >>> round(found.ppv[0].value, 3), round(found.npv[0].value, 3)
    (0.25, 1.0)
    """
    check_prevalence("evaluate", prevalence)
    if screening is None:
        raise DataError(
            "Predictive values need a screening report, and so severities on the scale of five "
            "grades: leave the prevalence out."
        )
    points = screening.conditions[0].points
    pairs = [_values(scored, float(prevalence)) for scored in points]
    return PredictiveReport(
        float(prevalence), points, tuple(ppv for ppv, _ in pairs), tuple(npv for _, npv in pairs)
    )


def _values(scored: PointScore, prevalence: float) -> tuple[Measure, Measure]:
    sens, spec = scored.sensitivity, scored.specificity
    at = predictive_values(sens.value, spec.value, prevalence)
    low = predictive_values(sens.interval.low, spec.interval.low, prevalence)
    high = predictive_values(sens.interval.high, spec.interval.high, prevalence)
    methods = {sens.interval.method, spec.interval.method}
    method = methods.pop() if len(methods) == 1 else "bootstrap and wilson"
    ppv, npv = (
        Measure(
            float(at[k]),
            replace(sens.interval, low=float(low[k]), high=float(high[k]), method=method),
        )
        for k in (0, 1)
    )
    return ppv, npv
