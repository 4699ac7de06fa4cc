"""Trained heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import BundleError
from fundus.frozen.sources import Source
from fundus.runtime.threads import one_blas_thread


def check_width(features: NDArray[Any], n_features: int | None, head: object) -> None:
    """Raise unless a head gets as many features as it takes, if that is known.

    Raises
    ------
    BundleError
        If it does not, as where the frozen layers of a saved model were changed.
    """
    if n_features is not None and features.ndim == 2 and features.shape[1] != n_features:
        raise BundleError(
            f"The head {head!r} takes {n_features} features, and the frozen layers give "
            f"{features.shape[1]}: the model was changed after it was saved."
        )


class FittedHead(Protocol):
    """A trained head, with the trained part of its backbone."""

    @property
    def is_regressor(self) -> bool:
        """Whether it predicts a severity."""
        ...

    @property
    def has_proba(self) -> bool:
        """Whether it gives probabilities, or a severity from which they are made."""
        ...

    @property
    def residual_std(self) -> float | None:
        """Root mean square of a regressor's residuals on images it was not fitted on, in positions.

        ``None`` for classifiers, and for models that were saved before it was known.
        """
        ...

    @property
    def history(self) -> dict[str, list[float]]:
        """Losses by epoch; empty for scikit-learn heads."""
        ...

    def network(self) -> Any:
        """Return the Keras model or scikit-learn estimator."""
        ...

    def outputs(self, source: Source) -> NDArray[np.float64]:
        """Severities ``(n,)`` or probabilities ``(n, n_grades)`` for all rows of a source."""
        ...


@dataclass
class FittedEstimator:
    """A scikit-learn head after training on positions of the scale.

    Attributes are as in `FittedHead`.
    """

    estimator: Any
    n_grades: int
    is_regressor: bool
    residual_std: float | None = None

    @property
    def has_proba(self) -> bool:
        """Whether it gives probabilities, or a severity from which they are made."""
        return self.is_regressor or hasattr(self.estimator, "predict_proba")

    @property
    def history(self) -> dict[str, list[float]]:
        """Empty: scikit-learn heads keep no history."""
        return {}

    def network(self) -> Any:
        """Return the scikit-learn estimator."""
        return self.estimator

    def outputs(self, source: Source) -> NDArray[np.float64]:
        """Severities ``(n,)`` or probabilities ``(n, n_grades)`` for all rows of a source.

        A classifier without ``predict_proba`` gives its predicted grade probability 1.
        """
        X = source.batch(np.arange(len(source)), None)[0]
        check_width(X, getattr(self.estimator, "n_features_in_", None), self.estimator)
        with one_blas_thread():
            if self.is_regressor:
                return np.asarray(self.estimator.predict(X), dtype=np.float64)
            proba = np.zeros((len(X), self.n_grades))
            if hasattr(self.estimator, "predict_proba"):
                proba[:, self.estimator.classes_] = self.estimator.predict_proba(X)
            else:
                proba[np.arange(len(X)), self.estimator.predict(X)] = 1.0
        return proba
