"""The model card of a ready grader, from the record that its plugin gives."""

from __future__ import annotations

from fundus.modelspecs import ModelScore, ModelSpec

#: What every card says of every model.
NO_DEVICE = "It is not a medical device, and no decision about a patient may rest on it."


def ready_card(spec: ModelSpec) -> str:
    """Return the model card of a ready grader as Markdown.

    Parameters
    ----------
    spec : ModelSpec

    Examples
    --------
    >>> spec = ModelSpec(
    ...     name="mine", description="Grades.", folder="/models/mine", licence="MIT",
    ...     training_data="Ours.", intended_use="Research.", limits=("Small.",),
    ... )
    >>> print(ready_card(spec).splitlines()[0])
    # mine
    """
    parts = [f"# {spec.name}", spec.description, "## Intended use"]
    parts += [spec.intended_use, NO_DEVICE, "## What it is not for, and its limits"]
    parts.append("\n".join(f"- {limit}" for limit in spec.limits))
    parts += ["## Training data", spec.training_data, "## What it is worth"]
    parts.append(_table(spec.scores) if spec.scores else "Nobody has said.")
    if spec.scores and all(score.chose != "nothing" for score in spec.scores):
        parts.append("Every set above has chosen something, so every figure is optimistic.")
    elif spec.scores:
        parts.append("Figures of a set that has chosen something are optimistic.")
    parts += ["## Licence and citation", f"Licence of the model: {spec.licence}"]
    if spec.citation:
        parts.append(f"Cite: {spec.citation}")
    return "\n\n".join(parts) + "\n"


def _table(scores: tuple[ModelScore, ...]) -> str:
    rows = [("score", "value (95 % interval)", "photographs", "the set chose", "by")]
    rows += [(s.score, told(s), s.photographs, s.chose, s.source) for s in scores]
    cells = [[" ".join(text.split()).replace("|", "\\|") for text in row] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def told(score: ModelScore) -> str:
    """Return a score with its interval."""
    return f"{score.value:.3f} ({score.low:.3f} to {score.high:.3f})"
