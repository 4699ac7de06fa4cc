"""What an export says of itself: a JSON document for programs, and a model card for people."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import numpy as np

from fundus._version import __version__
from fundus.export.checking import TOLERANCE
from fundus.export.formats import Format
from fundus.grades.foreign import as_grader, unwrapped
from fundus.grades.labels import to_positions
from fundus.images import ImageRecipe
from fundus.meta.base import MetaGrader
from fundus.reporting.predictions import names_of_grades, points_of
from fundus.runtime.opencv import cv2
from fundus.tracing.trace import PICTURE

#: The ``kind`` of the document, and the number of its layout.
KIND = "fundus export"
FORMAT = 1

_MEANINGS = {
    "probabilities": "of the grades of 'classes', in that order; of sum 1",
    "severity": "position on the scale of 'grades': 0 is the lowest",
    "grade": "position of the predicted grade in 'grades'",
}

_DECISIONS = {
    "soft": "the most probable grade",
    "hard": "the grade that most of the models inside name",
    "severity": "the one of 'classes' nearest to the severity",
    "cutpoints": "the number of cutpoints at or below the severity, or the nearest of 'classes'",
    "alone": "the one that the classifier names",
}


def description(
    model: Any, recipe: ImageRecipe, outputs: dict[str, Any], to: Format, digest: str
) -> dict[str, Any]:
    """Return what ``model.json`` holds.

    Parameters
    ----------
    model : classifier
    recipe : ImageRecipe
        How a photograph becomes the picture.
    outputs : dict of str to KerasTensor
    to : Format
    digest : str
        SHA-256 of the model's file, as hexadecimal digits.
    """
    grader: Any = as_grader(model)
    names = names_of_grades(model)
    positions = to_positions(grader.classes_, grader.grades_).tolist()
    deciding = _deciding(grader)
    decided = getattr(deciding, "voting_", deciding.votes_by)
    if decided == "hard" and not hasattr(deciding, "voting_"):
        decided = "alone"
    cutpoints = _cutpoints(deciding) if decided == "cutpoints" else None
    return {
        "kind": KIND,
        "format": FORMAT,
        "file": to.file,
        "sha256": digest,
        "to": to.name,
        "input": {
            "name": PICTURE,
            "shape": ["batch", recipe.image_size, recipe.image_size, 3],
            "dtype": "uint8",
            "colours": "RGB",
            "range": [0, 255],
            "made_by": {
                "size": int(recipe.image_size),
                "crop": recipe.crop,
                "aperture": recipe.aperture,
            },
        },
        "outputs": {
            name: {
                "shape": ["batch", *tensor.shape[1:]],
                "dtype": str(tensor.dtype),
                "meaning": _MEANINGS[name],
            }
            for name, tensor in outputs.items()
        },
        "grades": names,
        "classes": [names[k] for k in positions],
        "decided_by": _DECISIONS[decided],
        "cutpoints": None if cutpoints is None else [_plain(c) for c in cutpoints],
        "operating_points": {
            condition: [point.to_dict() for point in points]
            for condition, points in points_of(model).items()
        },
        "model": type(unwrapped(model)).__name__,
        "differs_at_most": TOLERANCE,
        "versions": _versions(to),
    }


def _deciding(grader: Any) -> Any:
    """The grader whose rule decides: one inside, where a meta-estimator predicts what that does."""
    while isinstance(grader, MetaGrader) and type(grader).traced_votes is MetaGrader.traced_votes:
        grader = as_grader(grader.models_inside()[0], grader.grades_)
    return grader


def _cutpoints(grader: Any) -> Any:
    """Cutpoints of a model, or those of an ensemble, which are between its models'."""
    own = getattr(grader, "cutpoints_", None)
    if own is not None or getattr(grader, "voting_", "") != "cutpoints":
        return own
    return grader.cutpoints_of_all()


def _plain(number: float) -> float | str:
    """A number as JSON can hold it."""
    return float(number) if np.isfinite(number) else ("inf" if number > 0 else "-inf")


def _versions(to: Format) -> dict[str, str]:
    written = ["fundus-zoo", "keras", "tensorflow", *{"onnx": ["onnx", "tf2onnx"]}.get(to.name, [])]
    # OpenCV comes by several distributions
    found = {"fundus-zoo": __version__, "numpy": np.__version__, "opencv": cv2.__version__}
    for name in dict.fromkeys([*written, *to.runs_with]):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # another distribution holds its modules
            found.setdefault(name, "unknown")
    return found


def card(about: dict[str, Any], extra: str = "") -> str:
    """Return the model card as Markdown.

    Parameters
    ----------
    about : dict
        From `description`.
    extra : str, default=""
        Markdown to end with, such as the card of the training.
    """
    size = about["input"]["shape"][1]
    lines = [
        f"# Grader of retinal photographs, as {about['to']}",
        "",
        "Grades colour fundus photographs for diabetic retinopathy. It is research software, no "
        "medical device: no decision about a patient may rest on it.",
        "",
        "## Use",
        "",
        f"`python run.py PHOTOGRAPH...` prints a line of JSON for each. It needs numpy, OpenCV and "
        f"{', '.join(_run_with(about))}, and nothing of fundus-zoo.",
        "",
        f"- Input `{about['input']['name']}`: uint8 RGB, 0 to 255, (batch, {size}, {size}, 3). "
        f"`prepare.py` makes it of a file (crop: {about['input']['made_by']['crop']}). Pictures "
        "that were made in another way get other grades.",
        *(f"- Output `{name}`: {told['meaning']}." for name, told in about["outputs"].items()),
        f"- Grades, lowest first: {', '.join(about['grades'])}.",
        f"- The grade is {about['decided_by']}.",
    ]
    if about["cutpoints"] is not None:
        shown = (c if isinstance(c, str) else f"{c:.4f}" for c in about["cutpoints"])
        lines.append(f"- Cutpoints: {', '.join(shown)}.")
    for condition, points in about["operating_points"].items():
        lines += [f"- {_point(condition, point)}" for point in points]
    lines += [
        "",
        "## Same as the model it was made of",
        "",
        f"When it was written, probabilities and severity of five drawn photographs differed from "
        f"that model's by less than {about['differs_at_most']:g}, and no grade did.",
        "",
        "## Made with",
        "",
        *(f"- {name} {release}" for name, release in about["versions"].items()),
        f"- SHA-256 of `{about['file']}`: `{about['sha256']}`",
        "",
    ]
    return "\n".join(lines) + (f"\n{extra.strip()}\n" if extra.strip() else "")


def _point(condition: str, point: dict[str, Any]) -> str:
    return (
        f"{condition.capitalize()}: severity of {point['threshold']:.4f} or more, chosen for a "
        f"{point['wanted']} of {point['goal']:g} on photographs of the training, where sensitivity "
        f"was {point['sensitivity']:.3f} and specificity {point['specificity']:.3f}."
    )


def _run_with(about: dict[str, Any]) -> list[str]:
    from fundus.export.formats import FORMATS

    return list(FORMATS[about["to"]].runs_with)
