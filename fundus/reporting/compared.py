"""`compare`: every score of two models on the same images, with paired intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fundus.exceptions import DataError
from fundus.reporting.bootstrap import finite_or_none
from fundus.reporting.comparison import OF_PROBA, PairedDifference, paired_difference
from fundus.reporting.displays.comparison import ComparisonDisplay
from fundus.reporting.report import OF_CONFUSION
from fundus.reporting.tables import comparison_table
from fundus.runtime.shown import Shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.table import Table

    from fundus.reporting.evaluated import Evaluation


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Shown):
    """Scores of two models on the same images.

    Parameters
    ----------
    names : tuple of two str
    differences : dict of str to PairedDifference
        By score: that of the first model less that of the second.
    n_images : int
    n_patients : int, default=None
        ``None`` if patients are unknown.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from fundus import compare, evaluate
    >>> X, y = [[0.0], [0.2], [1.0], [1.1], [2.0], [2.3]] * 5, [0, 0, 1, 1, 2, 2] * 5
    >>> one = evaluate(LogisticRegression().fit(X, y), (X, y))
    >>> found = compare(one, one)
    >>> str(found.differences["qwk"].difference)
    '0.000 (0.000 to 0.000)'
    """

    names: tuple[str, str]
    differences: Mapping[str, PairedDifference]
    n_images: int
    n_patients: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; ``nan`` becomes ``None``."""
        return {
            "names": list(self.names),
            "n_images": self.n_images,
            "n_patients": self.n_patients,
            "differences": {
                name: {
                    "a": finite_or_none(found.a),
                    "b": finite_or_none(found.b),
                    "difference": found.difference.to_dict(),
                }
                for name, found in self.differences.items()
            },
        }

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each score.

        Returns
        -------
        DataFrame
            Columns ``score``, ``a``, ``b``, ``difference``, ``low`` and ``high``.
        """
        rows = [
            {
                "score": name, "a": found.a, "b": found.b,
                "difference": found.difference.value,
                "low": found.difference.interval.low, "high": found.difference.interval.high,
            }
            for name, found in self.differences.items()
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def to_table(self) -> Table:
        """Return the scores for a terminal."""
        return comparison_table(self)

    def plot(self, ax: Axes | None = None) -> ComparisonDisplay:
        """Draw the differences.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            By default those of a new figure.
        """
        display = ComparisonDisplay(self.differences, names=self.names, n_images=self.n_images)
        return display.plot(ax)


def compare(
    a: Evaluation,
    b: Evaluation,
    *,
    names: tuple[str, str] = ("A", "B"),
    groups: ArrayLike | None = None,
    n_resamples: int = 2000,
    random_state: int = 0,
) -> Comparison:
    """Compare two evaluations of the same images.

    Both models are scored on the same resampled patients, so effects of easy or hard images cancel.

    Parameters
    ----------
    a, b : Evaluation
        Of `evaluate` or `evaluate_out_of_fold`, on the same data.
    names : tuple of two str, default=("A", "B")
        What the models are called.
    groups : array-like, shape (n_images,), default=None
        Patients; without them, images are treated as independent.
    n_resamples : int, default=2000
        Bootstrap resamples of patients.
    random_state : int, default=0
        Seed of the resamples.

    Returns
    -------
    Comparison
        Of the scores of grades and, where both give them, of probabilities.

    Raises
    ------
    DataError
        If they are of other images, in another order, or these are graded otherwise.

    See Also
    --------
    paired_difference : Of one score.

    Notes
    -----
    Like every bootstrap of fixed predictions this leaves out the variance of training: the
    intervals are about these two fitted models, not about the two methods.
    """
    if a.names != b.names or not np.array_equal(a.y_true, b.y_true):
        raise DataError(
            "Models are compared on the same images in the same order, with the same true grades. "
            f"Got {_unlike(a, b)}: evaluate both on the same data."
        )
    return compare_predictions(
        a.y_true,
        (a.predictions.grades, b.predictions.grades),
        (a.predictions.proba, b.predictions.proba),
        n_grades=len(a.report.class_names),
        names=names,
        groups=groups,
        n_resamples=n_resamples,
        random_state=random_state,
    )


def compare_predictions(
    y_true: NDArray[np.intp],
    grades: tuple[NDArray[np.intp], NDArray[np.intp]],
    probas: tuple[NDArray[np.float64] | None, NDArray[np.float64] | None],
    *,
    n_grades: int,
    names: tuple[str, str] = ("A", "B"),
    groups: ArrayLike | None = None,
    n_resamples: int = 2000,
    random_state: int = 0,
) -> Comparison:
    """Compare two models' predictions of the same images; see `compare`.

    Parameters
    ----------
    y_true : ndarray of int, shape (n_images,)
        Positions on the scale, as those of `grades`.
    grades : tuple of two ndarrays of int, shape (n_images,)
    probas : tuple of two ndarrays of float, shape (n_images, n_grades), or None
    n_grades : int
    names : tuple of two str, default=("A", "B")
    groups : array-like, shape (n_images,), default=None
        Patients.
    n_resamples : int, default=2000
    random_state : int, default=0
    """
    options: dict[str, Any] = {
        "groups": groups, "n_grades": n_grades, "n_resamples": n_resamples,
        "random_state": random_state,
    }  # fmt: skip
    found = {name: paired_difference(name, y_true, *grades, **options) for name in OF_CONFUSION}
    one, two = probas
    if one is not None and two is not None:
        several = len(np.unique(y_true)) > 1  # an AUC needs two grades
        for name in OF_PROBA:
            if several or name != "macro_auc":
                found[name] = paired_difference(name, y_true, one, two, **options)
    n_patients = None if groups is None else len(pd.unique(pd.Series(np.asarray(groups))))
    return Comparison(names, found, len(y_true), n_patients)


def _unlike(a: Evaluation, b: Evaluation) -> str:
    """In what the images of two evaluations differ."""
    if len(a.names) != len(b.names):
        return f"{len(a.names)} and {len(b.names)} images"
    if a.names != b.names:
        row = next(
            k for k, pair in enumerate(zip(a.names, b.names, strict=True)) if len({*pair}) > 1
        )
        return f"{a.names[row]!r} and {b.names[row]!r} in row {row}"
    row = int(np.flatnonzero(a.y_true != b.y_true)[0])
    return f"grades {a.y_true[row]} and {b.y_true[row]} of {a.names[row]!r}"
