"""Scores of changed photographs beside those of the unchanged ones, and their report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fundus.metrics.resampled import confusions, kappa_of, mean_of, ratio
from fundus.reporting.bootstrap import Measure, bootstrap_of
from fundus.reporting.tables import stress_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: A kind of change and its strength.
Change = tuple[str, int]


class Predicted(NamedTuple):
    """Predictions for n photographs.

    Parameters
    ----------
    grades : ndarray of int, shape (n,)
        Positions on the scale.
    severity : ndarray of float, shape (n,), or None
        In positions on the scale; ``None`` if the model has none.
    """

    grades: NDArray[np.intp]
    severity: NDArray[np.float64] | None


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


@dataclass(frozen=True, eq=False)
class StressReport:
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


def score_stress(
    true: NDArray[np.intp],
    unchanged: Predicted,
    changed: Mapping[Change, Predicted],
    *,
    n_grades: int,
    referable: int | None,
    groups: ArrayLike | None,
    n_resamples: int,
    random_state: int,
    out_of_fold: bool,
) -> StressReport:
    """Score predictions of changed photographs, all on the same resamples of patients.

    `true` are positions on the scale, shape (n_images,), as are all predictions.

    Raises
    ------
    DataError
        If there is no image, or `groups` has another length or lacks a patient.
    InvalidParameterError
        If `n_resamples` is below 1.
    """
    columns: list[NDArray[Any]] = [true, unchanged.grades]
    if unchanged.severity is not None:
        columns.append(unchanged.severity)
    bootstrap = bootstrap_of(
        np.column_stack(columns).astype(float),
        groups,
        n_resamples=n_resamples,
        random_state=random_state,
    )
    every = {("unchanged", 0): unchanged, **changed}
    strengths = sorted({strength for _, strength in changed})
    kinds = list(dict.fromkeys(kind for kind, _ in changed))

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        scores: dict[str, NDArray[np.float64]] = {}
        for change, found in every.items():
            drawn = confusions(weights, true, found.grades, n_grades)
            own = {"qwk": kappa_of(drawn)}
            if referable is not None:
                high, low = drawn[:, referable:], drawn[:, :referable]
                own["sensitivity"] = ratio(
                    high[:, :, referable:].sum(axis=(1, 2)), high.sum(axis=(1, 2))
                )
                own["specificity"] = ratio(
                    low[:, :, :referable].sum(axis=(1, 2)), low.sum(axis=(1, 2))
                )
            if change in changed:
                own["qwk_change"] = own["qwk"] - scores[_name(("unchanged", 0), "qwk")]
                if found.severity is not None and unchanged.severity is not None:
                    moved = found.severity - unchanged.severity
                    own["severity_change"] = mean_of(weights, moved)
                    own["severity_change_rms"] = np.sqrt(mean_of(weights, moved**2))
                other = (found.grades != unchanged.grades).astype(float)
                own["grades_changed"] = mean_of(weights, other)
            scores |= {_name(change, name): values for name, values in own.items()}
        for strength in strengths:
            for name in ("qwk", "qwk_change"):
                parts = [scores[_name((kind, strength), name)] for kind in kinds]
                scores[_name(("mean", strength), name)] = np.mean(parts, axis=0)
        return scores

    values = statistic(np.ones((1, len(true))))
    drawn = bootstrap.scores(statistic)
    positive = np.zeros(len(true), bool) if referable is None else true >= referable

    def score(change: Change) -> StressScore:
        measures = {}
        for name in _NAMES:
            key = _name(change, name)
            if key in values:
                shares = _shares(name, every.get(change), unchanged, referable, positive)
                measures[name] = (
                    bootstrap.measure(float(values[key][0]), drawn[key])
                    if shares is None
                    else bootstrap.proportion(*shares, drawn[key])
                )
        return StressScore(*change, measures)

    report = StressReport(
        score(("unchanged", 0)),
        tuple(score(change) for change in changed),
        {strength: score(("mean", strength)) for strength in strengths},
        len(true),
        bootstrap.n_patients if groups is not None else None,
        referable,
        out_of_fold,
        _notes(true, unchanged, positive, referable),
    )
    return report


#: Names of the scores of one change, in the order of tables.
_NAMES = (
    "qwk",
    "qwk_change",
    "sensitivity",
    "specificity",
    "severity_change",
    "severity_change_rms",
    "grades_changed",
)


def _name(change: Change, name: str) -> str:
    return f"{change[0]} {change[1]} {name}"


def _shares(
    name: str,
    found: Predicted | None,
    unchanged: Predicted,
    referable: int | None,
    positive: NDArray[np.bool_],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Hits, and the photographs that count, of a score that is a share; ``None`` of others."""
    if found is None or name not in ("sensitivity", "specificity", "grades_changed"):
        return None
    if name == "grades_changed":
        return found.grades != unchanged.grades, np.ones(len(positive), bool)
    assert referable is not None
    referred = found.grades >= referable
    return (referred, positive) if name == "sensitivity" else (~referred, ~positive)


def _notes(
    true: NDArray[np.intp],
    unchanged: Predicted,
    positive: NDArray[np.bool_],
    referable: int | None,
) -> tuple[str, ...]:
    notes = []
    if len(np.unique(true)) == 1:
        notes.append(
            "all photographs have one grade: kappa is 0 or undefined, and says nothing of agreement"
        )
    if referable is not None and not positive.any():
        notes.append("no sensitivity: no photograph is referable")
    if referable is not None and positive.all():
        notes.append("no specificity: all photographs are referable")
    if unchanged.severity is None:
        notes.append("the model has no severity, so how far severities move is not known")
    return tuple(notes)
