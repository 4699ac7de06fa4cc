"""What was written is compared with the model that it is of, on pictures that nobody is in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from fundus.data.inputs import as_images
from fundus.data.synthetic.photograph import draw_fundus
from fundus.exceptions import ExportError
from fundus.export.formats import Runner
from fundus.grades.foreign import as_grader, unwrapped
from fundus.grades.labels import to_positions
from fundus.images import ImageRecipe
from fundus.meta.base import MetaGrader

#: How far probabilities and severity may be from the model's.
TOLERANCE = 1e-4

#: Edge of the photographs that are drawn, in pixels.
_EDGE = 256


def drawn_photographs() -> NDArray[np.uint8]:
    """Draw one photograph of each grade, (5, 256, 256, 3)."""
    rng = np.random.default_rng(20)
    return np.stack([draw_fundus(grade, image_size=_EDGE, rng=rng) for grade in range(5)])


def predictions_of(model: Any, photographs: Any) -> dict[str, NDArray[Any]]:
    """Predict with a model of this package what its exported form gives, by the same names."""
    grader = as_grader(model)
    reading = grader.read_images(photographs)
    votes = grader.votes_of(reading)
    found: dict[str, NDArray[Any]] = {}
    if votes.proba is not None:
        found["probabilities"] = votes.proba
    if votes.severity is not None:
        found["severity"] = votes.severity
    labels = grader.labels_of(reading) if votes.best is None else grader.classes_[votes.best]
    found["grade"] = to_positions(labels, grader.grades_)
    return found


def pictures_of(photographs: Any, recipe: ImageRecipe) -> NDArray[np.uint8]:
    """Photographs as the pictures that an exported model takes, (n, size, size, 3)."""
    images = as_images(photographs)
    return np.stack([images.picture(row, recipe) for row in range(len(images))])


def differences(
    expected: dict[str, NDArray[Any]], found: dict[str, NDArray[Any]]
) -> dict[str, float]:
    """Largest difference of each output, and for "grade" how many are others."""
    away = {}
    for name, values in expected.items():
        if name == "grade":
            away[name] = float((found[name] != values).sum())
        else:
            away[name] = float(np.abs(np.asarray(found[name], np.float64) - values).max())
    return away


@contextmanager
def _without_store(model: Any) -> Iterator[None]:
    """Predict without a store, which may round what it keeps and is to keep no drawn pictures."""
    stored = [part for part in _parts(model) if hasattr(part, "cache")]
    before = [part.cache for part in stored]
    try:
        for part in stored:
            part.cache = False
        yield
    finally:
        # a model that is inside twice gets back what it had first
        for part, cache in reversed(list(zip(stored, before, strict=True))):
            part.cache = cache


def _parts(model: Any) -> Iterator[Any]:
    """A model and all fitted ones inside it."""
    inner = unwrapped(model)
    yield inner
    within = [step for _, step in inner.steps] if isinstance(inner, Pipeline) else []
    for part in inner.models_inside() if isinstance(inner, MetaGrader) else within:
        yield from _parts(part)


def check_written(model: Any, recipe: ImageRecipe, run: Runner, to: str) -> dict[str, float]:
    """Compare a file that was written with the model, on photographs that are drawn.

    Returns
    -------
    dict
        See `differences`.

    Raises
    ------
    ExportError
        If they differ by more than `TOLERANCE`, or in a grade.
    """
    photographs = drawn_photographs()
    found = run(pictures_of(photographs, recipe))
    with _without_store(model):
        away = differences(predictions_of(model, photographs), found)
    if any(not value < (1 if name == "grade" else TOLERANCE) for name, value in away.items()):
        raise ExportError(
            f"What was written as {to!r} must predict as the model does, within {TOLERANCE:g} and "
            f"with the same grades. They differ by {away} on {len(photographs)} drawn photographs, "
            "so nothing is kept: try another format, and tell us with the versions of the packages."
        )
    return away
