"""What a run's numbers say, in plain words."""

from __future__ import annotations

from typing import Any

from fundus.documents.blocks import Block, Text
from fundus.documents.numbers import many, percent, share_with_span, with_span
from fundus.reporting.record import RunRecord


def of_patients(data: dict[str, Any]) -> str:
    """Return of how many patients the photographs are, to go behind their number."""
    n = data["n_patients"]
    return ", patients unknown" if n is None else f" of {many(n, 'patient')}"


def summary(record: RunRecord) -> list[Block]:
    """Return what the run found, in a few sentences."""
    data, found = record.metrics["data"], record.metrics["out_of_fold"]
    kappa = with_span(found["qwk"], found["intervals"]["qwk"])
    n_folds = len(record.metrics["folds"])
    blocks: list[Block] = [
        Text(
            f"{many(n_folds, 'model')} were trained on {many(data['n_images'], 'photograph')}"
            f"{of_patients(data)}, each without one part, and scored on that part: every "
            "photograph is graded by a model that did not see it."
        ),
        Text(
            f"Their grades agree with the given ones with a quadratic weighted kappa of {kappa}. "
            f"{percent(found['accuracy'])} of the grades are right, and "
            f"{percent(found['adjacent_accuracy'])} are at most one grade off."
        ),
    ]
    screening = found.get("screening")
    if screening and screening["referable"]["operating_points"]:
        point = screening["referable"]["operating_points"][0]
        blocks.append(
            Text(
                f"As a screening test for referable disease, chosen for {point['wanted']} "
                f"{point['goal']:g}, they find {share_with_span(point['sensitivity'])} of the "
                f"{many(screening['referable']['n_positive'], 'photograph')} with it, and clear "
                f"{share_with_span(point['specificity'])} of the "
                f"{screening['referable']['n_negative']} without."
                + " The threshold was chosen on these photographs, so what it was chosen for is "
                "reached by construction." * bool(point.get("chosen_here"))
            )
        )
    blocks.append(
        Text("This is research software, not a medical device. A number here is about "
             "photographs like these; see Limits.", strong=True)
    )  # fmt: skip
    return blocks


def about_shortcuts(strong: list[str]) -> str:
    """Return whether the severity follows how photographs were taken."""
    if not strong:
        return (
            "Among photographs of one grade the severity follows nothing strongly that was "
            "measured of how they were taken."
        )
    named = ", ".join(name.replace("_", " ") for name in strong)
    return (
        f"Among photographs of one grade the severity follows {named}: the model may grade how a "
        "photograph was taken, and another camera may change its grades."
    )


def limits(record: RunRecord) -> list[str]:
    """Return what the scores do not say."""
    data, found = record.metrics["data"], record.metrics["out_of_fold"]
    said = [
        "The scores are about photographs like these. Another camera, clinic or population can "
        "change them much: score the model on graded photographs from there first.",
        "The intervals are about these fitted models. They leave out what training again on other "
        "photographs would change, and errors of the given grades.",
    ]
    if not record.metrics.get("stress"):
        said.append("How the model fares when photographs change was not measured here: "
                    "`fundus stress`.")  # fmt: skip
    if not record.metrics.get("validation"):
        said.append("No other photographs were scored than those it was trained on, out of fold.")
    if data["n_patients"] is None:
        said.append(
            "Patients are unknown: two eyes of a patient count as two patients, and may lie on "
            "both sides of a split."
        )
    apart = (record.metrics.get("audit") or {}).get("n_pairs_apart", 0)
    if apart:
        said.append(
            f"Copies or near duplicates were in two folds, {many(apart, 'pair')} of them, which "
            "makes the scores too good; see Data and its audit."
        )
    few = [str(k) for k, n in enumerate(data["n_true"]) if n < 30]
    if few:
        said.append(f"Grades with fewer than 30 photographs: {', '.join(few)}.")
    if found.get("shortcuts", {}) and found["shortcuts"]["strong"]:
        said.append("The severity follows how photographs were taken; see Shortcuts.")
    said.append("It grades what the training photographs were graded for. Other diseases, and "
                "photographs that are not of a retina, get a grade too.")  # fmt: skip
    return said
