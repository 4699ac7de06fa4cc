"""What turns scores into probabilities and severities, as operations of Keras.

Each function is the counterpart of one on arrays, which its docstring names; a tensor is of shape
(batch, …) where the array is of shape (n, …). Numbers that are known are arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fundus.grades.severity import nearest_class

#: A logit beyond it is a probability of 0 or 1 in single precision.
_SURE = 80.0


def constant(values: ArrayLike) -> NDArray[np.float32]:
    """Numbers in the precision of the graph."""
    return np.asarray(values, dtype=np.float32)


def normalised(proba: Any) -> Any:
    """Counterpart of `fundus.grades.severity.normalised`."""
    from keras import ops

    total = ops.sum(proba, axis=1, keepdims=True)
    return proba / ops.where(total > 0, total, ops.ones_like(total))


def expected_grade(proba: Any, positions: NDArray[np.intp]) -> Any:
    """Counterpart of `fundus.grades.severity.expected_grade`."""
    from keras import ops

    return ops.sum(proba * constant(positions), axis=1)


def chosen(tensor: Any, columns: NDArray[np.intp]) -> Any:
    """Columns of a tensor, in an order."""
    from keras import ops

    if np.array_equal(columns, np.arange(tensor.shape[1])):
        return tensor
    return ops.take(tensor, np.asarray(columns, dtype=np.int32), axis=1)


def looked_up(table: NDArray[np.intp], index: Any) -> Any:
    """Entries of a table of whole numbers, at an index for each row."""
    from keras import ops

    if np.array_equal(table, np.arange(len(table))):
        return index
    return ops.take(np.asarray(table, dtype=np.int32), index, axis=0)


def best_of(scores: Any) -> Any:
    """Index of the highest score of each row, the first of several, int32; 0 where one is nan."""
    from keras import ops

    # Keras's argmax looks at signs of zeros, with bits that TensorFlow Lite cannot read
    n = scores.shape[1]
    top = ops.max(scores, axis=1, keepdims=True)
    places = ops.where(scores >= top, constant(np.arange(n)), float(n))
    best = ops.min(places, axis=1)
    return ops.cast(ops.where(best < n, best, 0.0), "int32")


def ordered_logit_proba(logits: Any) -> Any:
    """Counterpart of `fundus.grades.severity.ordered_logit_proba`."""
    from keras import ops

    z = ops.clip(logits, -_SURE, _SURE)
    sure = ops.ones_like(z[:, :1])
    at_least = ops.concatenate([sure, ops.sigmoid(z)], axis=1)
    at_most = ops.concatenate([ops.sigmoid(-z), sure], axis=1)
    parts = [sure, sure]
    if z.shape[1] > 1:
        parts.insert(1, 1.0 - ops.exp(z[:, 1:] - z[:, :-1]))
    return normalised(at_least * at_most * ops.concatenate(parts, axis=1))


def conditional_logit_proba(logits: Any) -> Any:
    """Counterpart of `fundus.grades.severity.conditional_logit_proba`."""
    from keras import ops

    z = ops.clip(logits, -_SURE, _SURE)
    columns, reached = [], ops.ones_like(z[:, :1])
    for k in range(z.shape[1]):
        step = z[:, k : k + 1]
        columns.append(reached * ops.sigmoid(-step))
        reached = reached * ops.sigmoid(step)
    return normalised(ops.concatenate([*columns, reached], axis=1))


def spread_proba(severity: Any, positions: NDArray[np.intp], std: float | None) -> tuple[Any, Any]:
    """Counterpart of `fundus.grades.severity.spread_proba`, and the index of the nearest class."""
    from keras import ops

    column = ops.expand_dims(severity, 1)
    if len(positions) == 1:
        proba = ops.ones_like(column)
        return proba, best_of(proba)
    order = np.argsort(positions)
    steps = positions[order].astype(np.float64)
    low, high = steps[0], steps[-1]
    clipped = ops.clip(column, float(low), float(high))
    # straight lines from 1 at a grade to 0 at those beside it
    up, down = np.ones((2, len(steps)))
    up[1:], down[:-1] = 1 / np.diff(steps), 1 / np.diff(steps)
    back = np.argsort(order)
    own, rise, fall = constant(positions), constant(up[back]), constant(down[back])
    away = clipped - own  # a tensor first, as numpy would convert it
    left, right = 1.0 + away * rise, 1.0 - away * fall
    near = ops.maximum(ops.minimum(ops.minimum(left, right), 1.0), 0.0)
    best = best_of(near)
    if std is None:
        return near, best
    nearest = ops.expand_dims(ops.sum(ops.one_hot(best, len(positions)) * own, axis=1), 1)
    farther = (nearest - own) * (2.0 * clipped - nearest - own)
    width = 2.0 * max(float(std), (high - low) / 36.0) ** 2
    weights = ops.exp(-farther / width)
    return weights / ops.sum(weights, axis=1, keepdims=True), best


def interpolated(values: Any, x: ArrayLike, y: ArrayLike) -> Any:
    """Counterpart of `numpy.interp`, for corners `x` that rise; of equal ones the last counts."""
    from keras import ops

    corners, heights = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    total = ops.zeros_like(values) + float(heights[0])
    for k in range(len(corners) - 1):
        width, step = corners[k + 1] - corners[k], heights[k + 1] - heights[k]
        if step == 0:
            continue
        if width > 0:
            share = ops.clip((values - float(corners[k])) / float(width), 0.0, 1.0)
        else:
            share = ops.cast(values >= float(corners[k]), values.dtype)
        total = total + float(step) * share
    return total


def to_scale(severity: Any, positions: NDArray[np.intp]) -> Any:
    """Counterpart of `fundus.grades.severity.to_scale`: to the positions of a longer scale."""
    from keras import ops

    last = len(positions) - 1
    if np.array_equal(positions, np.arange(last + 1)):
        return severity
    inside = ops.clip(severity, 0.0, float(last))
    return interpolated(inside, np.arange(last + 1), positions) + (severity - inside)


def cut(severity: Any, cutpoints: NDArray[np.float64], positions: NDArray[np.intp]) -> Any:
    """Index of the class that is nearest to the number of cutpoints at or below each severity.

    Counterpart of `fundus.grades.cutpoints.grades_at` and `fundus.grades.severity.nearest_class`.
    """
    from keras import ops

    finite = cutpoints[np.isfinite(cutpoints)]
    below = int((cutpoints == -np.inf).sum())
    counted = ops.cast(ops.zeros_like(severity), "int32") + below
    if len(finite):
        passed = ops.expand_dims(severity, 1) >= constant(finite)
        counted = counted + ops.sum(ops.cast(passed, "int32"), axis=1)
    return looked_up(nearest_class(np.arange(len(cutpoints) + 1), positions), counted)


def falling(cumulative: Any) -> Any:
    """Counterpart of `fundus.meta.calibration.falling`, for the few columns that grades make.

    The k-th value of an isotonic regression is the least, over the starts of blocks up to k, of the
    largest mean of a block from there to k or beyond.
    """
    from keras import ops

    n = cumulative.shape[1]
    columns = [cumulative[:, k : k + 1] for k in range(n)]
    means: dict[tuple[int, int], Any] = {}
    for i in range(n):
        total = None
        for j in range(i, n):
            total = columns[j] if total is None else total + columns[j]
            means[i, j] = total / float(j - i + 1)
    fitted = []
    for k in range(n):
        least = None
        for i in range(k + 1):
            most = means[i, k]
            for j in range(k + 1, n):
                most = ops.maximum(most, means[i, j])
            least = most if least is None else ops.minimum(least, most)
        fitted.append(least)
    return ops.concatenate(fitted, axis=1)


def mean_of(tensors: list[Any]) -> Any:
    """Mean of several tensors; ``None`` of none."""
    known = [tensor for tensor in tensors if tensor is not None]
    if not known:
        return None
    total = known[0]
    for tensor in known[1:]:
        total = total + tensor
    return total / float(len(known))


def signed_power(features: Any, power: float | None) -> Any:
    """Counterpart of `fundus.backbones.pooling.signed_power`."""
    from keras import ops

    if power is None:
        return features
    size = ops.abs(features)
    raised = ops.sqrt(size) if power == 0.5 else ops.power(size, float(power))
    return ops.sign(features) * raised
