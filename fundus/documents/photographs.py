"""The sections of a run's report that are about its photographs; and the pictures of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fundus.documents.blocks import Block, Picture, Table, Text
from fundus.documents.numbers import many, number, percent
from fundus.reporting.ranking import worst_first
from fundus.reporting.record import RunRecord

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
    "suspects": "Contact sheet of doubtful labels and odd pictures; names stand in the tables.",
    "pairs": "Copies and near duplicates side by side; names and grades stand in the table.",
}
#: Figures of photographs.
_SHEETS = ("errors", "uncertain", "suspects", "pairs")
_FIRST = 16


def pictures(record: RunRecord, *stems: str) -> list[Block]:
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
                what = stem.removeprefix("validation-")
                caption = about[0].upper() + about[1:] + "."
                blocks.append(Picture(file, caption, _ALT[what], wide=what in _SHEETS))
            else:
                blocks.append(Text(f"The figure {name} is not in the run any more: {about}."))
    return blocks


def data_section(record: RunRecord, names: list[str]) -> list[Block]:
    """How many photographs there are of each grade, and what was left out."""
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
    called = data.get("n_called_ungradable", 0)
    aside = data["n_skipped"] - called
    if aside > 0:
        blocks.append(Text(f"{many(aside, 'file')} could not be used and stand in skipped.csv."))
    if called:
        counts = "; screening counts them" * bool(record.metrics["out_of_fold"].get("screening"))
        blocks.append(Text(f"{many(called, 'photograph')} called ungradable by graders are left "
                           f"out of the grading{counts}."))  # fmt: skip
    place = record.metrics["settings"]["data"]
    if not Path(place).exists():
        blocks.append(
            Text(f"The data, {place}, is not found from here, so it was not looked up which "
                 "photographs have moved.")
        )  # fmt: skip
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
    if not data.exists():  # such as a relative name, from another folder
        return []
    folder = Path(settings.get("image_dir") or (data if data.is_dir() else data.parent))
    names = record.predictions["file_name"].tolist()
    return [name for name in names if not ((folder / name).is_file() or Path(name).is_file())]


def errors_section(record: RunRecord, names: list[str]) -> list[Block]:
    """The largest errors and the least certain photographs."""
    found = record.predictions
    target = found["target"].to_numpy()
    away = np.abs(found["grade"].to_numpy() - target)
    severity_away = np.zeros(len(away))
    if record.severity is not None:
        severity_away = np.abs(record.severity - target)
    rows = []
    for row in worst_first(away, severity_away)[:_FIRST]:
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
    blocks: list[Block] = [Text(text), *pictures(record, "errors")]
    if rows:
        blocks.append(Table(f"The {len(rows)} largest errors", header, rows))
    return [*blocks, *pictures(record, "uncertain"), *_uncertain(record, names)]


def _uncertain(record: RunRecord, names: list[str]) -> list[Block]:
    """The photographs of whose grades the models are least certain, if the run has their table."""
    name = "uncertain.csv"
    found = record.table(name) if name in record.metrics["files"] else None
    if found is None:
        return []
    rows = [
        (one["file"], names[int(one["target"])], names[int(one["prediction"])],
         number(float(one["margin"]), 3), f"fold {one['fold']}")
        for _, one in found.head(_FIRST).iterrows()
    ]  # fmt: skip
    note = (
        "Margin: the distance of the severity from the nearest boundary of grades; of a model that "
        "predicts the most probable grade, its probability less that of the second."
    )
    header = ("photograph", "true grade", "predicted grade", "margin", "tested in")
    return [Table(f"The {len(rows)} least certain photographs", header, rows, note)]


def validation_errors(record: RunRecord, names: list[str]) -> list[Block]:
    """The photographs of ``--validation`` that are graded worst, and the least certain ones."""
    blocks = pictures(record, "validation-errors")
    name = "validation-errors.csv"
    found = record.table(name) if name in record.metrics["files"] else None
    if found is not None and len(found):
        numbered = "severity" in found
        rows = [
            (one["file"], names[int(one["target"])], names[int(one["prediction"])],
             number(float(one["severity"])) if numbered else "")
            for _, one in found.head(_FIRST).iterrows()
        ]  # fmt: skip
        header = ("photograph", "true grade", "predicted grade", "severity")
        caption = f"The {len(rows)} largest errors of {many(len(found), 'photograph')} graded wrong"
        blocks.append(Table(caption, header, rows))
    return [*blocks, *pictures(record, "validation-uncertain")]
