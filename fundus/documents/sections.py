"""The sections of a run's report, from what the run has written."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fundus.documents.blocks import Block, Command, Document, Picture, Points, Section, Table, Text
from fundus.documents.numbers import many, number, percent, share_with_span, span, with_span
from fundus.documents.words import about_shortcuts, limits, of_patients, summary
from fundus.grades.icdr import grade_labels
from fundus.reporting.record import RunRecord
from fundus.reporting.tables import LABELS

#: Pictures that a page can show; figures of another format are named.
_SHOWN = (".png", ".svg")

#: What each figure shows, for who does not see it; numbers stand in the tables beside.
_ALT = {
    "confusion": "Matrix of true by predicted grades, with counts and shares of each true grade.",
    "severity": "Dots of predicted severities above each true grade, with quartiles and medians.",
    "reliability": "Share of photographs with disease by its predicted probability.",
    "roc": "ROC curves with operating points; their numbers stand in the table.",
    "shortcuts": "What the severity follows within a grade; the numbers stand in the table.",
    "stress": "Kappa of changed photographs; the numbers stand in the table.",
    "errors": "Contact sheet of the largest errors; names and grades stand in the table.",
    "uncertain": "Contact sheet of the least certain photographs; names stand in the table.",
}
_FIRST = 16


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
        Section("data", "Data", _data(record, names)),
        Section("grading", "Grading", _grading(record, names)),
        Section("folds", "Folds", _folds(record)),
    ]
    if screening:
        sections.append(Section("screening", "Screening", _screening(record, screening)))
    sections.append(Section("calibration", "Calibration", _calibration(record)))
    sections.append(Section("errors", "Errors and uncertain photographs", _errors(record, names)))
    if found.get("shortcuts"):
        sections.append(Section("shortcuts", "Shortcuts", _shortcuts(record, found["shortcuts"])))
    if record.metrics.get("stress"):
        sections.append(Section("stress", "Changed photographs", _stress(record)))
    if record.metrics.get("validation"):
        sections.append(Section("validation", "Other photographs", _validation(record)))
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


def _pictures(record: RunRecord, *stems: str) -> list[Block]:
    """The figures of a run that a page can show, in the order of `stems`."""
    blocks: list[Block] = []
    for stem in stems:
        for name, about in record.metrics["files"].items():
            file = record.path / name
            if Path(name).stem != stem or file.suffix not in (*_SHOWN, ".pdf"):
                continue
            if file.suffix not in _SHOWN:
                blocks.append(Text(f"The figure is in {name}, which a page cannot show: {about}."))
            elif file.is_file():
                blocks.append(Picture(file, about[0].upper() + about[1:] + ".", _ALT[stem]))
            else:
                blocks.append(Text(f"The figure {name} is not in the run any more: {about}."))
    return blocks


def _data(record: RunRecord, names: list[str]) -> list[Block]:
    data = record.metrics["data"]
    total = sum(data["n_true"])
    rows = [
        (name, f"{n:,}", percent(n / total)) for name, n in zip(names, data["n_true"], strict=True)
    ]
    blocks: list[Block] = [
        Table("Photographs by true grade", ("grade", "photographs", "share"), rows)
    ]
    if data["n_patients"] is None:
        blocks.append(
            Text(
                "Patients are unknown. Photographs of one patient may lie on both sides of a "
                "split, which makes scores too good, and intervals are too narrow.",
                strong=True,
            )
        )
    rare = [name for name, n in zip(names, data["n_true"], strict=True) if n < 30]
    if rare:
        grades = "grade" if len(rare) == 1 else "grades"
        blocks.append(
            Text(f"Fewer than 30 photographs have the {grades} {', '.join(rare)}: what is said of "
                 "them rests on few.")
        )  # fmt: skip
    aside = data["n_skipped"]
    if aside:
        blocks.append(Text(f"{many(aside, 'file')} could not be used and stand in skipped.csv."))
    called = data["n_called_ungradable"]
    if called:
        blocks.append(Text(f"{many(called, 'photograph')} called ungradable by graders are left "
                           "out of the grading; screening counts them."))  # fmt: skip
    gone = moved(record)
    if gone:
        blocks.append(
            Text(f"{many(len(gone), 'photograph')} cannot be found any more, such as {gone[0]}; "
                 "the scores were made when they could.")
        )  # fmt: skip
    return blocks


def moved(record: RunRecord) -> list[str]:
    """Names of the training photographs that are not where they were."""
    settings = record.metrics["settings"]
    data = Path(settings["data"])
    folder = Path(settings.get("image_dir") or (data if data.is_dir() else data.parent))
    names = record.predictions["file_name"].tolist()
    return [name for name in names if not ((folder / name).is_file() or Path(name).is_file())]


def _grading(record: RunRecord, names: list[str]) -> list[Block]:
    found = record.metrics["out_of_fold"]
    rows = [
        (LABELS[name], number(found[name], 3), span(ends, 3))
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
        *_pictures(record, "confusion"),
        Table("Photographs by true grade (rows) and predicted grade (columns)", header, cells),
        Table("How often each grade is found", ("grade", "photographs", "found"), by_grade),
        *_pictures(record, "severity"),
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
    referable = screening["referable"]
    by = "grade 2 or worse" + (", or macular oedema" if screening["with_dme"] else "")
    header = ("disease", "chosen for", "severity", "sensitivity", "specificity")
    chosen = (
        "The thresholds were chosen on these photographs; the intervals take that into account. "
        "On others, choose them anew, or measure what they give."
    )
    return [
        Text(f"Referable means {by}: {referable['n_positive']} photographs have it and "
             f"{referable['n_negative']} do not. The AUC is "
             f"{with_span(referable['auc']['value'], referable['auc'], 3)}."),
        Table("Operating points", header, rows, chosen),
        *_pictures(record, "roc"),
    ]  # fmt: skip


def _calibration(record: RunRecord) -> list[Block]:
    found = record.metrics["out_of_fold"]
    if "expected_calibration_error" not in found:
        return [Text("The model gives no probabilities.")]
    error = with_span(
        found["expected_calibration_error"], found["intervals"]["expected_calibration_error"], 3
    )
    text = (
        f"The expected calibration error is {error}: by so much the probability of the predicted "
        "grade differs from how often it is right, on average."
    )
    return [Text(text), *_pictures(record, "reliability")]


def _errors(record: RunRecord, names: list[str]) -> list[Block]:
    found = record.predictions
    away = (found["grade"] - found["target"]).abs()
    by = [away]
    if record.severity is not None:
        by.append(pd.Series(np.abs(record.severity - found["target"].to_numpy())))
    order = np.lexsort([-np.asarray(part) for part in reversed(by)])
    rows = []
    for row in order[:_FIRST]:
        if away[row] == 0:
            break
        one = found.iloc[row]
        severity = "" if record.severity is None else number(float(one["severity"]))
        rows.append(
            (
                one["file_name"], names[one["target"]], names[one["grade"]], severity,
                f"fold {one['fold']}",
            )
        )  # fmt: skip
    header = ("photograph", "true grade", "predicted grade", "severity", "tested in")
    far = int((away >= 2).sum())
    text = f"{many(far, 'photograph')} of {len(found):,} are two grades off or more."
    blocks: list[Block] = [Text(text), *_pictures(record, "errors")]
    if rows:
        blocks.append(Table(f"The {len(rows)} largest errors", header, rows))
    return [*blocks, *_pictures(record, "uncertain"), *_uncertain(record, names)]


def _uncertain(record: RunRecord, names: list[str]) -> list[Block]:
    """The photographs of whose grades the models are least certain, if the run has their table."""
    file = record.path / "uncertain.csv"
    if file.name not in record.metrics["files"] or not file.is_file():
        return []
    found = pd.read_csv(file, dtype={"file": str}, keep_default_na=False).head(_FIRST)
    rows = [
        (one["file"], names[int(one["target"])], names[int(one["prediction"])],
         number(float(one["margin"]), 3), f"fold {one['fold']}")
        for _, one in found.iterrows()
    ]  # fmt: skip
    note = (
        "Margin: the distance of the severity from the nearest boundary of grades; of a model that "
        "predicts the most probable grade, its probability less that of the second."
    )
    header = ("photograph", "true grade", "predicted grade", "margin", "tested in")
    return [Table(f"The {len(rows)} least certain photographs", header, rows, note)]


def _shortcuts(record: RunRecord, found: dict[str, Any]) -> list[Block]:
    rows = [
        (name.replace("_", " "), one["kind"], with_span(one["pooled"]["value"], one["pooled"]))
        for name, one in found["shortcuts"].items()
    ]
    header = ("how it was taken", "measured by", "value (95 % interval)")
    return [
        Text(about_shortcuts(found["strong"]), strong=bool(found["strong"])),
        Table("What the severity follows among photographs of one grade", header, rows),
        *_pictures(record, "shortcuts"),
    ]


def _stress(record: RunRecord) -> list[Block]:
    found = record.metrics["stress"]
    rows = [
        (f"{one['kind']} {one['strength']}" if one["strength"] else one["kind"],
         with_span(one["qwk"]["value"], one["qwk"]))
        for one in found["scores"]
    ]  # fmt: skip
    header = ("change", "kappa (95 % interval)")
    return [Table("Kappa of changed photographs, out of fold", header, rows),
            *_pictures(record, "stress")]  # fmt: skip


def _validation(record: RunRecord) -> list[Block]:
    found = record.metrics["validation"]
    kappa = with_span(found["qwk"], found["intervals"]["qwk"], 3)
    seen = found.get("training_images")
    blocks: list[Block] = [
        Text(f"On {many(found['n_images'], 'other photograph')} the averaged folds have kappa "
             f"{kappa}.")
    ]  # fmt: skip
    if seen:
        blocks.append(Text(f"{seen} of them were trained on: the score is too good.", strong=True))
    return blocks


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
        if name in ("data", "cache_dir") or value is None:
            continue
        if isinstance(value, bool):
            words.append(option if value else option.replace("--", "--no-", 1))
        else:
            words += [option, _in_words(value)]
    return shlex.join(words)
