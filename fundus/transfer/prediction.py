"""How `TransferClassifier` predicts: the frozen layers once, then the head."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from fundus.exceptions import ExportError
from fundus.explain.models import Explains
from fundus.explain.targets import Leaf, Part
from fundus.frozen.function import Frozen
from fundus.frozen.sources import Source
from fundus.grades import in_keras
from fundus.grades.grader import Grader, Reader, Reading, Votes
from fundus.grades.severity import expected_grade, normalised, spread_proba
from fundus.parameters import invalid
from fundus.tracing.heads import traced_head
from fundus.tracing.mixin import Traces
from fundus.tracing.trace import Trace
from fundus.tracing.votes import most_probable, nearest
from fundus.training.finite import check_outputs
from fundus.training.fitted import FittedHead
from fundus.transfer.parameters import has_proba


class Predicts(Explains, Traces, Grader):
    """Grades, probabilities and severities of a fitted head.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        The labels that were trained on, sorted.
    frozen_ : Frozen
        The frozen layers for images; absent where features are precomputed.
    head_ : FittedHead
    """

    frozen_: Frozen
    backbone: Any
    head: Any
    n_jobs: int | None
    head_: FittedHead
    _positions: NDArray[np.intp]

    def _input(self, X: Any) -> Source:
        raise NotImplementedError

    def __sklearn_is_fitted__(self) -> bool:
        return "head_" in vars(self)

    @property
    def model_(self) -> Any:
        """The trained Keras model, or the fitted scikit-learn estimator, behind the head."""
        check_is_fitted(self)
        return self.head_.network()

    @property
    def votes_by(self) -> str:
        """How an ensemble of models like this one votes: "severity" for regressors."""
        return "severity" if self.head_.is_regressor else super().votes_by

    def gives_proba(self) -> bool:
        """Whether the head has probabilities, fitted or not."""
        return has_proba(self)

    def readers(self) -> list[Reader]:
        """Return the frozen layers; none where features are precomputed."""
        if "frozen_" not in vars(self):
            return []
        return [Reader((self.frozen_.key(), self.frozen_.power), self, self._input)]

    def explained_parts(self) -> list[Part]:
        """Return the head with its frozen layers.

        Raises
        ------
        InvalidParameterError
            If features are precomputed.
        """
        if "frozen_" not in vars(self):
            expected = "one that runs on images, as features have no places on a photograph"
            raise invalid(self, "backbone", expected, self.backbone)
        head, known = self.head_, np.sort(self._positions)
        leaf = Leaf(self.frozen_, head, self.grades_, known, self._input, n_jobs=self.n_jobs)
        return [Part(leaf, self.grades_)]

    def votes_of(self, reading: Reading) -> Votes:
        """Predict from the outputs of the frozen layers."""
        source = next(
            (reading.sources[r.key] for r in self.readers() if r.key in reading.sources), None
        )
        outputs = self.head_.outputs(self._input(reading.images) if source is None else source)
        if outputs.ndim == 1:
            severity = check_outputs(outputs, self)
            proba = spread_proba(severity, self._positions, self.head_.residual_std)
            return Votes(proba, severity, proba.argmax(axis=1), std=self.head_.residual_std)
        proba = check_outputs(normalised(outputs[:, self._positions]), self)
        severity, best = expected_grade(proba, self._positions), proba.argmax(axis=1)
        return Votes(proba if self.gives_proba() else None, severity, best)

    def traced_votes(self, trace: Trace) -> Votes:
        """Predict as `votes_of` does, with the operations of Keras."""
        if "frozen_" not in vars(self):
            raise ExportError(
                f"{type(self).__name__} with backbone={self.backbone!r} takes features, and no "
                "photographs: export a model that has its backbone inside."
            )
        outputs = traced_head(self.head_, trace.frozen(self.frozen_), self._positions)
        if len(outputs.shape) == 1:
            return nearest(outputs, self._positions, self.head_.residual_std)
        votes = most_probable(in_keras.normalised(outputs), self._positions)
        return votes if self.gives_proba() else votes._replace(proba=None)
