"""The report of scores of changed photographs: a table, a figure and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from fundus.reporting.bootstrap import Measure
from fundus.reporting.tables import stress_table
from fundus.runtime.shown import Shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: A kind of change and its strength.
Change = tuple[str, int]


@dataclass(frozen=True, eq=False)
class StressScore:
    """The scores of photographs that are all changed in one way, or unchanged.

    Parameters
    ----------
    kind : str
        Such as "blur"; "unchanged".
    strength : int
        1, 2 or 3; 0 for the unchanged photographs.
    measures : dict of str to Measure
        By name: "qwk"; "sensitivity" and "specificity" for referable grades. Of changed
        photographs also "qwk_change", from the unchanged ones on the same resamples; with
        severities "severity_change" (mean) and "severity_change_rms" (root mean square), in
        grades; and "grades_changed", the share with another predicted grade.
    """

    kind: str
    strength: int
    measures: dict[str, Measure]

    @property
    def qwk(self) -> Measure:
        """Quadratic weighted kappa."""
        return self.measures["qwk"]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; ``nan`` becomes ``None``."""
        return {name: measure.to_dict() for name, measure in self.measures.items()}


@dataclass(frozen=True, eq=False, repr=False)
class StressReport(Shown):
    """How scores fall when photographs are changed; `stress_report` makes it.

    Parameters
    ----------
    unchanged : StressScore
    scores : tuple of StressScore
        One for each kind and strength.
    means : dict of int to StressScore
        By strength, the mean over the kinds: "qwk" and "qwk_change".
    n_images : int
    n_patients : int or None
        ``None`` if patients are unknown.
    referable : int or None
        Position of the lowest referable grade.
    out_of_fold : bool, default=False
        Whether each photograph was graded by a model that was not fitted on it.
    notes : tuple of str, default=()
        Scores that could not be computed, and why.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes of the last `plot`.
    figure_ : matplotlib.figure.Figure
        Their figure.

    Examples
    --------
    >>> import numpy as np
    >>> from fundus import TransferClassifier, stress_report
    >>> y = np.repeat([0, 1, 2], 4)
    >>> X = np.random.default_rng(0).integers(60 * y, 60 * y + 80, (3, 32, 32, 12), np.uint8).T
    >>> model = TransferClassifier("tiny", "ridge", weights="fixed", cache=False).fit(X, y)
    >>> found = stress_report(model, X, y, kinds=["tone", "jpeg"], n_resamples=100)
    >>> [score.kind for score in found.scores if score.strength == 3]
    ['tone', 'jpeg']
    >>> len(found.to_frame()), found.plot().figure_.axes[0].get_xlabel()
    (10, 'quadratic weighted kappa, 95 % interval')
    """

    unchanged: StressScore
    scores: tuple[StressScore, ...]
    means: dict[int, StressScore]
    n_images: int
    n_patients: int | None
    referable: int | None
    out_of_fold: bool = False
    notes: tuple[str, ...] = ()
    _drawn: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def __getitem__(self, change: Change) -> StressScore:
        """Return the scores of a kind at a strength."""
        for score in self.scores:
            if (score.kind, score.strength) == change:
                return score
        raise KeyError(change)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of change, in order."""
        return tuple(dict.fromkeys(score.kind for score in self.scores))

    @property
    def ax_(self) -> Axes:
        """The axes of the last `plot`."""
        return self._last("ax")

    @property
    def figure_(self) -> Figure:
        """The figure of the last `plot`."""
        return self._last("figure")

    def _last(self, what: str) -> Any:
        if what not in self._drawn:
            raise AttributeError(f"This StressReport has no {what}_ before it is drawn by plot.")
        return self._drawn[what]

    @property
    def title(self) -> str:
        """What was scored, in one line."""
        return "Under stress, out of fold" if self.out_of_fold else "Under stress"

    def _rows(self) -> Iterator[StressScore]:
        yield self.unchanged
        yield from self.scores
        yield from self.means.values()

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values; ``nan`` becomes ``None``.

        Returns
        -------
        dict
            Strengths are keys as text, as JSON has no other ones.
        """
        changed: dict[str, dict[str, Any]] = {kind: {} for kind in self.kinds}
        for score in self.scores:
            changed[score.kind][str(score.strength)] = score.to_dict()
        return {
            "n_images": self.n_images,
            "n_patients": self.n_patients,
            "out_of_fold": self.out_of_fold,
            "referable": self.referable,
            "unchanged": self.unchanged.to_dict(),
            "changed": changed,
            "mean_of_kinds": {str(k): mean.to_dict() for k, mean in self.means.items()},
            "notes": list(self.notes),
        }

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each kind and strength.

        Returns
        -------
        DataFrame
            Columns ``kind``, ``strength`` and ``n_images``, and for each score, such as ``qwk``,
            also ``qwk_low`` and ``qwk_high``. The first row, "unchanged", has strength 0; the last
            ones, "mean", are the means over the kinds.
        """
        rows = []
        for score in self._rows():
            row = {"kind": score.kind, "strength": score.strength, "n_images": self.n_images}
            for name, measure in score.measures.items():
                ends = measure.interval
                cells = {name: measure.value, f"{name}_low": ends.low, f"{name}_high": ends.high}
                row.update(cells)
            rows.append(row)
        names = list(dict.fromkeys(name for row in sorted(rows, key=len)[::-1] for name in row))
        return pd.DataFrame(rows, columns=names)

    def to_scores(self) -> pd.DataFrame:
        """Return a row for each score: score, value, low, high, and the method of the interval.

        Returns
        -------
        DataFrame
        """
        return pd.DataFrame(
            [
                {"score": " ".join([score.kind, *[str(score.strength)] * bool(score.strength)])
                 + f": {name}", **measure.to_dict()}
                for score in self._rows()
                for name, measure in score.measures.items()
            ]
        )  # fmt: skip

    def to_table(self, title: str | None = None) -> Any:
        """Return the report for a terminal.

        Parameters
        ----------
        title : str, default=None

        Returns
        -------
        rich.table.Table
        """
        return stress_table(self, title or self.title)

    def plot(self, ax: Axes | None = None) -> StressReport:
        """Draw kappa by kind and strength, with intervals, and of the unchanged as a line.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            By default those of a new figure.

        Returns
        -------
        StressReport
            Itself, with `ax_` and `figure_`.
        """
        from fundus.reporting.stress_figure import draw

        ax = draw(self, ax)
        self._drawn.update(ax=ax, figure=ax.figure)
        return self
