"""What an audit has found, in the order in which to look at it."""

from __future__ import annotations

from typing import Any

import pandas as pd

#: Issues of pictures that look otherwise than photographs of eyes do.
ODD = ("no_field_of_view", "dark", "blurred")


def suspects_of(images: pd.DataFrame) -> pd.DataFrame:
    """Order images with a doubtful label or an odd picture; see `Audit.suspects`."""
    issues = images["issues"].str.split(";")
    doubtful = issues.map(lambda found: "label_suspect" in found)
    odd = issues.map(lambda found: not set(ODD).isdisjoint(found)) & ~doubtful
    parts = [
        images[doubtful].sort_values("self_confidence", kind="stable").assign(kind="label"),
        images[odd].sort_values(["brightness", "sharpness"], kind="stable").assign(kind="picture"),
    ]
    columns = ["path", "kind", "grade", "likely_grade", "self_confidence", "severity"]
    columns += ["issues", "fov_share", "brightness", "sharpness"]
    found = pd.concat([part for part in parts if len(part)] or parts[:1])[columns]
    found.insert(0, "row", found.index)
    return found.reset_index(drop=True)


def alike_of(images: pd.DataFrame, pairs: pd.DataFrame, *, patients_known: bool) -> pd.DataFrame:
    """List copies and near duplicates, two by two; see `Audit.alike`."""
    first_of: dict[Any, int] = {}
    for row, path in enumerate(images["path"]):
        first_of.setdefault(path, row)
    copies = images["duplicate_of"].dropna()
    rows: list[dict[str, Any]] = [
        {"row": first_of[path], "other_row": row, "what": "copy", "correlation": 1.0}
        for row, path in zip(copies.index.tolist(), copies, strict=True)
    ]
    for first, second, correlation, mirrored in pairs.itertuples(index=False):
        what = "near duplicate, mirrored" if mirrored else "near duplicate"
        rows.append(
            {
                "row": int(first), "other_row": int(second), "what": what,
                "correlation": float(correlation),
            }
        )  # fmt: skip
    found = pd.DataFrame(rows, columns=["row", "other_row", "what", "correlation"])
    for column in ("path", "grade", "patient"):
        for side, where in (("", "row"), ("other_", "other_row")):
            values = images[column].iloc[found[where].astype(int)]
            found[f"{side}{column}"] = values.reset_index(drop=True)
    differ = found["grade"].notna() & found["other_grade"].notna()
    found["grades_differ"] = differ & (found["grade"] != found["other_grade"]).fillna(False)
    across: Any = pd.NA
    if patients_known:
        across = found["patient"].astype(str) != found["other_patient"].astype(str)
    found["across_patients"] = pd.array(
        across if patients_known else [across] * len(found), "boolean"
    )
    order = found.sort_values(
        ["across_patients", "grades_differ", "correlation"], ascending=False, kind="stable"
    )
    columns = ["row", "other_row", "path", "other_path", "what", "correlation", "grade"]
    columns += ["other_grade", "patient", "other_patient", "grades_differ", "across_patients"]
    return order[columns].reset_index(drop=True)
