"""Reports as tables for a terminal, narrow enough for 80 characters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fundus.grades.icdr import grade_labels
from fundus.runtime.terminal import new_table

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from fundus.reporting.adapted import Adaptation
    from fundus.reporting.bootstrap import Measure
    from fundus.reporting.compared import Comparison
    from fundus.reporting.coverage import CoverageReport
    from fundus.reporting.report import Report
    from fundus.reporting.screened import Condition, ScreeningReport
    from fundus.reporting.stressed import StressReport

LABELS = {
    "qwk": "quadratic weighted kappa",
    "accuracy": "accuracy",
    "adjacent_accuracy": "at most one grade off",
    "mean_absolute_error": "grade off by, on average",
    "severity_error": "severity off by, on average",
    "macro_auc": "macro AUC, grade against rest",
    "ranked_probability_score": "ranked probability score",
    "brier_score": "Brier score",
    "expected_calibration_error": "expected calibration error",
}


def label_of(score: str) -> str:
    """What a score is called in tables; one of a plugin by its own name.

    Examples
    --------
    >>> label_of("qwk"), label_of("green/mcc")
    ('quadratic weighted kappa', 'green/mcc')
    """
    return LABELS.get(score, score)


#: Printed for an interval that treats every photograph as a patient of its own.
TOO_NARROW = "image-level, likely too narrow"

#: The goals of a pivotal trial, only for comparison.
CONTEXT = (
    "For context: IDx-DR had to exceed 85 % sensitivity and 82.5 % specificity per participant, "
    "for ETDRS level 35 or more and/or macular oedema, against stereo photographs and OCT "
    "(doi:10.1038/s41746-018-0040-6). Figures per photograph do not compare."
)


def report_table(report: Report, title: str) -> Group:
    """Return the scores with their intervals, and the confusion matrix."""
    from rich.console import Group

    table = new_table(
        f"{title}: {report.n_images} images{_of(report.n_patients)}",
        caption=f"Intervals are {how_resampled(report.n_patients)}.",
    )
    _headings(table, "score", report.measures["accuracy"])
    for name, measure in report.measures.items():
        table.add_row(label_of(name), f"{measure.value:.3f}", measure.span)
    return Group(table, _confusion(report))


def screening_table(report: ScreeningReport) -> Table:
    """Return AUC and operating points of every condition."""
    counted = "grade, or macular oedema" if report.with_dme else "grade"
    failed = f"; {report.n_ungradable} ungradable count as referred" * bool(report.n_ungradable)
    called = report.n_called_ungradable
    failed += f"; {called} called ungradable by graders are referable" * bool(called)
    table = new_table(
        f"Screening by {counted}: {report.n_images} images{_of(report.n_patients)}{failed}",
        caption=f"Intervals are {how_resampled(report.n_patients)}. {CONTEXT}",
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    _headings(table, "finding", report.conditions[0].auc)
    others: tuple[Condition | None, ...] = (None,) * len(report.conditions)
    if report.by_patient is not None:
        others = report.by_patient.conditions
        table.caption = f"{table.caption} By patient: the worse eye; one ungradable eye refers."
    for condition, of_patients in zip(report.conditions, others, strict=True):
        _screening_rows(table, condition, of_patients)
    return table


def _screening_rows(table: Table, condition: Condition, by_patient: Condition | None) -> None:
    table.add_row(
        f"[bold]{condition.name}[/bold], {condition.n_positive} of "
        f"{condition.n_positive + condition.n_negative}"
    )
    table.add_row("  ROC AUC", f"{condition.auc.value:.3f}", condition.auc.span)
    for k, scored in enumerate(condition.points):
        point = scored.point
        where = "chosen here" if scored.chosen_here else "from training"
        table.add_row(
            f"  severity ≥ {point.threshold:.3f}, {where} for {point.wanted} {point.goal:g}"
        )
        for name in ("sensitivity", "specificity"):
            measure = getattr(scored, name)
            table.add_row(f"    {name}", f"{measure.value:.3f}", measure.span)
            if by_patient is not None:
                measure = getattr(by_patient.points[k], name)
                table.add_row(f"    {name} by patient", f"{measure.value:.3f}", measure.span)
    for note in condition.notes:
        table.add_row(f"  {note}")
    table.add_section()


def _confusion(report: Report) -> Table:
    table = new_table(
        "Confusion matrix: true grade by predicted", caption="right: share, with its interval"
    )
    table.add_column("true grade")
    labels = grade_labels(report.class_names)
    numbered = labels != list(report.class_names)
    for k, name in enumerate(report.class_names):
        table.add_column(str(k) if numbered else _plain(name), justify="right")
    table.add_column("all", justify="right")
    table.add_column("right", justify="right")
    table.add_column("")
    rows = zip(report.confusion, report.sensitivities, strict=True)
    for k, (row, right) in enumerate(rows):
        cells = [f"[bold]{n}[/bold]" if j == k else str(n) for j, n in enumerate(row)]
        total = int(row.sum())
        share = f"{100 * right.value:.0f} %" if total else "-"
        span = f"{100 * right.interval.low:.0f}–{100 * right.interval.high:.0f}"  # noqa: RUF001
        span = span if right.span != "-" else ""
        table.add_row(_plain(labels[k]), *cells, str(total), share, span)
    return table


def _headings(table: Table, first: str, measure: Measure) -> None:
    table.add_column(first)
    table.add_column("value", justify="right")
    table.add_column(f"{100 * measure.interval.confidence:g} % interval")


def _of(n_patients: int | None) -> str:
    return "" if n_patients is None else f" of {n_patients} patients"


def how_resampled(n_patients: int | None) -> str:
    """Say how the intervals of a report were made; `n_patients` is ``None`` if unknown."""
    return f"{TOO_NARROW}: patients unknown" if n_patients is None else "by patient"


def percent(measure: Measure | None, digits: int = 0) -> str:
    """Return a share and its interval in percent, with `digits` after the point."""
    wide = digits + 3 + (digits > 0)
    if measure is None or np.isnan(measure.value):
        return "-".rjust(wide)
    low, high = 100 * measure.interval.low, 100 * measure.interval.high
    span = "" if measure.span == "-" else f"  {low:.{digits}f}–{high:.{digits}f}"  # noqa: RUF001
    return f"{100 * measure.value:{wide}.{digits}f} %{span}"


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def coverage_table(report: CoverageReport) -> Table:
    """Return coverage and size of sets of grades."""
    table = new_table(
        f"Sets of grades: {report.n_images} images{_of(report.n_patients)}",
        caption=f"Intervals are {how_resampled(report.n_patients)}. Coverage is what was found on "
        "these images; on others it is guaranteed only if they come from the population of the "
        "training images.",
    )
    _headings(table, "finding", report.coverage)
    rows = [("coverage", report.coverage)]
    rows += [(f"  of grade {k}", measure) for k, measure in enumerate(report.by_grade)]
    rows += [("grades in a set", report.size), ("left to a human: several", report.deferred)]
    if report.undecided is not None:
        rows.append(("left to a human: referral open", report.undecided))
    for name, measure in rows:
        table.add_row(name, f"{measure.value:.3f}", measure.span)
    return table


def adaptation_table(found: Adaptation) -> Group:
    """Return scores and cutpoints before and after adapting."""
    from rich.console import Group

    scores = new_table(
        f"Adapted on {found.n_images} images{_of(found.n_patients)}",
        caption=f"After: each patient's images are cut by thresholds that the others have set, in "
        f"{found.n_folds} folds. Intervals are {how_resampled(found.n_patients)}.",
    )
    first = found.changes["qwk"].before
    assert first is not None
    _headings(scores, "score", first)
    for name, change in found.changes.items():
        scores.add_row(f"[bold]{LABELS.get(name, name)}[/bold]")
        for what, measure in vars(change).items():
            if measure is None:
                scores.add_row(f"  {what}", "-", "")
            else:
                sign = "+" if what == "difference" else ""
                scores.add_row(f"  {what}", f"{measure.value:{sign}.3f}", measure.span)
    before, after = found.cutpoints
    cuts = new_table("Cutpoints of the severity")
    cuts.add_column("from grade")
    cuts.add_column("before", justify="right")
    cuts.add_column("after", justify="right")
    for k, name in enumerate(grade_labels(found.class_names)[1:]):
        was = "none" if before is None else f"{before[k]:.3f}"
        cuts.add_row(_plain(name), was, f"{after[k]:.3f}")
    return Group(scores, cuts, *(_plain(note) for note in found.notes))


def comparison_table(found: Comparison) -> Table:
    """Return the scores of two models and their paired differences."""
    a, b = map(_plain, found.names)
    table = new_table(
        f"{a} and {b}: the same {found.n_images} images{_of(found.n_patients)}",
        caption=f"Paired differences; intervals, 95 %, are {how_resampled(found.n_patients)}. They "
        "leave out the variance of training again.",
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("score", no_wrap=True)
    for heading in (a, b, "difference"):
        table.add_column(heading, justify="right")
    table.add_column("", no_wrap=True)
    for name, pair in found.differences.items():
        change = pair.difference
        span = "-"
        if np.isfinite(change.interval.low):
            span = f"{change.interval.low:+.3f} to {change.interval.high:+.3f}"
        values = (f"{pair.a:.3f}", f"{pair.b:.3f}", f"{change.value:+.3f}")
        table.add_row(LABELS.get(name, name), *values, span)
    return table


def stress_table(report: StressReport, title: str) -> Table:
    """Return kappa, referral and movement of unchanged and of changed photographs."""
    notes = "".join(f" Note: {note}." for note in report.notes)
    referable = ""
    if report.referable is not None:
        referable = f" Sens. and spec.: of predicted grades from {report.referable} up."
    table = new_table(
        f"{title}: {report.n_images} images{_of(report.n_patients)}",
        caption=f"Intervals, 95 %, are {how_resampled(report.n_patients)}.{referable} Moved: root "
        f"mean square of the change of severity, in grades. Mean: over the kinds.{notes}",
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("kind", no_wrap=True)
    for heading in ("QWK", "", "change", "", "sens.", "spec.", "moved"):
        table.add_column(heading, justify="right", no_wrap=True)
    for score in (report.unchanged, *report.scores, *report.means.values()):
        if score.kind == "mean" and score.strength == min(report.means):
            table.add_section()
        found = score.measures
        table.add_row(
            f"{score.kind} {score.strength}" if score.strength else score.kind,
            _short(found.get("qwk")),
            _short_span(found.get("qwk")),
            _short(found.get("qwk_change")),
            _short_span(found.get("qwk_change")),
            _short(found.get("sensitivity")),
            _short(found.get("specificity")),
            _short(found.get("severity_change_rms")),
        )
        if not score.strength:
            table.add_section()
    return table


def _short(measure: Measure | None) -> str:
    return "" if measure is None else f"{measure.value:.2f}"


def _short_span(measure: Measure | None) -> str:
    if measure is None or measure.span == "-":
        return ""
    return f"{measure.interval.low:.2f} to {measure.interval.high:.2f}"
