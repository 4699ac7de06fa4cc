"""The ``predict`` methods of `TransferClassifier`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from fundus.frozen.sources import SOURCES, Source
from fundus.grades.severity import expected_grade, normalised, spread_proba
from fundus.training.finite import check_outputs
from fundus.training.fitted import FittedHead
from fundus.transfer.parameters import has_proba


class Predicts:
    """Grades, probabilities and severities of a fitted head.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        The labels that were trained on, sorted.
    head_ : FittedHead
    """

    classes_: NDArray[Any]
    head_: FittedHead
    _places: NDArray[np.intp]

    def _input(self, X: Any) -> Source:
        raise NotImplementedError

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the grade of every image.

        Classifiers give the most probable grade, regressors the nearest one.

        Parameters
        ----------
        X : images
            As in `fit`.

        Returns
        -------
        ndarray, shape (n_samples,)
            Labels out of ``classes_``.

        Raises
        ------
        ImageReadError
            If files cannot be read; the first is named, the rest counted.
        DivergedError
            If the head gives numbers that are not finite.
        """
        best = self._proba(X).argmax(axis=1)
        return self.classes_[best]

    @available_if(has_proba)
    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of every grade that was trained on.

        A regressor's fall with the distance from its severity, as the density of a normal error
        whose standard deviation is ``head_.residual_std``: the root mean square of its residuals
        on training images that it was fitted without. The nearest grade is the most probable.

        Parameters
        ----------
        X : images
            As in `fit`.

        Returns
        -------
        ndarray of float, shape (n_samples, n_classes)
            In the order of ``classes_``; every row sums to 1.
        """
        return self._proba(X)

    def predict_severity(self, X: Any) -> NDArray[np.float64]:
        """Return the severity of every image on the grade axis.

        Parameters
        ----------
        X : images
            As in `fit`.

        Returns
        -------
        ndarray of float, shape (n_samples,)
            The expected grade of a classifier, the raw output of a regressor, in places on the
            scale: 0 is its lowest grade. The expected grade of a regressor's probabilities is
            another: nearer to the middle at the ends of the scale.
        """
        outputs = self._outputs(X)
        return outputs if outputs.ndim == 1 else expected_grade(outputs, self._places)

    @property
    def model_(self) -> Any:
        """The trained Keras model, or the fitted scikit-learn estimator, behind the head."""
        check_is_fitted(self, "head_")
        return self.head_.network()

    def shared_input(self, X: Any) -> Source:
        """Run the frozen layers on images, once for all models that share them.

        Parameters
        ----------
        X : images or Source
            As in `fit`; what is a source already stays.

        Returns
        -------
        Source
            What the ``predict`` methods of models with an equal ``frozen_`` take instead of `X`.
        """
        check_is_fitted(self, "head_")
        return X if isinstance(X, SOURCES) else self._input(X)

    def _outputs(self, X: Any) -> NDArray[np.float64]:
        """Severities ``(n,)``, or probabilities of ``classes_`` ``(n, n_classes)``."""
        source = self.shared_input(X)  # which refuses what is not fitted
        outputs = self.head_.outputs(source)
        return check_outputs(
            outputs if outputs.ndim == 1 else normalised(outputs[:, self._places]), self
        )

    def _proba(self, X: Any) -> NDArray[np.float64]:
        outputs = self._outputs(X)
        if outputs.ndim == 2:
            return outputs
        return spread_proba(outputs, self._places, self.head_.residual_std)
