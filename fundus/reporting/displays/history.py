"""`HistoryDisplay`: what a training reached, epoch by epoch and fold by fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fundus.exceptions import DataError
from fundus.runtime.figures import COLOURS, SMALL, TEXT, TITLE, as_written, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

History = Mapping[str, Sequence[float]]

#: Quantities of a history that say nothing of what was learned.
_NOT_SHOWN = ("learning_rate",)


class HistoryDisplay:
    """Losses and metrics by epoch, of one network or of each fold's.

    Solid lines are the photographs that were held out for stopping early, dashed ones those trained
    on. A dot marks the epoch with the lowest held-out loss. The test photographs of a fold are in
    neither.

    Parameters
    ----------
    histories : sequence of dict of str to list of float
        ``history_`` of each network; names of held-out quantities begin with ``val_``.
    title : str, default=""

    Attributes
    ----------
    axes_ : ndarray of Axes, shape (n_quantities,)
        The loss first.
    ax_ : matplotlib.axes.Axes
        That of the loss.
    figure_ : matplotlib.figure.Figure
        Not registered in pyplot if no axes were given.

    See Also
    --------
    sklearn.model_selection.LearningCurveDisplay : Scores by the number of training samples.

    Examples
    --------
    >>> history = {"loss": [1.2, 0.8, 0.6], "val_loss": [1.3, 1.0, 1.1]}
    >>> HistoryDisplay([history]).plot().ax_.get_ylabel()
    'loss'
    """

    def __init__(self, histories: Sequence[History], *, title: str = "") -> None:
        self.histories = histories
        self.title = title

    @classmethod
    def from_estimator(cls, estimator: Any, *, title: str = "", ax: Axes | None = None) -> Self:
        """Draw how a fitted network, or an ensemble of them, was trained.

        Parameters
        ----------
        estimator : TransferClassifier, FoldEnsemble, or an estimator around one
            Fitted.
        title : str, default=""
        ax : matplotlib.axes.Axes, default=None
            For the loss alone; by default those of a new figure, for each quantity.

        Raises
        ------
        DataError
            If nothing in it was trained by epochs, such as a ridge on frozen features.
        """
        found = _histories(estimator)
        if not found:
            raise DataError(
                f"{type(estimator).__name__} holds no network that was trained by epochs: only "
                "neural heads, such as 'softmax' and 'relu', have a history."
            )
        return cls(found, title=title).plot(ax)

    @as_written
    def plot(self, ax: Axes | None = None) -> Self:
        """Draw a panel for each quantity.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            For the loss alone; by default those of a new figure, for each quantity.

        Returns
        -------
        HistoryDisplay
            Itself, with `ax_`, `axes_` and `figure_`.

        Raises
        ------
        DataError
            If there is no history, or one without a loss.
        """
        if not self.histories or any("loss" not in history for history in self.histories):
            raise DataError(
                "A history has a list of numbers for each quantity, 'loss' among them. Got "
                f"{[sorted(history) for history in self.histories]}."
            )
        names = dict.fromkeys(
            name.removeprefix("val_") for history in self.histories for name in history
        )
        shown = ["loss", *(n for n in names if n not in ("loss", *_NOT_SHOWN))]
        if ax is None:
            figure = new_figure(1.6 + max(5.0, 4.4 * len(shown)), 4.6)
            self.axes_ = np.atleast_1d(figure.subplots(1, len(shown)))
            if self.title:
                figure.suptitle(self.title, fontsize=TITLE, x=0.01, ha="left")
        else:
            shown, self.axes_ = ["loss"], np.array([ax])
            ax.set_title(self.title, fontsize=TITLE, loc="left")
        for name, panel in zip(shown, self.axes_, strict=True):
            self._draw(panel, name)
        self.ax_ = self.axes_[0]
        self.figure_ = self.ax_.figure
        return self

    def _draw(self, ax: Axes, name: str) -> None:
        from matplotlib.lines import Line2D
        from matplotlib.ticker import MaxNLocator

        held_out = False
        for k, history in enumerate(self.histories):
            colour = COLOURS[k % len(COLOURS)]
            for key, line in ((name, "--"), (f"val_{name}", "-")):
                values = np.asarray(history.get(key, ()), dtype=float)
                if not len(values):
                    continue
                epochs = np.arange(1, len(values) + 1)
                width = 2 if line == "-" else 1.2
                mark = "." if len(values) == 1 else None
                ax.plot(epochs, values, line, color=colour, linewidth=width, marker=mark)
            losses = np.asarray(history.get("val_loss", ()), dtype=float)
            values = np.asarray(history.get(f"val_{name}", ()), dtype=float)
            if len(values) and len(values) == len(losses) and np.isfinite(losses).any():
                held_out, best = True, int(np.nanargmin(losses))
                ax.plot(
                    best + 1, values[best], "o", color=colour, markersize=8,
                    markeredgecolor="white", zorder=3,
                )  # fmt: skip
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel("epoch", fontsize=TEXT)
        ax.set_ylabel(name.replace("_", " "), fontsize=TEXT)
        ax.tick_params(labelsize=SMALL)
        ax.spines[["top", "right"]].set_visible(False)
        keys = [Line2D([], [], color="black", linestyle="--", linewidth=1.2, label="trained on")]
        if held_out:
            keys.append(Line2D([], [], color="black", linewidth=2, label="held out"))
        if len(self.histories) > 1:
            keys += [
                Line2D([], [], color=COLOURS[k % len(COLOURS)], linewidth=4, label=f"fold {k}")
                for k in range(len(self.histories))
            ]
        if ax is self.axes_[-1]:  # beside the panels, where no line is
            ax.legend(
                handles=keys, fontsize=SMALL, frameon=False, loc="upper left",
                bbox_to_anchor=(1, 1),
            )  # fmt: skip


def _histories(estimator: Any) -> list[History]:
    """Histories of the networks inside a fitted estimator, in the order of its folds."""
    if hasattr(estimator, "history_"):
        return [estimator.history_]
    if hasattr(estimator, "estimators_"):
        return [history for part in estimator.estimators_ for history in _histories(part)]
    for name in ("estimator_", "best_estimator_", "ensemble_"):
        if hasattr(estimator, name):
            return _histories(getattr(estimator, name))
    return []
