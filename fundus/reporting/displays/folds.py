"""`FoldsDisplay`: every score of every fold's model on the images that it did not see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fundus.exceptions import DataError
from fundus.reporting.evaluation import evaluate_out_of_fold
from fundus.reporting.report import score_values
from fundus.reporting.tables import LABELS
from fundus.runtime.figures import COLOURS, SMALL, TEXT, TITLE, as_written, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fundus.reporting.bootstrap import Measure
    from fundus.reporting.evaluated import Evaluation

_COLUMNS = 3


class FoldsDisplay:
    """Every score of every fold, beside that of all images out of fold.

    A dot is the score of one fold's model on its test images. The line is the score of the
    out-of-fold predictions of all images, and the band its interval: folds differ by chance alone
    about as much as their size says, so a fold outside the band need not be odd.

    Parameters
    ----------
    evaluation : Evaluation
        Of `evaluate_out_of_fold`.

    Attributes
    ----------
    axes_ : dict of str to Axes
        By the name of the score.
    ax_ : matplotlib.axes.Axes
        The first of them.
    figure_ : matplotlib.figure.Figure
        Not registered in pyplot if no axes were given.
    values_ : dict of str to ndarray of float, shape (n_folds,)
        Scores by name, by fold.

    Examples
    --------
    >>> from fundus import FoldEnsemble, TransferClassifier
    >>> X, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 5
    >>> model = FoldEnsemble(TransferClassifier("precomputed", "ridge"), cv=3).fit(X, y)
    >>> display = FoldsDisplay.from_estimator(model, X, y)
    >>> display.values_["qwk"].shape
    (3,)
    """

    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, y: Any, *, ax: Axes | None = None) -> Self:
        """Score the folds of an ensemble and draw them.

        Parameters
        ----------
        estimator : FoldEnsemble
            Fitted.
        X : images
            The images that it was fitted on.
        y : array-like, shape (n_samples,)
            Their grades, as the estimator calls them.
        ax : matplotlib.axes.Axes, default=None
            For kappa alone; by default those of a new figure, for each score.
        """
        return cls(evaluate_out_of_fold(estimator, (X, y))).plot(ax)

    @as_written
    def plot(self, ax: Axes | None = None) -> Self:
        """Draw a panel for each score.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            For kappa alone; by default those of a new figure, for each score.

        Returns
        -------
        FoldsDisplay
            Itself, with `ax_`, `axes_`, `figure_` and `values_`.

        Raises
        ------
        DataError
            If the evaluation is not one by folds.
        """
        found = self.evaluation
        if found.fold is None:
            raise DataError(
                "An evaluation of new images has no folds: give one of evaluate_out_of_fold."
            )
        self.values_, sizes = _by_fold(found), np.bincount(found.fold)
        measures = found.report.measures
        names = [name for name in measures if name in self.values_]  # those of plugins are of all
        if ax is not None:
            self.axes_ = {"qwk": ax}
        else:
            n_rows = -(-len(names) // _COLUMNS)
            height = 1.0 + n_rows * (1.3 + 0.26 * len(sizes))
            figure = new_figure(3.5 * _COLUMNS, height)
            grid = figure.subplots(n_rows, _COLUMNS, sharey=True, squeeze=False).ravel()
            for unused in grid[len(names) :]:
                unused.set_visible(False)
            self.axes_ = dict(zip(names, grid, strict=False))
            title = f"{len(sizes)} folds, {len(found.y_true)} images"
            figure.suptitle(title, fontsize=TITLE, x=0.01, ha="left")
        for name, panel in self.axes_.items():
            self._draw(panel, LABELS.get(name, name), self.values_[name], measures[name])
            panel.set_yticks(range(len(sizes)), [f"fold {k} (n={n})" for k, n in enumerate(sizes)])
            panel.set_ylim(len(sizes) - 0.5, -0.5)
        self.ax_ = next(iter(self.axes_.values()))
        self.figure_ = self.ax_.figure
        return self

    def _draw(self, ax: Axes, label: str, values: Any, whole: Measure) -> None:
        from matplotlib.ticker import MaxNLocator

        if np.isfinite(whole.interval.low):
            ax.axvspan(
                whole.interval.low, whole.interval.high, color=COLOURS[4], alpha=0.2, linewidth=0
            )
        if np.isfinite(whole.value):
            ax.axvline(whole.value, color=COLOURS[4], linewidth=2)
        ax.plot(
            values, range(len(values)), "o", color=COLOURS[0], markersize=9,
            markeredgecolor="white", zorder=3,
        )  # fmt: skip
        ax.margins(x=0.15)
        ax.xaxis.set_major_locator(MaxNLocator(4))  # more do not fit side by side
        span = "" if np.isnan(whole.interval.low) else f" ({whole.span})"
        ax.set_title(f"{label}\n{whole.value:.3f}{span}", fontsize=TEXT, loc="left")
        ax.tick_params(labelsize=SMALL)
        ax.tick_params(axis="y", length=0)
        ax.spines[["top", "right", "left"]].set_visible(False)


def _by_fold(found: Evaluation) -> dict[str, Any]:
    """Scores by name, by fold; ``nan`` where one is undefined for a fold's images."""
    assert found.fold is not None
    predicted, n_grades = found.predictions, len(found.report.class_names)
    rows = []
    for k in range(found.fold.max() + 1):
        test = found.fold == k
        severity, proba = predicted.severity, predicted.proba
        rows.append(
            score_values(
                found.y_true[test],
                predicted.grades[test],
                n_grades=n_grades,
                severity=None if severity is None else severity[test],
                proba=None if proba is None else proba[test],
            )
        )
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}
