"""What a contact sheet of an audit shows, and what is written below its photographs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from fundus.data.inputs import as_images
from fundus.exceptions import DataError
from fundus.parameters import invalid
from fundus.reporting.displays.sheet_contents import Contents
from fundus.reporting.displays.thumbnails import thumbnails
from fundus.runtime.figures import COLOURS

if TYPE_CHECKING:
    from fundus.audit.report import Audit

#: What a sheet of an audit may show.
SHOWN = ("suspects", "pairs")
#: Issues in words, where their names will not do.
_WORDS = {
    "no_field_of_view": "no field of view",
    "near_duplicate": "near duplicate",
    "conflicting_labels": "another grade on a duplicate",
    "duplicate": "copy",
}
#: Issues that the first line of a caption tells.
_TOLD = ("label_suspect", "no_field_of_view", "dark", "blurred")


def contents_of_audit(
    audit: Audit, images: Any, *, which: str, n: int, title: str | None
) -> Contents:
    """Read what `ContactSheetDisplay.from_audit` draws; parameters are as there."""
    if which not in SHOWN:
        expected = f"one of {', '.join(map(repr, SHOWN))}"
        raise invalid("ContactSheetDisplay.from_audit", "which", expected, which)
    read = as_images(images)
    if len(read) > len(audit.images):
        raise DataError(
            f"The audit is one of {len(audit.images)} images, and {len(read)} are given for its "
            "contact sheet: give those that were audited, in their order."
        )
    if which == "pairs":
        return _pairs(audit.alike(), read, n, title)
    return _suspects(audit.suspects(), read, n, title)


def _suspects(table: pd.DataFrame, images: Any, n: int, title: str | None) -> Contents:
    drawn = table.groupby("kind", sort=False).head(n).reset_index(drop=True)
    counts = table["kind"].value_counts()
    if title is None:
        labels, pictures = counts.get("label", 0), counts.get("picture", 0)
        title = _title(_count(labels, "doubtful label", n), _count(pictures, "odd picture", n))
    rows = drawn.to_dict("records")
    return Contents(
        list(thumbnails(images, drawn["row"].tolist())),
        [_caption(row) for row in rows],
        title,
        "Where to look, not what is wrong. Confidence: the out-of-fold probability of the label.",
        [COLOURS[1] if row["kind"] == "label" else COLOURS[0] for row in rows],
        drawn,
    )


def _caption(row: dict[Any, Any]) -> str:
    issues = [name for name in row["issues"].split(";") if name]
    more = [_WORDS.get(name, name) for name in issues if name not in _TOLD]
    odd = [_WORDS.get(name, name) for name in issues if name in _TOLD[1:]]
    if row["kind"] == "label":
        head = f"label {row['grade']}, likely {row['likely_grade']}"
        told = [f"confidence {row['self_confidence']:.2f}", *odd, *more]
    else:
        head = ", ".join(odd)
        told = [f"light {row['brightness']:.0f}, sharpness {row['sharpness']:.1f}", *more]
    return f"{head}\n{', '.join(told)}\n{row['path']}"


def _pairs(table: pd.DataFrame, images: Any, n: int, title: str | None) -> Contents:
    drawn = table.head(n)
    rows = drawn.to_dict("records")
    both = thumbnails(images, [row[side] for row in rows for side in ("row", "other_row")])
    if title is None:
        what = "pair of copies or near duplicates"
        title = _title(_count(len(table), what, n, what.replace("pair", "pairs")))
    return Contents(
        [(both[2 * k], both[2 * k + 1]) for k in range(len(rows))],
        [_caption_of_pair(row) for row in rows],
        title,
        "In orange: two patients, or two grades. A split must keep a pair together."
        if rows
        else "",
        [
            COLOURS[1] if row["grades_differ"] or row["across_patients"] is True else "black"
            for row in rows
        ],
        drawn,
        columns=3,
    )


def _caption_of_pair(row: dict[Any, Any]) -> str:
    grades = ""
    if not (pd.isna(row["grade"]) or pd.isna(row["other_grade"])):
        differ = row["grades_differ"]
        grades = (
            f", grades {row['grade']} and {row['other_grade']}"
            if differ
            else f", grade {row['grade']}"
        )
    alike = "" if row["what"] == "copy" else f", correlation {row['correlation']:.2f}"
    if pd.isna(row["across_patients"]):
        who = "patients unknown"
    elif row["across_patients"]:
        who = f"patients {row['patient']} and {row['other_patient']}"
    else:
        who = f"patient {row['patient']}"
    return f"{row['what']}{grades}\n{who}{alike}\n{row['path']}\n{row['other_path']}"


def _title(*parts: str) -> str:
    text = ", ".join(parts)
    return text[0].upper() + text[1:]


def _count(n: int, what: str, drawn: int, several: str = "") -> str:
    if not n:
        return f"no {what}"
    words = what if n == 1 else several or f"{what}s"
    return f"{n} {words}" if n <= drawn else f"the first {drawn} of {n} {words}"
