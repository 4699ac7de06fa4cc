"""Batches of a training run, from features in memory or streamed from a source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from fundus.frozen.sources import ArraySource, Source

#: Tells the draws of views from those of the order, which have the same seed and epoch.
_VIEWS = 1

#: Most bytes of features that are passed to TensorFlow as a whole; more are streamed.
IN_MEMORY = 2**28


@dataclass(frozen=True)
class TrainingRows:
    """The rows of a training run or of its validation.

    Parameters
    ----------
    rows : ndarray of int, shape (n,)
    y : ndarray, shape (n, …)
        Targets, aligned with `rows`.
    weights : ndarray of float, shape (n,), or None
    seed : int or None
        Shuffles and augments again in every epoch; ``None`` does neither.
    n_views : int, default=0
        Augmented rows that follow each row in the source; every epoch draws one of them, or the
        row itself, for each.
    """

    source: Source
    rows: NDArray[np.intp]
    y: NDArray[Any]
    weights: NDArray[np.float64] | None
    batch_size: int
    seed: int | None
    n_views: int = 0

    def order(self, epoch: int) -> NDArray[np.intp]:
        """Positions in `rows`, in the order of an epoch."""
        n = len(self.rows)
        if self.seed is None:
            return np.arange(n)
        return np.random.default_rng([self.seed, epoch]).permutation(n)

    def views(self, epoch: int) -> NDArray[np.intp]:
        """Which view of each row an epoch uses, aligned with `rows`; 0 is the row itself."""
        n = len(self.rows)
        if self.n_views == 0 or self.seed is None:
            return np.zeros(n, dtype=np.intp)
        rng = np.random.default_rng([self.seed, epoch, _VIEWS])
        return rng.integers(0, self.n_views + 1, n)

    @property
    def n_batches(self) -> int:
        """Batches in an epoch; the last may be shorter."""
        return -(-len(self.rows) // self.batch_size)


def batches_of(run: TrainingRows) -> FeatureBatches | StreamedBatches:
    """Return the batches of a run in the form that is fastest for its source.

    Their ``data`` is an argument of ``fit``, and the object itself is one of the callbacks.
    """
    if isinstance(run.source, ArraySource):
        features = run.source.features
        rows = (run.rows[:, np.newaxis] + np.arange(run.n_views + 1)).ravel()
        if len(rows) * features.itemsize * features.shape[1] <= IN_MEMORY:
            return FeatureBatches(run, features[rows])
    return StreamedBatches(run)


class FeatureBatches(keras.callbacks.Callback):
    """Batches of features that TensorFlow gathers by itself, without running Python.

    A step of a small head then takes 6 ms of processor time instead of 11.

    Parameters
    ----------
    features : ndarray of float32, shape (n * (n_views + 1), n_features)
        Of ``run.rows``, each followed by its views.
    """

    def __init__(self, run: TrainingRows, features: NDArray[np.float32]) -> None:
        super().__init__()
        self.run = run
        inputs, held = tf.constant(features), [tf.constant(run.y)]
        if run.weights is not None:
            held.append(tf.constant(run.weights, tf.float32))
        self._order = order = tf.Variable(run.order(0), trainable=False)
        self._view = view = tf.Variable(run.views(0), trainable=False)

        def batch(k: tf.Tensor) -> tuple[tf.Tensor, ...]:
            take = order[k * run.batch_size : (k + 1) * run.batch_size]
            row = take
            if run.n_views:
                row = take * (run.n_views + 1) + tf.gather(view, take)
            return tf.gather(inputs, row), *(tf.gather(array, take) for array in held)

        self.data = _untuned(tf.data.Dataset.range(run.n_batches).map(batch).prefetch(2))

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Shuffle and draw views; Keras iterates over the data again after this."""
        self._order.assign(self.run.order(epoch))
        self._view.assign(self.run.views(epoch))


class StreamedBatches(keras.callbacks.Callback):
    """Batches that are read from a source as they are used, one ahead of the training step."""

    def __init__(self, run: TrainingRows) -> None:
        super().__init__()
        self.run = run
        self._epoch = 0
        specs = tf.nest.map_structure(
            lambda a: tf.TensorSpec((None, *a.shape[1:]), a.dtype),
            self._batch(run.order(0)[:1], run.rows),
        )
        data = tf.data.Dataset.from_generator(self._batches, output_signature=specs)
        counted = data.apply(tf.data.experimental.assert_cardinality(run.n_batches))
        self.data = _untuned(counted.prefetch(1))

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Shuffle and draw views; Keras iterates over the data again after this."""
        self._epoch = epoch

    def _batches(self) -> Iterator[tuple[Any, ...]]:
        order, size = self.run.order(self._epoch), self.run.batch_size
        rows = self.run.rows + self.run.views(self._epoch)
        for start in range(0, len(order), size):
            yield self._batch(order[start : start + size], rows)

    def _batch(self, take: NDArray[np.intp], rows: NDArray[np.intp]) -> tuple[Any, ...]:
        run = self.run
        epoch = None if run.seed is None else self._epoch
        x = tuple(run.source.batch(rows[take], epoch))
        batch = (x[0] if len(x) == 1 else x, run.y[take])
        return batch if run.weights is None else (*batch, run.weights[take].astype(np.float32))


def _untuned(data: tf.data.Dataset) -> tf.data.Dataset:
    """Without autotuning: the end of an epoch can wait seconds for the tuning thread to wake."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return data.with_options(options)
