"""The sections of a run's report, from what the run has written."""

from __future__ import annotations

import shlex
from typing import Any

import numpy as np

from fundus.documents.added import added_sections
from fundus.documents.audited import audit_blocks
from fundus.documents.blocks import Block, Command, Document, Points, Section, Table, Text
from fundus.documents.numbers import many, number, percent, share_with_span, span, with_span
from fundus.documents.photographs import (
    data_section,
    errors_section,
    pictures,
    validation_errors,
)
from fundus.documents.words import about_shortcuts, limits, of_patients, summary
from fundus.grades.icdr import grade_labels
from fundus.reporting.record import RunRecord
from fundus.reporting.tables import label_of


def report_document(record: RunRecord, *, versions: dict[str, str]) -> Document:
    """Return the report of a run.

    Parameters
    ----------
    record : RunRecord
    versions : dict of str to str
        Releases of the libraries, by name.
    """
    found, names = record.metrics["out_of_fold"], grade_labels(record.class_names)
    title, cards = f"Grading report: {record.name}", []
    cards.append(
        ("quadratic weighted kappa", number(found["qwk"]), _interval(found["intervals"]["qwk"]))
    )
    for name, what in (
        ("accuracy", "grades that are right"),
        ("adjacent_accuracy", "at most one grade off"),
    ):
        cards.append((what, percent(found[name]), _shares(found["intervals"][name])))
    screening = found.get("screening")
    if screening:
        auc = screening["referable"]["auc"]
        cards.append(("AUC, referable", number(auc["value"]), _interval(auc)))
    sections = [
        Section("summary", "Summary", summary(record)),
        Section(
            "data",
            "Data and its audit",
            [*data_section(record, names), *audit_blocks(record, names)],
        ),
        Section("grading", "Grading", _grading(record, names)),
        Section("folds", "Folds", _folds(record)),
    ]
    if screening:
        sections.append(Section("screening", "Screening", _screening(record, screening)))
    sections.append(Section("calibration", "Calibration", _calibration(record)))
    sections.append(
        Section("errors", "Errors and uncertain photographs", errors_section(record, names))
    )
    if found.get("shortcuts"):
        sections.append(Section("shortcuts", "Shortcuts", _shortcuts(record, found["shortcuts"])))
    if record.metrics.get("stress"):
        sections.append(Section("stress", "Changed photographs", _stress(record)))
    if record.metrics.get("validation"):
        sections.append(Section("validation", "Other photographs", _validation(record, names)))
    if record.metrics.get("sites"):
        sections.append(Section("sites", "Sites", _sites(record)))
    sections += added_sections(record)
    sections.append(Section("plan", "How it was trained", _plan(record, versions)))
    sections.append(Section("limits", "Limits", [Points(limits(record))]))
    n = record.metrics["data"]["n_images"]
    subtitle = f"{many(n, 'photograph')}{of_patients(record.metrics['data'])}, scored out of fold"
    return Document(title, subtitle, cards, sections)


def _interval(measure: dict[str, Any]) -> str:
    ends = span(measure)
    return f"95 % interval {ends}" if ends else ""


def _shares(measure: dict[str, Any]) -> str:
    if measure.get("low") is None:
        return ""
    return f"95 % interval {100 * measure['low']:.0f} to {percent(measure['high'])}"


def _grading(record: RunRecord, names: list[str]) -> list[Block]:
    found = record.metrics["out_of_fold"]
    rows = [
        (label_of(name), number(found[name], 3), span(ends, 3))
        for name, ends in found["intervals"].items()
    ]
    how = "by patient" if found["intervals"]["qwk"]["by_patient"] else "by photograph"
    matrix = np.array(found["confusion"])
    header = ("true grade", *names)
    cells = [(name, *map(str, row)) for name, row in zip(names, matrix.tolist(), strict=True)]
    by_grade = [
        (name, str(n), share_with_span(measure))
        for name, n, measure in zip(
            names, found["n_true"], found["sensitivity_by_grade"], strict=True
        )
    ]
    return [
        Table("Scores", ("score", "value", "95 % interval"), rows, f"Intervals are {how}."),
        *pictures(record, "confusion"),
        Table("Photographs by true grade (rows) and predicted grade (columns)", header, cells),
        Table("How often each grade is found", ("grade", "photographs", "found"), by_grade),
        *pictures(record, "severity"),
    ]


def _folds(record: RunRecord) -> list[Block]:
    rows = [
        (f"fold {fold['fold']}", str(fold["n_images"]), number(fold["qwk"], 3))
        for fold in record.metrics["folds"]
    ]
    header = ("fold", "tested on", "kappa")
    return [Table("Scores of each fold's model on photographs that it did not see", header, rows)]


def _screening(record: RunRecord, screening: dict[str, Any]) -> list[Block]:
    rows = []
    for name, condition in screening.items():
        if not isinstance(condition, dict) or "operating_points" not in condition:
            continue
        for point in condition["operating_points"]:
            rows.append(
                (
                    name,
                    f"{point['wanted']} {point['goal']:g}",
                    f"≥ {number(point['threshold'])}",
                    share_with_span(point["sensitivity"]),
                    share_with_span(point["specificity"]),
                )
            )
    referable, called = screening["referable"], screening.get("n_called_ungradable", 0)
    by = "grade 2 or worse" + (", or macular oedema" if screening["with_dme"] else "")
    by += f", or called ungradable by graders ({called})" if called else ""
    failed = screening.get("n_ungradable", 0)
    parts = [part for part in screening.values() if isinstance(part, dict)]
    notes = [note for part in parts for note in part.get("notes", ())]
    lost = f" {many(failed, 'photograph')} that could not be graded count as referred."
    header = ("disease", "chosen for", "severity", "sensitivity", "specificity")
    chosen = (
        "The thresholds were chosen on these photographs; the intervals take that into account. "
        "On others, choose them anew, or measure what they give."
    )
    return [
        Text(f"Referable means {by}: {referable['n_positive']} photographs have it and "
             f"{referable['n_negative']} do not. The AUC is "
             f"{with_span(referable['auc']['value'], referable['auc'], 3)}."
             + lost * bool(failed)),
        Table("Operating points", header, rows, chosen),
        *([Points(notes)] if notes else []),
        *pictures(record, "roc"),
    ]  # fmt: skip


def _calibration(record: RunRecord) -> list[Block]:
    found = record.metrics["out_of_fold"]
    if "expected_calibration_error" not in found:
        return [Text("The model gives no probabilities.")]
    error = with_span(
        found["expected_calibration_error"], found["intervals"]["expected_calibration_error"], 3
    )
    text = (
        f"The expected calibration error is {error}: by so much the probability of the most "
        "probable grade differs from how often that grade is right, on average. A model with "
        "cutpoints may predict another grade than the most probable one."
    )
    return [Text(text), *pictures(record, "reliability")]


def _shortcuts(record: RunRecord, found: dict[str, Any]) -> list[Block]:
    rows = [
        (name.replace("_", " "), one["kind"], with_span(one["pooled"]["value"], one["pooled"]))
        for name, one in found["shortcuts"].items()
    ]
    header = ("how it was taken", "measured by", "value (95 % interval)")
    return [
        Text(about_shortcuts(found["strong"]), strong=bool(found["strong"])),
        Table("What the severity follows among photographs of one grade", header, rows),
        *pictures(record, "shortcuts"),
    ]


def _stress(record: RunRecord) -> list[Block]:
    found = record.metrics["stress"]
    named = [("unchanged", found["unchanged"])]
    for kind, by_strength in found["changed"].items():
        named += [(f"{kind} {strength}", one) for strength, one in by_strength.items()]
    rows = [(name, with_span(one["qwk"]["value"], one["qwk"])) for name, one in named]
    header = ("change", "kappa (95 % interval)")
    return [Table("Kappa of changed photographs, out of fold", header, rows),
            *pictures(record, "stress")]  # fmt: skip


def _validation(record: RunRecord, names: list[str]) -> list[Block]:
    found = record.metrics["validation"]
    kappa = with_span(found["qwk"], found["intervals"]["qwk"], 3)
    seen = found.get("training_images")
    blocks: list[Block] = [
        Text(f"On {many(found['n_images'], 'other photograph')} the averaged folds have kappa "
             f"{kappa}.")
    ]  # fmt: skip
    if seen:
        blocks.append(Text(f"{seen} of them were trained on: the score is too good.", strong=True))
    rows = [
        (label_of(name), number(found[name], 3), span(ends, 3))
        for name, ends in found["intervals"].items()
    ]
    blocks.append(Table("Scores", ("score", "value", "95 % interval"), rows))
    return [*blocks, *validation_errors(record, names)]


def _sites(record: RunRecord) -> list[Block]:
    found = record.metrics["sites"]
    rows = [
        (str(group["group"] or "no value"), str(group["n_images"]), str(group.get("n_trained", "")),
         with_span(group["qwk"]["value"], group["qwk"]))
        for group in found["groups"]
        if "qwk" in group
    ]  # fmt: skip
    header = (str(found["column"]), "photographs", "trained on", "kappa (95 % interval)")
    return [Table("Each site, scored by a model that was trained without it", header, rows)]


def _plan(record: RunRecord, versions: dict[str, str]) -> list[Block]:
    settings = record.metrics["settings"]
    rows = [
        (name.replace("_", " "), _in_words(value))
        for name, value in settings.items()
        if value is not None and name not in ("out", "cache_dir")
    ]
    seconds = record.metrics.get("seconds")
    took = f"The training took {seconds:.0f} s." if seconds is not None else ""
    releases = list(versions.items())
    return [
        Text(took),
        Table("Settings", ("setting", "value"), rows),
        Text("This command repeats it:"),
        Command(command_of(settings)),
        Table("Releases that wrote this report", ("library", "release"), releases),
        Text(f"The run was written by fundus-zoo {record.metrics.get('fundus', 'unknown')}."),
    ]


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def command_of(settings: dict[str, Any]) -> str:
    """Return the command that repeats a training.

    Every setting is named, so that it holds where defaults change.

    Examples
    --------
    >>> command_of({"data": "a b.csv", "recipe": "fast", "cutpoints": False, "folds": 5})
    "fundus train 'a b.csv' --recipe fast --no-cutpoints --folds 5"
    """
    words = ["fundus", "train", settings["data"]]
    for name, value in settings.items():
        option = "--" + name.replace("_", "-")
        if name in ("data", "out", "cache_dir") or value is None:
            continue
        if isinstance(value, bool):
            words.append(option if value else option.replace("--", "--no-", 1))
        else:
            words += [option, _in_words(value).replace(", ", ",")]
    return shlex.join(words)
