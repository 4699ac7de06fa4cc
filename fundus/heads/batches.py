"""Batches of a training run, streamed from a source."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from fundus.networks.sources import Source


class RowBatches(keras.utils.PyDataset):
    """Batches of inputs, targets and weights; every row once an epoch, the last batch included.

    Parameters
    ----------
    source : Source
    rows : ndarray of int, shape (n,)
    y : ndarray, shape (n, …)
        Targets, aligned with `rows`.
    weights : ndarray of float, shape (n,), or None
    batch_size : int
    seed : int or None
        Shuffles and augments anew at every epoch; ``None`` does neither.
    """

    def __init__(
        self,
        source: Source,
        rows: NDArray[np.intp],
        y: NDArray[Any],
        weights: NDArray[np.float64] | None,
        batch_size: int,
        seed: int | None,
    ) -> None:
        super().__init__()
        self.source, self.rows, self.y, self.weights = source, rows, y, weights
        self.batch_size, self.seed = batch_size, seed
        self.epoch = 0
        self.order = self._shuffled()

    def _shuffled(self) -> NDArray[np.intp]:
        if self.seed is None:
            return np.arange(len(self.rows))
        return np.random.default_rng([self.seed, self.epoch]).permutation(len(self.rows))

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __getitem__(self, k: int) -> tuple[Any, ...]:
        take = self.order[k * self.batch_size : (k + 1) * self.batch_size]
        epoch = None if self.seed is None else self.epoch
        x = tuple(self.source.batch(self.rows[take], epoch))
        batch = (x[0] if len(x) == 1 else x, self.y[take])
        return batch if self.weights is None else (*batch, self.weights[take].astype(np.float32))

    def on_epoch_end(self) -> None:
        """Shuffle for the next epoch."""
        self.epoch += 1
        self.order = self._shuffled()
