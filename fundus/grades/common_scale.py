"""The common scale of several gradings."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fundus.grades.icdr import N_GRADES
from fundus.grades.labels import Labels, as_labels, grade_scale, is_text


def common_scale(
    n_grades: int | Sequence[Hashable] | None, *labels: Any, names: Sequence[str]
) -> NDArray[Any]:
    """Return the scale of a score, which may come from the labels.

    Parameters
    ----------
    n_grades : int, sequence or None
        The scale; ``None`` is ``0 … 4`` for numbers, the order of a Categorical, and the sorted
        labels for other names.
    *labels : array-like, shape (n_samples,)
        The order is that of the first Categorical.
    names : sequence of str
        Their names in an error.

    Returns
    -------
    ndarray, shape (n_grades,)

    Raises
    ------
    InvalidGradeError
        If there is not one label per row.

    Warns
    -----
    DataWarning
        Where more than two names are sorted alphabetically.

    Examples
    --------
    >>> common_scale(None, [0, 2], [0, 1], names=("y_true", "y_pred")).tolist()
    [0, 1, 2, 3, 4]
    """
    if n_grades is not None:
        return grade_scale(n_grades)
    read = [as_labels(y, name=name) for y, name in zip(labels, names, strict=True)]
    for one in read:
        order = one.order
        # sorted numbers keep their distances, also where a fold lacks one
        if order is not None and (is_text(order) or not pd.Index(order).is_monotonic_increasing):
            one.warn_if_guessed()
            return order
    values = np.concatenate([one.values.astype(object) for one in read])
    if not len(values) or not is_text(values):
        return grade_scale(N_GRADES)
    sorted_names = Labels(np.unique(values))
    sorted_names.warn_if_guessed()
    return sorted_names.scale
