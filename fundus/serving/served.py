"""A fitted model as a server uses it: grades of uploads, and what there is to know of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus._version import __version__
from fundus.exceptions import FundusError, ImageReadError
from fundus.frozen.work import short_batches
from fundus.grades.foreign import as_grader
from fundus.grades.grader import Votes
from fundus.grades.icdr import grade_labels
from fundus.grades.labels import to_positions
from fundus.images import decode_bytes
from fundus.images.dicom import doubts_of_dicom
from fundus.meta.conformal import OrdinalConformalClassifier
from fundus.metrics.operating_points import OperatingPoint
from fundus.reporting.predictions import Predictions, averaged, points_of, predict_members
from fundus.reporting.screening import REFERABLE
from fundus.runtime.opencv import cv2
from fundus.serving.answers import LOWEST
from fundus.serving.maps import Mapped, map_of
from fundus.serving.photographs import Checked, warnings_of
from fundus.serving.problems import Problem, mistake, no_memory, unreadable

#: What whoever reads a grade is told.
NOTICE = "Research software, not a medical device."


class ServedModel:
    """A fitted model that grades photographs held in memory; nothing is kept on disc.

    Parameters
    ----------
    model : classifier
        Fitted, of images.
    class_names : list of str
        Name of every grade.
    name : str
        What the model is called on the page.

    Attributes
    ----------
    image_size : int
        Edge of the square that the model sees, in pixels.
    points : list of tuple of (str, OperatingPoint)
        Operating points, each with its condition; the first is the one of `fundus predict`.
    cutpoints : list of float or None
        Where each grade but the first begins on the severity, as `ModelAnswer` has it; known
        after `warm_up`.
    """

    def __init__(self, model: Any, class_names: Sequence[str], name: str) -> None:
        self.model, self.name = model, name
        self.labels = grade_labels(list(class_names))
        readers = as_grader(model).readers()
        for reader in readers:
            reader.model.set_params(cache=False, verbose=0)
        self.image_size = max(reader.model.frozen_.recipe.image_size for reader in readers)
        known = points_of(model)
        order = sorted(known, key=lambda condition: condition != REFERABLE)
        self.points = [(condition, point) for condition in order for point in known[condition]]
        self.cutpoints: list[float | None] | None = None
        self.n_folds = 0

    def warm_up(self) -> None:
        """Load the networks and trace them, so that no user waits for it."""
        photograph = _test_picture(self.image_size)
        for count in (1, 2):  # after two lengths TensorFlow's trace is one for all
            with short_batches():
                _, members = predict_members(self.model, [photograph] * count)
        self.n_folds = len(members)
        self.cutpoints = self._cutpoints(members)

    def describe(self) -> dict[str, Any]:
        """Return what there is to know of the model, as JSON values."""
        conformal = isinstance(as_grader(self.model), OrdinalConformalClassifier)
        return {
            "name": self.name,
            "fundus": __version__,
            "notice": NOTICE,
            "grades": self.labels,
            "image_size": self.image_size,
            "folds": self.n_folds if self.n_folds > 1 else None,
            "cutpoints": self.cutpoints,
            "confidence_level": float(self.model.confidence_level) if conformal else None,
            "operating_points": [_point(*point) for point in self.points],
        }

    def grade(self, photographs: Sequence[Checked]) -> list[dict[str, Any] | Problem]:
        """Grade photographs together.

        Parameters
        ----------
        photographs : sequence of Checked

        Returns
        -------
        list of dict or Problem
            A photograph that cannot be graded does not touch the others.
        """
        try:
            return self._graded(photographs)
        except Exception as error:  # of one photograph, and those of other clients wait too
            if len(photographs) == 1:
                return [_told(error, photographs[0])]
        return [self.grade([photograph])[0] for photograph in photographs]

    def map(self, photograph: Checked) -> Mapped | Problem:
        """Map on a photograph what raises and what lowers its severity."""
        try:
            with short_batches():
                return map_of(self.model, photograph.upload.data)
        except Exception as error:
            return _told(error, photograph)

    def _graded(self, photographs: Sequence[Checked]) -> list[dict[str, Any] | Problem]:
        contents = [photograph.upload.data for photograph in photographs]
        with short_batches():
            found, members = predict_members(self.model, contents)
        return [
            self._row(row, photograph, found, members) for row, photograph in enumerate(photographs)
        ]

    def _row(
        self, row: int, photograph: Checked, found: Predictions, members: list[Votes]
    ) -> dict[str, Any]:
        grade = int(found.grades[row])
        severity = None if found.severity is None else float(found.severity[row])
        sets = None
        if found.sets is not None:
            low, high = (int(ends[row]) for ends in found.sets)
            sets = [*range(low, high + 1)]
        return {
            "file": photograph.upload.name,
            "width": photograph.width,
            "height": photograph.height,
            "grade": grade,
            "name": self.labels[grade],
            "probabilities": None if found.proba is None else found.proba[row].tolist(),
            "severity": severity,
            "set": sets,
            "defer": None if sets is None else len(sets) > 1,
            "referrals": [
                {**_point(*point), "refer": severity >= point[1].threshold}
                for point in self.points
                if severity is not None
            ],
            "folds": self._folds(row, grade, members),
            "warnings": warnings_of(photograph, self.image_size),
            "quality": None if photograph.quality is None else vars(photograph.quality).copy(),
            "notice": NOTICE,
        }

    def _folds(self, row: int, grade: int, members: list[Votes]) -> dict[str, Any] | None:
        """What each of the averaged models says, where there are several."""
        if len(members) < 2 or any(m.best is None or m.severity is None for m in members):
            return None
        inner = averaged(self.model)
        best = np.array([member.best[row] for member in members if member.best is not None])
        grades = to_positions(inner.classes_[best], inner.grades_)
        severities = [float(m.severity[row]) for m in members if m.severity is not None]
        return {
            "grades": grades.tolist(),
            "severities": severities,
            "agreeing": int((grades == grade).sum()),
        }

    def _cutpoints(self, members: list[Votes]) -> list[float | None] | None:
        inner = averaged(self.model)
        if not members:
            return None
        cutpoints = inner.average(members).cutpoints
        if cutpoints is not None:
            lowest = [max(LOWEST, float(cut)) for cut in cutpoints]  # JSON has no -inf
            return [cut if math.isfinite(cut) else None for cut in lowest]
        if not inner.rounds_severity:
            return None
        known = np.sort(to_positions(inner.classes_, inner.grades_))
        found: list[float | None] = [None] * (len(inner.grades_) - 1)
        found[: known[0]] = [LOWEST] * int(known[0])
        for low, high in pairwise(known):
            found[high - 1] = float(low + high) / 2
        return found


def _point(condition: str, point: OperatingPoint) -> dict[str, Any]:
    return {"condition": condition, **point.to_dict()}


def _told(error: Exception, photograph: Checked) -> Problem:
    """Return the problem of a photograph that the model could not grade."""
    name = photograph.upload.name
    if isinstance(error, ImageReadError):
        try:  # again, for a message with the file's name
            with doubts_of_dicom():
                decode_bytes(photograph.upload.data, name=name)
        except ImageReadError as named:
            return unreadable(named, name)
        except Exception as other:
            return mistake(other, name)
        return unreadable(error, name)
    if isinstance(error, MemoryError):
        return no_memory(name)
    if not isinstance(error, FundusError):
        return mistake(error, name)
    return Problem(
        422,
        "The photograph cannot be graded",
        str(error),
        "Look whether it is a photograph of a retina, or send another.",
        file=name,
    )


def _test_picture(size: int) -> bytes:
    """A disc on black, as PNG."""
    side = 2 * size
    pixels: NDArray[np.uint8] = np.zeros((side, side, 3), np.uint8)
    cv2.circle(pixels, (size, size), int(0.9 * size), (40, 90, 180), -1)
    data: bytes = cv2.imencode(".png", pixels)[1].tobytes()
    return data
