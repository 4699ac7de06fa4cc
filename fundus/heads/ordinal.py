"""Ordinal neural heads: CORN, CORAL, and a softmax on soft labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from fundus.grades import in_keras
from fundus.grades.severity import conditional_logit_proba, ordered_logit_proba
from fundus.heads.neural import DenseHead, SoftmaxHead
from fundus.parameters import check_real

if TYPE_CHECKING:
    import keras


def levels(positions: NDArray[np.intp], n_grades: int) -> NDArray[np.float32]:
    """Extended binary labels: whether the grade is above each of all but the highest.

    Parameters
    ----------
    positions : ndarray of int, shape (n_samples,)

    Returns
    -------
    ndarray of float32, shape (n_samples, n_grades - 1)

    Examples
    --------
    >>> levels(np.array([0, 2]), 4).tolist()
    [[0.0, 0.0, 0.0], [1.0, 1.0, 0.0]]
    """
    return (positions[:, np.newaxis] > np.arange(n_grades - 1)).astype(np.float32)


class CornHead(DenseHead):
    """CORN: one output per step, the probability of ``y > k`` given ``y >= k``.

    The probability of ``y > k`` is the product of the steps up to k, so it cannot rise with k.

    Parameters
    ----------
    units : int, default=512
        Width of a hidden layer.
    layers : int, default=2
        Hidden layers.
    dropout : float, default=0.5
        Share of units dropped in training, in [0, 1).

    References
    ----------
    .. [1] X. Shi, W. Cao, S. Raschka, "Deep neural networks for rank-consistent ordinal regression
       based on conditional probabilities", Pattern Analysis and Applications 26, 2023.
       :doi:`10.1007/s10044-023-01181-9`

    Examples
    --------
    >>> CornHead(units=64)
    CornHead(units=64)
    """

    def build(self, features: keras.KerasTensor, n_grades: int) -> keras.KerasTensor:
        """Add hidden layers and one logit per step."""
        from keras import layers

        return layers.Dense(n_grades - 1, name="head_output")(self.hidden(features))

    def _output_shapes(self, width: int, n_grades: int) -> list[tuple[int, ...]]:
        return [(width, n_grades - 1), (n_grades - 1,)]

    def loss(self, n_grades: int) -> keras.losses.Loss:
        """Binary cross-entropies, each on the rows that reach its step."""
        from fundus.heads.ordinal_layers import CornLoss

        return CornLoss()

    def encode(self, positions: NDArray[np.intp], n_grades: int) -> NDArray[Any]:
        """Return extended binary labels."""
        return levels(positions, n_grades)

    def decode(self, outputs: NDArray[np.float32], n_grades: int) -> NDArray[np.float64]:
        """Return the probabilities of the grades."""
        return conditional_logit_proba(outputs)

    def decode_ops(self, outputs: Any, n_grades: int) -> Any:
        """Return the probabilities of the grades."""
        return in_keras.conditional_logit_proba(outputs)


class CoralHead(DenseHead):
    """CORAL: one score with decreasing biases, whose sums are the logits of ``y > k``.

    The paper's biases are free and ordered at the optimum only; here they cannot cross.

    Parameters
    ----------
    units : int, default=512
        Width of a hidden layer.
    layers : int, default=2
        Hidden layers.
    dropout : float, default=0.5
        Share of units dropped in training, in [0, 1).

    References
    ----------
    .. [1] W. Cao, V. Mirjalili, S. Raschka, "Rank consistent ordinal regression for neural networks
       with application to age estimation", Pattern Recognition Letters 140, 2020.
       :doi:`10.1016/j.patrec.2020.11.008`

    Examples
    --------
    >>> CoralHead(units=64)
    CoralHead(units=64)
    """

    assumes_order = True

    def build(self, features: keras.KerasTensor, n_grades: int) -> keras.KerasTensor:
        """Add hidden layers, a score, and its ordered biases."""
        from keras import layers

        from fundus.heads.ordinal_layers import OrderedBias

        score = layers.Dense(1, use_bias=False, name="head_score")(self.hidden(features))
        return OrderedBias(n_grades - 1, name="head_output")(score)

    def _output_shapes(self, width: int, n_grades: int) -> list[tuple[int, ...]]:
        return [(width, 1), (1,), (n_grades - 2,)]

    def loss(self, n_grades: int) -> keras.losses.Loss:
        """Sum of the binary cross-entropies of all levels."""
        from fundus.heads.ordinal_layers import CoralLoss

        return CoralLoss()

    def encode(self, positions: NDArray[np.intp], n_grades: int) -> NDArray[Any]:
        """Return extended binary labels."""
        return levels(positions, n_grades)

    def decode(self, outputs: NDArray[np.float32], n_grades: int) -> NDArray[np.float64]:
        """Return the probabilities of the grades."""
        return ordered_logit_proba(outputs)

    def decode_ops(self, outputs: Any, n_grades: int) -> Any:
        """Return the probabilities of the grades."""
        return in_keras.ordered_logit_proba(outputs)


class SoftLabelHead(SoftmaxHead):
    """Softmax trained on Gaussian soft labels (SORD): near grades count as nearly right.

    The label of grade y is proportional to ``exp(-(k - y)² / (2 sigma²))``. The probabilities
    estimate the blurred grades, so they are a little wider than those of a plain softmax.

    Parameters
    ----------
    units : int, default=512
        Width of a hidden layer.
    layers : int, default=2
        Hidden layers.
    dropout : float, default=0.5
        Share of units dropped in training, in [0, 1).
    sigma : float, default=0.5
        Standard deviation of the label, in grades; towards 0 it is a plain softmax.

    References
    ----------
    .. [1] R. Diaz, A. Marathe, "Soft labels for ordinal regression", CVPR 2019.
       :doi:`10.1109/CVPR.2019.00487`

    Examples
    --------
    >>> SoftLabelHead(sigma=0.5).encode(np.array([0]), 3).round(3).tolist()
    [[0.88..., 0.11..., 0.0...]]
    """

    def __init__(
        self, units: int = 512, layers: int = 2, dropout: float = 0.5, sigma: float = 0.5
    ) -> None:
        super().__init__(units, layers, dropout)
        self.sigma = sigma

    def loss(self, n_grades: int) -> str:
        """Cross-entropy with the soft labels."""
        return "categorical_crossentropy"

    def encode(self, positions: NDArray[np.intp], n_grades: int) -> NDArray[Any]:
        """Return the soft labels, shape (n_samples, n_grades)."""
        check_real(self, "sigma", low=0, low_open=True)
        distance = (positions[:, np.newaxis] - np.arange(n_grades)) / self.sigma
        return softmax(-0.5 * distance**2, axis=1).astype(np.float32)
