"""A model card, by skops."""

from __future__ import annotations

import warnings

from fundus.documents.markdown import cell
from fundus.documents.numbers import many, share_with_span, with_span
from fundus.documents.words import limits, of_patients
from fundus.grades.icdr import grade_labels
from fundus.reporting.record import RunRecord
from fundus.reporting.tables import label_of


def model_card(record: RunRecord) -> str:
    """Return the model card of a run as Markdown.

    Parameters
    ----------
    record : RunRecord
        Its settings, data and scores are what the card says; the model itself is not loaded.
    """
    from sklearn.base import BaseEstimator
    from skops.card import Card

    data, found = record.metrics["data"], record.metrics["out_of_fold"]
    settings = record.metrics["settings"]
    with warnings.catch_warnings():
        # skops asks for a template where sections have none
        warnings.simplefilter("ignore", UserWarning)
        card = Card(BaseEstimator(), template=None, model_diagram=False)
    counted = f"{many(data['n_images'], 'photograph')}{of_patients(data)}"
    top = cell(record.name.replace("/", "_"))
    card.add(
        **{
            top: "Grades retinal fundus photographs for diabetic retinopathy.",
            f"{top}/Model": (
                f"The backbone `{settings['backbone']}` with the head `{settings['head']}`, "
                f"recipe `{settings.get('recipe', 'unknown')}`: the mean of "
                f"{many(len(record.metrics['folds']), 'model')}, one for each fold. Written by "
                f"fundus-zoo {record.metrics.get('fundus', 'unknown')}."
            ),
            f"{top}/Intended use": (
                "Research on photographs like those that it was trained on. It is not a medical "
                "device, and no decision about a patient may rest on it."
            ),
            f"{top}/Training data": f"{counted}.",
        }
    )
    names = [cell(name) for name in grade_labels(record.class_names)]
    tables = {
        "Training data/Photographs by grade": {
            "grade": names,
            "photographs": list(map(str, data["n_true"])),
        },
        "Evaluation": {
            "score": [label_of(name) for name in found["intervals"]],
            "out of fold (95 % interval)": [
                with_span(found[name], ends, 3) for name, ends in found["intervals"].items()
            ],
        },
        "Evaluation/How often each grade is found": {
            "grade": names,
            "found (95 % interval)": [
                share_with_span(measure) for measure in found["sensitivity_by_grade"]
            ],
        },
    }
    for path, table in tables.items():
        card.add_table(**{f"{top}/{path}": table})
        # it calls a table's section by the whole path
        card.select(f"{top}/{path}").title = path.split("/")[-1]
    card.add(**{f"{top}/Limits": "\n".join(f"- {said}" for said in limits(record))})
    return card.render().lstrip()
