"""The audit of a run's photographs, in its report: as recorded, or from what the run has kept."""

from __future__ import annotations

import shlex
from typing import Any

import pandas as pd

from fundus.audit.lists import ODD
from fundus.audit.report import ISSUES
from fundus.audit.trained import LOOKED_AT, audit_of_training
from fundus.documents.blocks import Block, Command, Table, Text
from fundus.documents.numbers import many, number
from fundus.documents.photographs import pictures
from fundus.exceptions import BundleError
from fundus.reporting.record import RunRecord

#: Most rows of a table.
FIRST = 12
#: What an audit must look at to find an issue; a loader finds the others.
_FOUND_BY = {
    "duplicate": "copies",
    "conflicting_labels": "copies",
    "near_duplicate": "near_duplicates",
    "label_suspect": "labels",
    **dict.fromkeys(ODD, "quality"),
}
_FILES = {"suspects": ("file", "issues"), "pairs": ("file", "other_file", "what")}


def audit_blocks(record: RunRecord, names: list[str]) -> list[Block]:
    """What an audit of the training photographs found, or why there is none.

    Parameters
    ----------
    record : RunRecord
    names : list of str
        Of the grades.
    """
    found = record.metrics.get("audit")
    if found and "why" in found:
        text = f"The photographs could not be audited when the run was made: {found['why']}"
        return [Text(text, strong=True), *_command(record)]
    if found:
        damaged: list[Block] = []
        tables = {which: _recorded(record, which, damaged) for which in _FILES}
        blocks = _blocks(record, names, found, tables["suspects"], tables["pairs"])
        return [*blocks, *damaged, *_gone(record)]
    try:
        audit = _from_predictions(record)
    except BundleError as error:
        text = f"The run has no audit of its photographs, and none can be made of it: {error}"
        return [Text(text), *_command(record)]
    suspects = audit.suspects().rename(columns={"path": "file"})
    pairs = audit.alike().rename(columns={"path": "file", "other_path": "other_file"})
    fold = record.predictions["fold"].to_numpy()
    suspects["fold"] = fold[suspects["row"].to_numpy(int)]
    for side in ("", "other_"):
        pairs[f"{side}fold"] = fold[pairs[f"{side}row"].to_numpy(int)]
    counted = {
        **audit.to_dict(),
        "looked_at": ["copies", *(["labels"] if record.proba is not None else [])],
        "n_pairs": len(pairs),
        "n_pairs_apart": int((pairs["fold"] != pairs["other_fold"]).sum()),
    }
    return _blocks(record, names, counted, suspects, pairs)


def _from_predictions(record: RunRecord) -> Any:
    """An audit from digests and predictions, which every run keeps."""
    predictions = record.predictions
    return audit_of_training(
        predictions["file"].tolist(),
        predictions["target"].to_numpy(),
        record.patients,
        record.digests,
        predictions["fold"].to_numpy(),
        proba=record.proba,
        severity=record.severity,
    )


def _recorded(record: RunRecord, which: str, damaged: list[Block]) -> pd.DataFrame | None:
    """A list of the audit; nothing where it was empty, and so not written, or cannot be read."""
    name = f"{which}.csv"
    if name not in record.metrics["files"]:
        return None
    try:
        return record.table(name, text=_FILES[which])
    except BundleError as error:
        damaged.append(Text(str(error)))
        return None


def _gone(record: RunRecord) -> list[Block]:
    names = [f"{which}.csv" for which in _FILES]
    known = [name for name in names if name in record.metrics["files"]]
    return [
        Text(f"The table {name} is not in the run any more.")
        for name in known
        if not (record.path / name).is_file()
    ]


def _blocks(
    record: RunRecord,
    names: list[str],
    found: dict[str, Any],
    suspects: pd.DataFrame | None,
    pairs: pd.DataFrame | None,
) -> list[Block]:
    looked_at, issues = found["looked_at"], found["issues"]
    words = ", ".join(LOOKED_AT[one] for one in looked_at)
    rows = [
        (issue.replace("_", " "), str(issues[issue]), meaning)
        for issue, meaning in ISSUES.items()
        if (issues[issue] or _FOUND_BY.get(issue) in looked_at)
    ]
    blocks: list[Block] = [
        Text(f"An audit looked at {words}. It says where to look, not what is wrong."),
        Table("What the audit found", ("issue", "photographs", "what it means"), rows),
    ]
    apart = found["n_pairs_apart"]
    if apart:
        pair, was = ("pair", "was") if apart == 1 else ("pairs", "were")
        blocks.append(
            Text(f"{apart} {pair} of copies or near duplicates {was} in two folds: a model was "
                 "scored on a photograph of which it had learned another of the same eye, which "
                 "makes scores too good. Give both one patient, and train again.", strong=True)
        )  # fmt: skip
    blocks += pictures(record, "pairs")
    if pairs is not None and len(pairs):
        blocks.append(_pairs(pairs, names))
    blocks += pictures(record, "suspects")
    if suspects is not None:
        blocks += _suspects(suspects, names)
    missing = [LOOKED_AT[one] for one in LOOKED_AT if one not in looked_at]
    if missing:
        blocks.append(Text(f"Not looked at: {', '.join(missing)}. This command does:"))
        blocks += _command(record)
    return blocks


def _pairs(pairs: pd.DataFrame, names: list[str]) -> Table:
    rows = []
    for _, one in pairs.head(FIRST).iterrows():
        grades = list(dict.fromkeys(_grade(one[k], names) for k in ("grade", "other_grade")))
        rows.append(
            (
                one["file"], one["other_file"], one["what"], number(float(one["correlation"])),
                " / ".join(grades), f"{one['fold']} and {one['other_fold']}",
            )
        )  # fmt: skip
    header = ("photograph", "other photograph", "what", "alike", "true grades", "folds")
    more = f"The first {FIRST} of {len(pairs)}; all are in pairs.csv. " * (len(pairs) > FIRST)
    note = "Alike: the correlation of the fine structure, 1 for copies; different eyes reach 0.5."
    return Table("Copies and near duplicates", header, rows, more + note)


def _suspects(suspects: pd.DataFrame, names: list[str]) -> list[Block]:
    labels = suspects[suspects["kind"] == "label"]
    odd = suspects[suspects["kind"] == "picture"]
    blocks: list[Block] = []
    if len(labels):
        rows = [
            (one["file"], _grade(one["grade"], names), _grade(one["likely_grade"], names),
             number(float(one["self_confidence"]), 3), f"fold {one['fold']}")
            for _, one in labels.head(FIRST).iterrows()
        ]  # fmt: skip
        header = ("photograph", "label", "likelier grade", "confidence", "tested in")
        note = (
            "Confidence: the out-of-fold probability of the label. Up to a tenth of all labels is "
            "listed, those with the least, if another grade is likelier; the better the model, the "
            "more the list says."
        )
        blocks.append(Table(_first("doubtful label", len(labels)), header, rows, note))
    if len(odd):
        pictured = [
            (one["file"], _issues(one["issues"]), number(float(one["brightness"]), 0),
             number(float(one["sharpness"]), 1))
            for _, one in odd.head(FIRST).iterrows()
        ]  # fmt: skip
        measured = ("photograph", "what is odd", "light, 0 to 255", "sharpness")
        blocks.append(Table(_first("odd picture", len(odd)), measured, pictured))
    return blocks


def _first(what: str, n: int) -> str:
    shown = many(n, what)
    return f"The first {FIRST} of {shown}" if n > FIRST else shown


def _issues(text: str) -> str:
    return ", ".join(issue.replace("_", " ") for issue in text.split(";") if issue in ODD)


def _grade(value: Any, names: list[str]) -> str:
    return "unknown" if pd.isna(value) else names[int(value)]


def _command(record: RunRecord) -> list[Block]:
    """The command that audits the data, with the options that say how to read it."""
    settings = record.metrics["settings"]
    words = ["fundus", "audit", settings["data"]]
    for name in ("image_dir", "path_column", "grade_column", "patient_column", "class_folders"):
        if settings.get(name) is not None:
            words += ["--" + name.replace("_", "-"), str(settings[name])]
    grades = settings.get("grades")
    if grades is not None:
        words += [
            "--grades",
            ",".join(map(str, grades)) if isinstance(grades, list) else str(grades),
        ]
    return [Command(shlex.join(words))]
