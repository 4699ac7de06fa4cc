"""The card of a model on the Hub: what the Hub reads first, then what people read."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from fundus.documents.card import model_card
from fundus.documents.numbers import many
from fundus.documents.ready import NO_DEVICE, ready_card
from fundus.grades.icdr import grade_labels
from fundus.hub.address import SCHEME
from fundus.modelspecs import ModelSpec
from fundus.reporting.record import RunRecord
from fundus.reporting.tables import label_of

#: By which a card is recognised that this library has written.
MARK = "<!-- written by fundus push: {} -->"

TAGS = (
    "diabetic-retinopathy",
    "fundus-photography",
    "keras",
    "medical-imaging",
    "ophthalmology",
    "scikit-learn",
)


def hub_card(
    repo: str, text: str, *, licence: str | None, scores: dict[str, float], photographs: str = ""
) -> str:
    """Return the card of a model on the Hub: metadata, the card, and how to use it.

    Parameters
    ----------
    repo : str
        ``"owner/name"``.
    text : str
        The card as Markdown; it begins with its title.
    licence : str or None
        As the Hub names it.
    scores : dict of str to float
        Scores by name, which the Hub shows beside the model.
    photographs : str, default=""
        On what they are.
    """
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="image-classification",
            task_name="grades of diabetic retinopathy",
            dataset_type="training-photographs",
            dataset_name=photographs,
            metric_type=name,
            metric_name=label_of(name),
            metric_value=value,
        )
        for name, value in scores.items()
    ]
    data = ModelCardData(
        license=licence,
        library_name="fundus-zoo",
        pipeline_tag="image-classification",
        tags=list(TAGS),
        metrics=[*scores] or None,
        model_name=repo.split("/")[1],
        eval_results=results or None,
    )
    use = (
        "## Use\n\n```\npip install 'fundus-zoo[hub]'\n"
        f"fundus predict {SCHEME}{repo} photographs/ -o results.csv\n```\n\n"
        f'In Python, `fundus.load("{SCHEME}{repo}")` is an estimator of scikit-learn\'s kind. A '
        "commit behind the name, as in `@0123…`, means the same model always. No code of this "
        "repository is run, and nothing is unpickled."
    )
    head, body = f"---\n{data.to_yaml()}\n---\n\n", f"{text.strip()}\n\n{use}\n"
    return f"{head}{MARK.format(_digest(head + body))}\n{body}"


def scores_of(record: RunRecord) -> dict[str, float]:
    """Return the out-of-fold scores of a run that have an interval, by name."""
    found = record.metrics["out_of_fold"]
    return {name: found[name] for name in found["intervals"] if found[name] is not None}


def text_of(record: RunRecord | ModelSpec | None, model: Any, name: str) -> str:
    """Return a card as Markdown.

    Parameters
    ----------
    record : RunRecord, ModelSpec or None
        What is known of a training, or of a ready grader.
    model : estimator
        What is told where there is none.
    name : str
        Its title then.
    """
    if isinstance(record, RunRecord):
        return model_card(record)
    if isinstance(record, ModelSpec):
        return ready_card(record)
    grades = _grades(model)
    return "\n\n".join(
        [
            f"# {name}",
            "Grades retinal fundus photographs for diabetic retinopathy.",
            f"## Model\n\nA `{type(model).__name__}`" + f" of {grades}." * bool(grades),
            "## Intended use",
            f"Research on photographs like those that it was trained on. {NO_DEVICE}",
            "## What it is worth",
            "Nobody has said: score it on graded photographs of yours first, by `fundus evaluate`.",
        ]
    )


def _grades(model: Any) -> str:
    from fundus.grades.foreign import as_grader
    from fundus.reporting.predictions import names_of_grades

    if not hasattr(model, "classes_") or not as_grader(model).takes_images:
        return ""
    names = grade_labels(names_of_grades(model))
    return f"{many(len(names), 'grade')}: {', '.join(names)}"


def is_ours(card: Path) -> bool:
    """Whether a card is as this library has written it, and nobody has changed it since."""
    text = card.read_text(encoding="utf-8", errors="replace")
    found = re.search(re.escape(MARK).replace(re.escape("{}"), "([0-9a-f]{64})") + "\n", text)
    if found is None:
        return False
    return found[1] == _digest(text[: found.start()] + text[found.end() :])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
