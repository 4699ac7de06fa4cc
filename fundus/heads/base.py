"""The two contracts a head can fulfil: a Keras network's end, or a scikit-learn estimator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

if TYPE_CHECKING:
    import keras


class Head(BaseEstimator, ABC):
    """Base of all heads; its constructor arguments are searchable as ``head__name``.

    Attributes
    ----------
    needs_frozen : bool
        Whether the head trains on frozen features only (``freeze="all"``).
    is_regressor : bool
        Whether the head predicts a severity, of which the nearest grade is the prediction;
        otherwise it predicts probabilities, and the most probable grade is.
    assumes_order : bool
        Whether the head takes grades to follow each other along one direction of the features, as
        a regressor does; classes without an order are hard for it.
    """

    needs_frozen: bool = True
    is_regressor: bool = False
    assumes_order: bool = False


class NeuralHead(Head):
    """A head of Keras layers, trained together with the unfrozen part of a backbone."""

    needs_frozen = False

    def _n_weights(self) -> int | None:
        """Return how many arrays its layers have; None where only building it can tell."""
        return None

    def _weight_shapes(self, n_features: int, n_grades: int) -> list[tuple[int, ...]]:
        """Return the shapes of its arrays, in order; see `_n_weights`."""
        raise NotImplementedError

    @abstractmethod
    def build(self, features: keras.KerasTensor, n_grades: int) -> keras.KerasTensor:
        """Add the head's layers; only what Keras's initialisers and layers draw is seeded.

        Parameters
        ----------
        features : KerasTensor, shape (batch, n_features)
            Pooled features.
        n_grades : int
            Length of the scale.

        Returns
        -------
        KerasTensor, shape (batch, n_outputs)
        """

    @abstractmethod
    def loss(self, n_grades: int) -> Any:
        """Return the Keras loss, by name or as an object.

        Parameters
        ----------
        n_grades : int

        Returns
        -------
        str or keras.losses.Loss
        """

    def metrics(self, n_grades: int) -> list[Any]:
        """Return what is logged beside the loss.

        Parameters
        ----------
        n_grades : int

        Returns
        -------
        list of str or keras.metrics.Metric
        """
        return []

    @abstractmethod
    def encode(self, positions: NDArray[np.intp], n_grades: int) -> NDArray[Any]:
        """Turn grades into the targets of the loss.

        Parameters
        ----------
        positions : ndarray of int, shape (n_samples,)
            Places on the scale, ``0 … n_grades - 1``.
        n_grades : int

        Returns
        -------
        ndarray, shape (n_samples,) or (n_samples, n_outputs)
        """

    @abstractmethod
    def decode(self, outputs: NDArray[np.float32], n_grades: int) -> NDArray[np.float64]:
        """Turn outputs into a severity, or into probabilities.

        Parameters
        ----------
        outputs : ndarray of float32, shape (n_samples, n_outputs)
        n_grades : int

        Returns
        -------
        ndarray of float, shape (n_samples,) or (n_samples, n_grades)
            The severity where `is_regressor`, else the probability of every grade.
        """

    def decode_ops(self, outputs: Any, n_grades: int) -> Any:
        """Turn outputs into a severity, or into probabilities, with the operations of Keras.

        It need not be written; without it, or where a subclass changes `decode` alone, models with
        this head are not exported.

        Parameters
        ----------
        outputs : KerasTensor, shape (batch, n_outputs)
        n_grades : int

        Returns
        -------
        KerasTensor, shape (batch,) or (batch, n_grades)
            What `decode` makes of the same outputs; the sum of probabilities need not be 1.
        """
        raise NotImplementedError


class EstimatorHead(Head):
    """A head that is a scikit-learn estimator on frozen features."""

    @abstractmethod
    def make_estimator(self, *, grade_counts: NDArray[np.intp], random_state: int | None) -> Any:
        """Return an unfitted estimator for features ``(n_samples, n_features)``.

        Its ``y`` holds positions on the scale; its ``fit`` takes ``sample_weight`` where it can,
        which class weights and ``augment_views`` need.

        Parameters
        ----------
        grade_counts : ndarray of int, shape (n_classes,)
            Training images of each grade that occurs.
        random_state : int or None
            Seed for whatever the estimator draws.

        Returns
        -------
        estimator
            A classifier with ``predict_proba``, or a regressor of positions on the scale.
        """
