"""Contact sheets of an evaluation: which photographs, and what is written below them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fundus.data.inputs import Images, as_images, is_image_data
from fundus.exceptions import DataError
from fundus.explain.squares import overlays_of
from fundus.grades.icdr import are_numbers
from fundus.meta.ensemble import FoldEnsemble
from fundus.reporting.displays.thumbnails import EDGE, Thumbnail, thumbnails
from fundus.reporting.predictions import averaged
from fundus.reporting.ranking import RANKINGS, margin_rule, ranked_images
from fundus.runtime.figure_text import shortened
from fundus.runtime.figures import COLOURS, TEXT

if TYPE_CHECKING:
    from fundus.reporting.evaluated import Evaluation

#: Colours of the first line of a caption.
_TOO_LOW, _TOO_HIGH = COLOURS[1], COLOURS[0]
#: Points that the name of a grade may take in a caption.
_NAME = 72


@dataclass(frozen=True, eq=False)
class Contents:
    """What a `ContactSheetDisplay` draws; its parameters, and the rows of a table."""

    images: list[Any]
    captions: list[str]
    title: str
    note: str
    colours: list[str]
    table: pd.DataFrame
    columns: int = 4


def contents_of_evaluation(
    evaluation: Evaluation,
    images: Any,
    *,
    by: str,
    n: int,
    model: Any,
    title: str | None,
) -> Contents:
    """Read what `ContactSheetDisplay.from_evaluation` draws; parameters are as there."""
    table = ranked_images(evaluation, by)
    read = _photographs(images, len(evaluation.y_true))
    drawn = table.head(n)
    rows = drawn["row"].tolist()
    cells: list[Any] = list(thumbnails(read, rows))
    mapped = model is not None and _add_maps(cells, model, evaluation, read, rows)
    if title is None:
        title = f"{evaluation.title}: {_heading(by, len(drawn), len(table))}"
    return Contents(
        cells,
        captions_of(drawn, evaluation.report.class_names, by=by),
        title,
        _note(evaluation, by, len(drawn), mapped=mapped, asked=model is not None),
        [_colour(row["target"], row["prediction"]) for row in drawn.to_dict("records")],
        drawn,
    )


def _colour(true: int, predicted: int) -> str:
    return _TOO_LOW if predicted < true else _TOO_HIGH if predicted > true else "black"


def _photographs(images: Any, n: int) -> Images:
    if not isinstance(images, Images) and not is_image_data(images):
        raise DataError(
            "A contact sheet needs the photographs that were evaluated: paths, a frame with a "
            f"'path' column, or uint8 RGB arrays. Got {type(images).__name__} of numbers."
        )
    read = as_images(images)
    if len(read) != n:
        raise DataError(
            f"The evaluation is one of {n} images, and {len(read)} are given for its contact "
            "sheet: give those that were evaluated, in their order."
        )
    return read


def _add_maps(
    cells: list[Any], model: Any, evaluation: Evaluation, images: Images, rows: Sequence[int]
) -> bool:
    """Put maps beside photographs, where all of them are exact; tell whether they are."""
    whole, fold = averaged(model), evaluation.fold
    seen = [k for k, cell in enumerate(cells) if not isinstance(cell, str)]
    if not seen:
        return False
    models: list[Any] = [whole] * len(seen)
    if fold is not None:
        if not isinstance(whole, FoldEnsemble):
            raise DataError(
                "Maps out of fold need the FoldEnsemble that was evaluated. Got "
                f"{type(whole).__name__}."
            )
        models = [whole.estimators_[fold[rows[k]]] for k in seen]
    chosen = images.subset(np.array([rows[k] for k in seen], dtype=np.intp))
    overlays = overlays_of(models, chosen, whole.grades_, EDGE)
    if overlays is None:
        return False
    for k, overlay in zip(seen, overlays, strict=True):
        photograph: Thumbnail = cells[k]
        cells[k] = photograph, overlay
    return True


def _heading(by: str, n: int, n_all: int) -> str:
    if by == "errors":
        if not n_all:
            return "no photograph is graded wrong"
        if n < n_all:
            return f"the {n} {RANKINGS[by]} of {n_all}"
        return f"{n} photograph{'s are' if n > 1 else ' is'} graded wrong"
    return f"the {n} least certain of {n_all}"


def _note(evaluation: Evaluation, by: str, n: int, *, mapped: bool, asked: bool) -> str:
    if not n:
        return ""
    told = []
    if by == "uncertain":
        rule = margin_rule(evaluation)
        told.append(
            "Margin: how far the severity is from a boundary of grades."
            if rule == "boundary"
            else "Margin: probability of the likeliest grade less that of the second."
        )
    told.append("True grade → predicted: too low in orange, too high in blue.")
    if mapped:
        told.append("Maps: orange raises the severity, light blue lowers it.")
    elif asked:
        told.append("No maps: they are not exact for this model.")
    return " ".join(told)


def captions_of(drawn: pd.DataFrame, class_names: Sequence[str], *, by: str) -> list[str]:
    """Write what is known of each photograph: its grades, its numbers and its name.

    Parameters
    ----------
    drawn : DataFrame
        Rows of `Evaluation.ranked`.
    class_names : sequence of str
    by : {"errors", "uncertain"}
        Whether the severity, which is wrong, or the margin is written.

    Examples
    --------
    >>> row = {"file": "a.png", "target": 3, "prediction": 1, "severity": 1.21, "fold": 0}
    >>> names = ["class0", "class1", "class2", "class3"]
    >>> captions_of(pd.DataFrame([row]), names, by="errors")
    ['true 3 → predicted 1\\nseverity 1.21, fold 0\\na.png']
    """
    numbered = are_numbers(class_names)
    names = [
        str(k) if numbered else shortened(name, _NAME, TEXT, weight="bold")
        for k, name in enumerate(class_names)
    ]
    number = "margin" if by == "uncertain" else "severity"
    found = []
    for row in drawn.to_dict("records"):
        true, predicted = names[row["target"]], names[row["prediction"]]
        more = [f"{number} {row[number]:.2f}"] if number in row else []
        if "grades_set" in row:
            first, *rest = [names[int(k)] for k in row["grades_set"].split(";")]
            more.append(f"set {first}-{rest[-1]}" if rest else f"set {first}")
        if "fold" in row:
            more.append(f"fold {row['fold']}")
        head = f"true {true} → predicted {predicted}" if numbered else f"{true} → {predicted}"
        lines = [head, ", ".join(more), str(row["file"]) or "-"]
        found.append("\n".join(line for line in lines if line))
    return found
